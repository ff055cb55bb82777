//! What batches add up to, told as plainly as can be: the reference for stores. Tests fold batches
//! into an image, start engines from it and answer their loads with it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Batch, KnownMessage, Load, Record, Recovered, RecoveredQueue, StoredMessage};
use crate::types::{Fence, Lsn, Pattern, Priority, QueueId, QueueName, QueueSettings, Seq, WallMs};

/// A tenant's durable state.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Image {
    pub(crate) lsn: Lsn,
    pub(crate) fence: Fence,
    pub(crate) queue_id_max: QueueId,
    pub(crate) queues: BTreeMap<QueueId, QueueImage>,
}

/// A queue's durable state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueueImage {
    pub(crate) name: QueueName,
    pub(crate) settings: QueueSettings,
    pub(crate) next_seq: Seq,
    pub(crate) messages: BTreeMap<Seq, StoredMessage>,
    /// Messages that were returned.
    pub(crate) returned: BTreeSet<Seq>,
    /// What consumers said of messages that they refused for good.
    pub(crate) rejected: BTreeMap<Seq, Box<str>>,
    /// Keys with their message and its time, in the order of their publishing.
    pub(crate) keys: Vec<(Box<str>, Seq, WallMs)>,
    pub(crate) bindings: BTreeSet<Pattern>,
}

impl Image {
    /// Adds the next batch.
    ///
    /// # Panics
    ///
    /// If it is not the next one, or if a record of it cannot be true.
    pub(crate) fn apply(&mut self, batch: &Batch) {
        assert_eq!(batch.lsn, self.lsn.next(), "batches come without gaps");
        assert!(!batch.records.is_empty(), "a batch has records");
        self.lsn = batch.lsn;
        for record in &batch.records {
            self.apply_record(record);
        }
    }

    /// Adds one record, which a store never does alone.
    pub(crate) fn apply_record(&mut self, record: &Record) {
        match record {
            Record::Created { queue, name, settings } => {
                assert!(*queue > self.queue_id_max, "a queue's number is never used twice");
                assert!(self.queues.values().all(|other| other.name != *name));
                self.queue_id_max = *queue;
                let (name, settings) = (name.clone(), settings.clone());
                let image = QueueImage {
                    name,
                    settings,
                    next_seq: Seq(1),
                    messages: BTreeMap::new(),
                    returned: BTreeSet::new(),
                    rejected: BTreeMap::new(),
                    keys: Vec::new(),
                    bindings: BTreeSet::new(),
                };
                self.queues.insert(*queue, image);
            }
            Record::Changed { queue, settings } => {
                let queue = self.queue(*queue);
                queue.settings = settings.clone();
                if settings.dedup_window_ms == 0 {
                    queue.keys.clear();
                }
            }
            Record::Deleted { queue } => {
                self.queues.remove(queue).expect("a queue that is deleted exists");
            }
            Record::Published { queue, seq, message } => {
                let queue = self.queue(*queue);
                assert!(*seq >= queue.next_seq, "a seq is never used twice");
                queue.next_seq = seq.next();
                if queue.settings.dedup_window_ms > 0
                    && let Some(key) = message.key()
                {
                    queue.keys.push((key.into(), *seq, message.published_at));
                    queue.forget_keys(message.published_at);
                }
                let (attempt, not_before) = (0, message.not_before());
                let message = message.clone();
                let stored = StoredMessage { seq: *seq, attempt, not_before, message };
                queue.messages.insert(*seq, stored);
            }
            Record::Removed { .. }
            | Record::Delayed { .. }
            | Record::Rejected { .. }
            | Record::Purged { .. } => self.apply_to_messages(record),
            Record::Bound { queue, pattern } => {
                assert!(self.queue(*queue).bindings.insert(pattern.clone()), "it is a new one");
            }
            Record::Unbound { queue, pattern } => {
                assert!(self.queue(*queue).bindings.remove(pattern), "there is one");
            }
            Record::SeqReserved { queue, up_to } => {
                let queue = self.queue(*queue);
                assert!(up_to.next() > queue.next_seq, "a reservation reserves something");
                queue.next_seq = up_to.next();
            }
            Record::FenceReserved { up_to } => {
                assert!(*up_to > self.fence, "a reservation reserves something");
                self.fence = *up_to;
            }
        }
    }

    /// A record about messages that are there.
    fn apply_to_messages(&mut self, record: &Record) {
        match record {
            Record::Removed { queue, seq, bytes, priority } => {
                self.queue(*queue).rejected.remove(seq);
                self.queue(*queue).returned.remove(seq);
                let removed = self.queue(*queue).messages.remove(seq);
                let removed = removed.expect("a message that is removed exists");
                assert_eq!(removed.message.size(), *bytes);
                assert_eq!(removed.message.priority(), *priority);
            }
            Record::Delayed { queue, seq, until, attempt, published_at } => {
                self.queue(*queue).returned.insert(*seq);
                let stored = self.queue(*queue).messages.get_mut(seq);
                let stored = stored.expect("a message that is delayed exists");
                assert_eq!(stored.message.published_at, *published_at);
                (stored.not_before, stored.attempt) = (*until, *attempt);
            }
            Record::Rejected { queue, seq, attempt, detail } => {
                let queue = self.queue(*queue);
                let stored = queue.messages.get_mut(seq).expect("a rejected message exists");
                (stored.attempt, stored.not_before) = (*attempt, 0);
                queue.rejected.insert(*seq, detail.clone());
            }
            Record::Purged { queue, up_to, except } => {
                assert!(except.is_sorted());
                let kept = |seq: &Seq| except.iter().find(|(kept, _)| kept == seq);
                self.queue(*queue).rejected.retain(|seq, _| kept(seq).is_some());
                self.queue(*queue).returned.retain(|seq| kept(seq).is_some());
                self.queue(*queue).messages.retain(|seq, stored| match kept(seq) {
                    Some((_, bytes)) => stored.message.size() == *bytes,
                    None => seq > up_to,
                });
            }
            _ => unreachable!("it is not about messages: {record:?}"),
        }
    }

    fn queue(&mut self, id: QueueId) -> &mut QueueImage {
        self.queues.get_mut(&id).expect("a record is of a queue that exists")
    }

    /// What an engine starts from.
    pub(crate) fn recovered(&self) -> Recovered {
        Recovered {
            lsn: self.lsn,
            fence: self.fence,
            queue_id_max: self.queue_id_max,
            queues: self.queues.iter().map(|(id, queue)| queue.recovered(*id)).collect(),
        }
    }

    /// What a load gives.
    pub(crate) fn load(&self, load: &Load) -> Vec<StoredMessage> {
        let Some(queue) = self.queues.get(&load.queue) else { return Vec::new() };
        let mut bytes = 0;
        let mut loaded = Vec::new();
        let range = queue.messages.range(load.from_seq..=load.to_seq).map(|(_, stored)| stored);
        let wanted = |stored: &&StoredMessage| {
            load.priority.is_none_or(|priority| stored.message.priority() == priority)
        };
        for stored in range.filter(wanted) {
            bytes += stored.message.size();
            let full = loaded.len() >= load.messages_max || bytes > load.bytes_max;
            if full && !loaded.is_empty() {
                break;
            }
            loaded.push(stored.clone());
        }
        loaded
    }
}

impl QueueImage {
    /// Forgets the first keys, as far as they had left the window at the time `now`.
    fn forget_keys(&mut self, now: WallMs) {
        let window = self.settings.dedup_window_ms;
        let old = |(_, _, at): &&(Box<str>, Seq, WallMs)| now.saturating_sub(*at) >= window;
        let old = self.keys.iter().take_while(old).count();
        self.keys.drain(..old);
    }

    fn known(&self, stored: &StoredMessage) -> Option<KnownMessage> {
        let StoredMessage { seq, attempt, not_before, message } = stored;
        let rejected = self.rejected.get(seq).cloned();
        let (expires_at, group) = (message.expires_at(), message.group().map(Into::into));
        let marked = message.not_before() > 0 || expires_at.is_some() || group.is_some();
        let at = marked || self.returned.contains(seq);
        let plain = !at && *attempt == 0 && *not_before == 0;
        (!plain || rejected.is_some()).then(|| KnownMessage {
            seq: *seq,
            priority: message.priority(),
            attempt: *attempt,
            not_before: *not_before,
            published_at: at.then_some(message.published_at),
            expires_at,
            group,
            rejected,
        })
    }

    fn recovered(&self, id: QueueId) -> RecoveredQueue {
        let mut plain: BTreeMap<Priority, u64> = BTreeMap::new();
        let mut known = Vec::new();
        for stored in self.messages.values() {
            match self.known(stored) {
                Some(message) => known.push(message),
                None => *plain.entry(stored.message.priority()).or_default() += 1,
            }
        }
        RecoveredQueue {
            id,
            name: self.name.clone(),
            settings: self.settings.clone(),
            next_seq: self.next_seq,
            messages: self.messages.len() as u64,
            bytes: self.messages.values().map(|stored| stored.message.size()).sum(),
            known,
            plain: plain.into_iter().collect(),
            keys: self.keys.clone(),
            bindings: self.bindings.iter().cloned().collect(),
        }
    }
}
