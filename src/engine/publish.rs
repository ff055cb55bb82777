//! `publish`: all messages of a request, into one queue or into all that a topic reaches, or none.
//! Refuses what would break a limit of a queue or a quota of the tenant, and a level that cannot be
//! had. Called by the tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::keys::KEYS_MAX;
use super::queue::Queue;
use super::room::{Room, Shortage};
use super::stage::Stage;
use super::stall::Stalled;
use super::tenant::Tenant;
use super::{Destination, Refusal, Reply, Request};
use crate::types::{
    ConnectionId, Level, Lsn, Message, QueueId, QueueName, QueueSettings, Quota, RequestToken, Seq,
};

/// What a publish says besides where to and what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) batch: bool,
    pub(super) require: Option<Level>,
}

/// Copies that one publish may make.
const COPIES_MAX: usize = 100_000;

/// What becomes of one message in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    New,
    /// Its key is that of a message that was published before.
    Known(Seq),
    /// Its key is that of an earlier message of the same request.
    Repeats(usize),
}

/// One queue that gets the messages.
struct Copies {
    queue: QueueId,
    /// `None`: all are new.
    places: Option<Vec<Place>>,
}

/// Why nothing was stored.
enum Hindrance {
    Refused(Refusal),
    /// Something must be loaded first; this much room could be made.
    NotLoaded(QueueId, Room),
}

impl From<Refusal> for Hindrance {
    fn from(refusal: Refusal) -> Self {
        Hindrance::Refused(refusal)
    }
}

impl Tenant {
    pub(super) fn publish(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        to: Destination,
        terms: Terms,
        messages: Vec<Message>,
    ) -> Result<(), Stalled> {
        if let Destination::Queue { name, may_create } = &to
            && !self.names.contains_key(name)
        {
            let refused = if *may_create && self.limits.auto_create {
                self.publish_to_new(connection, &token, name.clone(), terms, messages)
            } else {
                Err(Refusal::NoSuchQueue)
            };
            if let Err(refusal) = refused {
                self.refuse(self.last_delete, connection, token, refusal);
            }
            return Ok(());
        }
        let queues = match &to {
            Destination::Queue { name, .. } => self.names.get(name).copied().into_iter().collect(),
            Destination::Topic(topic) => self.trie.matches(topic.as_str()),
        };
        match self.admit(&queues, terms.require, &messages) {
            Ok((level, copies, room)) => {
                let mut stage = Stage::at(level);
                self.make_room(&mut stage, room);
                let told = terms.require.map(|_| level);
                let reply = self.store(stage, &to, copies, messages, terms.batch, told);
                self.answer(reply.0, connection, token, reply.1);
                Ok(())
            }
            Err(Hindrance::Refused(refusal)) => {
                let last = queues.iter().filter_map(|id| self.queues.get(id)).map(|q| q.last_lsn);
                let after = last.max().unwrap_or(self.last_delete);
                self.refuse(after, connection, token, refusal);
                Ok(())
            }
            Err(Hindrance::NotLoaded(queue, room)) => {
                let mut stage = Stage::default();
                self.await_room(&mut stage, queue, room);
                self.commit(stage);
                let Terms { batch, require } = terms;
                let request = Request::Publish { to, messages, batch, require };
                Err(Stalled { queue, request: Box::new(request) })
            }
        }
    }

    /// A publish that makes its queue.
    fn publish_to_new(
        &mut self,
        connection: ConnectionId,
        token: &RequestToken,
        name: QueueName,
        terms: Terms,
        messages: Vec<Message>,
    ) -> Result<(), Refusal> {
        let settings = self.settings_of_new(&name);
        let level = self.reached(&settings, terms.require)?;
        let records = self.config.level != Level::Memory;
        if records && (self.ledger.failed() || self.full) {
            return Err(Refusal::StorageUnavailable);
        }
        self.admit_queue()?;
        let places = duplicates(None, &settings, &messages, self.now.wall_ms);
        let new = |index: &usize| places.as_ref().is_none_or(|p| p[*index] == Place::New);
        let stored = (0..messages.len()).filter(new).map(|index| messages[index].size());
        let (count, bytes) = stored.fold((0, 0), |(n, sum), size| (n + 1, sum + size));
        let messages_max = settings.max_messages.or(self.limits.queue_messages_max);
        if exceeds(0, count, messages_max) || exceeds(0, bytes, settings.max_bytes) {
            return Err(Refusal::QueueFull);
        }
        self.admit_to_quotas(count, bytes)?;
        let mut stage = Stage::at(level);
        let queue = self.stage_queue(&mut stage, name.clone(), settings);
        let to = Destination::Queue { name, may_create: true };
        let told = terms.require.map(|_| level);
        let copies = vec![Copies { queue, places }];
        let (after, reply) = self.store(stage, &to, copies, messages, terms.batch, told);
        self.answer(after, connection, token.clone(), reply);
        Ok(())
    }

    /// Whether the messages fit everywhere, the level that they reach, and what makes room.
    fn admit(
        &mut self,
        queues: &[QueueId],
        require: Option<Level>,
        messages: &[Message],
    ) -> Result<(Level, Vec<Copies>, Room), Hindrance> {
        if queues.len().saturating_mul(messages.len()) > COPIES_MAX {
            return Err(Refusal::QuotaExceeded(Quota::Copies).into());
        }
        let mut level = None;
        for queue in queues.iter().filter_map(|id| self.queues.get(id)) {
            let reached = self.reached(&queue.settings, require)?;
            level = Some(level.unwrap_or(reached).min(reached));
            if queue.is_durable() && (self.ledger.failed() || self.full) {
                return Err(Refusal::StorageUnavailable.into());
            }
        }
        // A topic that reaches nobody keeps every promise.
        let level = level.or(require).unwrap_or(self.config.level);
        let mut room = Room::default();
        let mut copies = Vec::with_capacity(queues.len());
        let (mut all, mut all_bytes) = (0, 0);
        for id in queues {
            let (copy, count, bytes) = self.admit_to_queue(&mut room, *id, messages)?;
            all += count;
            all_bytes += bytes;
            copies.push(copy);
        }
        self.admit_to_quotas(all, all_bytes)?;
        Ok((level, copies, room))
    }

    fn admit_to_queue(
        &mut self,
        room: &mut Room,
        id: QueueId,
        messages: &[Message],
    ) -> Result<(Copies, u64, u64), Hindrance> {
        let now = self.now.wall_ms;
        let Some(queue) = self.queues.get_mut(&id) else {
            return Err(Refusal::NoSuchQueue.into());
        };
        let settings = &queue.settings;
        if settings.dedup_window_ms > 0 || queue.keys.len() > 0 {
            queue.keys.forget_old(now, settings.dedup_window_ms);
        }
        let places = duplicates(Some(&**queue), &queue.settings, messages, now);
        let (mut count, mut bytes, mut keys) = (0, 0, 0);
        for (index, message) in messages.iter().enumerate() {
            if places.as_ref().is_none_or(|places| places[index] == Place::New) {
                count += 1;
                bytes += message.size();
                keys += usize::from(message.key().is_some());
            }
        }
        if queue.settings.dedup_window_ms > 0 && queue.keys.len() + keys > KEYS_MAX {
            return Err(Refusal::QuotaExceeded(Quota::Keys).into());
        }
        let out_of_numbers = !queue.is_durable()
            && queue.is_recorded()
            && self.ledger.failed()
            && !queue.has_numbers(count, &self.ledger);
        if out_of_numbers {
            return Err(Refusal::StorageUnavailable.into());
        }
        self.find_room(room, id, count, bytes)?;
        Ok((Copies { queue: id, places }, count, bytes))
    }

    /// Room in one queue, that of what has expired included.
    fn find_room(
        &mut self,
        room: &mut Room,
        id: QueueId,
        count: u64,
        bytes: u64,
    ) -> Result<(), Hindrance> {
        let Some(queue) = self.queues.get(&id) else { return Err(Refusal::NoSuchQueue.into()) };
        let (messages_max, bytes_max) = self.limits_of(queue);
        let is_full = queue.messages.saturating_add(count) > messages_max
            || queue.bytes.saturating_add(bytes) > bytes_max;
        if is_full && !room.has_victims() {
            self.expire_queue(id);
            if self.may_hide_expired(id) && count <= messages_max && bytes <= bytes_max {
                return Err(Hindrance::NotLoaded(id, Room::default()));
            }
        }
        match self.plan_room(room, id, count, bytes) {
            Ok(()) => Ok(()),
            Err(Shortage::Full) => Err(Refusal::QueueFull.into()),
            Err(Shortage::NotLoaded(queue)) => {
                Err(Hindrance::NotLoaded(queue, std::mem::take(room)))
            }
        }
    }

    fn admit_to_quotas(&self, count: u64, bytes: u64) -> Result<(), Refusal> {
        let quotas = &self.limits.quotas;
        if exceeds(self.usage.messages, count, quotas.messages) {
            return Err(Refusal::QuotaExceeded(Quota::Messages));
        }
        if exceeds(self.usage.bytes, bytes, quotas.bytes) {
            return Err(Refusal::QuotaExceeded(Quota::Bytes));
        }
        Ok(())
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
        let (level, best) = if self.makes_records(settings) {
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

    /// Puts admitted messages into their queues. Answers the reply, and the LSN that must be
    /// durable before it is told.
    fn store(
        &mut self,
        mut stage: Stage,
        to: &Destination,
        copies: Vec<Copies>,
        messages: Vec<Message>,
        batch: bool,
        level: Option<Level>,
    ) -> (Lsn, Reply) {
        let now = self.now.wall_ms;
        let count = messages.len();
        let messages: Vec<Arc<Message>> = messages
            .into_iter()
            .map(|mut message| {
                message.published_at = now;
                if let Destination::Topic(topic) = to {
                    message.properties.get_or_insert_default().topic = Some(topic.clone());
                }
                Arc::new(message)
            })
            .collect();
        let (mut seqs, mut duplicates) = (Vec::new(), Vec::new());
        let mut known = Lsn(0);
        for Copies { queue: id, places } in &copies {
            (seqs, duplicates) = (Vec::with_capacity(count), Vec::new());
            for (index, message) in messages.iter().enumerate() {
                let place = places.as_ref().map_or(Place::New, |places| places[index]);
                let seq = match place {
                    Place::New => self.stage_message(&mut stage, *id, Arc::clone(message)),
                    Place::Known(seq) => seq,
                    Place::Repeats(first) => seqs[first],
                };
                seqs.push(seq);
                if place != Place::New {
                    duplicates.push(index as u32);
                }
            }
            if let Some(queue) = self.queues.get_mut(id) {
                queue.counters.duplicates += duplicates.len() as u64;
                if let Destination::Queue { .. } = to {
                    queue.last_used = self.now.monotonic;
                }
                if !duplicates.is_empty() {
                    known = known.max(queue.last_lsn);
                }
            }
        }
        let after = self.commit(stage).max(known);
        let reply = match to {
            Destination::Queue { .. } => Reply::Published { seqs, duplicates, batch, level },
            Destination::Topic(_) => {
                Reply::Routed { routed: vec![copies.len() as u64; count], batch, level }
            }
        };
        (after, reply)
    }
}

/// What becomes of each message, where the queue looks at keys and some message has one.
fn duplicates(
    queue: Option<&Queue>,
    settings: &QueueSettings,
    messages: &[Message],
    now: u64,
) -> Option<Vec<Place>> {
    let window = settings.dedup_window_ms;
    if window == 0 || messages.iter().all(|message| message.key().is_none()) {
        return None;
    }
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    let mut places = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        places.push(match message.key() {
            None => Place::New,
            Some(key) => match queue.and_then(|queue| queue.keys.find(key, now, window)) {
                Some(seq) => Place::Known(seq),
                None if messages.len() == 1 => Place::New,
                None => match first.get(key) {
                    Some(first) => Place::Repeats(*first),
                    None => {
                        first.insert(key, index);
                        Place::New
                    }
                },
            },
        });
    }
    Some(places)
}

/// Whether `more` on top of `has` is beyond the limit, where there is one.
fn exceeds(has: u64, more: u64, limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| has.saturating_add(more) > limit)
}
