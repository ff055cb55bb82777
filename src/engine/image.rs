//! What batches add up to, told as plainly as can be: the reference for stores. Tests fold batches
//! into an image, start engines from it and answer their loads with it.

use std::collections::BTreeMap;

use super::{Batch, Load, Record, Recovered, RecoveredQueue, StoredMessage};
use crate::types::{Fence, Lsn, QueueId, QueueName, QueueSettings, Seq};

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
                let messages = BTreeMap::new();
                let image = QueueImage { name, settings, next_seq: Seq(1), messages };
                self.queues.insert(*queue, image);
            }
            Record::Changed { queue, settings } => self.queue(*queue).settings = settings.clone(),
            Record::Deleted { queue } => {
                self.queues.remove(queue).expect("a queue that is deleted exists");
            }
            Record::Published { queue, seq, message } => {
                let queue = self.queue(*queue);
                assert!(*seq >= queue.next_seq, "a seq is never used twice");
                queue.next_seq = seq.next();
                let (attempt, not_before, message) = (0, 0, message.clone());
                let stored = StoredMessage { seq: *seq, attempt, not_before, message };
                queue.messages.insert(*seq, stored);
            }
            Record::Removed { queue, seq, bytes } => {
                let removed = self.queue(*queue).messages.remove(seq);
                let removed = removed.expect("a message that is removed exists");
                assert_eq!(removed.message.size(), *bytes);
            }
            Record::Delayed { queue, seq, until, attempt } => {
                let stored = self.queue(*queue).messages.get_mut(seq);
                let stored = stored.expect("a message that is delayed exists");
                (stored.not_before, stored.attempt) = (*until, *attempt);
            }
            Record::Purged { queue, up_to, except } => {
                assert!(except.is_sorted());
                let kept = |seq: &Seq| except.iter().find(|(kept, _)| kept == seq);
                self.queue(*queue).messages.retain(|seq, stored| match kept(seq) {
                    Some((_, bytes)) => stored.message.size() == *bytes,
                    None => seq > up_to,
                });
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
        for stored in queue.messages.range(load.from_seq..=load.to_seq).map(|(_, stored)| stored) {
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
    fn recovered(&self, id: QueueId) -> RecoveredQueue {
        let known = |stored: &&StoredMessage| stored.attempt > 0 || stored.not_before > 0;
        let returned = self.messages.values().filter(known);
        RecoveredQueue {
            id,
            name: self.name.clone(),
            settings: self.settings.clone(),
            next_seq: self.next_seq,
            messages: self.messages.len() as u64,
            bytes: self.messages.values().map(|stored| stored.message.size()).sum(),
            returned: returned.map(|s| (s.seq, s.attempt, s.not_before)).collect(),
        }
    }
}
