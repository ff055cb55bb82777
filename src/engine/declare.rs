//! `queue.declare`, `queue.delete` and `queue.purge`. Called by the tenant.

use super::connection::{Consumer, Seat};
use super::queue::Queue;
use super::tenant::Tenant;
use super::{CancelReason, Record, Refusal, Reply};
use crate::types::{
    ConnectionId, Level, Lsn, QueueId, QueueName, QueueSettings, RequestToken, SettingsPatch,
};

impl Tenant {
    /// What a queue gets where nothing is named.
    pub(super) fn default_settings(&self) -> QueueSettings {
        self.limits.defaults.apply(&QueueSettings::default())
    }

    pub(super) fn declare(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        name: QueueName,
        patch: &SettingsPatch,
        update: bool,
    ) {
        let declared = match self.names.get(&name) {
            Some(id) => self.redeclare(*id, patch, update),
            None => self.declare_new(name, patch),
        };
        let (after, result) = declared;
        self.ledger.reply(after, connection, token, result);
    }

    fn declare_new(
        &mut self,
        name: QueueName,
        patch: &SettingsPatch,
    ) -> (Lsn, Result<Reply, Refusal>) {
        let records_needed = self.config.level != Level::Memory;
        if records_needed && (self.ledger.failed() || self.full) {
            return (Lsn(0), Err(Refusal::StorageUnavailable));
        }
        if let Err(refusal) = self.admit_queue() {
            return (self.last_delete, Err(refusal));
        }
        let mut records = Vec::new();
        let settings = patch.apply(&self.default_settings());
        let id = self.create(name, settings, &mut records);
        let created = if records.is_empty() { Lsn(0) } else { self.ledger.append(records) };
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.note_created(created);
        }
        (created, Ok(Reply::Declared { created: true }))
    }

    fn redeclare(
        &mut self,
        id: QueueId,
        patch: &SettingsPatch,
        update: bool,
    ) -> (Lsn, Result<Reply, Refusal>) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return (self.last_delete, Err(Refusal::NoSuchQueue));
        };
        let differences = patch.differences(&queue.settings);
        if differences.is_empty() {
            return (queue.last_lsn, Ok(Reply::Declared { created: false }));
        }
        if !update {
            return (queue.last_lsn, Err(Refusal::QueueExists { differences }));
        }
        if differences.contains(&"storage") {
            return (queue.last_lsn, Err(Refusal::SettingFixed { setting: "storage" }));
        }
        if self.config.level != Level::Memory {
            if self.ledger.failed() {
                return (Lsn(0), Err(Refusal::StorageUnavailable));
            }
            let settings = patch.apply(&queue.settings);
            queue.shaped = self.ledger.append(vec![Record::Changed { queue: id, settings }]);
            queue.last_lsn = queue.shaped;
        }
        queue.settings = patch.apply(&queue.settings);
        (queue.last_lsn, Ok(Reply::Declared { created: false }))
    }

    /// Makes a queue; its record, if one is made, goes to the end of `records`, and whoever appends
    /// them notes the LSN with the queue.
    pub(super) fn create(
        &mut self,
        name: QueueName,
        settings: QueueSettings,
        records: &mut Vec<Record>,
    ) -> QueueId {
        self.queue_id_max = self.queue_id_max.next();
        let id = self.queue_id_max;
        if self.config.level != Level::Memory {
            let (name, settings) = (name.clone(), settings.clone());
            records.push(Record::Created { queue: id, name, settings });
        }
        let durable = self.makes_records(settings.storage);
        let queue = Queue::new(id, name.clone(), settings, durable, self.config.window);
        self.names.insert(name, id);
        self.queues.insert(id, Box::new(queue));
        self.usage.queues += 1;
        id
    }

    pub(super) fn delete(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        name: &QueueName,
        if_empty: bool,
    ) {
        let Some((id, token)) = self.find(connection, token, name) else { return };
        let Some(queue) = self.queues.get(&id) else { return };
        if if_empty && queue.messages > 0 {
            return self.refuse(queue.last_lsn, connection, token, Refusal::QueueNotEmpty);
        }
        let mut after = queue.last_lsn;
        if self.config.level != Level::Memory {
            if self.ledger.failed() {
                return self.refuse(Lsn(0), connection, token, Refusal::StorageUnavailable);
            }
            after = self.ledger.append(vec![Record::Deleted { queue: id }]);
            self.last_delete = after;
        }
        self.dismiss_consumers(id, after);
        self.drop_loads(id, after);
        self.names.remove(name);
        if let Some(queue) = self.queues.remove(&id) {
            self.dismantle(*queue);
        }
        self.answer(after, connection, token, Reply::Done);
    }

    /// Ends all subscriptions and waiting pulls of a queue that is being deleted.
    fn dismiss_consumers(&mut self, id: QueueId, after: Lsn) {
        let Some(queue) = self.queues.get(&id) else { return };
        let consumers: Vec<Consumer> = queue.consumers.iter().copied().collect();
        for consumer in consumers {
            match consumer.seat {
                Seat::Subscription(subscription) => {
                    self.end_subscription(consumer.connection, subscription);
                    let reason = CancelReason::QueueDeleted;
                    self.ledger.cancelled(after, consumer.connection, subscription, reason);
                }
                Seat::Pull(_) => {
                    if let Some(pull) = self.remove_pull(consumer) {
                        let refusal = Refusal::NoSuchQueue;
                        self.refuse(after, consumer.connection, pull.token, refusal);
                    }
                }
            }
        }
    }

    /// Takes what a deleted queue held out of everything else.
    fn dismantle(&mut self, queue: Queue) {
        for held in queue.in_hand.values() {
            self.timers.stop(held.deadline, super::timer::Timer::Lease(held.connection, held.tag));
            if let Some(connection) = self.connections.get_mut(&held.connection) {
                connection.tags.remove(&held.tag);
            }
        }
        for (seq, delayed) in &queue.delayed {
            self.timers.stop_delay(delayed.until, queue.id, *seq);
        }
        if let Some(at) = queue.reload_at {
            self.timers.stop(at, super::timer::Timer::Reload(queue.id));
        }
        self.usage.queues = self.usage.queues.saturating_sub(1);
        self.usage.messages = self.usage.messages.saturating_sub(queue.messages);
        self.usage.bytes = self.usage.bytes.saturating_sub(queue.bytes);
    }

    pub(super) fn purge(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        name: &QueueName,
    ) {
        let Some((id, token)) = self.find(connection, token, name) else { return };
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let stay = queue.in_hand.len() as u64;
        let purged = queue.messages.saturating_sub(stay);
        if queue.durable && purged > 0 {
            if self.ledger.failed() {
                return self.refuse(Lsn(0), connection, token, Refusal::StorageUnavailable);
            }
            let in_hand = queue.in_hand.iter();
            let except = in_hand.map(|(seq, held)| (*seq, held.message.size())).collect();
            let up_to = queue.last_seq();
            let record = Record::Purged { queue: id, up_to, except };
            queue.last_lsn = self.ledger.append(vec![record]);
        }
        let stay_bytes: u64 = queue.in_hand.values().map(|held| held.message.size()).sum();
        let gone_bytes = queue.bytes.saturating_sub(stay_bytes);
        queue.forget_many(&mut self.usage, purged, gone_bytes);
        for (seq, delayed) in &queue.delayed {
            self.timers.stop_delay(delayed.until, id, *seq);
        }
        queue.purge();
        let after = queue.last_lsn;
        self.cancel_window_load(id);
        self.answer(after, connection, token, Reply::Purged(purged));
        self.stir(id);
    }
}
