//! `queue.declare`, `queue.delete` and `queue.purge`. Called by the tenant.

use super::connection::{Consumer, Seat};
use super::keys::Keys;
use super::queue::{Queue, Recording};
use super::room::CHAIN_MAX;
use super::tenant::Tenant;
use super::timer::Timer;
use super::{CancelReason, Record, Refusal, Reply};
use crate::types::{
    ConnectionId, Level, Lsn, QueueId, QueueName, QueueSettings, RequestToken, SettingError,
    SettingsPatch, Storage,
};

impl Tenant {
    /// What a queue of that name gets where nothing is named. Defaults that would lead its dead
    /// letters back to it do not count.
    pub(super) fn settings_of_new(&self, name: &QueueName) -> QueueSettings {
        let mut settings = self.limits.defaults.apply(&QueueSettings::default());
        settings.exclusive = false;
        if self.check_settings(name, &settings).is_err() {
            (settings.dead_letter, settings.max_attempts) = (None, None);
        }
        settings
    }

    /// Whether a queue of that name can have these settings.
    fn check_settings(
        &self,
        name: &QueueName,
        settings: &QueueSettings,
    ) -> Result<(), SettingError> {
        let Some(first) = &settings.dead_letter else {
            let counts = settings.max_attempts.is_some();
            return if counts { Err(SettingError::AttemptsWithoutDeadLetter) } else { Ok(()) };
        };
        let mut next = Some(first);
        let mut behind = 0;
        while let Some(target) = next {
            behind += 1;
            if target == name {
                return Err(SettingError::DeadLetterCircle);
            }
            if behind + self.chain_before(name, CHAIN_MAX) > CHAIN_MAX {
                return Err(SettingError::DeadLetterChain);
            }
            let queue = self.names.get(target).and_then(|id| self.queues.get(id));
            next = queue.and_then(|queue| queue.settings.dead_letter.as_ref());
        }
        Ok(())
    }

    /// The longest chain of queues whose dead letters end up in the queue of that name, as far as
    /// `most`.
    fn chain_before(&self, name: &QueueName, most: usize) -> usize {
        if most == 0 {
            return 0;
        }
        let sources = self.dead_letter_sources.get(name).into_iter().flatten();
        let sources = sources.filter_map(|id| self.queues.get(id));
        sources.map(|queue| 1 + self.chain_before(&queue.name, most - 1)).max().unwrap_or(0)
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
            Some(id) => self.redeclare(connection, *id, patch, update),
            None => self.declare_new(connection, name, patch),
        };
        let (after, result) = declared;
        self.ledger.reply(after, connection, token, result);
    }

    fn declare_new(
        &mut self,
        connection_id: ConnectionId,
        name: QueueName,
        patch: &SettingsPatch,
    ) -> (Lsn, Result<Reply, Refusal>) {
        let mut settings = patch.apply(&self.settings_of_new(&name));
        if settings.exclusive {
            if patch.storage.is_some() {
                let error = SettingError::ExclusiveWithStorage;
                return (Lsn(0), Err(Refusal::SettingInvalid(error)));
            }
            settings.storage = Storage::Memory;
        }
        if let Err(error) = self.check_settings(&name, &settings) {
            return (Lsn(0), Err(Refusal::SettingInvalid(error)));
        }
        let records_needed = self.config.level != Level::Memory && !settings.exclusive;
        if records_needed && (self.ledger.failed() || self.full) {
            return (Lsn(0), Err(Refusal::StorageUnavailable));
        }
        if let Err(refusal) = self.admit_queue() {
            return (self.last_delete, Err(refusal));
        }
        let mut records = Vec::new();
        let exclusive = settings.exclusive;
        let id = self.create(name, settings, &mut records);
        let created = if records.is_empty() { Lsn(0) } else { self.ledger.append(records) };
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.note_created(created);
            queue.owner = exclusive.then_some(connection_id);
        }
        if let Some(connection) = self.connections.get_mut(&connection_id)
            && exclusive
        {
            connection.exclusive.insert(id);
        }
        (created, Ok(Reply::Declared { created: true }))
    }

    fn redeclare(
        &mut self,
        connection: ConnectionId,
        id: QueueId,
        patch: &SettingsPatch,
        update: bool,
    ) -> (Lsn, Result<Reply, Refusal>) {
        let Some(queue) = self.queues.get(&id) else {
            return (self.last_delete, Err(Refusal::NoSuchQueue));
        };
        let after = queue.last_lsn.max(queue.shaped);
        if queue.owner.is_some_and(|owner| owner != connection) {
            return (after, Err(Refusal::Exclusive));
        }
        let differences = patch.differences(&queue.settings);
        if differences.is_empty() {
            return (after, Ok(Reply::Declared { created: false }));
        }
        if !update {
            return (after, Err(Refusal::QueueExists { differences }));
        }
        for setting in ["storage", "exclusive"] {
            if differences.contains(&setting) {
                return (after, Err(Refusal::SettingFixed { setting }));
            }
        }
        let settings = patch.apply(&queue.settings);
        if let Err(error) = self.check_settings(&queue.name, &settings) {
            return (after, Err(Refusal::SettingInvalid(error)));
        }
        if queue.is_recorded() && self.ledger.failed() {
            return (Lsn(0), Err(Refusal::StorageUnavailable));
        }
        (self.change_settings(id, settings), Ok(Reply::Declared { created: false }))
    }

    /// Puts other settings in force. Answers the LSN of the change.
    fn change_settings(&mut self, id: QueueId, settings: QueueSettings) -> Lsn {
        let shaped = self.reshape(id, Record::Changed { queue: id, settings: settings.clone() });
        let Some(queue) = self.queues.get_mut(&id) else { return self.last_delete };
        queue.last_lsn = queue.last_lsn.max(shaped);
        if settings.dedup_window_ms == 0 {
            queue.keys = Keys::new(self.config.hash_key);
        }
        queue.contents.set_ttl(settings.ttl_ms);
        if settings.expires_ms != queue.settings.expires_ms {
            queue.last_used = self.now.monotonic;
        }
        let before = std::mem::replace(&mut queue.settings, settings);
        let after = queue.last_lsn;
        self.note_source(id, before.dead_letter.as_ref(), false);
        let then = self.queues.get(&id).and_then(|queue| queue.settings.dead_letter.clone());
        self.note_source(id, then.as_ref(), true);
        self.arm_unused(id);
        self.stir(id);
        after
    }

    /// Writes a change of what a queue is, if the store knows of the queue. Answers the LSN that must
    /// be durable before that is told.
    pub(super) fn reshape(&mut self, id: QueueId, record: Record) -> Lsn {
        let Some(queue) = self.queues.get_mut(&id) else { return self.last_delete };
        if queue.is_recorded() {
            queue.shaped = self.ledger.append(vec![record]);
        }
        queue.shaped
    }

    /// Notes that a queue's dead letters go to another one, or do not any more.
    fn note_source(&mut self, id: QueueId, target: Option<&QueueName>, there: bool) {
        let Some(target) = target else { return };
        let sources = self.dead_letter_sources.entry(target.clone()).or_default();
        if there {
            sources.insert(id);
        } else {
            sources.remove(&id);
            if sources.is_empty() {
                self.dead_letter_sources.remove(target);
            }
        }
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
        let recording = self.recording(&settings);
        if recording != Recording::Nothing {
            let (name, settings) = (name.clone(), settings.clone());
            records.push(Record::Created { queue: id, name, settings });
        }
        let queue = Queue::new(id, name, settings, recording, &self.config);
        self.take_in(queue);
        id
    }

    /// Takes a queue in that was made or recovered.
    pub(super) fn take_in(&mut self, mut queue: Queue) {
        let id = queue.id;
        queue.last_used = self.now.monotonic;
        self.usage.queues += 1;
        self.names.insert(queue.name.clone(), id);
        self.note_source(id, queue.settings.dead_letter.clone().as_ref(), true);
        self.queues.insert(id, Box::new(queue));
        self.arm_unused(id);
    }

    pub(super) fn delete(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        name: &QueueName,
        if_empty: bool,
    ) {
        let Some(id) = self.find(connection, &token, name) else { return };
        let Some(queue) = self.queues.get(&id) else { return };
        if if_empty && queue.messages > 0 {
            return self.refuse(queue.last_lsn, connection, token, Refusal::QueueNotEmpty);
        }
        if queue.is_recorded() && self.ledger.failed() {
            return self.refuse(Lsn(0), connection, token, Refusal::StorageUnavailable);
        }
        let after = self.remove_queue(id);
        self.answer(after, connection, token, Reply::Done);
    }

    /// Deletes a queue; the store, if it knows of it, takes records. Answers the LSN of that.
    pub(super) fn remove_queue(&mut self, id: QueueId) -> Lsn {
        let Some(queue) = self.queues.get(&id) else { return self.last_delete };
        let name = queue.name.clone();
        let mut after = queue.last_lsn;
        if queue.is_recorded() {
            after = self.ledger.append(vec![Record::Deleted { queue: id }]);
            self.last_delete = after;
        }
        self.dismiss_consumers(id, after);
        self.drop_loads(id, after);
        self.names.remove(&name);
        self.trie.remove_queue(id, &name);
        if let Some(queue) = self.queues.remove(&id) {
            self.dismantle(*queue);
        }
        after
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
        for held in queue.contents.in_hand.values() {
            self.timers.stop(held.deadline, Timer::Lease(held.connection, held.tag));
            if let Some(connection) = self.connections.get_mut(&held.connection) {
                connection.tags.remove(&held.tag);
            }
        }
        self.timers.move_wall(queue.id, queue.armed, None);
        if let Some(at) = queue.reload_at {
            self.timers.stop(at, Timer::Reload(queue.id));
        }
        if let Some(at) = queue.unused_at {
            self.timers.stop(at, Timer::Unused(queue.id));
        }
        if let Some(connection) = queue.owner.and_then(|id| self.connections.get_mut(&id)) {
            connection.exclusive.remove(&queue.id);
        }
        self.note_source(queue.id, queue.settings.dead_letter.as_ref(), false);
        self.grieving.remove(&queue.id);
        self.usage.queues = self.usage.queues.saturating_sub(1);
        self.usage.messages = self.usage.messages.saturating_sub(queue.messages);
        self.usage.bytes = self.usage.bytes.saturating_sub(queue.bytes);
        for connection in queue.stalled {
            self.resume_connection(connection);
        }
    }

    pub(super) fn purge(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        name: &QueueName,
    ) {
        let Some(id) = self.find(connection, &token, name) else { return };
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let in_hand = queue.contents.in_hand.iter();
        let except: Vec<_> = in_hand.map(|(seq, held)| (*seq, held.message.size())).collect();
        let purged = queue.messages.saturating_sub(except.len() as u64);
        let stay_bytes: u64 = except.iter().map(|(_, bytes)| bytes).sum();
        if queue.is_durable() && purged > 0 {
            if self.ledger.failed() {
                return self.refuse(Lsn(0), connection, token, Refusal::StorageUnavailable);
            }
            let up_to = queue.last_seq();
            let record = Record::Purged { queue: id, up_to, except };
            queue.last_lsn = self.ledger.append(vec![record]);
        }
        let gone_bytes = queue.bytes.saturating_sub(stay_bytes);
        queue.forget_many(&mut self.usage, purged, gone_bytes);
        queue.contents.purge(self.now.wall_ms);
        let after = queue.last_lsn;
        self.cancel_loads(id);
        self.answer(after, connection, token, Reply::Purged(purged));
        self.stir(id);
        self.resume(id);
    }
}
