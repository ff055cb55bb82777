//! What the engine writes into the store, and what it gets back at a restart.

use crate::types::{
    Fence, Level, Lsn, Message, Pattern, Priority, QueueId, QueueName, QueueSettings, Seq,
    SharedMessage, WallMs,
};

/// Records that become durable together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// One more than that of the tenant's batch before.
    pub lsn: Lsn,
    /// The level at which it counts as durable: the store's own, or more where a publish required
    /// more. An LSN is told durable once every batch up to it has reached its own level.
    pub level: Level,
    /// In the order in which they took effect.
    pub records: Vec<Record>,
}

/// One change of a tenant's durable state.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A queue was made.
    Created {
        /// Its number, never used before.
        queue: QueueId,
        /// Its name.
        name: QueueName,
        /// Its settings, all of them.
        settings: QueueSettings,
    },
    /// A queue's settings were changed.
    Changed {
        /// The queue.
        queue: QueueId,
        /// All of its settings.
        settings: QueueSettings,
    },
    /// A queue and all that it held went.
    Deleted {
        /// The queue.
        queue: QueueId,
    },
    /// A message was taken.
    Published {
        /// The queue.
        queue: QueueId,
        /// Greater than every `seq` of the queue before.
        seq: Seq,
        /// The message.
        message: SharedMessage,
    },
    /// A message is done.
    Removed {
        /// The queue.
        queue: QueueId,
        /// The message.
        seq: Seq,
        /// Its size, as [`crate::types::Message::size`] counts.
        bytes: u64,
        /// Its priority.
        priority: Priority,
    },
    /// A message was returned, perhaps with a delay.
    Delayed {
        /// The queue.
        queue: QueueId,
        /// The message.
        seq: Seq,
        /// Not delivered before; 0: at once.
        until: WallMs,
        /// Deliveries so far.
        attempt: u32,
        /// When the message was published.
        published_at: WallMs,
    },
    /// A consumer refused a message for good; it waits to be moved to the dead-letter queue.
    Rejected {
        /// The queue.
        queue: QueueId,
        /// The message.
        seq: Seq,
        /// Deliveries so far.
        attempt: u32,
        /// What the consumer said of it; may be empty.
        detail: Box<str>,
    },
    /// A queue gets what is published to topics that the pattern matches.
    Bound {
        /// The queue.
        queue: QueueId,
        /// The pattern; never one that the queue has already.
        pattern: Pattern,
    },
    /// It does not any more.
    Unbound {
        /// The queue.
        queue: QueueId,
        /// The pattern; always one that the queue has.
        pattern: Pattern,
    },
    /// All messages up to `up_to` went, but for those in hand.
    Purged {
        /// The queue.
        queue: QueueId,
        /// The last `seq` given then.
        up_to: Seq,
        /// What stays, ascending, with its size.
        except: Vec<(Seq, u64)>,
    },
    /// Sequence numbers up to this one may have been given by a queue whose messages are kept in
    /// memory; a restart continues after it.
    SeqReserved {
        /// The queue.
        queue: QueueId,
        /// The last one.
        up_to: Seq,
    },
    /// Fences up to this one may have been given; a restart continues after it.
    FenceReserved {
        /// The last one.
        up_to: Fence,
    },
}

impl Record {
    /// A message is done.
    #[must_use]
    pub fn removed(queue: QueueId, seq: Seq, message: &Message) -> Self {
        Self::Removed { queue, seq, bytes: message.size(), priority: message.priority() }
    }
}

/// One message as the store gives it back.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    /// Its place.
    pub seq: Seq,
    /// Deliveries that are known of.
    pub attempt: u32,
    /// Not delivered before; 0: at once.
    pub not_before: WallMs,
    /// The message.
    pub message: SharedMessage,
}

/// A message of which the engine must know more than that it is there: it has a group, a delay or a
/// TTL of its own, or it was delivered before.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownMessage {
    /// Its place.
    pub seq: Seq,
    /// Its priority.
    pub priority: Priority,
    /// Deliveries that are known of.
    pub attempt: u32,
    /// Not delivered before; may lie in the past.
    pub not_before: WallMs,
    /// When it was published, if the store knows that without reading it.
    pub published_at: Option<WallMs>,
    /// The end of its own TTL.
    pub expires_at: Option<WallMs>,
    /// Its group.
    pub group: Option<Box<str>>,
    /// A consumer refused it for good, and what it said; see [`Record::Rejected`].
    pub rejected: Option<Box<str>>,
}

/// One queue after a restart. Its messages are not in here: the engine loads them.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveredQueue {
    /// Its number.
    pub id: QueueId,
    /// Its name.
    pub name: QueueName,
    /// Its settings.
    pub settings: QueueSettings,
    /// Greater than every `seq` that may have been given.
    pub next_seq: Seq,
    /// Messages in it.
    pub messages: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Messages known one by one, ascending by `seq`.
    pub known: Vec<KnownMessage>,
    /// How many others there are of each priority.
    pub plain: Vec<(Priority, u64)>,
    /// Keys published within the queue's `dedup_window_ms`, in the order of their publishing: the
    /// key, the message, when it was published.
    pub keys: Vec<(Box<str>, Seq, WallMs)>,
    /// Its bindings.
    pub bindings: Vec<Pattern>,
}

/// A tenant's state after a restart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovered {
    /// The LSN of the last batch; the next one gets the next.
    pub lsn: Lsn,
    /// Fences go on after this one.
    pub fence: Fence,
    /// The greatest number that a queue ever had.
    pub queue_id_max: QueueId,
    /// The queues.
    pub queues: Vec<RecoveredQueue>,
}
