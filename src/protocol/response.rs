//! What the server writes: each function appends one line, or a part of one, to `out`.

use base64_simd::STANDARD;

use super::error_code::{CloseCode, ErrorCode};
use super::request::ParseError;
use crate::types::{
    CancelReason, Content, Message, QueueName, QueueSettings, Quota, RequestId, RequestToken, Seq,
    SubscriptionId, Tag,
};

/// The greeting.
pub fn hello(out: &mut Vec<u8>, mechanisms: &[&str], max_frame_bytes: u64) {
    out.extend_from_slice(b"{\"event\":\"hello\",\"protocol\":1,\"auth\":[");
    list(out, mechanisms, |out, mechanism| string(out, mechanism));
    out.extend_from_slice(b"],\"max_frame_bytes\":");
    integer(out, max_frame_bytes);
    out.extend_from_slice(b"}\n");
}

/// The last event of a connection.
pub fn closing(out: &mut Vec<u8>, code: CloseCode) {
    out.extend_from_slice(b"{\"event\":\"closing\",\"code\":");
    string(out, code.as_str());
    out.extend_from_slice(b"}\n");
}

/// The server ended a subscription.
pub fn cancelled(out: &mut Vec<u8>, subscription: SubscriptionId, reason: CancelReason) {
    out.extend_from_slice(b"{\"event\":\"cancelled\",\"sub\":");
    integer(out, subscription.0);
    out.extend_from_slice(b",\"reason\":");
    string(out, reason.as_str());
    out.extend_from_slice(b"}\n");
}

/// A message as it is delivered, pulled or peeked.
#[derive(Debug, Clone, Copy)]
pub struct Delivered<'a> {
    /// The queue.
    pub queue: &'a QueueName,
    /// Tag and fence; a peek has none.
    pub hand: Option<(Tag, u64)>,
    /// The message's place.
    pub seq: Seq,
    /// Deliveries so far.
    pub attempt: u32,
    /// The message.
    pub message: &'a Message,
}

/// A `message` event.
pub fn message(out: &mut Vec<u8>, subscription: SubscriptionId, delivered: Delivered<'_>) {
    out.extend_from_slice(b"{\"event\":\"message\",\"sub\":");
    integer(out, subscription.0);
    out.push(b',');
    delivered_fields(out, delivered);
    out.extend_from_slice(b"}\n");
}

/// One element of the `messages` of a `pull` or a `queue.peek`.
pub fn pulled(out: &mut Vec<u8>, delivered: Delivered<'_>) {
    out.push(b'{');
    delivered_fields(out, delivered);
    out.push(b'}');
}

fn delivered_fields(out: &mut Vec<u8>, delivered: Delivered<'_>) {
    let Delivered { queue, hand, seq, attempt, message } = delivered;
    out.extend_from_slice(b"\"queue\":\"");
    // A queue's name has nothing that JSON would escape.
    out.extend_from_slice(queue.as_str().as_bytes());
    out.push(b'"');
    if let Some((tag, _)) = hand {
        number_field(out, "tag", tag.0);
    }
    number_field(out, "seq", seq.0);
    if let Some((_, fence)) = hand {
        number_field(out, "fence", fence);
    }
    number_field(out, "attempt", u64::from(attempt));
    number_field(out, "published_at", message.published_at);
    message_fields(out, message);
    if let Some(topic) = message.properties.as_ref().and_then(|p| p.topic.as_ref()) {
        string_field(out, "topic", topic.as_str());
    }
}

/// What a message is both published and delivered with, a comma before each field.
pub(super) fn message_fields(out: &mut Vec<u8>, message: &Message) {
    match &message.content {
        Content::Payload(bytes) => {
            field_name(out, "payload");
            out.push(b'"');
            STANDARD.encode_append(bytes, out);
            out.push(b'"');
        }
        Content::Body(text) => {
            field_name(out, "body");
            out.extend_from_slice(text.as_bytes());
        }
    }
    if let Some(priority) = message.priority {
        number_field(out, "priority", u64::from(priority.number()));
    }
    let Some(properties) = &message.properties else { return };
    if !properties.headers.is_empty() {
        field_name(out, "headers");
        out.push(b'{');
        list(out, &properties.headers, |out, (name, value)| {
            string(out, name);
            out.push(b':');
            string(out, value);
        });
        out.push(b'}');
    }
    if let Some(reply_to) = &properties.reply_to {
        string_field(out, "reply_to", reply_to.as_str());
    }
    let texts = [
        ("correlation_id", &properties.correlation_id),
        ("key", &properties.key),
        ("group", &properties.group),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            string_field(out, name, text);
        }
    }
}

/// A successful reply: `fields` appends its own, each with a comma before it. Nothing is written
/// for a request without `id`.
pub fn ok(out: &mut Vec<u8>, token: &RequestToken, fields: impl FnOnce(&mut Vec<u8>)) {
    let Some(id) = &token.id else { return };
    out.extend_from_slice(b"{\"id\":");
    request_id(out, id);
    out.extend_from_slice(b",\"ok\":true");
    fields(out);
    out.extend_from_slice(b"}\n");
}

/// What an error has beside its code and message.
#[derive(Debug, Clone, Default)]
pub struct Details<'a> {
    /// The place of what is wrong.
    pub field: Option<&'a str>,
    /// Try again after so long. Unit: ms.
    pub retry_after_ms: Option<u64>,
    /// The quota that is used up.
    pub quota: Option<Quota>,
    /// Tags that are not in hand.
    pub tags: Option<&'a [Tag]>,
    /// Settings that differ.
    pub differences: Option<&'a [&'static str]>,
    /// The number in the server's log.
    pub incident: Option<u64>,
}

/// A failed reply.
pub fn error(
    out: &mut Vec<u8>,
    token: &RequestToken,
    code: ErrorCode,
    message: &str,
    details: &Details<'_>,
) {
    error_line(out, token.id.as_ref(), Some(token.op), code, message, details);
}

/// The reply to what is no request.
pub fn parse_error(out: &mut Vec<u8>, error: &ParseError) {
    let details = Details { field: error.field.as_deref(), ..Details::default() };
    error_line(out, error.id.as_ref(), error.op, error.code, &error.message, &details);
}

/// The reply to a line that is too long.
pub fn frame_too_large(out: &mut Vec<u8>, limit: usize) {
    let message = format!("the frame is longer than {limit} bytes; send less in one");
    error_line(out, None, None, ErrorCode::FrameTooLarge, &message, &Details::default());
}

/// The reply to one bad frame too many.
pub fn too_many_errors(out: &mut Vec<u8>) {
    let message = "more than 100 bad frames in a row; a frame is one JSON object on one line";
    error_line(out, None, None, ErrorCode::TooManyErrors, message, &Details::default());
}

fn error_line(
    out: &mut Vec<u8>,
    id: Option<&RequestId>,
    op: Option<&str>,
    code: ErrorCode,
    message: &str,
    details: &Details<'_>,
) {
    out.push(b'{');
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        request_id(out, id);
        out.push(b',');
    }
    out.extend_from_slice(b"\"ok\":false");
    if let (None, Some(op)) = (id, op) {
        string_field(out, "op", op);
    }
    out.extend_from_slice(b",\"error\":{\"code\":");
    string(out, code.as_str());
    string_field(out, "message", message);
    error_details(out, details);
    out.extend_from_slice(b"}}\n");
}

fn error_details(out: &mut Vec<u8>, details: &Details<'_>) {
    if let Some(field) = details.field {
        string_field(out, "field", field);
    }
    if let Some(retry_after_ms) = details.retry_after_ms {
        number_field(out, "retry_after_ms", retry_after_ms);
    }
    if let Some(quota) = details.quota {
        string_field(out, "quota", quota.as_str());
    }
    if let Some(tags) = details.tags {
        out.extend_from_slice(b",\"tags\":[");
        list(out, tags, |out, tag| integer(out, tag.0));
        out.push(b']');
    }
    if let Some(differences) = details.differences {
        out.extend_from_slice(b",\"differences\":[");
        list(out, differences, |out, name| string(out, name));
        out.push(b']');
    }
    if let Some(incident) = details.incident {
        number_field(out, "incident", incident);
    }
}

/// A queue's settings, with the defaults of those that come with later work.
pub fn settings(out: &mut Vec<u8>, settings: &QueueSettings) {
    let text = serde_json::to_vec(settings).expect("settings have nothing that JSON lacks");
    out.extend_from_slice(&text);
}

/// `,"name":number`.
pub fn number_field(out: &mut Vec<u8>, name: &str, number: u64) {
    field_name(out, name);
    integer(out, number);
}

/// `,"name":true` or `false`.
pub fn boolean_field(out: &mut Vec<u8>, name: &str, value: bool) {
    field_name(out, name);
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// `,"name":"text"`.
pub fn string_field(out: &mut Vec<u8>, name: &str, text: &str) {
    field_name(out, name);
    string(out, text);
}

/// `,"name":`; the name has nothing that JSON would escape.
pub fn field_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// An object of fields, at least one, each with a comma before it.
pub fn object(out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    fields(out);
    out[start] = b'{';
    out.push(b'}');
}

/// Elements with commas between them.
pub fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

/// A number.
pub fn integer(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("one digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A text with its quotes.
pub fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to memory cannot fail");
}

fn request_id(out: &mut Vec<u8>, id: &RequestId) {
    match id {
        RequestId::Number(number) => integer(out, *number),
        RequestId::Text(text) => out.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 9, 10, 1042, u64::MAX] {
            let mut out = Vec::new();
            integer(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn an_event_has_the_documented_shape() {
        let queue = QueueName::new("orders").unwrap();
        let content = Content::Payload(b"hi".as_slice().into());
        let plain =
            Message { content, properties: None, priority: None, published_at: 1_763_877_600_000 };
        let mut out = Vec::new();
        let hand = Some((Tag(5), 77));
        let delivered =
            Delivered { queue: &queue, hand, seq: Seq(1042), attempt: 1, message: &plain };
        message(&mut out, SubscriptionId(1), delivered);
        let expected = r#"{"event":"message","sub":1,"queue":"orders","tag":5,"seq":1042,"fence":77,"attempt":1,"published_at":1763877600000,"payload":"aGk="}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }

    #[test]
    fn an_error_names_the_request() {
        let token = RequestToken { id: None, op: "ack", frame_bytes: 0 };
        let mut out = Vec::new();
        let tags = [Tag(3), Tag(9)];
        let details = Details { tags: Some(&tags), ..Details::default() };
        error(&mut out, &token, ErrorCode::UnknownTag, "no \"such\" tag", &details);
        let expected = r#"{"ok":false,"op":"ack","error":{"code":"unknown_tag","message":"no \"such\" tag","tags":[3,9]}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }
}
