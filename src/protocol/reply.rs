//! What the client reads: the server's lines as values. Fields that this version does not know are
//! passed over, so that a newer server can say more.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64_simd::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::types::{Content, Fence, Priority, Seq, SubscriptionId, Tag, WallMs};

/// One line of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerLine {
    /// The greeting.
    Hello {
        /// Longest frame once authenticated. Unit: bytes.
        max_frame_bytes: u64,
    },
    /// A delivery of a subscription.
    Message {
        /// Which subscription.
        subscription: SubscriptionId,
        /// The message.
        message: Box<ReceivedMessage>,
    },
    /// The server ended a subscription.
    Cancelled {
        /// Which subscription.
        subscription: SubscriptionId,
        /// Why.
        reason: String,
    },
    /// The connection ends.
    Closing {
        /// Why.
        code: String,
    },
    /// The answer to a request.
    Reply {
        /// Which request; `None`: one without `id` failed, or what was sent was no request.
        id: Option<u64>,
        /// The whole line, for the fields of a success, or the error.
        result: Result<String, ServerError>,
    },
    /// An event that this version does not know.
    Unknown,
}

/// A message as it was delivered, pulled or peeked.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedMessage {
    /// The queue.
    pub queue: String,
    /// Names the delivery; 0 of a peek.
    pub tag: Tag,
    /// The message's place in its queue.
    pub seq: Seq,
    /// Grows with every delivery of the tenant; 0 of a peek.
    pub fence: Fence,
    /// Deliveries so far.
    pub attempt: u32,
    /// When the server took it. Unit: ms since 1970.
    pub published_at: WallMs,
    /// The content.
    pub content: Content,
    /// The priority that it was published with; `None`: the default one.
    pub priority: Option<Priority>,
    /// The topic that it was published to; `None`: to the queue itself.
    pub topic: Option<String>,
    /// What it was told from doubles by.
    pub key: Option<String>,
    /// The group whose order it keeps.
    pub group: Option<String>,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// A queue's name, for the answer.
    pub reply_to: Option<String>,
    /// Ties an answer to its question.
    pub correlation_id: Option<String>,
}

/// What an error reply says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{message} ({code}{})", again(.retry_after_ms))]
pub struct ServerError {
    /// The code, see [`super::ErrorCode`]; a newer server may have others.
    pub code: String,
    /// In words.
    pub message: String,
    /// The place of what is wrong.
    #[serde(default)]
    pub field: Option<String>,
    /// Try again after so long. Unit: ms.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// The quota that is used up.
    #[serde(default)]
    pub quota: Option<String>,
    /// Tags that are not in hand.
    #[serde(default)]
    pub tags: Vec<u64>,
    /// Settings that differ.
    #[serde(default)]
    pub differences: Vec<String>,
    /// The number in the server's log.
    #[serde(default)]
    pub incident: Option<u64>,
}

fn again(retry_after_ms: &Option<u64>) -> String {
    retry_after_ms.map_or(String::new(), |ms| format!(", again in {} s", ms.div_ceil(1000)))
}

/// The server said what is no line of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server sent what is not a line of the gmq protocol: {0}")]
pub struct BadLine(String);

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    ok: Option<bool>,
    #[serde(default)]
    error: Option<ServerError>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(default)]
    max_frame_bytes: u64,
    #[serde(default)]
    sub: u64,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    code: String,
}

#[derive(Deserialize)]
struct Message<'a> {
    queue: String,
    #[serde(default)]
    tag: u64,
    seq: u64,
    #[serde(default)]
    fence: u64,
    attempt: u32,
    published_at: u64,
    #[serde(borrow, default)]
    payload: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(default)]
    priority: Option<u64>,
    #[serde(default)]
    topic: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    reply_to: Option<String>,
    #[serde(default)]
    correlation_id: Option<String>,
}

/// Takes one line, without its end.
pub fn parse(line: &[u8]) -> Result<ServerLine, BadLine> {
    let text = std::str::from_utf8(line).map_err(|error| BadLine(error.to_string()))?;
    let head: Line<'_> = read(text)?;
    Ok(match head.event.as_deref() {
        None => ServerLine::Reply {
            id: head.id.and_then(|id| id.get().parse().ok()),
            result: match (head.ok, head.error) {
                (Some(true), _) => Ok(text.to_owned()),
                (_, Some(error)) => Err(error),
                _ => return Err(BadLine("a reply without `ok`".to_owned())),
            },
        },
        Some("hello") => ServerLine::Hello { max_frame_bytes: head.max_frame_bytes },
        Some("message") => ServerLine::Message {
            subscription: SubscriptionId(head.sub),
            message: Box::new(received(text)?),
        },
        Some("cancelled") => {
            ServerLine::Cancelled { subscription: SubscriptionId(head.sub), reason: head.reason }
        }
        Some("closing") => ServerLine::Closing { code: head.code },
        Some(_) => ServerLine::Unknown,
    })
}

/// The `messages` of a reply to `pull` or `queue.peek`.
pub fn messages(reply: &str) -> Result<Vec<ReceivedMessage>, BadLine> {
    #[derive(Deserialize)]
    struct Reply<'a> {
        #[serde(borrow)]
        messages: Vec<&'a RawValue>,
    }
    let reply: Reply<'_> = read(reply)?;
    reply.messages.into_iter().map(|message| received(message.get())).collect()
}

/// Fields of a reply.
pub fn fields<'a, T: Deserialize<'a>>(reply: &'a str) -> Result<T, BadLine> {
    read(reply)
}

fn received(text: &str) -> Result<ReceivedMessage, BadLine> {
    let message: Message<'_> = read(text)?;
    let content = match (message.payload, message.body) {
        (Some(payload), None) => {
            let bytes = STANDARD.decode_to_vec(payload.as_bytes());
            Content::Payload(bytes.map_err(|error| BadLine(error.to_string()))?.into())
        }
        (None, Some(body)) => Content::Body(body.get().into()),
        _ => return Err(BadLine("a message without one content".to_owned())),
    };
    Ok(ReceivedMessage {
        queue: message.queue,
        tag: Tag(message.tag),
        seq: Seq(message.seq),
        fence: Fence(message.fence),
        attempt: message.attempt,
        published_at: message.published_at,
        content,
        priority: message.priority.and_then(Priority::new),
        topic: message.topic,
        key: message.key,
        group: message.group,
        headers: message.headers,
        reply_to: message.reply_to,
        correlation_id: message.correlation_id,
    })
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadLine> {
    serde_json::from_str(text).map_err(|error| BadLine(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let hello = br#"{"event":"hello","protocol":1,"auth":["password"],"max_frame_bytes":9}"#;
        assert_eq!(parse(hello), Ok(ServerLine::Hello { max_frame_bytes: 9 }));
        let closing = br#"{"event":"closing","code":"revoked"}"#;
        assert_eq!(parse(closing), Ok(ServerLine::Closing { code: "revoked".into() }));
        assert_eq!(parse(br#"{"event":"news"}"#), Ok(ServerLine::Unknown));
        let reply = r#"{"id":7,"ok":true,"seq":1}"#;
        let expected = ServerLine::Reply { id: Some(7), result: Ok(reply.into()) };
        assert_eq!(parse(reply.as_bytes()), Ok(expected));
        let refused = br#"{"id":7,"ok":false,"error":{"code":"queue_full","message":"m","new":1}}"#;
        let Ok(ServerLine::Reply { id: Some(7), result: Err(error) }) = parse(refused) else {
            panic!("a refusal");
        };
        assert_eq!((&*error.code, &*error.message), ("queue_full", "m"));
        for bad in [&b"[]"[..], b"{", b"\xff", br#"{"event":"message"}"#, b"{}"] {
            assert!(parse(bad).is_err());
        }
    }

    #[test]
    fn a_message_keeps_its_text() {
        let line = r#"{"event":"message","sub":1,"queue":"q","tag":5,"seq":2,"fence":3,"attempt":1,"published_at":4,"body":{"b": 1,"b":2}}"#;
        let Ok(ServerLine::Message { message, .. }) = parse(line.as_bytes()) else {
            panic!("a message");
        };
        assert_eq!(message.content, Content::Body(r#"{"b": 1,"b":2}"#.into()));
        assert_eq!((message.priority, message.topic, message.key), (None, None, None));
    }

    #[test]
    fn a_message_has_what_it_was_published_with() {
        let reply = r#"{"id":1,"ok":true,"messages":[{"queue":"q","seq":2,"attempt":0,"published_at":4,"payload":"","priority":9,"key":"k","group":"g","topic":"a.b"}]}"#;
        let message = messages(reply).unwrap().remove(0);
        assert_eq!(message.priority, Priority::new(9));
        let texts = [message.topic, message.key, message.group];
        assert_eq!(texts.map(Option::unwrap), ["a.b", "k", "g"]);
    }
}
