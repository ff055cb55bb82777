//! `ack`, `nack` and `extend`: what becomes of deliveries in hand. Refuses tags that are not in
//! hand, and does the others. Called by the tenant.

use std::time::Duration;

use super::connection::{Consumer, Grip, Seat};
use super::queue::Delayed;
use super::tenant::Tenant;
use super::timer::Timer;
use super::{Record, Refusal, Reply, Tags};
use crate::types::{ConnectionId, Lsn, RequestToken, Tag, WallMs};

/// What is asked for each tag.
#[derive(Debug, Clone, Copy)]
enum Settlement {
    Ack,
    Nack { until: Option<WallMs> },
    Extend { lease_ms: Option<u64> },
}

impl Settlement {
    /// Whether it changes what the store knows.
    fn makes_record(self) -> bool {
        match self {
            Settlement::Ack => true,
            Settlement::Nack { until } => until.is_some(),
            Settlement::Extend { .. } => false,
        }
    }

    fn reply(self, done: u64) -> Reply {
        match self {
            Settlement::Ack => Reply::Acked(done),
            Settlement::Nack { .. } => Reply::Nacked(done),
            Settlement::Extend { .. } => Reply::Extended(done),
        }
    }
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    done: u64,
    unknown: Vec<Tag>,
    records: Vec<Record>,
    unavailable: bool,
}

impl Tenant {
    pub(super) fn ack(&mut self, connection: ConnectionId, token: RequestToken, tags: Tags) {
        self.settle(connection, token, tags, Settlement::Ack);
    }

    pub(super) fn nack(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        tags: Tags,
        delay_ms: u64,
    ) {
        let until = (delay_ms > 0).then(|| self.now.wall_ms.saturating_add(delay_ms));
        self.settle(connection, token, tags, Settlement::Nack { until });
    }

    pub(super) fn extend(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        tags: Tags,
        lease_ms: Option<u64>,
    ) {
        self.settle(connection, token, tags, Settlement::Extend { lease_ms });
    }

    fn settle(
        &mut self,
        connection_id: ConnectionId,
        token: RequestToken,
        tags: Tags,
        settlement: Settlement,
    ) {
        let mut outcome = Outcome::default();
        match tags {
            Tags::List(tags) => {
                for tag in tags {
                    if !self.settle_one(connection_id, tag, settlement, &mut outcome) {
                        outcome.unknown.push(tag);
                    }
                }
            }
            Tags::UpTo(last) => {
                let tags = self.connections.get(&connection_id).map(|connection| {
                    connection.tags.range(..=last).map(|(tag, _)| *tag).collect::<Vec<_>>()
                });
                for tag in tags.unwrap_or_default() {
                    self.settle_one(connection_id, tag, settlement, &mut outcome);
                }
            }
        }
        self.reply_settled(connection_id, token, settlement, outcome);
    }

    fn reply_settled(
        &mut self,
        connection_id: ConnectionId,
        token: RequestToken,
        settlement: Settlement,
        outcome: Outcome,
    ) {
        let mut after = Lsn(0);
        let Some(connection) = self.connections.get_mut(&connection_id) else { return };
        if !outcome.records.is_empty() {
            after = self.ledger.append(outcome.records);
            connection.settled = after;
        }
        if outcome.unavailable {
            return self.refuse(Lsn(0), connection_id, token, Refusal::StorageUnavailable);
        }
        if outcome.unknown.is_empty() {
            return self.answer(after, connection_id, token, settlement.reply(outcome.done));
        }
        // That a tag is not in hand may tell of an ack, or of a queue's end, that is not durable.
        let after = connection.settled.max(self.last_delete);
        let refusal = Refusal::UnknownTag { tags: outcome.unknown };
        self.refuse(after, connection_id, token, refusal);
    }

    /// Settles one tag; `false` if it is not in hand.
    fn settle_one(
        &mut self,
        connection_id: ConnectionId,
        tag: Tag,
        settlement: Settlement,
        outcome: &mut Outcome,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(&connection_id) else { return false };
        let Some(grip) = connection.tags.get(&tag).copied() else { return false };
        if grip.ghost {
            connection.tags.remove(&tag);
            self.free_credit(connection_id, grip);
            return false;
        }
        let Some(queue) = self.queues.get_mut(&grip.queue) else { return false };
        if queue.durable && self.ledger.failed() && settlement.makes_record() {
            outcome.unavailable = true;
            return true;
        }
        if let Settlement::Extend { lease_ms } = settlement {
            let Some(held) = queue.in_hand.get_mut(&grip.seq) else { return false };
            let lease = lease_ms.unwrap_or(queue.settings.ack_timeout_ms);
            self.timers.stop(held.deadline, Timer::Lease(connection_id, tag));
            held.deadline = self.now.monotonic + Duration::from_millis(lease);
            self.timers.start(held.deadline, Timer::Lease(connection_id, tag));
            outcome.done += 1;
            return true;
        }
        connection.tags.remove(&tag);
        let until = match settlement {
            Settlement::Nack { until } => Some(until),
            _ => None,
        };
        if self.let_go(connection_id, tag, grip, until, &mut outcome.records) {
            outcome.done += 1;
        }
        self.free_credit(connection_id, grip);
        true
    }

    /// Takes a message out of hand: it is done, or (`returned`) goes back to the queue, now or at
    /// a wall time.
    fn let_go(
        &mut self,
        connection_id: ConnectionId,
        tag: Tag,
        grip: Grip,
        returned: Option<Option<WallMs>>,
        records: &mut Vec<Record>,
    ) -> bool {
        let Some(queue) = self.queues.get_mut(&grip.queue) else { return false };
        let Some(held) = queue.in_hand.remove(&grip.seq) else { return false };
        self.timers.stop(held.deadline, Timer::Lease(connection_id, tag));
        let (id, seq, attempt) = (queue.id, grip.seq, held.attempt);
        let record = match returned {
            None => {
                queue.counters.acked += 1;
                let bytes = held.message.size();
                queue.forget(&mut self.usage, bytes);
                Some(Record::Removed { queue: id, seq, bytes })
            }
            Some(None) => {
                queue.put_back(seq, attempt, held.message);
                self.stir(id);
                return true;
            }
            Some(Some(until)) => {
                let message = (!queue.durable).then_some(held.message);
                queue.delayed.insert(seq, Delayed { until, attempt, message });
                self.timers.start_delay(until, id, seq);
                Some(Record::Delayed { queue: id, seq, until, attempt })
            }
        };
        if queue.durable {
            queue.last_lsn = self.ledger.next_lsn();
            records.extend(record);
        }
        true
    }

    /// A tag fills its subscription's prefetch no longer.
    pub(super) fn free_credit(&mut self, connection_id: ConnectionId, grip: Grip) {
        let Some(connection) = self.connections.get_mut(&connection_id) else { return };
        let Some(id) = grip.subscription else { return };
        let Some(subscription) = connection.subscriptions.get_mut(&id) else { return };
        subscription.filled = subscription.filled.saturating_sub(1);
        if grip.ghost {
            subscription.ghosts = subscription.ghosts.saturating_sub(1);
        }
        let seat = Seat::Subscription(id);
        if subscription.turn.is_some() || connection.parked.contains(&seat) {
            return;
        }
        let Some(queue) = self.queues.get_mut(&grip.queue) else { return };
        let consumer = Consumer { connection: connection_id, seat };
        queue.join(consumer, &mut subscription.turn);
        let id = queue.id;
        self.stir(id);
    }

    /// A lease ran out: the message returns, and its tag fills the prefetch on.
    pub(super) fn lease_over(&mut self, id: ConnectionId, tag: Tag) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(grip) = connection.tags.get_mut(&tag) else { return };
        let Some(queue) = self.queues.get_mut(&grip.queue) else { return };
        let Some(held) = queue.in_hand.remove(&grip.seq) else { return };
        queue.put_back(grip.seq, held.attempt, held.message);
        let queue = queue.id;
        let subscription = grip.subscription.and_then(|id| connection.subscriptions.get_mut(&id));
        match subscription {
            Some(subscription) => {
                grip.ghost = true;
                subscription.ghosts += 1;
            }
            None => {
                connection.tags.remove(&tag);
            }
        }
        self.stir(queue);
    }
}
