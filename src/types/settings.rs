//! A queue's settings, as in the protocol's section "Queues and topics".

use serde::{Deserialize, Deserializer, Serialize};

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
}

/// The settings of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            storage: Storage::Default,
            max_messages: None,
            max_bytes: None,
            overflow: Overflow::Reject,
            ack_timeout_ms: 30_000,
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
        names
    }
}
