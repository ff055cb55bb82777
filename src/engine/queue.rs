//! One queue: its messages, its consumers in the order of their turns, its keys and its counters.
//! Knows no connection's state and makes no effects; called by the tenant's requests and by
//! delivery.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::connection::{Consumer, Turn};
use super::contents::Contents;
use super::keys::Keys;
use super::lane::Entry;
use super::reservation::SeqBlocks;
use super::waiting::Ledger;
use super::{Config, DeadReason, LoadTicket, QueueCounters, QueueInfo, Usage};
use crate::types::{
    ConnectionId, Lsn, Message, Monotonic, QueueId, QueueName, QueueSettings, Seq, WallMs,
};

/// What is known of the message with the lowest `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oldest {
    PublishedAt(WallMs),
    /// It is in the store only, at this place or after it.
    Unread(Seq),
}

/// What the store is told of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recording {
    /// Nothing: the store keeps nothing, or the queue ends with its connection.
    Nothing,
    /// That it is there, and its settings.
    Shell,
    /// Its messages, too.
    All,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: QueueId,
    pub(super) name: QueueName,
    pub(super) settings: QueueSettings,
    pub(super) recording: Recording,
    /// The connection that alone may use it.
    pub(super) owner: Option<ConnectionId>,
    pub(super) next_seq: Seq,
    /// Blocks of sequence numbers, where the store is durable and the messages are not.
    pub(super) blocks: SeqBlocks,
    /// The batch that made it.
    pub(super) created: Lsn,
    /// The last batch that made or changed it, or its bindings.
    pub(super) shaped: Lsn,
    /// The last batch with a record of it, or with which its last messages became visible.
    pub(super) last_lsn: Lsn,
    /// All messages.
    pub(super) messages: u64,
    /// Bytes of these.
    pub(super) bytes: u64,
    pub(super) contents: Contents,
    pub(super) keys: Keys,
    /// All consumers.
    pub(super) consumers: BTreeSet<Consumer>,
    /// Pulls that are answered as soon as there is nothing to be had.
    pub(super) impatient: BTreeSet<Consumer>,
    ring: BTreeMap<Turn, Consumer>,
    last_turn: Turn,
    pub(super) counters: QueueCounters,
    /// When it was last used, for `expires_ms`, and when that is looked at next.
    pub(super) last_used: Monotonic,
    pub(super) unused_at: Option<Monotonic>,
    /// When something of it is due on the wall clock, as the timers know it.
    pub(super) armed: Option<WallMs>,
    /// When the oldest ready message exceeds the queue's TTL, as far as that is known.
    pub(super) age_alarm: Option<WallMs>,
    /// The load under way for what comes next, and whether the last one failed and waits to be
    /// asked again.
    pub(super) load: Option<LoadTicket>,
    pub(super) reload_at: Option<Monotonic>,
    /// The load under way for dead messages, and when one that failed is asked again.
    pub(super) dead_load: Option<LoadTicket>,
    /// Messages whose removal was not durable when the load under way began, or the next one will:
    /// it may give them still.
    pub(super) gone: VecDeque<(Lsn, Seq)>,
    /// Whether its first messages are to be loaded, to make room.
    pub(super) wanted: bool,
    /// Connections whose first request waits for what is loaded.
    pub(super) stalled: BTreeSet<ConnectionId>,
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
        recording: Recording,
        config: &Config,
    ) -> Self {
        let mut contents =
            Contents::new(recording == Recording::All, config.window, config.hash_key);
        contents.set_ttl(settings.ttl_ms);
        Self {
            id,
            name,
            settings,
            recording,
            owner: None,
            next_seq: Seq(1),
            blocks: SeqBlocks::default(),
            created: Lsn(0),
            shaped: Lsn(0),
            last_lsn: Lsn(0),
            messages: 0,
            bytes: 0,
            contents,
            keys: Keys::new(config.hash_key),
            consumers: BTreeSet::new(),
            impatient: BTreeSet::new(),
            ring: BTreeMap::new(),
            last_turn: Turn(0),
            counters: QueueCounters::default(),
            last_used: Monotonic::default(),
            unused_at: None,
            armed: None,
            age_alarm: None,
            load: None,
            reload_at: None,
            dead_load: None,
            gone: VecDeque::new(),
            wanted: false,
            stalled: BTreeSet::new(),
            read_oldest: None,
            stirred: false,
        }
    }

    /// Whether its messages are in the store.
    pub(super) fn is_durable(&self) -> bool {
        self.recording == Recording::All
    }

    /// Whether the store knows of it.
    pub(super) fn is_recorded(&self) -> bool {
        self.recording != Recording::Nothing
    }

    /// Notes the batch that made it.
    pub(super) fn note_created(&mut self, lsn: Lsn) {
        (self.created, self.shaped, self.last_lsn) = (lsn, lsn, lsn);
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
    pub(super) fn part(&mut self, consumer: Consumer, turn: &mut Option<Turn>, now: Monotonic) {
        self.step_out(turn);
        self.consumers.remove(&consumer);
        self.impatient.remove(&consumer);
        self.last_used = now;
    }

    /// Whether messages must be loaded although nobody consumes.
    pub(super) fn needs_front(&self) -> bool {
        self.wanted || !self.stalled.is_empty() || self.settings.ttl_ms.is_some()
    }

    /// Why a message must not be delivered, if it must not.
    pub(super) fn fate(&self, entry: &Entry, now: WallMs) -> Option<DeadReason> {
        if self.has_expired(&entry.message, now) {
            return Some(DeadReason::Expired);
        }
        let attempts_max = self.settings.max_attempts?;
        (u64::from(entry.attempt) >= attempts_max).then_some(DeadReason::MaxAttempts)
    }

    /// Whether the message's TTL, or the queue's, has ended.
    pub(super) fn has_expired(&self, message: &Message, now: WallMs) -> bool {
        let end = self.settings.ttl_ms.map(|ttl| message.published_at.saturating_add(ttl));
        let ends = [end, message.expires_at()];
        ends.into_iter().flatten().any(|end| end <= now)
    }

    /// Whether `count` numbers are left that need no further record.
    pub(super) fn has_numbers(&self, count: u64, ledger: &Ledger) -> bool {
        let last = Seq(self.last_seq().0.saturating_add(count));
        ledger.is_durable(self.last_lsn) && self.blocks.durable_to(ledger) >= last
    }

    /// A message is removed with the batch of that LSN.
    pub(super) fn note_gone(&mut self, seq: Seq, lsn: Lsn, ledger: &Ledger) {
        self.forget_gone(ledger);
        if self.load.is_some() || self.contents.is_paged(seq) {
            self.gone.push_back((lsn, seq));
        }
    }

    /// Unless a load is under way, no load will give what is durably removed.
    pub(super) fn forget_gone(&mut self, ledger: &Ledger) {
        let over = |(lsn, _): &mut (Lsn, Seq)| ledger.is_durable(*lsn);
        while self.load.is_none() && self.gone.pop_front_if(over).is_some() {}
    }

    /// One message of that size is gone.
    pub(super) fn forget(&mut self, usage: &mut Usage, size: u64) {
        debug_assert!(self.messages > 0 && usage.messages > 0);
        self.forget_many(usage, 1, size);
    }

    /// So many messages of so many bytes are gone.
    pub(super) fn forget_many(&mut self, usage: &mut Usage, messages: u64, bytes: u64) {
        self.read_oldest = None;
        self.messages = self.messages.saturating_sub(messages);
        usage.messages = usage.messages.saturating_sub(messages);
        // The bytes of messages that the store lost are not known: the last message takes them.
        let bytes = if self.messages == 0 { self.bytes } else { bytes };
        self.bytes = self.bytes.saturating_sub(bytes);
        usage.bytes = usage.bytes.saturating_sub(bytes);
    }

    /// When the message with the lowest `seq` was published, or, where only the store knows, from
    /// which `seq` on to look for it there.
    pub(super) fn oldest(&self) -> Option<Oldest> {
        let (seq, known) = self.contents.next_from(Seq(0))?;
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
            ready: self.contents.ready(),
            delayed: self.contents.delayed(),
            in_hand: self.contents.in_hand.len() as u64,
            dead_waiting: self.contents.dead.len() as u64,
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
