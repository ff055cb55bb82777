//! Requests as text, for clients: each function appends one line.

use super::response::{
    boolean_field, field_name, integer, list, message_fields, number_field, object, string,
    string_field,
};
use crate::types::{Level, Message, Pattern, QueueName, Seq, SettingsPatch, Tag};

/// A request of this name, and whatever `fields` appends, each field with a comma before it.
pub fn request(out: &mut Vec<u8>, id: u64, op: &str, fields: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"op\":");
    string(out, op);
    number_field(out, "id", id);
    fields(out);
    out.extend_from_slice(b"}\n");
}

/// A login by password.
pub fn auth(out: &mut Vec<u8>, id: u64, tenant: &str, user: &str, password: &str) {
    request(out, id, "auth", |out| {
        string_field(out, "tenant", tenant);
        string_field(out, "user", user);
        string_field(out, "password", password);
    });
}

/// One message for a queue.
pub fn publish(
    out: &mut Vec<u8>,
    id: u64,
    queue: &QueueName,
    message: &Message,
    require: Option<Level>,
) {
    request(out, id, "publish", |out| {
        string_field(out, "queue", queue.as_str());
        require_field(out, require);
        message_fields(out, message);
    });
}

/// A batch for a queue.
pub fn publish_batch(
    out: &mut Vec<u8>,
    id: u64,
    queue: &QueueName,
    messages: &[Message],
    require: Option<Level>,
) {
    request(out, id, "publish", |out| {
        string_field(out, "queue", queue.as_str());
        require_field(out, require);
        field_name(out, "messages");
        out.push(b'[');
        list(out, messages, |out, message| object(out, |out| message_fields(out, message)));
        out.push(b']');
    });
}

/// A request about one queue.
pub fn on_queue(
    out: &mut Vec<u8>,
    id: u64,
    op: &str,
    queue: &QueueName,
    fields: impl FnOnce(&mut Vec<u8>),
) {
    request(out, id, op, |out| {
        string_field(out, "queue", queue.as_str());
        fields(out);
    });
}

/// `ack`, `nack` or `extend` of these deliveries.
pub fn settle(
    out: &mut Vec<u8>,
    id: u64,
    op: &str,
    tags: &[Tag],
    fields: impl FnOnce(&mut Vec<u8>),
) {
    request(out, id, op, |out| {
        field_name(out, "tags");
        out.push(b'[');
        list(out, tags, |out, tag| integer(out, tag.0));
        out.push(b']');
        fields(out);
    });
}

/// Creates, compares or updates a queue.
pub fn declare(
    out: &mut Vec<u8>,
    id: u64,
    queue: &QueueName,
    settings: &SettingsPatch,
    update: bool,
) {
    on_queue(out, id, "queue.declare", queue, |out| {
        field_name(out, "settings");
        serde_json::to_writer(&mut *out, settings).expect("settings have nothing that JSON lacks");
        boolean_field(out, "update", update);
    });
}

/// A page of the list of queues.
pub fn list_queues(
    out: &mut Vec<u8>,
    id: u64,
    pattern: Option<&Pattern>,
    after: Option<&str>,
    limit: u32,
) {
    request(out, id, "queue.list", |out| {
        if let Some(pattern) = pattern {
            string_field(out, "pattern", pattern.as_str());
        }
        if let Some(after) = after {
            string_field(out, "after", after);
        }
        number_field(out, "limit", u64::from(limit));
    });
}

/// Looks at messages.
pub fn peek(out: &mut Vec<u8>, id: u64, queue: &QueueName, from_seq: Seq, max: u32) {
    on_queue(out, id, "queue.peek", queue, |out| {
        number_field(out, "from_seq", from_seq.0);
        number_field(out, "max", u64::from(max));
    });
}

fn require_field(out: &mut Vec<u8>, require: Option<Level>) {
    if let Some(level) = require {
        string_field(out, "require", level.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::{Limits, Request, parse};
    use crate::types::Content;
    use crate::types::Properties;

    const LIMITS: Limits = Limits { max_message_bytes: 1 << 20 };

    #[test]
    fn what_is_written_is_what_the_server_reads() {
        let queue = QueueName::new("q").unwrap();
        let message = Message {
            content: Content::Payload(b"\x00\xff".as_slice().into()),
            properties: Some(Box::new(Properties {
                headers: vec![("a\"".into(), "\n".into())],
                reply_to: Some(QueueName::new("r").unwrap()),
                correlation_id: Some("c".into()),
                ..Properties::default()
            })),
            priority: None,
            published_at: 0,
        };
        let body = Message {
            content: Content::Body("{\"a\": 1}".into()),
            properties: None,
            priority: None,
            published_at: 0,
        };
        for messages in [vec![message.clone()], vec![message, body]] {
            let mut out = Vec::new();
            match messages.as_slice() {
                [one] => publish(&mut out, 7, &queue, one, Some(Level::Memory)),
                many => publish_batch(&mut out, 7, &queue, many, Some(Level::Memory)),
            }
            let line = out.strip_suffix(b"\n").unwrap();
            let Request::Publish { messages: read, require: Some(Level::Memory), .. } =
                parse(line, &LIMITS).unwrap().request
            else {
                panic!("a publish");
            };
            assert_eq!(read, messages);
        }
    }
}
