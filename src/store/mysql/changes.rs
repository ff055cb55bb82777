//! What a group of batches adds up to: what is published and removed in the same group is never
//! written. Knows no database; called by the writer of a tenant.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::engine::{Batch, Record};
use crate::store::codec;
use crate::types::{
    Fence, Lsn, Message, Pattern, Priority, QueueId, QueueName, QueueSettings, Seq, TenantId,
    WallMs,
};

/// Why the server must know of a message one by one; the column `known`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known {
    /// It need not.
    Plain = 0,
    /// It has a group, a delay or a TTL, or was returned.
    Marked = 1,
    /// Only that a consumer refused it for good.
    Refused = 2,
}

/// A row of `messages`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) priority: u8,
    pub(super) bytes: u64,
    pub(super) known: Known,
    pub(super) attempt: u32,
    pub(super) not_before: WallMs,
    pub(super) published_at: WallMs,
    pub(super) expires_at: Option<WallMs>,
    pub(super) group: Option<Box<str>>,
    pub(super) rejected: Option<Box<str>>,
    pub(super) content: Vec<u8>,
}

/// What is added to a queue: negative where more goes than comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) messages: i64,
    pub(super) bytes: i64,
}

/// What becomes of a message that is written already.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes.
    Removed,
    /// It was returned, or refused for good with a detail, or both.
    Changed { attempt: u32, until: WallMs, returned: bool, refused: Option<Box<str>> },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) lsn: Lsn,
    pub(super) fence: Fence,
    pub(super) created: BTreeMap<QueueId, (QueueName, QueueSettings)>,
    pub(super) changed: BTreeMap<QueueId, QueueSettings>,
    pub(super) deleted: BTreeSet<QueueId>,
    pub(super) next_seq: BTreeMap<QueueId, Seq>,
    pub(super) published: BTreeMap<(QueueId, Seq), Row>,
    /// What is added to the queues' sizes; those of queues with a purge are counted anew instead.
    pub(super) sizes: BTreeMap<(QueueId, Priority), Size>,
    pub(super) fates: BTreeMap<(QueueId, Seq), Fate>,
    /// Up to where, and what stays, ascending.
    pub(super) purged: BTreeMap<QueueId, (Seq, Vec<Seq>)>,
    pub(super) bound: BTreeMap<(QueueId, Pattern), bool>,
    pub(super) keys: BTreeMap<(QueueId, Seq), (Box<str>, WallMs)>,
    /// Up to when queues have forgotten keys.
    pub(super) keys_after: BTreeMap<QueueId, Seq>,
    /// Queues that forget their keys.
    pub(super) forgetful: BTreeSet<QueueId>,
    /// Rows and bytes, so that a group ends in time.
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// What the writer remembers of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct QueueFacts {
    pub(super) dedup_window_ms: u64,
    /// Keys of messages up to this one are forgotten.
    pub(super) keys_after: Seq,
    pub(super) purged_to: Seq,
    /// Of what is purged, what stays.
    pub(super) kept: Vec<Seq>,
}

/// What the writer remembers of a tenant.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) queues: BTreeMap<QueueId, QueueFacts>,
    /// When the messages were published whose keys are remembered, in the order of their publishing.
    pub(super) keys: BTreeMap<QueueId, VecDeque<(Seq, WallMs)>>,
}

impl Memory {
    /// A message with a key comes into a queue: keys that are older than the window are forgotten.
    /// Answers up to which message; `None`: the queue remembers none.
    fn remember(&mut self, queue: QueueId, seq: Seq, at: WallMs) -> Option<Seq> {
        let facts = self.queues.get_mut(&queue).filter(|of| of.dedup_window_ms > 0)?;
        let keys = self.keys.entry(queue).or_default();
        keys.push_back((seq, at));
        let old = |(_, of): &mut (Seq, WallMs)| at.saturating_sub(*of) >= facts.dedup_window_ms;
        while let Some((seq, _)) = keys.pop_front_if(old) {
            facts.keys_after = seq;
        }
        Some(facts.keys_after)
    }
}

impl QueueFacts {
    /// Whether a message of the queue is there still, as far as purges go.
    pub(super) fn shows(&self, seq: Seq) -> bool {
        seq > self.purged_to || self.kept.binary_search(&seq).is_ok()
    }
}

impl Changes {
    /// Adds a batch; `memory` has all changes up to here in it.
    pub(super) fn add(&mut self, tenant: TenantId, batch: Batch, memory: &mut Memory) {
        self.lsn = batch.lsn;
        for record in batch.records {
            self.rows += 1;
            self.take(tenant, record, memory);
        }
    }

    fn take(&mut self, tenant: TenantId, record: Record, memory: &mut Memory) {
        match record {
            Record::Created { queue, name, settings } => {
                let dedup_window_ms = settings.dedup_window_ms;
                memory
                    .queues
                    .insert(queue, QueueFacts { dedup_window_ms, ..QueueFacts::default() });
                self.created.insert(queue, (name, settings));
                self.next_seq.insert(queue, Seq(1));
            }
            Record::Changed { queue, settings } => self.change(queue, settings, memory),
            Record::Deleted { queue } => self.delete(queue, memory),
            Record::Published { queue, seq, ref message } => {
                self.reach(queue, seq);
                if let Some(key) = message.key()
                    && let Some(after) = memory.remember(queue, seq, message.published_at)
                {
                    self.keys.insert((queue, seq), (key.into(), message.published_at));
                    self.keys_after.insert(queue, after);
                }
                self.add_size(queue, message.priority(), 1, message.size());
                let row = row(tenant, &record, message);
                self.bytes += row.content.len();
                self.published.insert((queue, seq), row);
            }
            Record::Removed { queue, seq, bytes, priority } => {
                self.add_size(queue, priority, -1, bytes);
                if self.published.remove(&(queue, seq)).is_none() {
                    self.fates.insert((queue, seq), Fate::Removed);
                }
            }
            Record::Delayed { queue, seq, until, attempt, .. } => {
                self.put_back(queue, seq, attempt, until);
            }
            Record::Rejected { queue, seq, attempt, detail } => {
                self.refuse(queue, seq, attempt, detail);
            }
            Record::Bound { queue, pattern } => {
                self.bound.insert((queue, pattern), true);
            }
            Record::Unbound { queue, pattern } => {
                self.bound.insert((queue, pattern), false);
            }
            Record::Purged { queue, up_to, except } => {
                let except = except.into_iter().map(|(seq, _)| seq).collect();
                self.purge(queue, up_to, except, memory);
            }
            Record::SeqReserved { queue, up_to } => self.reach(queue, up_to),
            Record::FenceReserved { up_to } => self.fence = self.fence.max(up_to),
        }
    }

    fn change(&mut self, queue: QueueId, settings: QueueSettings, memory: &mut Memory) {
        if settings.dedup_window_ms == 0 {
            self.forgetful.insert(queue);
            memory.keys.remove(&queue);
            self.keys.retain(|(of, _), _| *of != queue);
        }
        memory.queues.entry(queue).or_default().dedup_window_ms = settings.dedup_window_ms;
        match self.created.get_mut(&queue) {
            Some((_, created)) => *created = settings,
            None => _ = self.changed.insert(queue, settings),
        }
    }

    fn delete(&mut self, queue: QueueId, memory: &mut Memory) {
        memory.queues.remove(&queue);
        memory.keys.remove(&queue);
        self.published.retain(|(of, _), _| *of != queue);
        self.fates.retain(|(of, _), _| *of != queue);
        self.sizes.retain(|(of, _), _| *of != queue);
        self.keys.retain(|(of, _), _| *of != queue);
        self.bound.retain(|(of, _), _| *of != queue);
        self.purged.remove(&queue);
        self.changed.remove(&queue);
        self.forgetful.remove(&queue);
        // The row stays for its number, which is never used again.
        self.deleted.insert(queue);
    }

    fn purge(&mut self, queue: QueueId, up_to: Seq, kept: Vec<Seq>, memory: &mut Memory) {
        let stays = |of: &QueueId, seq: &Seq| {
            *of != queue || *seq > up_to || kept.binary_search(seq).is_ok()
        };
        self.published.retain(|(of, seq), _| stays(of, seq));
        self.fates.retain(|(of, seq), _| stays(of, seq));
        self.reach(queue, up_to);
        let facts = memory.queues.entry(queue).or_default();
        (facts.purged_to, facts.kept) = (up_to, kept.clone());
        self.purged.insert(queue, (up_to, kept));
    }

    fn put_back(&mut self, queue: QueueId, seq: Seq, attempt: u32, until: WallMs) {
        match self.published.get_mut(&(queue, seq)) {
            Some(row) => {
                (row.attempt, row.not_before, row.known) = (attempt, until, Known::Marked);
            }
            None => {
                let refused = self.fate_before(queue, seq).1;
                let fate = Fate::Changed { attempt, until, returned: true, refused };
                self.fates.insert((queue, seq), fate);
            }
        }
    }

    fn refuse(&mut self, queue: QueueId, seq: Seq, attempt: u32, detail: Box<str>) {
        match self.published.get_mut(&(queue, seq)) {
            Some(row) => {
                (row.attempt, row.not_before) = (attempt, 0);
                row.rejected = Some(detail);
                if row.known == Known::Plain {
                    row.known = Known::Refused;
                }
            }
            None => {
                let returned = self.fate_before(queue, seq).0;
                let fate = Fate::Changed { attempt, until: 0, returned, refused: Some(detail) };
                self.fates.insert((queue, seq), fate);
            }
        }
    }

    /// Whether a message was returned in this group already, and how it was refused.
    fn fate_before(&mut self, queue: QueueId, seq: Seq) -> (bool, Option<Box<str>>) {
        match self.fates.remove(&(queue, seq)) {
            Some(Fate::Changed { returned, refused, .. }) => (returned, refused),
            Some(Fate::Removed) | None => (false, None),
        }
    }

    fn add_size(&mut self, queue: QueueId, priority: Priority, messages: i64, bytes: u64) {
        let size = self.sizes.entry((queue, priority)).or_default();
        size.messages += messages;
        size.bytes += messages * bytes.cast_signed();
    }

    /// The next `seq` of the queue is greater than this one.
    fn reach(&mut self, queue: QueueId, seq: Seq) {
        let next = self.next_seq.entry(queue).or_default();
        *next = (*next).max(seq.next());
    }

    /// Queues of which a writer remembers something else now.
    pub(super) fn touched(&self) -> impl Iterator<Item = QueueId> {
        let created = self.created.keys().chain(self.changed.keys()).chain(self.purged.keys());
        created.chain(&self.deleted).copied()
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.lsn == Lsn(0)
    }
}

fn row(tenant: TenantId, record: &Record, message: &Message) -> Row {
    let mut content = Vec::with_capacity(message.content.len() + 64);
    codec::put_record(&mut content, codec::salt(tenant), record);
    let (not_before, expires_at) = (message.not_before(), message.expires_at());
    let group = message.group().map(Into::into);
    let marked = not_before > 0 || expires_at.is_some() || group.is_some();
    Row {
        priority: message.priority().number(),
        bytes: message.size(),
        known: if marked { Known::Marked } else { Known::Plain },
        attempt: 0,
        not_before,
        published_at: message.published_at,
        expires_at,
        group,
        rejected: None,
        content,
    }
}
