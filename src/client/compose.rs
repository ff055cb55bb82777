//! Messages as they are composed: a content, then what it is published with, one after the other.

use std::time::Duration;

use super::milliseconds;
use crate::types::{Content, Message, Priority, Properties, QueueName};

/// A message of any bytes.
///
/// ```
/// use std::time::Duration;
/// use gmq::client::payload;
/// use gmq::types::Priority;
///
/// let message = payload("pay 7")
///     .with_priority(Priority::MAX)
///     .with_ttl(Duration::from_secs(3600))
///     .with_key("payment-7")
///     .with_header("source", "web");
/// assert_eq!(message.key(), Some("payment-7"));
/// ```
pub fn payload(bytes: impl AsRef<[u8]>) -> Message {
    message(Content::Payload(bytes.as_ref().into()))
}

/// A message that is the text of one JSON value; `None` if it is not.
///
/// ```
/// assert!(gmq::client::body("{\"order\": 7}").is_some());
/// assert!(gmq::client::body("{order: 7}").is_none());
/// ```
pub fn body(text: &str) -> Option<Message> {
    let text = text.trim();
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    Some(message(Content::Body(text.into())))
}

fn message(content: Content) -> Message {
    Message { content, properties: None, priority: None, published_at: 0 }
}

/// What a message is published with. The server checks lengths and ranges and refuses what does not
/// fit.
impl Message {
    /// Higher ones go first; 4 where none is given.
    #[must_use]
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Not delivered before so long after its publish; in whole milliseconds.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.edit().delay_ms = milliseconds(delay);
        self
    }

    /// Not delivered after so long after its publish; in whole milliseconds, at least one.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.edit().ttl_ms = Some(milliseconds(ttl));
        self
    }

    /// Tells doubles: a queue with a `dedup_window_ms` takes each key once within it. 1 to 128
    /// bytes.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.edit().key = Some(key.into());
        self
    }

    /// Keeps order: at most one message of a group is in hand at a time. 1 to 128 bytes.
    #[must_use]
    pub fn with_group(mut self, group: &str) -> Self {
        self.edit().group = Some(group.into());
        self
    }

    /// One more header; of two with the same name the last one stays.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let headers = &mut self.edit().headers;
        headers.retain(|(present, _)| **present != *name);
        headers.push((name.into(), value.into()));
        self
    }

    /// Where the answer goes; see also [`Client::request`](super::Client::request).
    #[must_use]
    pub fn with_reply_to(mut self, queue: &QueueName) -> Self {
        self.edit().reply_to = Some(queue.clone());
        self
    }

    /// Ties an answer to its question. At most 128 bytes.
    #[must_use]
    pub fn with_correlation_id(mut self, id: &str) -> Self {
        self.edit().correlation_id = Some(id.into());
        self
    }

    fn edit(&mut self) -> &mut Properties {
        self.properties.get_or_insert_default()
    }
}
