//! What bounds an engine: the server's limits and those of its tenant.

use std::fmt;

use crate::types::{Level, Quotas, SettingsPatch};

/// How much of a durable queue the engine keeps in memory; the rest stays in the store and is
/// paged in as the head moves. Queues that are kept in memory are never paged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Most ready messages of one queue in memory.
    pub messages: usize,
    /// Most bytes of these (as [`crate::types::Message::size`] counts).
    pub bytes: u64,
}

/// The secret of the hashes of names that clients choose, drawn by chance when a server starts.
#[derive(Clone, Copy)]
pub struct HashKey(pub [u64; 2]);

impl fmt::Debug for HashKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("HashKey")
    }
}

/// What does not change while the engine lives.
#[derive(Debug, Clone)]
pub struct Config {
    /// The level that a reply means where a request does not ask: the store's own. With
    /// [`Level::Memory`] no records are made at all.
    pub level: Level,
    /// The highest level that the store can give when asked.
    pub level_max: Level,
    /// Window of durable queues.
    pub window: Window,
    /// Deliveries for one connection that its peer has not taken yet; beyond it gets no more.
    /// Unit: bytes, as [`crate::types::Message::wire_bytes`] counts.
    pub outbox_bytes_max: u64,
    /// Subscriptions of one connection.
    pub subscriptions_max: usize,
    /// Waiting pulls of one connection.
    pub pulls_max: usize,
    /// How many fences or sequence numbers one durable reservation covers.
    pub reservation: u64,
    /// Changes nothing that can be seen but time.
    pub hash_key: HashKey,
}

/// What the administration may change at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// The tenant's quotas, the server's defaults filled in.
    pub quotas: Quotas,
    /// `max_messages` of a queue that sets none.
    pub queue_messages_max: Option<u64>,
    /// Whether a publish to a queue that does not exist makes it.
    pub auto_create: bool,
    /// Settings of queues that leave them out.
    pub defaults: SettingsPatch,
}
