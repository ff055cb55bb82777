//! What the connection tells besides requests: bytes that left its outbox, the end of its sending
//! side, its end; and the loss of a grant. Called by the tenant.

use super::connection::{Consumer, Grip, Seat};
use super::stage::Stage;
use super::tenant::Tenant;
use super::timer::Timer;
use super::waiting::Waiting;
use super::{CancelReason, Refusal};
use crate::types::{ConnectionId, Lsn, QueueName, SubscriptionId, Tag};

impl Tenant {
    /// Bytes left the outbox: consumers that it held up have their turn again.
    pub(super) fn sent(&mut self, id: ConnectionId, bytes: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.outbox_bytes = connection.outbox_bytes.saturating_sub(bytes);
        if connection.outbox_bytes >= self.config.outbox_bytes_max {
            return;
        }
        for seat in std::mem::take(&mut connection.parked) {
            let Some(queue_id) = connection.queue_of(seat) else { continue };
            let Some(queue) = self.queues.get_mut(&queue_id) else { continue };
            if let Some(turn) = connection.turn_mut(seat) {
                queue.join(Consumer { connection: id, seat }, turn);
            }
            if !queue.stirred {
                queue.stirred = true;
                self.stirred.push_back(queue_id);
            }
        }
    }

    /// The client sends no more: its pulls are answered empty, its subscriptions end.
    pub(super) fn half_closed(&mut self, id: ConnectionId) {
        let (subscriptions, pulls) = self.consumers_of(id);
        for subscription in subscriptions {
            self.end_subscription(id, subscription);
        }
        for consumer in pulls {
            self.end_pull(consumer, Ok(()));
        }
    }

    /// The connection is gone: all that it had returns.
    pub(super) fn disconnected(&mut self, id: ConnectionId, sent_up_to: Tag) {
        let (subscriptions, pulls) = self.consumers_of(id);
        for subscription in subscriptions {
            self.end_subscription(id, subscription);
        }
        for consumer in pulls {
            self.remove_pull(consumer);
        }
        let Some(connection) = self.connections.remove(&id) else { return };
        let mut stage = Stage::default();
        for (tag, grip) in connection.tags {
            self.hand_back(&mut stage, id, tag, grip, tag <= sent_up_to);
        }
        self.commit(stage);
        for queue in connection.exclusive {
            self.remove_queue(queue);
        }
    }

    /// The connection's user may not consume from these queues any more.
    pub(super) fn forbid(&mut self, id: ConnectionId, names: &[QueueName]) {
        let withdrawn = self.ledger.take_waiting(|waiting| match waiting {
            Waiting::Deliver { connection, queue, .. }
            | Waiting::Pulled { connection, queue, .. } => {
                *connection == id && names.contains(queue)
            }
            _ => false,
        });
        for waiting in withdrawn {
            match waiting {
                Waiting::Deliver { entry, .. } => self.withdraw(id, &[entry]),
                Waiting::Pulled { token, entries, .. } => {
                    self.withdraw(id, &entries);
                    self.refuse(Lsn(0), id, token, Refusal::Forbidden);
                }
                _ => {}
            }
        }
        for name in names {
            self.forbid_one(id, name);
        }
    }

    fn forbid_one(&mut self, id: ConnectionId, name: &QueueName) {
        let Some(queue_id) = self.names.get(name).copied() else { return };
        let Some(queue) = self.queues.get(&queue_id) else { return };
        let theirs = Consumer { connection: id, seat: Seat::Subscription(SubscriptionId(0)) };
        let created = queue.created;
        let consumers: Vec<Consumer> =
            queue.consumers.range(theirs..).copied().take_while(|c| c.connection == id).collect();
        for consumer in consumers {
            match consumer.seat {
                Seat::Subscription(subscription) => {
                    self.end_subscription(id, subscription);
                    self.ledger.cancelled(created, id, subscription, CancelReason::Forbidden);
                }
                Seat::Pull(_) => self.end_pull(consumer, Err(Refusal::Forbidden)),
            }
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let taken: Vec<(Tag, Grip)> = connection
            .tags
            .iter()
            .filter(|(_, grip)| grip.queue == queue_id)
            .map(|(tag, grip)| (*tag, *grip))
            .collect();
        let mut stage = Stage::default();
        for (tag, grip) in taken {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.tags.remove(&tag);
            }
            self.hand_back(&mut stage, id, tag, grip, true);
        }
        self.commit(stage);
    }

    /// A message in hand returns to its place; `counts` says whether this delivery was one.
    fn hand_back(
        &mut self,
        stage: &mut Stage,
        id: ConnectionId,
        tag: Tag,
        grip: Grip,
        counts: bool,
    ) {
        let Some(queue) = self.queues.get_mut(&grip.queue) else { return };
        if grip.ghost {
            return;
        }
        let Some(mut held) = queue.contents.in_hand.remove(&grip.seq) else { return };
        self.timers.stop(held.deadline, Timer::Lease(id, tag));
        if !counts {
            held.attempt = held.attempt.saturating_sub(1);
        }
        self.give_back(stage, grip.queue, grip.seq, held, 0);
    }

    /// The connection's subscriptions and pulls.
    fn consumers_of(&self, id: ConnectionId) -> (Vec<SubscriptionId>, Vec<Consumer>) {
        let Some(connection) = self.connections.get(&id) else { return Default::default() };
        let subscriptions = connection.subscriptions.keys().copied().collect();
        let pulls = connection.pulls.keys();
        let pulls = pulls.map(|pull| Consumer { connection: id, seat: Seat::Pull(*pull) });
        (subscriptions, pulls.collect())
    }
}
