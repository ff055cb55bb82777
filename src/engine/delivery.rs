//! Deliveries: gives the ready messages of a queue to its consumers in turn, as far as prefetch,
//! outboxes and reserved fences allow. Called by the tenant at the end of each input for the queues
//! that the input stirred, and by a pull that wants its answer at once.

use super::connection::{Connection, Consumer, Grip, Pull, PullId, Seat};
use super::contents::{Held, Loose};
use super::lane::{Entry, Head};
use super::queue::Queue;
use super::tenant::Tenant;
use super::timer::{Timer, Timers};
use super::waiting::Waiting;
use super::{DeadReason, Delivery, Effect, Record, Refusal, Reply, Usage};
use crate::types::{
    ConnectionId, Fence, Monotonic, QueueId, QueueName, RequestToken, SubscriptionId, WallMs,
};
use std::time::Duration;

/// What one round of deliveries of a queue gathers.
#[derive(Default)]
struct Round {
    /// Removals under `auto_ack`, and what may be sent once they are durable.
    records: Vec<Record>,
    held: Vec<(ConnectionId, Waiting)>,
    /// Pulls that took something.
    pulls: Vec<Consumer>,
}

impl Tenant {
    /// Delivers from all queues that were stirred.
    pub(super) fn deliver(&mut self) {
        while let Some(id) = self.stirred.pop_front() {
            self.deliver_from(id);
        }
    }

    /// Delivers from one queue until it has nothing to give or nobody can take more.
    pub(super) fn deliver_from(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        queue.stirred = false;
        if self.draining || queue.is_durable() && self.ledger.failed() {
            return self.rearm(id);
        }
        let mut round = Round::default();
        while self.deliver_next(id, &mut round) {}
        self.finish_round(id, round);
        self.answer_impatient(id);
        self.look_after(id);
        self.replenish(id);
    }

    /// One turn; `false` when the round is over.
    fn deliver_next(&mut self, id: QueueId, round: &mut Round) -> bool {
        let Some(queue) = self.queues.get_mut(&id) else { return false };
        if !queue.has_turns() {
            return false;
        }
        let Some(first) = queue.contents.peek() else { return false };
        if let Some(reason) = queue.fate(first, self.now.wall_ms) {
            if reason == DeadReason::Expired {
                // What is left is due at once, and goes with the next inputs.
                if self.alarms_left == 0 {
                    return false;
                }
                self.alarms_left -= 1;
            }
            if let Some(Entry { seq, attempt, message }) = queue.contents.take() {
                self.bury(id, seq, Loose { attempt, message: Some(message) }, reason);
            }
            return true;
        }
        let Some(consumer) = queue.first_turn() else { return false };
        let Some(connection) = self.connections.get_mut(&consumer.connection) else { return false };
        if connection.outbox_bytes >= self.config.outbox_bytes_max {
            if let Some(turn) = connection.turn_mut(consumer.seat) {
                queue.step_out(turn);
            }
            connection.parked.insert(consumer.seat);
            return true;
        }
        if !self.fences.promise(id) {
            return false;
        }
        match consumer.seat {
            Seat::Subscription(subscription) => {
                self.deliver_to_subscription(id, consumer.connection, subscription, round)
            }
            Seat::Pull(pull) => self.deliver_to_pull(id, consumer, pull, round),
        }
        true
    }

    /// Gives the first message to a subscription that has its turn.
    fn deliver_to_subscription(
        &mut self,
        id: QueueId,
        connection_id: ConnectionId,
        subscription_id: SubscriptionId,
        round: &mut Round,
    ) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(connection) = self.connections.get_mut(&connection_id) else { return };
        let Some(subscription) = connection.subscriptions.get_mut(&subscription_id) else { return };
        let Some(entry) = queue.take() else { return };
        let auto_ack = subscription.auto_ack;
        connection.outbox_bytes += entry.message.wire_bytes() as u64;
        queue.step_out(&mut subscription.turn);
        if !auto_ack {
            subscription.filled += 1;
        }
        if subscription.has_credit() {
            let seat = Seat::Subscription(subscription_id);
            queue.join(Consumer { connection: connection_id, seat }, &mut subscription.turn);
        }
        if !auto_ack {
            let fence = self.fences.draw();
            let lease = Lease { now: self.now.monotonic, timers: &mut self.timers };
            let to = (connection_id, Some(subscription_id));
            let delivery = hand_over(queue, connection, to, entry, fence, lease);
            self.ledger.effects.push(Effect::Deliver {
                connection: connection_id,
                subscription: subscription_id,
                delivery,
            });
            return;
        }
        queue.settle_unseen(&mut self.usage, &entry, self.now.wall_ms);
        let name = queue.name.clone();
        if queue.is_durable() {
            round.records.push(entry.removed(id));
            let (connection, subscription, queue) = (connection_id, subscription_id, name);
            let held = Waiting::Deliver { connection, subscription, queue, entry };
            round.held.push((connection_id, held));
        } else {
            self.deliver_settled(connection_id, subscription_id, name, entry);
        }
    }

    /// Gives the first message to a pull that has its turn, if it fits into the reply.
    fn deliver_to_pull(
        &mut self,
        id: QueueId,
        consumer: Consumer,
        pull_id: PullId,
        round: &mut Round,
    ) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(connection) = self.connections.get_mut(&consumer.connection) else { return };
        let Some(pull) = connection.pulls.get_mut(&pull_id) else { return };
        queue.step_out(&mut pull.turn);
        let bytes = queue.contents.peek().map_or(0, |entry| entry.message.wire_bytes() as u64);
        if !pull.taken.is_empty() && pull.taken_bytes.saturating_add(bytes) > pull.bytes_max {
            return self.fences.release();
        }
        let Some(entry) = queue.take() else { return };
        connection.outbox_bytes += bytes;
        if pull.taken.is_empty() {
            round.pulls.push(consumer);
        }
        pull.taken_bytes += bytes;
        pull.taken.push(entry);
        if pull.taken.len() < pull.max {
            queue.join(consumer, &mut pull.turn);
        }
    }

    /// Answers the pulls that took something, and writes the removals.
    fn finish_round(&mut self, id: QueueId, mut round: Round) {
        for consumer in std::mem::take(&mut round.pulls) {
            if let Some(pull) = self.remove_pull(consumer) {
                self.finish_pull(id, consumer.connection, pull, &mut round);
            }
        }
        if round.records.is_empty() {
            return;
        }
        let lsn = self.append(self.config.level, round.records);
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.last_lsn = lsn;
        }
        for (connection, waiting) in round.held {
            if let Some(connection) = self.connections.get_mut(&connection) {
                connection.settled = lsn;
            }
            self.ledger.wait(lsn, waiting);
        }
    }

    fn finish_pull(&mut self, id: QueueId, to: ConnectionId, pull: Pull, round: &mut Round) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(connection) = self.connections.get_mut(&to) else { return };
        if pull.auto_ack {
            let mut changed = false;
            for entry in &pull.taken {
                changed |= queue.settle_unseen(&mut self.usage, entry, self.now.wall_ms);
            }
            let (name, entries) = (queue.name.clone(), pull.taken);
            let durable = queue.is_durable();
            if changed {
                self.stir(id);
            }
            if !durable {
                return self.answer_settled_pull(to, pull.token, name, entries);
            }
            round.records.extend(entries.iter().map(|entry| entry.removed(id)));
            let (connection, token, queue) = (to, pull.token, name);
            let held = Waiting::Pulled { connection, token, queue, entries };
            return round.held.push((to, held));
        }
        let mut deliveries = Vec::with_capacity(pull.taken.len());
        for entry in pull.taken {
            let fence = self.fences.draw();
            let lease = Lease { now: self.now.monotonic, timers: &mut self.timers };
            deliveries.push(hand_over(queue, connection, (to, None), entry, fence, lease));
        }
        let after = queue.created;
        self.answer(after, to, pull.token, Reply::Pulled { deliveries });
    }

    /// Sends a message that is settled already.
    pub(super) fn deliver_settled(
        &mut self,
        connection_id: ConnectionId,
        subscription: SubscriptionId,
        queue: QueueName,
        entry: Entry,
    ) {
        let Some(connection) = self.connections.get_mut(&connection_id) else {
            return self.fences.release();
        };
        let delivery = settled_delivery(connection, queue, entry, self.fences.draw());
        self.ledger.effects.push(Effect::Deliver {
            connection: connection_id,
            subscription,
            delivery,
        });
    }

    /// Answers a pull whose messages are settled already.
    pub(super) fn answer_settled_pull(
        &mut self,
        connection_id: ConnectionId,
        token: RequestToken,
        queue: QueueName,
        entries: Vec<Entry>,
    ) {
        let Some(connection) = self.connections.get_mut(&connection_id) else {
            return entries.iter().for_each(|_| self.fences.release());
        };
        let mut deliveries = Vec::with_capacity(entries.len());
        for entry in entries {
            let fence = self.fences.draw();
            deliveries.push(settled_delivery(connection, queue.clone(), entry, fence));
        }
        self.ledger.effects.push(Effect::Reply {
            connection: connection_id,
            token,
            result: Ok(Reply::Pulled { deliveries }),
        });
    }

    /// Forgets deliveries that were held back and will never be made.
    pub(super) fn withdraw(&mut self, connection: ConnectionId, entries: &[Entry]) {
        let bytes = entries.iter().map(|entry| entry.message.wire_bytes() as u64).sum();
        entries.iter().for_each(|_| self.fences.release());
        self.sent(connection, bytes);
    }

    /// Pulls that do not wait are answered empty once the queue has nothing to give.
    fn answer_impatient(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get(&id) else { return };
        if queue.impatient.is_empty() {
            return;
        }
        if queue.contents.head() == Head::Empty {
            self.end_impatient(id, Ok(()));
        } else if self.ledger.failed() && self.fences.left() == 0 {
            // A store that is latched reserves no more.
            self.end_impatient(id, Err(Refusal::StorageUnavailable));
        }
    }

    /// Ends the pulls that do not wait.
    pub(super) fn end_impatient(&mut self, id: QueueId, result: Result<(), Refusal>) {
        let Some(queue) = self.queues.get(&id) else { return };
        let pulls: Vec<Consumer> = queue.impatient.iter().copied().collect();
        for consumer in pulls {
            self.end_pull(consumer, result.clone());
        }
    }
}

impl Entry {
    /// The record that it is done.
    fn removed(&self, queue: QueueId) -> Record {
        Record::removed(queue, self.seq, &self.message)
    }
}

impl Queue {
    /// Takes the first message to be delivered.
    fn take(&mut self) -> Option<Entry> {
        let entry = self.contents.take()?;
        self.counters.delivered += 1;
        self.counters.redelivered += u64::from(entry.attempt > 0);
        Some(entry)
    }

    /// A message is done as it is delivered. Answers whether another one may be ready now.
    fn settle_unseen(&mut self, usage: &mut Usage, entry: &Entry, now: WallMs) -> bool {
        self.counters.acked += 1;
        self.forget(usage, entry.message.size());
        self.contents.done(entry.seq, now)
    }
}

/// Where a lease starts and is noted.
struct Lease<'a> {
    now: Monotonic,
    timers: &'a mut Timers,
}

/// Gives a message into the hands of a connection.
fn hand_over(
    queue: &mut Queue,
    connection: &mut Connection,
    (to, subscription): (ConnectionId, Option<SubscriptionId>),
    entry: Entry,
    fence: Fence,
    lease: Lease<'_>,
) -> Delivery {
    let Entry { seq, attempt, message } = entry;
    let attempt = attempt.saturating_add(1);
    let tag = connection.draw_tag();
    let deadline = lease.now + Duration::from_millis(queue.settings.ack_timeout_ms);
    lease.timers.start(deadline, Timer::Lease(to, tag));
    connection.tags.insert(tag, Grip { queue: queue.id, seq, subscription, ghost: false });
    let held = Held { attempt, message: message.clone(), connection: to, tag, deadline };
    let before = queue.contents.in_hand.insert(seq, held);
    debug_assert!(before.is_none(), "no two consumers have a message in hand");
    Delivery { queue: queue.name.clone(), tag, seq, fence, attempt, message }
}

fn settled_delivery(
    connection: &mut Connection,
    queue: QueueName,
    entry: Entry,
    fence: Fence,
) -> Delivery {
    let Entry { seq, attempt, message } = entry;
    let tag = connection.draw_tag();
    Delivery { queue, tag, seq, fence, attempt: attempt.saturating_add(1), message }
}
