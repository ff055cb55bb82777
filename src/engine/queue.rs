//! One queue: its messages by where they are (ready, delayed, in hand), its consumers in the order
//! of their turns, its counters. Knows no connection's state and makes no effects; called by the
//! tenant's requests and by delivery.

use std::collections::{BTreeMap, BTreeSet};

use super::connection::{Consumer, Turn};
use super::lane::{Entry, Head, Lane};
use super::reservation::SeqBlocks;
use super::waiting::Ledger;
use super::{LoadTicket, QueueCounters, QueueInfo, Window};
use crate::types::{
    ConnectionId, Lsn, Monotonic, QueueId, QueueName, QueueSettings, Seq, SharedMessage, Tag,
    WallMs,
};

/// A message that a consumer has.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// Deliveries so far, this one included.
    pub(super) attempt: u32,
    pub(super) message: SharedMessage,
    pub(super) connection: ConnectionId,
    pub(super) tag: Tag,
    /// The end of its lease.
    pub(super) deadline: Monotonic,
}

/// A message that waits for its time.
#[derive(Debug, Clone)]
pub(super) struct Delayed {
    pub(super) until: WallMs,
    pub(super) attempt: u32,
    /// `None`: in the store only.
    pub(super) message: Option<SharedMessage>,
}

/// What is known of the message with the lowest `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oldest {
    PublishedAt(WallMs),
    /// It is in the store only, at this place or after it.
    Unread(Seq),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: QueueId,
    pub(super) name: QueueName,
    pub(super) settings: QueueSettings,
    /// Whether its messages are in the store.
    pub(super) durable: bool,
    pub(super) next_seq: Seq,
    /// Blocks of sequence numbers, where the store is durable and the messages are not.
    pub(super) blocks: SeqBlocks,
    /// The batch that made it.
    pub(super) created: Lsn,
    /// The last batch that made or changed it.
    pub(super) shaped: Lsn,
    /// The last batch with a record of it.
    pub(super) last_lsn: Lsn,
    /// Messages up to this one may be delivered, as far as durability goes.
    pub(super) visible_to: Seq,
    /// Messages beyond `visible_to`.
    pub(super) hidden: u64,
    /// The last number given when the queue was last purged.
    purged_to: Seq,
    /// All messages.
    pub(super) messages: u64,
    /// Bytes of these.
    pub(super) bytes: u64,
    pub(super) lane: Lane,
    pub(super) delayed: BTreeMap<Seq, Delayed>,
    pub(super) in_hand: BTreeMap<Seq, Held>,
    /// All consumers.
    pub(super) consumers: BTreeSet<Consumer>,
    /// Pulls that are answered as soon as there is nothing to be had.
    pub(super) impatient: BTreeSet<Consumer>,
    ring: BTreeMap<Turn, Consumer>,
    last_turn: Turn,
    pub(super) counters: QueueCounters,
    /// The load under way, and whether the last one failed and waits to be asked again.
    pub(super) load: Option<LoadTicket>,
    pub(super) reload_at: Option<Monotonic>,
    /// What the store said of the first message at or after a `seq`: when it was published.
    pub(super) read_oldest: Option<(Seq, WallMs)>,
    /// Whether it is noted for delivery at the end of the input.
    pub(super) stirred: bool,
}

impl Queue {
    /// A new, empty queue.
    pub(super) fn new(
        id: QueueId,
        name: QueueName,
        settings: QueueSettings,
        durable: bool,
        window: Window,
    ) -> Self {
        let unbounded = Window { messages: usize::MAX, bytes: u64::MAX };
        Self {
            id,
            name,
            settings,
            durable,
            next_seq: Seq(1),
            blocks: SeqBlocks::default(),
            created: Lsn(0),
            shaped: Lsn(0),
            last_lsn: Lsn(0),
            visible_to: Seq(0),
            hidden: 0,
            purged_to: Seq(0),
            messages: 0,
            bytes: 0,
            lane: Lane::new(if durable { window } else { unbounded }),
            delayed: BTreeMap::new(),
            in_hand: BTreeMap::new(),
            consumers: BTreeSet::new(),
            impatient: BTreeSet::new(),
            ring: BTreeMap::new(),
            last_turn: Turn(0),
            counters: QueueCounters::default(),
            load: None,
            reload_at: None,
            read_oldest: None,
            stirred: false,
        }
    }

    /// Notes the batch that made it.
    pub(super) fn note_created(&mut self, lsn: Lsn) {
        (self.created, self.shaped, self.last_lsn) = (lsn, lsn, lsn);
    }

    /// What there is to deliver.
    pub(super) fn head(&self) -> Head {
        self.lane.head(self.visible_to)
    }

    /// Messages that could be delivered now.
    pub(super) fn ready(&self) -> u64 {
        self.lane.len().saturating_sub(self.hidden)
    }

    /// The last number given.
    pub(super) fn last_seq(&self) -> Seq {
        Seq(self.next_seq.0 - 1)
    }

    /// Puts a consumer at the end of the turns, unless it has one.
    pub(super) fn join(&mut self, consumer: Consumer, turn: &mut Option<Turn>) {
        if turn.is_none() {
            self.last_turn = Turn(self.last_turn.0 + 1);
            self.ring.insert(self.last_turn, consumer);
            *turn = Some(self.last_turn);
        }
    }

    /// Takes a consumer out of the turns.
    pub(super) fn step_out(&mut self, turn: &mut Option<Turn>) {
        if let Some(turn) = turn.take() {
            self.ring.remove(&turn);
        }
    }

    /// The consumer whose turn it is.
    pub(super) fn first_turn(&self) -> Option<Consumer> {
        self.ring.first_key_value().map(|(_, consumer)| *consumer)
    }

    /// The consumers in the order of their turns; for the invariants.
    pub(super) fn turns(&self) -> impl Iterator<Item = (&Turn, &Consumer)> {
        self.ring.iter()
    }

    /// Whether some consumer could take a message.
    pub(super) fn has_turns(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Takes a consumer out of everything.
    pub(super) fn part(&mut self, consumer: Consumer, turn: &mut Option<Turn>) {
        self.step_out(turn);
        self.consumers.remove(&consumer);
        self.impatient.remove(&consumer);
    }

    /// Messages up to `seq`, the next `messages` of those hidden, may be delivered.
    pub(super) fn show(&mut self, seq: Seq, messages: u64) {
        self.visible_to = self.visible_to.max(seq);
        if seq > self.purged_to {
            debug_assert!(self.hidden >= messages);
            self.hidden = self.hidden.saturating_sub(messages);
        }
    }

    /// Drops what is ready or delayed.
    pub(super) fn purge(&mut self) {
        self.lane.clear();
        self.delayed.clear();
        self.purged_to = self.last_seq();
        self.hidden = 0;
    }

    /// Whether `count` numbers are left that need no further record.
    pub(super) fn has_numbers(&self, count: u64, ledger: &Ledger) -> bool {
        let last = Seq(self.last_seq().0.saturating_add(count));
        ledger.is_durable(self.last_lsn) && self.blocks.durable_to(ledger) >= last
    }

    /// Takes a message that was in hand back to its place.
    pub(super) fn put_back(&mut self, seq: Seq, attempt: u32, message: SharedMessage) {
        self.lane.put_back(Entry { seq, attempt, message });
    }

    /// A message whose delay is over becomes ready.
    pub(super) fn wake(&mut self, seq: Seq) -> bool {
        let Some(delayed) = self.delayed.remove(&seq) else { return false };
        match delayed.message {
            Some(message) => self.put_back(seq, delayed.attempt, message),
            None => self.lane.put_back_unloaded(seq, delayed.attempt),
        }
        true
    }

    /// The first message at or after `from`, wherever it is: its place and, if it is in memory, its
    /// deliveries so far and itself.
    pub(super) fn next_from(&self, from: Seq) -> Option<(Seq, Option<(u32, &SharedMessage)>)> {
        let in_hand = self.in_hand.range(from..).next();
        let delayed = self.delayed.range(from..).next();
        let ready = self.lane.next_from(from);
        [
            in_hand.map(|(seq, held)| (*seq, Some((held.attempt, &held.message)))),
            delayed.map(|(seq, delayed)| {
                (*seq, delayed.message.as_ref().map(|message| (delayed.attempt, message)))
            }),
            ready.map(|(seq, entry)| (seq, entry.map(|entry| (entry.attempt, &entry.message)))),
        ]
        .into_iter()
        .flatten()
        // A place in the paged range may be that of a message that is known otherwise.
        .min_by_key(|(seq, known)| (*seq, known.is_none()))
    }

    /// Whether the message is in the queue, and its deliveries so far, if they are known.
    pub(super) fn attempt_of(&self, seq: Seq) -> Option<Option<u32>> {
        if let Some(held) = self.in_hand.get(&seq) {
            return Some(Some(held.attempt));
        }
        if let Some(delayed) = self.delayed.get(&seq) {
            return Some(Some(delayed.attempt));
        }
        self.lane.attempt_of(seq)
    }

    /// When the message with the lowest `seq` was published, or, where only the store knows, from
    /// which `seq` on to look for it there.
    pub(super) fn oldest(&self) -> Option<Oldest> {
        let (seq, known) = self.next_from(Seq(0))?;
        match (known, self.read_oldest) {
            (Some((_, message)), _) => Some(Oldest::PublishedAt(message.published_at)),
            (None, Some((read, at))) if read == seq => Some(Oldest::PublishedAt(at)),
            (None, _) => Some(Oldest::Unread(seq)),
        }
    }

    /// What `queue.info` says.
    pub(super) fn info(&self, now: WallMs) -> QueueInfo {
        QueueInfo {
            queue: self.name.clone(),
            settings: self.settings.clone(),
            ready: self.ready(),
            delayed: self.delayed.len() as u64,
            in_hand: self.in_hand.len() as u64,
            bytes: self.bytes,
            consumers: self.consumers.len() as u64,
            oldest_age_ms: match self.oldest() {
                Some(Oldest::PublishedAt(at)) => now.saturating_sub(at),
                Some(Oldest::Unread(_)) | None => 0,
            },
            counters: self.counters,
        }
    }
}
