//! Requests as text, for clients: each function appends one line.

use super::request::Destination;
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

/// A ping.
pub fn ping(out: &mut Vec<u8>, id: u64) {
    request(out, id, "ping", |_| {});
}

/// A login by password.
pub fn auth(out: &mut Vec<u8>, id: u64, tenant: &str, user: &str, password: &str) {
    request(out, id, "auth", |out| {
        string_field(out, "tenant", tenant);
        string_field(out, "user", user);
        string_field(out, "password", password);
    });
}

/// One message.
pub fn publish(
    out: &mut Vec<u8>,
    id: u64,
    to: &Destination,
    message: &Message,
    require: Option<Level>,
) {
    request(out, id, "publish", |out| {
        destination(out, to);
        require_field(out, require);
        published_fields(out, message);
    });
}

/// A batch.
pub fn publish_batch(
    out: &mut Vec<u8>,
    id: u64,
    to: &Destination,
    messages: &[Message],
    require: Option<Level>,
) {
    request(out, id, "publish", |out| {
        destination(out, to);
        require_field(out, require);
        field_name(out, "messages");
        out.push(b'[');
        list(out, messages, |out, message| object(out, |out| published_fields(out, message)));
        out.push(b']');
    });
}

fn destination(out: &mut Vec<u8>, to: &Destination) {
    match to {
        Destination::Queue(queue) => string_field(out, "queue", queue.as_str()),
        Destination::Topic(topic) => string_field(out, "topic", topic.as_str()),
    }
}

/// What a delivery has, and the times that only the publish names.
fn published_fields(out: &mut Vec<u8>, message: &Message) {
    message_fields(out, message);
    let Some(properties) = &message.properties else { return };
    if properties.delay_ms > 0 {
        number_field(out, "delay_ms", properties.delay_ms);
    }
    if let Some(ttl_ms) = properties.ttl_ms {
        number_field(out, "ttl_ms", ttl_ms);
    }
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

/// Moves ready messages to another queue.
pub fn transfer(out: &mut Vec<u8>, id: u64, from: &QueueName, to: &QueueName, max: u32) {
    request(out, id, "queue.move", |out| {
        string_field(out, "from", from.as_str());
        string_field(out, "to", to.as_str());
        number_field(out, "max", u64::from(max));
    });
}

/// `topic.bind` or `topic.unbind`.
pub fn binding(out: &mut Vec<u8>, id: u64, op: &str, pattern: &Pattern, queue: &QueueName) {
    on_queue(out, id, op, queue, |out| string_field(out, "pattern", pattern.as_str()));
}

/// A page of the list of bindings.
pub fn list_bindings(out: &mut Vec<u8>, id: u64, after: Option<(&str, &str)>, limit: u32) {
    request(out, id, "topic.list", |out| {
        if let Some((pattern, queue)) = after {
            field_name(out, "after");
            object(out, |out| {
                string_field(out, "pattern", pattern);
                string_field(out, "queue", queue);
            });
        }
        number_field(out, "limit", u64::from(limit));
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
    use crate::types::{Content, Priority, Properties};

    const LIMITS: Limits = Limits { max_message_bytes: 1 << 20 };

    fn name(text: &str) -> QueueName {
        QueueName::new(text).unwrap()
    }

    fn read(out: &[u8]) -> Request {
        parse(out.strip_suffix(b"\n").unwrap(), &LIMITS).unwrap().request
    }

    #[test]
    fn what_is_written_is_what_the_server_reads() {
        let message = Message {
            content: Content::Payload(b"\x00\xff".as_slice().into()),
            properties: Some(Box::new(Properties {
                headers: vec![("a\"".into(), "\n".into())],
                reply_to: Some(name("r")),
                correlation_id: Some("c".into()),
                topic: None,
                key: Some("k".into()),
                group: Some("g".into()),
                delay_ms: 5,
                ttl_ms: Some(6),
            })),
            priority: Priority::new(9),
            published_at: 0,
        };
        let body = Message {
            content: Content::Body("{\"a\": 1}".into()),
            properties: None,
            priority: None,
            published_at: 0,
        };
        for to in [Destination::Queue(name("q")), Destination::Topic(name("t"))] {
            for messages in [vec![message.clone()], vec![message.clone(), body.clone()]] {
                let mut out = Vec::new();
                match messages.as_slice() {
                    [one] => publish(&mut out, 7, &to, one, Some(Level::Memory)),
                    many => publish_batch(&mut out, 7, &to, many, Some(Level::Memory)),
                }
                let Request::Publish { to: read_to, messages: read, require, .. } = read(&out)
                else {
                    panic!("a publish");
                };
                assert_eq!((&read_to, read, require), (&to, messages, Some(Level::Memory)));
            }
        }
    }

    #[test]
    fn moves_and_bindings_are_what_the_server_reads() {
        let (pattern, mut out) = (Pattern::new("a.#").unwrap(), Vec::new());
        transfer(&mut out, 1, &name("dead"), &name("q"), 3);
        let Request::Move { from, to, max: 3 } = read(&out) else { panic!("a move") };
        assert_eq!((from, to), (name("dead"), name("q")));
        out.clear();
        binding(&mut out, 1, "topic.unbind", &pattern, &name("q"));
        assert!(matches!(read(&out), Request::Unbind { queue, .. } if queue == name("q")));
        out.clear();
        list_bindings(&mut out, 1, Some(("a.#", "q")), 9);
        let Request::Bindings { after: Some(after), limit: 9 } = read(&out) else {
            panic!("a list");
        };
        assert_eq!(after, (pattern, name("q")));
    }
}
