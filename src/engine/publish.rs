//! `publish`: all messages of a request or none. Refuses what would break a limit of the queue or a
//! quota of the tenant, and a level that cannot be had. Called by the tenant.

use std::sync::Arc;

use super::lane::Entry;
use super::queue::Queue;
use super::tenant::Tenant;
use super::waiting::Waiting;
use super::{Record, Refusal, Reply};
use crate::types::{
    ConnectionId, Level, Lsn, Message, QueueId, QueueName, QueueSettings, Quota, RequestToken, Seq,
};

/// What a publish says besides its messages.
pub(super) struct Publish {
    pub(super) queue: QueueName,
    pub(super) may_create: bool,
    pub(super) batch: bool,
    pub(super) require: Option<Level>,
}

impl Tenant {
    pub(super) fn publish(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        publish: Publish,
        messages: Vec<Message>,
    ) {
        let existing = self.names.get(&publish.queue).copied();
        if existing.is_none() && !(publish.may_create && self.limits.auto_create) {
            return self.refuse(self.last_delete, connection, token, Refusal::NoSuchQueue);
        }
        let level = match self.admit(existing, publish.require, &messages) {
            Ok(level) => level,
            Err(refusal) => {
                let queue = existing.and_then(|id| self.queues.get(&id));
                let after = queue.map_or(self.last_delete, |queue| queue.last_lsn);
                return self.refuse(after, connection, token, refusal);
            }
        };
        let mut records = Vec::new();
        let id = existing
            .unwrap_or_else(|| self.create(publish.queue, self.default_settings(), &mut records));
        let (seqs, after) = self.store(id, level, messages, records);
        let level = publish.require.map(|_| level);
        let reply = Reply::Published { seqs, batch: publish.batch, level };
        self.answer(after, connection, token, reply);
        self.stir(id);
    }

    /// Whether the messages fit, and the level that they reach.
    fn admit(
        &self,
        existing: Option<QueueId>,
        require: Option<Level>,
        messages: &[Message],
    ) -> Result<Level, Refusal> {
        let queue = existing.and_then(|id| self.queues.get(&id));
        let created;
        let settings = match queue {
            Some(queue) => &queue.settings,
            None => {
                created = self.default_settings();
                &created
            }
        };
        let level = self.reached(settings, require)?;
        let records = self.makes_records(settings.storage)
            || queue.is_none() && self.config.level != Level::Memory;
        if records && (self.ledger.failed() || self.full) {
            return Err(Refusal::StorageUnavailable);
        }
        if queue.is_none() {
            self.admit_queue()?;
        }
        let count = messages.len() as u64;
        let bytes = messages.iter().map(Message::size).sum();
        self.admit_to_queue(queue.map(|queue| &**queue), settings, count, bytes)?;
        let quotas = &self.limits.quotas;
        if exceeds(self.usage.messages, count, quotas.messages) {
            return Err(Refusal::QuotaExceeded(Quota::Messages));
        }
        if exceeds(self.usage.bytes, bytes, quotas.bytes) {
            return Err(Refusal::QuotaExceeded(Quota::Bytes));
        }
        Ok(level)
    }

    fn admit_to_queue(
        &self,
        queue: Option<&Queue>,
        settings: &QueueSettings,
        count: u64,
        bytes: u64,
    ) -> Result<(), Refusal> {
        let (has_messages, has_bytes) = queue.map_or((0, 0), |q| (q.messages, q.bytes));
        let messages_max = settings.max_messages.or(self.limits.queue_messages_max);
        let full = exceeds(has_messages, count, messages_max)
            || exceeds(has_bytes, bytes, settings.max_bytes);
        if full {
            return Err(Refusal::QueueFull);
        }
        let out_of_numbers = queue.is_some_and(|queue| {
            !queue.durable && self.ledger.failed() && !queue.has_numbers(count, &self.ledger)
        });
        if out_of_numbers { Err(Refusal::StorageUnavailable) } else { Ok(()) }
    }

    /// Whether the tenant may have one more queue.
    pub(super) fn admit_queue(&self) -> Result<(), Refusal> {
        if exceeds(self.usage.queues, 1, self.limits.quotas.queues) {
            return Err(Refusal::QuotaExceeded(Quota::Queues));
        }
        Ok(())
    }

    /// The level that a message of such a queue reaches.
    fn reached(&self, settings: &QueueSettings, require: Option<Level>) -> Result<Level, Refusal> {
        let (level, best) = if self.makes_records(settings.storage) {
            (self.config.level, self.config.level_max)
        } else {
            (Level::Memory, Level::Memory)
        };
        match require {
            Some(asked) if asked > best.max(level) => {
                Err(Refusal::LevelNotOffered { asked, best: best.max(level) })
            }
            Some(asked) if asked > level => Ok(best),
            _ => Ok(level),
        }
    }

    /// Puts admitted messages into the queue, behind `records`. Answers their places, and the LSN
    /// that must be durable before they are told.
    fn store(
        &mut self,
        id: QueueId,
        level: Level,
        messages: Vec<Message>,
        mut records: Vec<Record>,
    ) -> (Vec<Seq>, Lsn) {
        let mut seqs = Vec::with_capacity(messages.len());
        let Some(queue) = self.queues.get_mut(&id) else { return (seqs, Lsn(0)) };
        let count = messages.len() as u64;
        let last = Seq(queue.last_seq().0 + count);
        let block = (!queue.durable && self.config.level != Level::Memory && !self.ledger.failed())
            .then(|| queue.blocks.due(last, self.config.reservation))
            .flatten();
        records.extend(block.map(|up_to| Record::SeqReserved { queue: id, up_to }));
        if queue.durable {
            records.reserve(messages.len());
        }
        for mut message in messages {
            message.published_at = self.now.wall_ms;
            let size = message.size();
            let (seq, message) = (queue.next_seq, Arc::new(message));
            seqs.push(seq);
            queue.next_seq = seq.next();
            queue.bytes += size;
            self.usage.bytes += size;
            if queue.durable {
                records.push(Record::Published { queue: id, seq, message: Arc::clone(&message) });
            }
            queue.lane.publish(Entry { seq, attempt: 0, message });
        }
        queue.messages += count;
        queue.counters.published += count;
        self.usage.messages += count;
        if !records.is_empty() {
            let created = matches!(records.first(), Some(Record::Created { .. }));
            let lsn = self.ledger.append_at(level.max(self.config.level), records);
            if created {
                queue.note_created(lsn);
            }
            if let Some(up_to) = block {
                queue.blocks.reserved(up_to, lsn);
            }
            if queue.durable {
                queue.last_lsn = lsn;
            }
        }
        // A block that was reserved ahead is not waited for.
        queue.last_lsn = queue.last_lsn.max(queue.blocks.lsn_of(last));
        let after = queue.last_lsn;
        queue.hidden += count;
        if self.ledger.is_durable(after) {
            queue.show(last, count);
        } else {
            self.ledger.wait(after, Waiting::Visible { queue: id, seq: last, messages: count });
        }
        (seqs, after)
    }
}

/// Whether `more` on top of `has` is beyond the limit, where there is one.
fn exceeds(has: u64, more: u64, limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| has.saturating_add(more) > limit)
}
