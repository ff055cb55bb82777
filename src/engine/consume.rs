//! `consume`, `cancel` and `pull`, and how a consumer leaves its queue. Called by the tenant.

use std::time::Duration;

use super::connection::{Consumer, Pull, PullId, Seat, Subscription};
use super::tenant::Tenant;
use super::timer::Timer;
use super::{Refusal, Reply};
use crate::types::{ConnectionId, QueueId, QueueName, Quota, RequestToken, SubscriptionId};

/// What a pull says besides its queue.
pub(super) struct PullTerms {
    pub(super) max: u32,
    pub(super) wait_ms: u64,
    pub(super) auto_ack: bool,
    pub(super) bytes_max: usize,
}

impl Tenant {
    pub(super) fn consume(
        &mut self,
        connection_id: ConnectionId,
        token: RequestToken,
        name: &QueueName,
        prefetch: u32,
        auto_ack: bool,
    ) {
        let Some(id) = self.find_consumable(connection_id, &token, name) else { return };
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(connection) = self.connections.get_mut(&connection_id) else { return };
        let after = queue.created;
        if connection.subscriptions.len() >= self.config.subscriptions_max {
            let refusal = Refusal::QuotaExceeded(Quota::Subscriptions);
            return self.refuse(after, connection_id, token, refusal);
        }
        let subscription_id = connection.draw_subscription();
        let mut subscription = Subscription {
            queue: id,
            prefetch: prefetch.max(1),
            auto_ack,
            filled: 0,
            ghosts: 0,
            turn: None,
        };
        let seat = Seat::Subscription(subscription_id);
        let consumer = Consumer { connection: connection_id, seat };
        queue.consumers.insert(consumer);
        queue.join(consumer, &mut subscription.turn);
        connection.subscriptions.insert(subscription_id, subscription);
        self.answer(after, connection_id, token, Reply::Subscribed(subscription_id));
        self.stir(id);
    }

    pub(super) fn cancel(
        &mut self,
        connection_id: ConnectionId,
        token: RequestToken,
        subscription: SubscriptionId,
    ) {
        let after = match self.connections.get(&connection_id) {
            Some(connection) => match connection.subscriptions.get(&subscription) {
                // What is settled but not sent yet goes before the end.
                Some(subscription) if subscription.auto_ack => connection.settled,
                Some(_) => crate::types::Lsn(0),
                None => {
                    let refusal = Refusal::UnknownSubscription;
                    return self.refuse(self.last_delete, connection_id, token, refusal);
                }
            },
            None => return,
        };
        self.end_subscription(connection_id, subscription);
        self.answer(after, connection_id, token, Reply::Done);
    }

    pub(super) fn pull(
        &mut self,
        connection_id: ConnectionId,
        token: RequestToken,
        name: &QueueName,
        terms: PullTerms,
    ) {
        let Some(id) = self.find_consumable(connection_id, &token, name) else { return };
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(connection) = self.connections.get_mut(&connection_id) else { return };
        let pull_id = connection.draw_pull();
        let seat = Seat::Pull(pull_id);
        let consumer = Consumer { connection: connection_id, seat };
        let wait = Duration::from_millis(terms.wait_ms);
        let deadline = (terms.wait_ms > 0).then(|| self.now.monotonic + wait);
        let mut pull = Pull {
            queue: id,
            token,
            max: terms.max.max(1) as usize,
            bytes_max: terms.bytes_max as u64,
            auto_ack: terms.auto_ack,
            deadline,
            turn: None,
            taken: Vec::new(),
            taken_bytes: 0,
        };
        match deadline {
            Some(at) => self.timers.start(at, Timer::Pull(connection_id, pull_id)),
            None => {
                queue.impatient.insert(consumer);
            }
        }
        queue.consumers.insert(consumer);
        queue.join(consumer, &mut pull.turn);
        connection.pulls.insert(pull_id, pull);
        self.deliver_from(id);
        let waiting = self.connections.get(&connection_id).map_or(0, |c| c.pulls.len());
        if waiting > self.config.pulls_max {
            self.end_pull(consumer, Err(Refusal::QuotaExceeded(Quota::Pulls)));
        }
    }

    /// The queue of that name, if it can be consumed from now; else answers.
    fn find_consumable(
        &mut self,
        connection: ConnectionId,
        token: &RequestToken,
        name: &QueueName,
    ) -> Option<QueueId> {
        let id = self.find(connection, token, name)?;
        self.fences.want();
        let queue = self.queues.get_mut(&id)?;
        queue.last_used = self.now.monotonic;
        if self.ledger.failed() && queue.is_durable() {
            let refusal = Refusal::StorageUnavailable;
            self.refuse(crate::types::Lsn(0), connection, token.clone(), refusal);
            return None;
        }
        Some(id)
    }

    /// A pull has waited long enough.
    pub(super) fn wait_over(&mut self, connection_id: ConnectionId, pull_id: PullId) {
        let Some(connection) = self.connections.get_mut(&connection_id) else { return };
        let Some(pull) = connection.pulls.get_mut(&pull_id) else { return };
        let Some(queue) = self.queues.get_mut(&pull.queue) else { return };
        pull.deadline = None;
        let seat = Seat::Pull(pull_id);
        queue.impatient.insert(Consumer { connection: connection_id, seat });
        let id = queue.id;
        self.stir(id);
    }

    /// Answers a pull that took nothing.
    pub(super) fn end_pull(&mut self, consumer: Consumer, result: Result<(), Refusal>) {
        let Some(pull) = self.remove_pull(consumer) else { return };
        let after = self.queues.get(&pull.queue).map_or(self.last_delete, |queue| queue.created);
        let result = result.map(|()| Reply::Pulled { deliveries: Vec::new() });
        self.ledger.reply(after, consumer.connection, pull.token, result);
    }

    /// Takes a pull out of everything.
    pub(super) fn remove_pull(&mut self, consumer: Consumer) -> Option<Pull> {
        let Seat::Pull(pull_id) = consumer.seat else { return None };
        let connection = self.connections.get_mut(&consumer.connection)?;
        let mut pull = connection.pulls.remove(&pull_id)?;
        connection.parked.remove(&consumer.seat);
        if let Some(at) = pull.deadline {
            self.timers.stop(at, Timer::Pull(consumer.connection, pull_id));
        }
        if let Some(queue) = self.queues.get_mut(&pull.queue) {
            queue.part(consumer, &mut pull.turn, self.now.monotonic);
        }
        Some(pull)
    }

    /// Takes a subscription out of everything; what it has in hand stays so.
    pub(super) fn end_subscription(
        &mut self,
        connection_id: ConnectionId,
        subscription_id: SubscriptionId,
    ) {
        let Some(connection) = self.connections.get_mut(&connection_id) else { return };
        let Some(mut subscription) = connection.subscriptions.remove(&subscription_id) else {
            return;
        };
        let seat = Seat::Subscription(subscription_id);
        connection.parked.remove(&seat);
        if subscription.ghosts > 0 {
            connection
                .tags
                .retain(|_, grip| !(grip.ghost && grip.subscription == Some(subscription_id)));
        }
        if let Some(queue) = self.queues.get_mut(&subscription.queue) {
            let consumer = Consumer { connection: connection_id, seat };
            queue.part(consumer, &mut subscription.turn, self.now.monotonic);
        }
    }
}
