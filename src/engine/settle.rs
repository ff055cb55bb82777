//! `ack`, `nack` and `extend`: what becomes of deliveries in hand. Refuses tags that are not in
//! hand, and does the others. Called by the tenant.

use std::time::Duration;

use super::connection::{Consumer, Grip, Seat};
use super::contents::{Dead, Held, Loose};
use super::lane::Entry;
use super::queue::Queue;
use super::stage::Stage;
use super::tenant::Tenant;
use super::timer::Timer;
use super::{DeadReason, Record, Refusal, Reply, Tags};
use crate::types::{ConnectionId, Lsn, QueueId, RequestToken, Seq, SharedMessage, Tag, WallMs};

/// What is asked for each tag.
#[derive(Debug, Clone)]
enum Settlement {
    Ack,
    /// Returned: at once, or at a time; and why, should it be dead now.
    Nack {
        until: WallMs,
        reason: Box<str>,
    },
    /// Refused for good.
    Reject {
        reason: Box<str>,
    },
    Extend {
        lease_ms: Option<u64>,
    },
}

impl Settlement {
    /// Whether it changes what the store knows.
    fn makes_record(&self) -> bool {
        match self {
            Settlement::Ack | Settlement::Reject { .. } => true,
            Settlement::Nack { until, .. } => *until > 0,
            Settlement::Extend { .. } => false,
        }
    }

    fn reply(&self, done: u64) -> Reply {
        match self {
            Settlement::Ack => Reply::Acked(done),
            Settlement::Nack { .. } | Settlement::Reject { .. } => Reply::Nacked(done),
            Settlement::Extend { .. } => Reply::Extended(done),
        }
    }
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    done: u64,
    unknown: Vec<Tag>,
    stage: Stage,
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
        reason: Box<str>,
    ) {
        let until = match delay_ms {
            0 => 0,
            delay_ms => self.now.wall_ms.saturating_add(delay_ms),
        };
        self.settle(connection, token, tags, Settlement::Nack { until, reason });
    }

    pub(super) fn reject(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        tags: Tags,
        reason: Box<str>,
    ) {
        self.settle(connection, token, tags, Settlement::Reject { reason });
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
                    if !self.settle_one(connection_id, tag, &settlement, &mut outcome) {
                        outcome.unknown.push(tag);
                    }
                }
            }
            Tags::UpTo(last) => {
                let tags = self.connections.get(&connection_id).map(|connection| {
                    connection.tags.range(..=last).map(|(tag, _)| *tag).collect::<Vec<_>>()
                });
                for tag in tags.unwrap_or_default() {
                    self.settle_one(connection_id, tag, &settlement, &mut outcome);
                }
            }
        }
        self.reply_settled(connection_id, token, &settlement, outcome);
    }

    fn reply_settled(
        &mut self,
        connection_id: ConnectionId,
        token: RequestToken,
        settlement: &Settlement,
        outcome: Outcome,
    ) {
        let mut after = Lsn(0);
        if !outcome.stage.is_empty() {
            after = self.commit(outcome.stage);
        }
        let Some(connection) = self.connections.get_mut(&connection_id) else { return };
        connection.settled = connection.settled.max(after);
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
        settlement: &Settlement,
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
        if queue.is_durable() && self.ledger.failed() && settlement.makes_record() {
            outcome.unavailable = true;
            return true;
        }
        if let Settlement::Extend { lease_ms } = settlement {
            let Some(held) = queue.contents.in_hand.get_mut(&grip.seq) else { return false };
            let lease = lease_ms.unwrap_or(queue.settings.ack_timeout_ms);
            self.timers.stop(held.deadline, Timer::Lease(connection_id, tag));
            held.deadline = self.now.monotonic + Duration::from_millis(lease);
            self.timers.start(held.deadline, Timer::Lease(connection_id, tag));
            outcome.done += 1;
            return true;
        }
        connection.tags.remove(&tag);
        if let Some(held) = queue.contents.in_hand.remove(&grip.seq) {
            self.timers.stop(held.deadline, Timer::Lease(connection_id, tag));
            self.let_go(grip.queue, grip.seq, held, settlement, &mut outcome.stage);
            outcome.done += 1;
        }
        self.free_credit(connection_id, grip);
        true
    }

    /// A message that was taken out of hand is done, goes back, or is dead.
    fn let_go(
        &mut self,
        id: QueueId,
        seq: Seq,
        held: Held,
        settlement: &Settlement,
        stage: &mut Stage,
    ) {
        match settlement {
            Settlement::Ack => {
                if let Some(queue) = self.queues.get_mut(&id) {
                    queue.counters.acked += 1;
                }
                self.stage_removal(stage, id, seq, &held.message);
            }
            Settlement::Nack { until, reason } => {
                self.give_back(stage, id, seq, held, *until);
                self.note_detail(id, seq, reason);
            }
            Settlement::Reject { reason } => self.send_off(stage, id, seq, held, reason),
            Settlement::Extend { .. } => {}
        }
    }

    /// A message that was in hand returns: to its place now, or at a wall time; or it is dead, if
    /// it was delivered too often or its time is over.
    pub(super) fn give_back(
        &mut self,
        stage: &mut Stage,
        id: QueueId,
        seq: Seq,
        held: Held,
        until: WallMs,
    ) {
        let now = self.now.wall_ms;
        let failed = self.ledger.failed();
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Held { attempt, message, .. } = held;
        let entry = Entry { seq, attempt, message };
        let counts = queue.settings.max_attempts.is_some();
        if queue.is_durable() && !failed && (until > 0 || counts) {
            let published_at = entry.message.published_at;
            stage.change(id, Record::Delayed { queue: id, seq, until, attempt, published_at });
        }
        match queue.fate(&entry, now) {
            Some(reason) => {
                let loose = Loose { attempt, message: Some(entry.message) };
                self.bury(id, seq, loose, reason);
            }
            None => queue.contents.put_back(entry, until, now),
        }
        self.stir(id);
    }

    /// What was said of a message that returned, if it is dead.
    fn note_detail(&mut self, id: QueueId, seq: Seq, reason: &str) {
        let queue = self.queues.get_mut(&id).filter(|_| !reason.is_empty());
        if let Some(dead) = queue.and_then(|queue| queue.contents.dead.get_mut(&seq)) {
            dead.detail = Some(reason.into());
        }
    }

    /// A message that was in hand goes to the dead-letter queue, with the confirm of it; where
    /// there is no such queue it is dropped, and where that is full the store notes that it waits.
    fn send_off(&mut self, stage: &mut Stage, id: QueueId, seq: Seq, held: Held, reason: &str) {
        let now = self.now.wall_ms;
        let Some(queue) = self.queues.get(&id) else { return };
        let Held { attempt, message, .. } = held;
        let Some(target) = queue.settings.dead_letter.clone() else {
            return self.stage_removal(stage, id, seq, &message);
        };
        let to = self.names.get(&target).copied();
        let story = (DeadReason::Rejected, Some(reason));
        if to.is_some_and(|to| self.send_dead(stage, (id, seq), &message, story, to)) {
            return;
        }
        let Some(queue) = self.queues.get_mut(&id) else { return };
        if queue.is_durable() {
            let detail = reason.into();
            stage.change(id, Record::Rejected { queue: id, seq, attempt, detail });
        }
        queue.bury_rejected(seq, attempt, message, reason, now);
        self.stir(id);
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
        let Grip { queue, seq, subscription, .. } = *grip;
        let there = self.queues.get_mut(&queue);
        let Some(held) = there.and_then(|queue| queue.contents.in_hand.remove(&seq)) else {
            return;
        };
        match subscription.and_then(|id| connection.subscriptions.get_mut(&id)) {
            Some(subscription) => {
                grip.ghost = true;
                subscription.ghosts += 1;
            }
            None => {
                connection.tags.remove(&tag);
            }
        }
        let mut stage = Stage::default();
        self.give_back(&mut stage, queue, seq, held, 0);
        self.commit(stage);
    }
}

impl Queue {
    /// A message that a consumer refused waits for its dead-letter queue.
    fn bury_rejected(
        &mut self,
        seq: Seq,
        attempt: u32,
        message: SharedMessage,
        detail: &str,
        now: WallMs,
    ) {
        let (reason, detail) = (DeadReason::Rejected, Some(detail.into()));
        let dead = Dead { reason, detail, attempt, message: Some(message) };
        self.contents.bury(seq, dead, now);
    }
}
