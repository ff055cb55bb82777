//! A tenant's history, made up by a seed: batches of every kind of record, each of which can be
//! true after those before.

use std::sync::Arc;

use crate::engine::image::{Image, QueueImage};
use crate::engine::{Batch, Record};
use crate::types::{
    Content, Fence, Level, Message, Pattern, Priority, Properties, QueueId, QueueName,
    QueueSettings, Seq,
};

/// See the module.
pub(crate) struct Script {
    random: u64,
    level: Level,
    batches: Vec<Batch>,
    /// What stood before the first batch, and after each.
    images: Vec<Image>,
}

impl Script {
    pub(crate) fn new(seed: u64, level: Level) -> Self {
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { random, level, batches: Vec::new(), images: vec![Image::default()] }
    }

    /// What stands after that many batches.
    pub(crate) fn image(&self, batches: u64) -> Option<&Image> {
        self.images.get(usize::try_from(batches).ok()?)
    }

    /// All batches after the first so many never were.
    pub(super) fn rewind(&mut self, batches: u64) {
        let batches = usize::try_from(batches).unwrap();
        self.batches.truncate(batches);
        self.images.truncate(batches + 1);
    }

    /// The next batch.
    pub(crate) fn next(&mut self) -> &Batch {
        let mut image = self.images.last().unwrap().clone();
        let lsn = image.lsn.next();
        let mut records = Vec::new();
        for _ in 0..=self.below(4) {
            let record = self.record(&image);
            image.apply_record(&record);
            records.push(record);
        }
        image.lsn = lsn;
        self.images.push(image);
        self.batches.push(Batch { lsn, level: self.level, records });
        self.batches.last().unwrap()
    }

    /// Marsaglia's xorshift64: enough to mix.
    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn record(&mut self, image: &Image) -> Record {
        let queues: Vec<QueueId> = image.queues.keys().copied().collect();
        if queues.is_empty() || queues.len() < 4 && self.below(15) == 0 {
            return self.created(image);
        }
        if self.below(12) == 0 {
            return Record::FenceReserved { up_to: Fence(image.fence.0 + 1 + self.below(99)) };
        }
        let queue = queues[self.below(queues.len() as u64) as usize];
        let there = &image.queues[&queue];
        match self.below(20) {
            0 => Record::Deleted { queue },
            1 => {
                let ack_timeout_ms = 1 + self.below(1_000);
                let dedup_window_ms = self.below(3) * 400;
                let settings =
                    QueueSettings { ack_timeout_ms, dedup_window_ms, ..there.settings.clone() };
                Record::Changed { queue, settings }
            }
            2 => {
                let up_to = Seq(there.next_seq.0 + self.below(50));
                Record::SeqReserved { queue, up_to }
            }
            3 => self.purged(queue, there),
            4 => self.bound(queue, there),
            5 => self.rejected(queue, there),
            6..=7 => self.delayed(queue, there),
            8..=12 => self.removed(queue, there),
            _ => self.published(queue, there),
        }
    }

    fn created(&mut self, image: &Image) -> Record {
        let queue = QueueId(image.queue_id_max.0 + 1 + self.below(2));
        let names = ["a", "b.c", "D_-", "e"];
        let free = |name: &&&str| image.queues.values().all(|q| q.name.as_str() != **name);
        let name = QueueName::new(names.iter().find(free).unwrap()).unwrap();
        let max_messages = (self.below(2) == 0).then(|| 1 + self.below(1 << 53));
        let dead_letter = QueueName::new("dead").ok().filter(|_| self.below(2) == 0);
        let dedup_window_ms = self.below(2) * 500;
        let settings = QueueSettings {
            max_messages,
            dead_letter,
            dedup_window_ms,
            ..QueueSettings::default()
        };
        Record::Created { queue, name, settings }
    }

    fn published(&mut self, queue: QueueId, there: &QueueImage) -> Record {
        let seq = Seq(there.next_seq.0 + self.below(2));
        let text = "x".repeat(self.below(300) as usize);
        let content = match self.below(2) {
            0 => Content::Payload(text.into_bytes().into()),
            _ => Content::Body(format!("{{\"ä\":\"{text}\"}}").into()),
        };
        let properties = (self.below(3) == 0).then(|| {
            Box::new(Properties {
                headers: vec![("h".into(), "ü".into()), ("a".into(), "".into())],
                reply_to: Some(there.name.clone()),
                correlation_id: (self.below(2) == 0).then(|| "id".into()),
                topic: QueueName::new("a.topic").ok().filter(|_| self.below(3) == 0),
                key: (self.below(2) == 0).then(|| format!("key {}", self.below(9)).into()),
                group: (self.below(3) == 0).then(|| format!("group {}", self.below(9)).into()),
                delay_ms: self.below(3) * 1_000,
                ttl_ms: (self.below(3) == 0).then(|| 1 + self.below(1 << 40)),
            })
        });
        let priority = (self.below(3) == 0).then(|| Priority::new(self.below(10))).flatten();
        let published_at = 1_800_000_000_000 + self.below(1_000);
        let message = Arc::new(Message { content, properties, priority, published_at });
        Record::Published { queue, seq, message }
    }

    /// One of the queue's messages.
    fn some_seq(&mut self, there: &QueueImage) -> Option<Seq> {
        let count = there.messages.len() as u64;
        (count > 0).then(|| {
            let index = self.below(count) as usize;
            *there.messages.keys().nth(index).unwrap()
        })
    }

    fn removed(&mut self, queue: QueueId, there: &QueueImage) -> Record {
        match self.some_seq(there) {
            Some(seq) => Record::removed(queue, seq, &there.messages[&seq].message),
            None => self.published(queue, there),
        }
    }

    fn delayed(&mut self, queue: QueueId, there: &QueueImage) -> Record {
        match self.some_seq(there) {
            Some(seq) => {
                let until = 1_800_000_000_000 + self.below(1 << 40);
                let attempt = 1 + self.below(9) as u32;
                let published_at = there.messages[&seq].message.published_at;
                Record::Delayed { queue, seq, until, attempt, published_at }
            }
            None => self.published(queue, there),
        }
    }

    fn rejected(&mut self, queue: QueueId, there: &QueueImage) -> Record {
        match self.some_seq(there) {
            Some(seq) => {
                let detail = "ä".repeat(self.below(3) as usize).into();
                Record::Rejected { queue, seq, attempt: 1 + self.below(9) as u32, detail }
            }
            None => self.published(queue, there),
        }
    }

    fn bound(&mut self, queue: QueueId, there: &QueueImage) -> Record {
        let pattern = Pattern::new(["a.#", "*", "b.*.c"][self.below(3) as usize]).unwrap();
        if there.bindings.contains(&pattern) {
            Record::Unbound { queue, pattern }
        } else {
            Record::Bound { queue, pattern }
        }
    }

    fn purged(&mut self, queue: QueueId, there: &QueueImage) -> Record {
        let up_to = Seq(there.next_seq.0 - 1);
        let keep = self.below(3);
        let stays = |seq: &&Seq| keep > 0 && seq.0.is_multiple_of(keep);
        let kept = there.messages.values().filter(|stored| stays(&&stored.seq));
        let except = kept.map(|stored| (stored.seq, stored.message.size())).collect();
        Record::Purged { queue, up_to, except }
    }
}
