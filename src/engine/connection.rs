//! What the engine knows of one connection: its subscriptions, its waiting pulls, the deliveries it
//! has in hand and what lies in its outbox. Called by the other files of the engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Request;
use super::lane::Entry;
use crate::types::{ConnectionId, Lsn, Monotonic, QueueId, RequestToken, Seq, SubscriptionId, Tag};

/// A waiting pull within its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PullId(pub(super) u64);

/// What a connection consumes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seat {
    Subscription(SubscriptionId),
    Pull(PullId),
}

/// One consumer of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Consumer {
    pub(super) connection: ConnectionId,
    pub(super) seat: Seat,
}

/// A consumer's place among those of its queue that can take a message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(pub(super) u64);

/// See the protocol's section "Consuming".
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) queue: QueueId,
    pub(super) prefetch: u32,
    pub(super) auto_ack: bool,
    /// Tags that fill the prefetch: those in hand, and ghosts.
    pub(super) filled: u32,
    /// Tags whose lease ran out and that the client has not named since.
    pub(super) ghosts: u32,
    pub(super) turn: Option<Turn>,
}

impl Subscription {
    /// Whether the prefetch leaves room for one more.
    pub(super) fn has_credit(&self) -> bool {
        self.filled < self.prefetch
    }
}

/// A pull that has not been answered.
#[derive(Debug)]
pub(super) struct Pull {
    pub(super) queue: QueueId,
    pub(super) token: RequestToken,
    pub(super) max: usize,
    pub(super) bytes_max: u64,
    pub(super) auto_ack: bool,
    /// When it is answered empty; `None`: as soon as there is nothing to be had.
    pub(super) deadline: Option<Monotonic>,
    pub(super) turn: Option<Turn>,
    /// What it took so far; never kept beyond one round of deliveries.
    pub(super) taken: Vec<Entry>,
    pub(super) taken_bytes: u64,
}

/// A tag that the client was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grip {
    pub(super) queue: QueueId,
    pub(super) seq: Seq,
    /// `None`: taken by a pull.
    pub(super) subscription: Option<SubscriptionId>,
    /// The lease ran out; the message is not in hand any more.
    pub(super) ghost: bool,
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) subscriptions: BTreeMap<SubscriptionId, Subscription>,
    pub(super) pulls: BTreeMap<PullId, Pull>,
    pub(super) tags: BTreeMap<Tag, Grip>,
    /// Consumers that had their turn while the outbox was full.
    pub(super) parked: BTreeSet<Seat>,
    /// Requests that wait, because the first of them needs something from the store.
    pub(super) stalled: VecDeque<(RequestToken, Request)>,
    /// Queues that are this connection's alone.
    pub(super) exclusive: BTreeSet<QueueId>,
    /// Bytes of deliveries that the peer has not taken yet.
    pub(super) outbox_bytes: u64,
    /// The last batch that settled something for this connection.
    pub(super) settled: Lsn,
    last_tag: Tag,
    last_subscription: SubscriptionId,
    last_pull: PullId,
}

impl Connection {
    /// The next tag.
    pub(super) fn draw_tag(&mut self) -> Tag {
        self.last_tag = self.last_tag.next();
        self.last_tag
    }

    /// The next subscription's number.
    pub(super) fn draw_subscription(&mut self) -> SubscriptionId {
        self.last_subscription = self.last_subscription.next();
        self.last_subscription
    }

    /// The next pull's number.
    pub(super) fn draw_pull(&mut self) -> PullId {
        self.last_pull = PullId(self.last_pull.0 + 1);
        self.last_pull
    }

    /// Where the consumer keeps its turn.
    pub(super) fn turn_mut(&mut self, seat: Seat) -> Option<&mut Option<Turn>> {
        match seat {
            Seat::Subscription(id) => self.subscriptions.get_mut(&id).map(|s| &mut s.turn),
            Seat::Pull(id) => self.pulls.get_mut(&id).map(|pull| &mut pull.turn),
        }
    }

    /// The queue that the consumer takes from.
    pub(super) fn queue_of(&self, seat: Seat) -> Option<QueueId> {
        match seat {
            Seat::Subscription(id) => self.subscriptions.get(&id).map(|s| s.queue),
            Seat::Pull(id) => self.pulls.get(&id).map(|pull| pull.queue),
        }
    }
}
