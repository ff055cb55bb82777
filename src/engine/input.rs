//! What goes into the engine.

use std::sync::Arc;

use super::LoadTicket;
use super::limits::TenantLimits;
use super::record::StoredMessage;
use crate::types::{
    ConnectionId, Grants, Level, Lsn, Message, Pattern, QueueName, RequestToken, Seq,
    SettingsPatch, SubscriptionId, Tag,
};

/// One input.
#[derive(Debug, Clone)]
pub enum Input {
    /// A request of a client that the session has checked: names, sizes and grants.
    Request {
        /// Where it came from; a connection exists from its first request to its `Disconnected`.
        connection: ConnectionId,
        /// For the reply.
        token: RequestToken,
        /// What is asked.
        request: Request,
    },
    /// So many bytes of deliveries ([`Delivery::wire_bytes`](super::Delivery::wire_bytes)) have
    /// left the connection's outbox: those of subscriptions, of `Pulled` replies, and messages of
    /// `Peeked` replies ([`Message::wire_bytes`]) alike.
    Sent {
        /// The connection.
        connection: ConnectionId,
        /// The bytes since the last report.
        bytes: u64,
    },
    /// The client closed its sending side: its waiting pulls are answered empty, its
    /// subscriptions end.
    HalfClosed {
        /// The connection.
        connection: ConnectionId,
    },
    /// The connection is gone: what it had in hand returns. Deliveries after `sent_up_to` never
    /// left the outbox and do not count as attempts.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
        /// The last tag that was written to the peer; `Tag(0)` for none.
        sent_up_to: Tag,
    },
    /// The connection's user lost its `consume` grant on these queues: subscriptions get
    /// `cancelled` with reason `forbidden`, waiting pulls are answered `forbidden`, and all that
    /// the
    /// connection has in hand of these queues returns.
    Forbid {
        /// The connection.
        connection: ConnectionId,
        /// The queues, as `Tenant::watched` named them.
        queues: Vec<QueueName>,
    },
    /// The administration changed the tenant.
    Limits(TenantLimits),
    /// The store has made everything up to this LSN durable.
    Durable(Lsn),
    /// The answer to an [`Effect::Load`](super::Effect::Load).
    Loaded {
        /// The ticket of the load.
        ticket: LoadTicket,
        /// What was read; `None`: the store cannot read now (the engine asks again on the next
        /// occasion, and a waiting peek is answered `storage_unavailable`).
        messages: Option<Vec<StoredMessage>>,
    },
    /// The store is latched: durable queues take no changes and deliver nothing from now on, what
    /// waits for durability is answered `storage_unavailable`.
    StoreFailed,
    /// The store has no room for more messages, or has it again: publishes to durable queues, and
    /// new queues, are answered `storage_unavailable` while it has none; all else goes on.
    StoreFull(bool),
    /// The server is stopping: new requests that would take or wait are answered
    /// `shutting_down`, waiting pulls are answered empty.
    Drain,
    /// Nothing but the time: the deadline that the engine named has come.
    Tick,
}

/// Deliveries that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// These.
    List(Vec<Tag>),
    /// Every tag in hand up to this one.
    UpTo(Tag),
}

/// Where messages are published to.
#[derive(Debug, Clone)]
pub enum Destination {
    /// One queue.
    Queue {
        /// Its name.
        name: QueueName,
        /// Whether the user may create it (the tenant must allow it too).
        may_create: bool,
    },
    /// Every queue with a binding that matches.
    Topic(QueueName),
}

/// A client's request. Names and ranges are checked before; the engine asserts nothing of them.
#[derive(Debug, Clone)]
pub enum Request {
    /// Publish one message or a batch, all or none.
    Publish {
        /// Where to.
        to: Destination,
        /// 1 to 10,000 messages; `published_at` is set by the engine.
        messages: Vec<Message>,
        /// Whether it was sent as a batch: decides the form of the reply.
        batch: bool,
        /// The least level asked for.
        require: Option<Level>,
    },
    /// Start a subscription.
    Consume {
        /// The queue.
        queue: QueueName,
        /// Most unacknowledged messages.
        prefetch: u32,
        /// Settle each message, durably, before it is sent.
        auto_ack: bool,
    },
    /// End a subscription.
    Cancel {
        /// The subscription.
        subscription: SubscriptionId,
    },
    /// Take up to `max` messages, waiting for the first.
    Pull {
        /// The queue.
        queue: QueueName,
        /// Most messages.
        max: u32,
        /// How long to wait for one; 0: not at all.
        wait_ms: u64,
        /// Settle each message, durably, before it is sent.
        auto_ack: bool,
        /// The reply's messages take at most this, but there is at least one. Unit: bytes, as
        /// `wire_bytes` counts.
        bytes_max: usize,
    },
    /// Settle deliveries.
    Ack(Tags),
    /// Return deliveries.
    Nack {
        /// Which.
        tags: Tags,
        /// Not delivered again before so long.
        delay_ms: u64,
        /// They are not to be delivered again, but go to the dead-letter queue.
        dead_letter: bool,
        /// What is said of it there; may be empty.
        reason: Box<str>,
    },
    /// Start leases anew.
    Extend {
        /// Which.
        tags: Tags,
        /// The new length; the queue's where `None`.
        lease_ms: Option<u64>,
    },
    /// Create a queue, compare its settings, or change them.
    Declare {
        /// The queue.
        queue: QueueName,
        /// The settings named.
        settings: SettingsPatch,
        /// Change those named instead of comparing them.
        update: bool,
    },
    /// Delete a queue and its messages.
    Delete {
        /// The queue.
        queue: QueueName,
        /// Refuse if it has messages.
        if_empty: bool,
    },
    /// Remove all ready and delayed messages.
    Purge {
        /// The queue.
        queue: QueueName,
    },
    /// Move ready messages to another queue, one step each.
    Move {
        /// The queue that has them.
        from: QueueName,
        /// The queue that gets them.
        to: QueueName,
        /// Most messages.
        max: u32,
        /// Messages moved before, where the engine waited in between; 0 from outside.
        moved: u64,
    },
    /// Bind a queue to the topics that a pattern matches.
    Bind {
        /// The pattern.
        pattern: Pattern,
        /// The queue.
        queue: QueueName,
    },
    /// Take a binding back.
    Unbind {
        /// The pattern.
        pattern: Pattern,
        /// The queue.
        queue: QueueName,
    },
    /// Bindings by pattern and queue.
    Bindings {
        /// Only those after this one (need not exist).
        after: Option<(Pattern, QueueName)>,
        /// Most bindings.
        limit: u32,
        /// Only of queues that these grants mention.
        visible: Arc<Grants>,
        /// Bound of the reply, at least one binding. Unit: bytes.
        bytes_max: usize,
    },
    /// Why nothing, or nothing more, is delivered from a queue.
    Doctor {
        /// The queue.
        queue: QueueName,
    },
    /// One queue's settings and counts.
    Info {
        /// The queue.
        queue: QueueName,
    },
    /// Queues in the order of their names.
    List {
        /// Only names that match.
        pattern: Option<Pattern>,
        /// Only names after this one (need not exist).
        after: Option<String>,
        /// Most queues.
        limit: u32,
        /// Only queues that these grants mention.
        visible: Arc<Grants>,
        /// Bound of the reply, at least one queue. Unit: bytes.
        bytes_max: usize,
    },
    /// Look at messages, by `seq`, without taking them: ready, delayed and in hand ones.
    Peek {
        /// The queue.
        queue: QueueName,
        /// The first `seq` of interest.
        from_seq: Seq,
        /// Most messages.
        max: u32,
        /// As for `Pull`.
        bytes_max: usize,
    },
}
