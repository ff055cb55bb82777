//! The tenant's history as the engine sees it: numbers the batches, and holds back what may be told
//! only once a batch is durable. Everything that leaves the engine leaves through here.

use std::collections::BTreeMap;

use super::lane::Entry;
use super::{Batch, CancelReason, Effect, Record, Refusal, Reply};
use crate::types::{
    ConnectionId, Level, Lsn, QueueId, QueueName, RequestToken, Seq, SubscriptionId,
};

/// What is told, or done, once its LSN is durable.
#[derive(Debug)]
pub(super) enum Waiting {
    /// An answer.
    Reply { connection: ConnectionId, token: RequestToken, result: Result<Reply, Refusal> },
    /// A message that was removed, under `auto_ack`, to be sent.
    Deliver {
        connection: ConnectionId,
        subscription: SubscriptionId,
        queue: QueueName,
        entry: Entry,
    },
    /// The same for a pull.
    Pulled { connection: ConnectionId, token: RequestToken, queue: QueueName, entries: Vec<Entry> },
    /// The end of a subscription.
    Cancelled { connection: ConnectionId, subscription: SubscriptionId, reason: CancelReason },
    /// The messages of these queues up to these may be delivered.
    Visible { queues: Vec<(QueueId, Seq)> },
}

/// Batches given and batches durable, and what waits in between.
#[derive(Debug)]
pub(super) struct Ledger {
    lsn: Lsn,
    durable: Lsn,
    failed: bool,
    level: Level,
    /// By LSN, and first come, first served: two replies about a queue never change places, as the
    /// second one waits for the same LSN or a later one.
    waiting: BTreeMap<(Lsn, u64), Waiting>,
    next_waiting: u64,
    /// The effects of the input at hand.
    pub(super) effects: Vec<Effect>,
}

impl Ledger {
    /// A history that goes on after `lsn`, on a store of `level`.
    pub(super) fn new(lsn: Lsn, level: Level) -> Self {
        Self {
            lsn,
            durable: lsn,
            failed: false,
            level,
            waiting: BTreeMap::new(),
            next_waiting: 0,
            effects: Vec::new(),
        }
    }

    /// Whether the store is latched.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// The LSN that the next batch will have.
    pub(super) fn next_lsn(&self) -> Lsn {
        self.lsn.next()
    }

    /// Gives a batch of the store's own level to the store.
    pub(super) fn append(&mut self, records: Vec<Record>) -> Lsn {
        self.append_at(self.level, records)
    }

    /// Gives a batch of a higher level to the store.
    pub(super) fn append_at(&mut self, level: Level, records: Vec<Record>) -> Lsn {
        debug_assert!(!self.failed && self.level != Level::Memory && !records.is_empty());
        self.lsn = self.lsn.next();
        self.effects.push(Effect::Append(Batch { lsn: self.lsn, level, records }));
        self.lsn
    }

    /// Whether the batch of that LSN is durable.
    pub(super) fn is_durable(&self, lsn: Lsn) -> bool {
        lsn <= self.durable
    }

    /// Answers once `after` is durable.
    pub(super) fn reply(
        &mut self,
        after: Lsn,
        connection: ConnectionId,
        token: RequestToken,
        result: Result<Reply, Refusal>,
    ) {
        if self.is_durable(after) {
            self.effects.push(Effect::Reply { connection, token, result });
        } else if self.failed {
            let result = Err(Refusal::StorageUnavailable);
            self.effects.push(Effect::Reply { connection, token, result });
        } else {
            self.wait(after, Waiting::Reply { connection, token, result });
        }
    }

    /// Tells a client that its subscription ended, once `after` is durable.
    pub(super) fn cancelled(
        &mut self,
        after: Lsn,
        connection: ConnectionId,
        subscription: SubscriptionId,
        reason: CancelReason,
    ) {
        if self.is_durable(after) || self.failed {
            self.effects.push(Effect::Cancelled { connection, subscription, reason });
        } else {
            self.wait(after, Waiting::Cancelled { connection, subscription, reason });
        }
    }

    /// Holds `waiting` back until `after`, which is not durable yet.
    pub(super) fn wait(&mut self, after: Lsn, waiting: Waiting) {
        debug_assert!(!self.is_durable(after));
        self.next_waiting += 1;
        self.waiting.insert((after, self.next_waiting), waiting);
    }

    /// Notes that the store has made everything up to `lsn` durable.
    pub(super) fn durable_up_to(&mut self, lsn: Lsn) {
        if !self.failed {
            self.durable = self.durable.max(lsn.min(self.lsn));
        }
    }

    /// Takes the next thing that waits no longer.
    pub(super) fn pop_durable(&mut self) -> Option<Waiting> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= self.durable).then(|| first.remove())
    }

    /// Latches, and hands out what will never be durable.
    pub(super) fn fail(&mut self) -> impl Iterator<Item = Waiting> + use<> {
        self.failed = true;
        std::mem::take(&mut self.waiting).into_values()
    }

    /// Takes out of the waiting what `wanted` says, in its order.
    pub(super) fn take_waiting(&mut self, wanted: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        self.waiting.extract_if(.., |_, waiting| wanted(waiting)).map(|(_, taken)| taken).collect()
    }

    /// What waits, in its order; for the invariants.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }
}
