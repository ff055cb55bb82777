//! A queue's settings, as in the protocol's section "Queues and topics".

use serde::{Deserialize, Deserializer, Serialize};

use super::QueueName;

/// Longest lease. Unit: ms (12 h).
pub const LEASE_MS_MAX: u64 = 12 * 3600 * 1000;

/// Where a queue's messages are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// In the server's store.
    #[default]
    Default,
    /// In memory: gone after a restart; the queue itself stays.
    Memory,
}

/// What happens to a publish to a full queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// It is refused with `queue_full`.
    #[default]
    Reject,
    /// The oldest ready messages make room.
    DropOldest,
}

/// The settings of one queue. Stores of before have those that were there then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// Where messages are kept.
    pub storage: Storage,
    /// Most messages, in hand ones too; `None`: the tenant's quota alone.
    pub max_messages: Option<u64>,
    /// Most bytes of messages; `None`: the tenant's quota alone.
    pub max_bytes: Option<u64>,
    /// What a publish to the full queue gets.
    pub overflow: Overflow,
    /// Length of a lease. Unit: ms; 1 to 12 h.
    pub ack_timeout_ms: u64,
    /// Deliveries without an ack after which a message is dead; needs `dead_letter`.
    pub max_attempts: Option<u64>,
    /// Where dead messages go; the queue need not exist.
    pub dead_letter: Option<QueueName>,
    /// How long after its publish a message may be delivered. Unit: ms.
    pub ttl_ms: Option<u64>,
    /// For how long a key is remembered; 0: not at all. Unit: ms; at most 7 days.
    pub dedup_window_ms: u64,
    /// The queue is deleted after so long with no consumer, pull or publish. Unit: ms.
    pub expires_ms: Option<u64>,
    /// Whether the queue is its connection's alone, and ends with it.
    pub exclusive: bool,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            storage: Storage::Default,
            max_messages: None,
            max_bytes: None,
            overflow: Overflow::Reject,
            ack_timeout_ms: 30_000,
            max_attempts: None,
            dead_letter: None,
            ttl_ms: None,
            dedup_window_ms: 0,
            expires_ms: None,
            exclusive: false,
        }
    }
}

/// Settings that a request, or a tenant's defaults, name; those left out are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SettingsPatch {
    /// See [`QueueSettings::storage`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// See [`QueueSettings::max_messages`]; `Some(None)` names it as unlimited.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    pub max_messages: Option<Option<u64>>,
    /// See [`QueueSettings::max_bytes`]; `Some(None)` names it as unlimited.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    pub max_bytes: Option<Option<u64>>,
    /// See [`QueueSettings::overflow`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// See [`QueueSettings::ack_timeout_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_timeout_ms: Option<u64>,
    /// See [`QueueSettings::max_attempts`]; `Some(None)` names it as unlimited.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    pub max_attempts: Option<Option<u64>>,
    /// See [`QueueSettings::dead_letter`]; `Some(None)` names it as none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    pub dead_letter: Option<Option<QueueName>>,
    /// See [`QueueSettings::ttl_ms`]; `Some(None)` names it as unlimited.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    pub ttl_ms: Option<Option<u64>>,
    /// See [`QueueSettings::dedup_window_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup_window_ms: Option<u64>,
    /// See [`QueueSettings::expires_ms`]; `Some(None)` names it as never.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    pub expires_ms: Option<Option<u64>>,
    /// See [`QueueSettings::exclusive`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<bool>,
}

/// What a setting cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// `max_attempts` without `dead_letter`.
    #[error("max_attempts needs dead_letter: an attempt limit must not lose messages")]
    AttemptsWithoutDeadLetter,
    /// `storage` beside `exclusive`.
    #[error("storage cannot be named for an exclusive queue: it is kept in memory")]
    ExclusiveWithStorage,
    /// Dead letters would come back.
    #[error("dead_letter leads back to the queue itself; name another one")]
    DeadLetterCircle,
    /// Too many dead-letter queues one after the other.
    #[error("a chain of dead-letter queues has at most 4; name one that has none of its own")]
    DeadLetterChain,
}

impl SettingError {
    /// The setting that is told.
    pub fn setting(self) -> &'static str {
        match self {
            SettingError::AttemptsWithoutDeadLetter => "max_attempts",
            SettingError::ExclusiveWithStorage => "storage",
            SettingError::DeadLetterCircle | SettingError::DeadLetterChain => "dead_letter",
        }
    }
}

/// A field that is there, be it null.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl SettingsPatch {
    /// `base` with the named settings in place of its own.
    #[must_use]
    pub fn apply(&self, base: &QueueSettings) -> QueueSettings {
        QueueSettings {
            storage: self.storage.unwrap_or(base.storage),
            max_messages: self.max_messages.unwrap_or(base.max_messages),
            max_bytes: self.max_bytes.unwrap_or(base.max_bytes),
            overflow: self.overflow.unwrap_or(base.overflow),
            ack_timeout_ms: self.ack_timeout_ms.unwrap_or(base.ack_timeout_ms),
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            dead_letter: self.dead_letter.clone().unwrap_or_else(|| base.dead_letter.clone()),
            ttl_ms: self.ttl_ms.unwrap_or(base.ttl_ms),
            dedup_window_ms: self.dedup_window_ms.unwrap_or(base.dedup_window_ms),
            expires_ms: self.expires_ms.unwrap_or(base.expires_ms),
            exclusive: self.exclusive.unwrap_or(base.exclusive),
        }
    }

    /// The names of the settings that are named here and that `settings` has otherwise.
    pub fn differences(&self, settings: &QueueSettings) -> Vec<&'static str> {
        let then = self.apply(settings);
        let mut names = Vec::new();
        let mut compare = |same: bool, name| {
            if !same {
                names.push(name);
            }
        };
        compare(then.storage == settings.storage, "storage");
        compare(then.max_messages == settings.max_messages, "max_messages");
        compare(then.max_bytes == settings.max_bytes, "max_bytes");
        compare(then.overflow == settings.overflow, "overflow");
        compare(then.ack_timeout_ms == settings.ack_timeout_ms, "ack_timeout_ms");
        compare(then.max_attempts == settings.max_attempts, "max_attempts");
        compare(then.dead_letter == settings.dead_letter, "dead_letter");
        compare(then.ttl_ms == settings.ttl_ms, "ttl_ms");
        compare(then.dedup_window_ms == settings.dedup_window_ms, "dedup_window_ms");
        compare(then.expires_ms == settings.expires_ms, "expires_ms");
        compare(then.exclusive == settings.exclusive, "exclusive");
        names
    }
}
