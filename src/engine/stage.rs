//! Changes of messages that take effect together: put into queues and taken out of them at once,
//! written as one batch, and visible together once that is durable. Called by publishes, by moves
//! and wherever messages end.

use std::sync::Arc;

use super::Record;
use super::queue::Recording;
use super::tenant::Tenant;
use super::waiting::Waiting;
use crate::types::{Level, Lsn, Message, QueueId, QueueName, QueueSettings, Seq, SharedMessage};

/// What has gathered.
#[derive(Debug, Default)]
pub(super) struct Stage {
    records: Vec<Record>,
    /// The level asked for; the store's own at least.
    level: Option<Level>,
    /// Queues that were made for it.
    created: Vec<QueueId>,
    /// Queues that got messages, and their last ones.
    filled: Vec<(QueueId, Seq)>,
    /// Durable queues whose messages changed.
    changed: Vec<QueueId>,
}

impl Stage {
    /// Nothing yet, to be written at that level.
    pub(super) fn at(level: Level) -> Self {
        Self { level: Some(level), ..Self::default() }
    }

    /// Notes a change of a durable queue.
    pub(super) fn change(&mut self, id: QueueId, record: Record) {
        self.records.push(record);
        if self.changed.last() != Some(&id) {
            self.changed.push(id);
        }
    }

    /// Whether nothing has gathered.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.filled.is_empty()
    }
}

impl Tenant {
    /// Makes a queue as part of what is staged.
    pub(super) fn stage_queue(
        &mut self,
        stage: &mut Stage,
        name: QueueName,
        settings: QueueSettings,
    ) -> QueueId {
        let id = self.create(name, settings, &mut stage.records);
        stage.created.push(id);
        id
    }

    /// Puts a message, for which there is room, into a queue. Answers its place.
    pub(super) fn stage_message(
        &mut self,
        stage: &mut Stage,
        id: QueueId,
        message: SharedMessage,
    ) -> Seq {
        let Some(queue) = self.queues.get_mut(&id) else { return Seq(0) };
        let seq = queue.next_seq;
        queue.next_seq = seq.next();
        let size = message.size();
        queue.messages += 1;
        queue.bytes += size;
        queue.counters.published += 1;
        self.usage.messages += 1;
        self.usage.bytes += size;
        match queue.recording {
            Recording::All => {
                let record = Record::Published { queue: id, seq, message: Arc::clone(&message) };
                stage.change(id, record);
            }
            Recording::Shell if !self.ledger.failed() => {
                if let Some(up_to) = queue.blocks.due(seq, self.config.reservation) {
                    stage.records.push(Record::SeqReserved { queue: id, up_to });
                    queue.blocks.reserved(up_to, self.ledger.next_lsn());
                }
            }
            Recording::Shell | Recording::Nothing => {}
        }
        if queue.settings.dedup_window_ms > 0
            && let Some(key) = message.key()
        {
            queue.keys.remember(key, seq, message.published_at);
        }
        queue.contents.publish(seq, message, self.now.wall_ms);
        match stage.filled.last_mut() {
            Some((of, last)) if *of == id => *last = seq,
            _ => stage.filled.push((id, seq)),
        }
        seq
    }

    /// A message that was taken out of its queue's contents is gone.
    pub(super) fn stage_removal(
        &mut self,
        stage: &mut Stage,
        id: QueueId,
        seq: Seq,
        message: &Message,
    ) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        queue.forget(&mut self.usage, message.size());
        let changed = queue.contents.done(seq, self.now.wall_ms);
        if queue.is_durable() {
            stage.change(id, Record::removed(id, seq, message));
        }
        if changed {
            self.stir(id);
        }
    }

    /// Writes what has gathered. Answers the LSN that must be durable before any of it may be told.
    pub(super) fn commit(&mut self, stage: Stage) -> Lsn {
        let Stage { records, level, created, filled, changed } = stage;
        let mut after = Lsn(0);
        if !records.is_empty() {
            let level = level.unwrap_or(self.config.level).max(self.config.level);
            let lsn = self.append(level, records);
            for id in created {
                if let Some(queue) = self.queues.get_mut(&id) {
                    queue.note_created(lsn);
                }
            }
            for id in changed {
                if let Some(queue) = self.queues.get_mut(&id) {
                    queue.last_lsn = lsn;
                    after = lsn;
                }
            }
        }
        for (id, last) in &filled {
            if let Some(queue) = self.queues.get_mut(id) {
                // A block that was reserved ahead is not waited for.
                after = after.max(queue.last_lsn).max(queue.blocks.lsn_of(*last));
            }
        }
        self.show(filled, after);
        after
    }

    /// Hands a batch to the store. What it removes may be read again until it is durable.
    pub(super) fn append(&mut self, level: Level, records: Vec<Record>) -> Lsn {
        let lsn = self.ledger.next_lsn();
        for record in &records {
            if let Record::Removed { queue, seq, .. } = record
                && let Some(queue) = self.queues.get_mut(queue)
            {
                queue.note_gone(*seq, lsn, &self.ledger);
            }
        }
        self.ledger.append_at(level, records)
    }

    /// Messages up to these are visible together, once `after` is durable.
    fn show(&mut self, filled: Vec<(QueueId, Seq)>, after: Lsn) {
        let durable = self.ledger.is_durable(after);
        for (id, last) in &filled {
            if let Some(queue) = self.queues.get_mut(id) {
                queue.last_lsn = queue.last_lsn.max(after);
                if durable {
                    queue.contents.show(*last);
                }
            }
            if durable {
                self.stir(*id);
            } else {
                self.rearm(*id);
            }
        }
        if !durable && !filled.is_empty() {
            self.ledger.wait(after, Waiting::Visible { queues: filled });
        }
    }
}
