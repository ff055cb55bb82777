//! A message as it is stored and delivered.

use std::sync::Arc;

use super::{Priority, WallMs};

/// Headers in the order given; names are unique.
pub type Headers = Vec<(Box<str>, Box<str>)>;

/// What a message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Any bytes; base64 on the wire.
    Payload(Box<[u8]>),
    /// The text of one JSON value, kept byte for byte.
    Body(Box<str>),
}

impl Content {
    /// Bytes of the content: decoded base64, or the text of the body.
    pub fn len(&self) -> usize {
        match self {
            Content::Payload(bytes) => bytes.len(),
            Content::Body(text) => text.len(),
        }
    }

    /// Whether there are no bytes; only a payload can be empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What few messages have; boxed so that plain ones do not pay for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// Application headers.
    pub headers: Headers,
    /// A queue's name, for the answer.
    pub reply_to: Option<super::QueueName>,
    /// Ties an answer to its question; at most 128 bytes.
    pub correlation_id: Option<Box<str>>,
    /// The topic that it was published to.
    pub topic: Option<super::QueueName>,
    /// Deduplication: 1 to 128 bytes.
    pub key: Option<Box<str>>,
    /// Ordering: 1 to 128 bytes.
    pub group: Option<Box<str>>,
    /// Not delivered before so long after its publish; 0: at once. Unit: ms.
    pub delay_ms: u64,
    /// Not delivered after so long after its publish. Unit: ms.
    pub ttl_ms: Option<u64>,
}

/// One message, before it has a place in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The content.
    pub content: Content,
    /// Headers and the like, where it has any.
    pub properties: Option<Box<Properties>>,
    /// Which of a queue's messages go first; that of `Priority::default()` where it has none.
    pub priority: Option<Priority>,
    /// When the server took it. Unit: ms since 1970 (wall clock).
    pub published_at: WallMs,
}

/// Bytes that a delivery adds to its message at most: names of fields and numbers.
const ENVELOPE_BYTES: usize = 256;

impl Message {
    /// The size that limits and quotas count: content, header names and header values. Unit: bytes.
    pub fn size(&self) -> u64 {
        let headers = self
            .properties
            .as_ref()
            .map_or(0, |p| p.headers.iter().map(|(name, value)| name.len() + value.len()).sum());
        (self.content.len() + headers) as u64
    }

    /// An upper bound of its length in a delivery, the queue's name included. Unit: bytes.
    pub fn wire_bytes(&self) -> usize {
        let content = match &self.content {
            Content::Payload(bytes) => bytes.len().div_ceil(3) * 4,
            Content::Body(text) => text.len(),
        };
        ENVELOPE_BYTES + super::name::QUEUE_NAME_BYTES_MAX + content + self.properties_bytes()
    }

    /// The priority in force.
    pub fn priority(&self) -> Priority {
        self.priority.unwrap_or_default()
    }

    /// Not delivered before; 0: at once.
    pub fn not_before(&self) -> WallMs {
        let delay = self.properties.as_ref().map_or(0, |p| p.delay_ms);
        if delay == 0 { 0 } else { self.published_at.saturating_add(delay) }
    }

    /// Not delivered from then on, by its own `ttl_ms`.
    pub fn expires_at(&self) -> Option<WallMs> {
        let ttl = self.properties.as_ref()?.ttl_ms?;
        Some(self.published_at.saturating_add(ttl))
    }

    /// The key that tells doubles.
    pub fn key(&self) -> Option<&str> {
        self.properties.as_ref()?.key.as_deref()
    }

    /// The group whose order it keeps.
    pub fn group(&self) -> Option<&str> {
        self.properties.as_ref()?.group.as_deref()
    }

    fn properties_bytes(&self) -> usize {
        // A byte of text takes at most six in JSON (`\u0000`).
        self.properties.as_ref().map_or(0, |p| {
            let headers: usize =
                p.headers.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 6).sum();
            let reply_to = p.reply_to.as_ref().map_or(0, |name| name.as_str().len() + 16);
            let topic = p.topic.as_ref().map_or(0, |name| name.as_str().len() + 16);
            let texts = [&p.correlation_id, &p.key, &p.group].into_iter().flatten();
            headers + reply_to + topic + texts.map(|text| 6 * text.len() + 24).sum::<usize>()
        })
    }
}

/// Messages are shared between queue, store and outboxes.
pub type SharedMessage = Arc<Message>;
