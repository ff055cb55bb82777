//! What comes out of the engine.

use super::record::Batch;
use crate::types::{
    CancelReason, ConnectionId, Fence, Level, Pattern, Priority, QueueId, QueueName, QueueSettings,
    Quota, RequestToken, Seq, SettingError, SharedMessage, SubscriptionId, Tag, WallMs,
};

/// One effect. They are carried out in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Records for the store; never made by queues kept in memory.
    Append(Batch),
    /// Messages to read back; answered by `Input::Loaded`.
    Load(Load),
    /// The answer to a request, ready to be sent.
    Reply {
        /// Where to.
        connection: ConnectionId,
        /// Which request.
        token: RequestToken,
        /// The answer.
        result: Result<Reply, Refusal>,
    },
    /// A message for a subscription.
    Deliver {
        /// Where to.
        connection: ConnectionId,
        /// The subscription.
        subscription: SubscriptionId,
        /// The message.
        delivery: Delivery,
    },
    /// The server ended a subscription.
    Cancelled {
        /// Where to.
        connection: ConnectionId,
        /// The subscription.
        subscription: SubscriptionId,
        /// Why.
        reason: CancelReason,
    },
}

/// Names one load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadTicket(pub u64);

/// Messages to read back from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// For the answer.
    pub ticket: LoadTicket,
    /// The queue.
    pub queue: QueueId,
    /// Only messages of this priority; `None`: of any.
    pub priority: Option<Priority>,
    /// The first `seq` of interest.
    pub from_seq: Seq,
    /// The last `seq` of interest; everything up to it is durable.
    pub to_seq: Seq,
    /// Most messages.
    pub messages_max: usize,
    /// Most bytes of messages, but at least one message.
    pub bytes_max: u64,
}

/// One message on its way to a consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The queue.
    pub queue: QueueName,
    /// The delivery within its connection.
    pub tag: Tag,
    /// The message's place in its queue.
    pub seq: Seq,
    /// Grows with every delivery of the tenant.
    pub fence: Fence,
    /// Deliveries of this message so far, this one included.
    pub attempt: u32,
    /// The message.
    pub message: SharedMessage,
}

impl Delivery {
    /// What it counts against the connection's outbox. Unit: bytes.
    pub fn wire_bytes(&self) -> u64 {
        self.message.wire_bytes() as u64
    }
}

/// One message that `peek` shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Peeked {
    /// The message's place in its queue.
    pub seq: Seq,
    /// Deliveries so far.
    pub attempt: u32,
    /// The message.
    pub message: SharedMessage,
}

/// The answer to a request that did what it was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A publish. `level` only where the request required one.
    Published {
        /// One for each message, in their order; of a duplicate that of the first.
        seqs: Vec<Seq>,
        /// The places of the duplicates, ascending.
        duplicates: Vec<u32>,
        /// The form of the reply.
        batch: bool,
        /// The level reached.
        level: Option<Level>,
    },
    /// A publish to a topic.
    Routed {
        /// How many queues each message went to, duplicates included.
        routed: Vec<u64>,
        /// The form of the reply.
        batch: bool,
        /// The level reached.
        level: Option<Level>,
    },
    /// A subscription began.
    Subscribed(SubscriptionId),
    /// A subscription ended, or a queue was deleted.
    Done,
    /// What a pull took.
    Pulled {
        /// The deliveries; empty where there were none.
        deliveries: Vec<Delivery>,
    },
    /// So many deliveries were settled.
    Acked(u64),
    /// So many deliveries were returned.
    Nacked(u64),
    /// So many leases began anew.
    Extended(u64),
    /// A declare.
    Declared {
        /// Whether it made the queue.
        created: bool,
    },
    /// So many messages were removed.
    Purged(u64),
    /// A move.
    Moved {
        /// So many messages.
        moved: u64,
        /// Whether the queue has more that are ready.
        more: bool,
    },
    /// A bind.
    Bound {
        /// Whether there was no such binding.
        created: bool,
    },
    /// An unbind.
    Unbound {
        /// Whether there was such a binding.
        removed: bool,
    },
    /// Bindings by pattern and queue.
    Bindings {
        /// The bindings.
        bindings: Vec<(Pattern, QueueName)>,
        /// Whether there are more behind the last.
        more: bool,
    },
    /// What the doctor found.
    Findings(Vec<Finding>),
    /// One queue.
    Info(Box<QueueInfo>),
    /// Queues by name.
    List {
        /// The queues.
        queues: Vec<QueueInfo>,
        /// Whether there are more behind the last.
        more: bool,
    },
    /// What a peek saw.
    Peeked {
        /// The queue.
        queue: QueueName,
        /// The messages by `seq`.
        messages: Vec<Peeked>,
    },
}

/// Why a message left its queue without an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadReason {
    /// It was delivered as often as its queue allows.
    MaxAttempts,
    /// Its TTL, or its queue's, ended.
    Expired,
    /// It made room for others.
    Overflow,
    /// A consumer said so.
    Rejected,
}

impl DeadReason {
    /// The reason's name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            DeadReason::MaxAttempts => "max_attempts",
            DeadReason::Expired => "expired",
            DeadReason::Overflow => "overflow",
            DeadReason::Rejected => "rejected",
        }
    }
}

/// One finding of `queue.doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is, as the protocol names it.
    pub code: &'static str,
    /// The same in words.
    pub text: String,
}

/// Why a request did nothing (of an `UnknownTag`: did not do all).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The queue does not exist.
    #[error("there is no queue of this name; declare it first")]
    NoSuchQueue,
    /// A declare that differs.
    #[error(
        "the queue exists with other settings: {}; name those it has, or change them with update",
        .differences.join(", ")
    )]
    QueueExists {
        /// Settings named in the request that the queue has otherwise.
        differences: Vec<&'static str>,
    },
    /// `max_messages` or `max_bytes` of the queue.
    #[error("the queue is full; consume from it, or raise its max_messages or max_bytes")]
    QueueFull,
    /// A move within one queue.
    #[error("from and to are the same queue; name two")]
    MoveToItself,
    /// A delete `if_empty`.
    #[error("the queue has messages; purge it first, or delete it without if_empty")]
    QueueNotEmpty,
    /// A quota of the tenant or a limit of the connection.
    #[error("{}", .0.used_up())]
    QuotaExceeded(Quota),
    /// Deliveries that are not in hand; those of the request that are were done all the same.
    #[error(
        "some tags are not in hand: never given, settled, or their lease is over; what was not \
         settled is delivered again"
    )]
    UnknownTag {
        /// Those not in hand, in the order of the request.
        tags: Vec<Tag>,
    },
    /// No such subscription.
    #[error("this connection has no subscription of this number; it may have ended already")]
    UnknownSubscription,
    /// The queue is another connection's alone.
    #[error("the queue is exclusive to another connection; only it may use it")]
    Exclusive,
    /// A waiting pull whose grant went.
    #[error("the user has no grant for this; `gmq admin user grant` gives one")]
    Forbidden,
    /// `require` asks for what the queue's store cannot give.
    #[error("the queue's store cannot give the level {asked}; require {best} or less")]
    LevelNotOffered {
        /// What was asked.
        asked: Level,
        /// The best it can give.
        best: Level,
    },
    /// `update` of a setting that is fixed at creation.
    #[error("{setting} cannot be changed; delete the queue and declare it anew")]
    SettingFixed {
        /// The setting.
        setting: &'static str,
    },
    /// Settings that do not go together.
    #[error("{0}")]
    SettingInvalid(SettingError),
    /// The store is latched or out of reach.
    #[error(
        "the store cannot take or give anything now; try again later, and look at the server's log"
    )]
    StorageUnavailable,
    /// The server is stopping.
    #[error("the server is shutting down; connect again and repeat the request")]
    ShuttingDown,
}

/// Counters of one queue since the server started or took the tenant over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Messages taken.
    pub published: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Deliveries settled, those of `auto_ack` too.
    pub acked: u64,
    /// Deliveries with an attempt beyond the first.
    pub redelivered: u64,
    /// Messages that were moved to the dead-letter queue.
    pub dead_lettered: u64,
    /// Messages whose TTL ended.
    pub expired: u64,
    /// Messages that were not taken, as their key was known.
    pub duplicates: u64,
}

/// What `queue.info` says.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueInfo {
    /// The name.
    pub queue: QueueName,
    /// The settings in force.
    pub settings: QueueSettings,
    /// Messages that could be delivered now.
    pub ready: u64,
    /// Messages that wait for their time.
    pub delayed: u64,
    /// Messages that a consumer has.
    pub in_hand: u64,
    /// Messages that wait to be moved to the dead-letter queue.
    pub dead_waiting: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Subscriptions and waiting pulls.
    pub consumers: u64,
    /// Age of the message with the lowest `seq`; 0 where there is none, and in a list where only
    /// the
    /// store knows it. Unit: ms.
    pub oldest_age_ms: WallMs,
    /// Counters.
    pub counters: QueueCounters,
}

/// What a tenant uses of its quotas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Queues.
    pub queues: u64,
    /// Messages.
    pub messages: u64,
    /// Bytes of messages.
    pub bytes: u64,
}
