//! The messages of one queue by where they are: ready in the lane of their priority, delayed,
//! waiting behind another one of their group, in hand, or dead. Knows what of them is due on the
//! wall clock. Makes no effects; called by the queue and by the tenant's requests.
//!
//! A message that has a group, a delay or a TTL of its own, or that was delivered before, is known
//! one by one; of all others a lane may know only how many there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::chunk_set::ChunkSet;
use super::groups::{GroupId, Groups, Waiting};
use super::lane::{Entry, Head, Lane, Missing};
use super::seq_map::SeqMap;
use super::{DeadReason, HashKey, KnownMessage, StoredMessage, Window};
use crate::types::{ConnectionId, Monotonic, Priority, Seq, SharedMessage, Tag, WallMs};

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
#[derive(Debug, Clone, Copy)]
pub(super) struct Delayed {
    pub(super) until: WallMs,
    pub(super) attempt: u32,
    pub(super) priority: Priority,
}

/// A message that is to leave the queue without an ack.
#[derive(Debug, Clone)]
pub(super) struct Dead {
    pub(super) reason: DeadReason,
    /// What the consumer said of it.
    pub(super) detail: Option<Box<str>>,
    pub(super) attempt: u32,
    /// `None`: in the store only.
    pub(super) message: Option<SharedMessage>,
}

/// What a message has for as long as it is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    published_at: WallMs,
    /// The end of its own TTL, or [`NEVER`]: there may be millions of marks.
    ends_at: WallMs,
    group: Option<GroupId>,
}

/// What has no TTL of its own ends then.
const NEVER: WallMs = WallMs::MAX;

impl Mark {
    /// When it expires, by its own TTL or by its queue's.
    fn expires_at(&self, queue_ttl: Option<u64>) -> Option<WallMs> {
        let by_queue = queue_ttl.map_or(NEVER, |ttl| self.published_at.saturating_add(ttl));
        Some(self.ends_at.min(by_queue)).filter(|at| *at < NEVER)
    }
}

/// What a new or recovered message may have, for its mark.
struct Traits<'a> {
    published_at: WallMs,
    ends_at: Option<WallMs>,
    group: Option<&'a str>,
}

/// A message without its place.
#[derive(Debug, Clone)]
pub(super) struct Loose {
    pub(super) attempt: u32,
    /// `None`: in the store only.
    pub(super) message: Option<SharedMessage>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Contents {
    window: Window,
    /// Whether the contents of messages are in the store, too.
    stored: bool,
    /// The queue's `ttl_ms`.
    ttl: Option<u64>,
    /// Messages up to this one may be delivered, as far as durability goes.
    visible_to: Seq,
    /// Ready messages beyond `visible_to`, ascending.
    hidden: VecDeque<Seq>,
    lanes: BTreeMap<Reverse<Priority>, Lane>,
    delayed: SeqMap<Delayed>,
    /// Contents of delayed messages that are not in the store.
    kept: BTreeMap<Seq, SharedMessage>,
    pub(super) groups: Groups,
    marks: SeqMap<Mark>,
    /// When delayed messages become ready, and when TTLs end.
    alarms: ChunkSet<(WallMs, Seq)>,
    /// Messages whose TTL ended before they were visible.
    postponed: Vec<Seq>,
    pub(super) in_hand: BTreeMap<Seq, Held>,
    pub(super) dead: BTreeMap<Seq, Dead>,
}

impl Contents {
    /// No messages. Of those that are `stored` at most `window` is kept in memory.
    pub(super) fn new(stored: bool, window: Window, hash_key: HashKey) -> Self {
        let unbounded = Window { messages: usize::MAX, bytes: u64::MAX };
        let window = if stored { window } else { unbounded };
        Self {
            window,
            stored,
            ttl: None,
            visible_to: Seq(0),
            hidden: VecDeque::new(),
            lanes: BTreeMap::new(),
            delayed: SeqMap::default(),
            kept: BTreeMap::new(),
            groups: Groups::new(window, hash_key),
            marks: SeqMap::default(),
            alarms: ChunkSet::default(),
            postponed: Vec::new(),
            in_hand: BTreeMap::new(),
            dead: BTreeMap::new(),
        }
    }

    /// After a restart: `messages` messages of a priority in the store, up to `to`, not known one
    /// by one.
    pub(super) fn recover(&mut self, to: Seq, priority: Priority, messages: u64) {
        self.lane(priority).recover(to, messages);
    }

    /// After a restart: a message that is known; all are visible already.
    pub(super) fn recover_known(&mut self, known: &KnownMessage, now: WallMs) {
        if let Some(detail) = &known.rejected {
            let (reason, detail) = (DeadReason::Rejected, Some(detail.clone()));
            let dead = Dead { reason, detail, attempt: known.attempt, message: None };
            self.dead.insert(known.seq, dead);
            return;
        }
        let loose = Loose { attempt: known.attempt, message: None };
        let is_first = self.mark(
            known.seq,
            known.published_at.map(|published_at| Traits {
                published_at,
                ends_at: known.expires_at,
                group: known.group.as_deref(),
            }),
        );
        self.place(known.seq, known.priority, known.not_before, loose, is_first, now);
    }

    /// Messages up to this one may be delivered.
    pub(super) fn visible_to(&self) -> Seq {
        self.visible_to
    }

    /// Messages that could be delivered now.
    pub(super) fn ready(&self) -> u64 {
        let all: u64 = self.lanes.values().map(Lane::len).sum();
        all.saturating_sub(self.hidden.len() as u64)
    }

    /// Messages that wait for their time, or behind another one of their group.
    pub(super) fn delayed(&self) -> u64 {
        (self.delayed.len() + self.groups.waiting().len()) as u64
    }

    /// Takes a new message, whose `seq` is greater than all before.
    pub(super) fn publish(&mut self, seq: Seq, message: SharedMessage, now: WallMs) {
        let priority = message.priority();
        if is_plain(&message) {
            if seq > self.visible_to {
                self.hidden.push_back(seq);
            }
            self.lane(priority).publish(Entry { seq, attempt: 0, message });
            return;
        }
        let is_first = self.mark(seq, Some(traits(&message)));
        let not_before = message.not_before();
        let loose = Loose { attempt: 0, message: Some(message) };
        self.place(seq, priority, not_before, loose, is_first, now);
    }

    /// Notes what a message has for good. Answers whether none of its group is before it.
    fn mark(&mut self, seq: Seq, traits: Option<Traits<'_>>) -> IsFirst {
        let Some(Traits { published_at, ends_at, group }) = traits else { return IsFirst(true) };
        if ends_at.is_none() && group.is_none() && self.ttl.is_none() {
            return IsFirst(true);
        }
        let joined = group.map(|name| self.groups.join(name, seq));
        let (ends_at, group) = (ends_at.unwrap_or(NEVER), joined.map(|(id, _)| id));
        let mark = Mark { published_at, ends_at, group };
        if let Some(at) = mark.expires_at(self.ttl) {
            self.alarms.insert((at, seq));
        }
        self.marks.insert(seq, mark);
        IsFirst(joined.is_none_or(|(_, is_first)| is_first))
    }

    /// Puts a message where it belongs.
    fn place(
        &mut self,
        seq: Seq,
        priority: Priority,
        not_before: WallMs,
        loose: Loose,
        IsFirst(is_first): IsFirst,
        now: WallMs,
    ) {
        let Loose { attempt, message } = loose;
        if !is_first {
            let waiting = Waiting { attempt, priority, not_before };
            return self.groups.wait(seq, waiting, message, !self.stored);
        }
        if not_before > now {
            self.delayed.insert(seq, Delayed { until: not_before, attempt, priority });
            self.alarms.insert((not_before, seq));
            if let Some(message) = message.filter(|_| !self.stored) {
                self.kept.insert(seq, message);
            }
            return;
        }
        self.hide(seq);
        match message {
            Some(message) => self.lane(priority).keep_or_leave(Entry { seq, attempt, message }),
            None => self.lane(priority).put_back_unloaded(seq, attempt),
        }
    }

    /// Notes a ready message that is not visible yet.
    fn hide(&mut self, seq: Seq) {
        if seq > self.visible_to
            && let Err(at) = self.hidden.binary_search(&seq)
        {
            self.hidden.insert(at, seq);
        }
    }

    fn lane(&mut self, priority: Priority) -> &mut Lane {
        let window = self.window;
        self.lanes.entry(Reverse(priority)).or_insert_with(|| Lane::new(window))
    }

    /// Messages up to `seq` may be delivered.
    pub(super) fn show(&mut self, seq: Seq) {
        self.visible_to = self.visible_to.max(seq);
        while self.hidden.front().is_some_and(|first| *first <= seq) {
            self.hidden.pop_front();
        }
        let marks = &self.marks;
        for seq in self.postponed.extract_if(.., |postponed| *postponed <= seq) {
            if let Some(at) = marks.get(seq).and_then(|mark| mark.expires_at(self.ttl)) {
                self.alarms.insert((at, seq));
            }
        }
    }

    /// What there is to deliver.
    pub(super) fn head(&self) -> Head {
        self.first_lane().map_or(Head::Empty, |(head, _)| head)
    }

    fn first_lane(&self) -> Option<(Head, Priority)> {
        let heads = self.lanes.iter().map(|(priority, lane)| (lane, priority.0));
        heads
            .map(|(lane, priority)| (lane.head(self.visible_to), priority))
            .find(|(head, _)| *head != Head::Empty)
    }

    /// The message that [`take`](Self::take) would give.
    pub(super) fn peek(&self) -> Option<&Entry> {
        match self.first_lane()? {
            (Head::Ready, priority) => self.lanes.get(&Reverse(priority))?.peek(),
            _ => None,
        }
    }

    /// Takes the first message to be delivered, if [`head`](Self::head) is `Ready`.
    pub(super) fn take(&mut self) -> Option<Entry> {
        match self.first_lane()? {
            (Head::Ready, priority) => self.lanes.get_mut(&Reverse(priority))?.take(),
            _ => None,
        }
    }

    /// Takes a message that was in hand back: to its place, or into the waiting for a time.
    pub(super) fn put_back(&mut self, entry: Entry, not_before: WallMs, now: WallMs) {
        let Entry { seq, attempt, message } = entry;
        let priority = message.priority();
        if not_before > now {
            if self.ttl.is_some() && self.marks.get(seq).is_none() {
                self.mark(seq, Some(traits(&message)));
            }
            let loose = Loose { attempt, message: Some(message) };
            return self.place(seq, priority, not_before, loose, IsFirst(true), now);
        }
        self.lane(priority).put_back(Entry { seq, attempt, message });
    }

    /// Takes out a message that is ready, delayed or waiting, wherever it is.
    pub(super) fn withdraw(&mut self, seq: Seq) -> Option<Loose> {
        if let Some(delayed) = self.delayed.remove(seq) {
            self.unset(delayed.until, seq);
            return Some(Loose { attempt: delayed.attempt, message: self.kept.remove(&seq) });
        }
        if let Some((waiting, message)) = self.groups.take(seq) {
            return Some(Loose { attempt: waiting.attempt, message });
        }
        let found = self.lanes.values_mut().find_map(|lane| lane.remove(seq))?;
        if let Ok(at) = self.hidden.binary_search(&seq) {
            self.hidden.remove(at);
        }
        Some(Loose { attempt: found.0, message: found.1 })
    }

    /// Forgets the time at which a delay ends, unless a TTL ends then.
    fn unset(&mut self, at: WallMs, seq: Seq) {
        if self.expires_at(seq) != Some(at) {
            self.alarms.remove((at, seq));
        }
    }

    /// The message is in the queue no more, or dead: the next one of its group has its turn.
    /// Answers whether there was something to do.
    pub(super) fn done(&mut self, seq: Seq, now: WallMs) -> bool {
        if self.marks.len() == 0 {
            return false;
        }
        let Some(mark) = self.marks.remove(seq) else { return false };
        if let Some(at) = mark.expires_at(self.ttl)
            && self.delayed.get(seq).is_none_or(|delayed| delayed.until != at)
        {
            self.alarms.remove((at, seq));
        }
        let next = mark.group.and_then(|id| self.groups.leave(id, seq));
        if let Some((next, waiting, message)) = next {
            let Waiting { attempt, priority, not_before } = waiting;
            let loose = Loose { attempt, message };
            self.place(next, priority, not_before, loose, IsFirst(true), now);
        }
        true
    }

    /// A message that was taken out is dead.
    pub(super) fn bury(&mut self, seq: Seq, dead: Dead, now: WallMs) {
        self.done(seq, now);
        self.dead.insert(seq, dead);
    }

    /// The queue has another TTL. What is not known one by one is looked at by its age; a message
    /// that was delayed before there was a TTL, when it becomes ready.
    pub(super) fn set_ttl(&mut self, ttl: Option<u64>) {
        let before = std::mem::replace(&mut self.ttl, ttl);
        for (seq, mark) in self.marks.iter() {
            let delayed = self.delayed.get(seq).map(|delayed| delayed.until);
            if let Some(at) = mark.expires_at(before).filter(|at| delayed != Some(*at)) {
                self.alarms.remove((at, seq));
            }
            if let Some(at) = mark.expires_at(ttl) {
                self.alarms.insert((at, seq));
            }
        }
    }

    /// When the message expires, if it has a mark.
    fn expires_at(&self, seq: Seq) -> Option<WallMs> {
        self.marks.get(seq).and_then(|mark| mark.expires_at(self.ttl))
    }

    /// When something is due next.
    pub(super) fn next_alarm(&self) -> Option<WallMs> {
        self.alarms.first().map(|(at, _)| at)
    }

    /// Makes ready what has waited long enough, and answers the next message whose TTL has ended;
    /// `None`: nothing more is due. Each call of `step` counts.
    pub(super) fn ring(&mut self, now: WallMs, mut step: impl FnMut() -> bool) -> Option<Seq> {
        while let Some((at, seq)) = self.alarms.first() {
            if at > now || !step() {
                return None;
            }
            self.alarms.remove((at, seq));
            if self.expires_at(seq).is_some_and(|end| end <= now) {
                if seq > self.visible_to {
                    self.postponed.push(seq);
                } else if !self.in_hand.contains_key(&seq) {
                    return Some(seq);
                }
            } else if let Some(delayed) = self.delayed.remove(seq) {
                let Delayed { attempt, priority, .. } = delayed;
                let loose = Loose { attempt, message: self.kept.remove(&seq) };
                self.place(seq, priority, 0, loose, IsFirst(true), now);
            }
        }
        None
    }

    /// The ready message with the lowest `seq` at or after `from`, whatever its priority, and its
    /// content if that is in memory.
    pub(super) fn oldest_ready(&self, from: Seq) -> Option<(Seq, Option<&Entry>)> {
        let oldest = self.lanes.values().filter_map(|lane| lane.next_from(from));
        oldest.filter(|(seq, _)| *seq <= self.visible_to).min_by_key(|(seq, _)| *seq)
    }

    /// What should be loaded now for deliveries to come.
    pub(super) fn missing(&self) -> Option<(Priority, Missing)> {
        let mut lanes = self.lanes.iter();
        lanes.find_map(|(priority, lane)| Some((priority.0, lane.missing(self.visible_to)?)))
    }

    /// Whether a load of what is in the store only may give the message of that number.
    pub(super) fn is_paged(&self, seq: Seq) -> bool {
        self.lanes.values().any(|lane| lane.is_paged(seq))
    }

    /// Takes what the store gave for [`missing`](Self::missing), but for messages that are gone since
    /// it was asked: they say how far the store has read. Answers how many turned out not to exist.
    pub(super) fn loaded(
        &mut self,
        priority: Priority,
        asked: Missing,
        messages: Vec<StoredMessage>,
        gone: &BTreeSet<Seq>,
    ) -> u64 {
        for stored in &messages {
            self.groups.offer(stored.seq, &stored.message);
        }
        let Some(lane) = self.lanes.get_mut(&Reverse(priority)) else { return 0 };
        let (in_hand, delayed, dead, marks) =
            (&self.in_hand, &self.delayed, &self.dead, &self.marks);
        let known = |stored: &StoredMessage| {
            let seq = stored.seq;
            gone.contains(&seq)
                || !is_plain(&stored.message)
                || in_hand.contains_key(&seq)
                || delayed.get(seq).is_some()
                || dead.contains_key(&seq)
                || marks.get(seq).is_some()
        };
        lane.loaded(asked, messages, known)
    }

    /// The first message at or after `from`, wherever it is: its place and, if it is in memory, its
    /// deliveries so far and itself.
    pub(super) fn next_from(&self, from: Seq) -> Option<(Seq, Option<(u32, &SharedMessage)>)> {
        let in_hand = self.in_hand.range(from..).next();
        let in_hand = in_hand.map(|(seq, held)| (*seq, Some((held.attempt, &held.message))));
        let delayed = self.delayed.next_from(from).map(|(seq, delayed)| {
            (seq, self.kept.get(&seq).map(|message| (delayed.attempt, message)))
        });
        let waiting = self.groups.waiting().next_from(from).map(|(seq, waiting)| {
            (seq, self.groups.content_of(seq).map(|message| (waiting.attempt, message)))
        });
        let dead = self.dead.range(from..).next();
        let dead =
            dead.map(|(seq, d)| (*seq, d.message.as_ref().map(|message| (d.attempt, message))));
        let ready = self.lanes.values().filter_map(|lane| lane.next_from(from));
        let ready =
            ready.map(|(seq, entry)| (seq, entry.map(|entry| (entry.attempt, &entry.message))));
        let places = [in_hand, delayed, waiting, dead].into_iter().flatten().chain(ready);
        // A place in a paged range may be that of a message that is known otherwise.
        places.min_by_key(|(seq, known)| (*seq, known.is_none()))
    }

    /// Whether a message of that priority is in the queue, and its deliveries so far, if known.
    pub(super) fn attempt_of(&self, stored: &StoredMessage) -> Option<Option<u32>> {
        let seq = stored.seq;
        if let Some(held) = self.in_hand.get(&seq) {
            return Some(Some(held.attempt));
        }
        if let Some(delayed) = self.delayed.get(seq) {
            return Some(Some(delayed.attempt));
        }
        if let Some(waiting) = self.groups.waiting().get(seq) {
            return Some(Some(waiting.attempt));
        }
        if let Some(dead) = self.dead.get(&seq) {
            return Some(Some(dead.attempt));
        }
        let lane = self.lanes.get(&Reverse(stored.message.priority()))?;
        lane.attempt_of(seq, is_plain(&stored.message))
    }

    /// Drops everything but what is in hand.
    pub(super) fn purge(&mut self, now: WallMs) {
        let gone: Vec<Seq> = self
            .marks
            .iter()
            .map(|(seq, _)| seq)
            .filter(|seq| !self.in_hand.contains_key(seq))
            .collect();
        for seq in gone {
            self.groups.take(seq);
            self.done(seq, now);
        }
        self.lanes.values_mut().for_each(Lane::clear);
        self.delayed = SeqMap::default();
        self.kept.clear();
        self.hidden.clear();
        self.postponed.clear();
        self.dead.clear();
        let in_hand = &self.in_hand;
        self.alarms.retain(|(_, seq)| in_hand.contains_key(&seq));
    }

    /// The group of a message.
    pub(super) fn group_of(&self, seq: Seq) -> Option<GroupId> {
        self.marks.get(seq)?.group
    }

    /// The first delayed message's time; for `queue.doctor`.
    pub(super) fn next_delayed(&self) -> Option<(Seq, WallMs)> {
        let delayed = self.delayed.iter().map(|(seq, delayed)| (seq, delayed.until));
        delayed.min_by_key(|(seq, until)| (*until, *seq))
    }

    /// Messages of all places; for the invariants.
    pub(super) fn len(&self) -> u64 {
        let lanes: u64 = self.lanes.values().map(Lane::len).sum();
        lanes + self.delayed() + (self.in_hand.len() + self.dead.len()) as u64
    }

    /// Panics unless everything that is kept in two places agrees.
    pub(super) fn check(&self) {
        self.lanes.values().for_each(Lane::check);
        let ready: u64 = self.lanes.values().map(Lane::len).sum();
        assert!(self.hidden.len() as u64 <= ready, "hidden messages are ready ones");
        assert!(self.hidden.iter().is_sorted());
        for (seq, delayed) in self.delayed.iter() {
            // One that expired before it was visible is looked at once it is.
            let times = [Some(delayed.until), self.expires_at(seq)];
            let armed = times.iter().flatten().any(|at| self.alarms.contains((*at, seq)));
            assert!(armed || self.postponed.contains(&seq), "a delay has its alarm");
            assert!(self.stored || self.kept.contains_key(&seq), "content is somewhere");
        }
        for (seq, mark) in self.marks.iter() {
            assert!(!self.dead.contains_key(&seq), "the dead have no marks");
            if let Some(group) = mark.group {
                let waits = self.groups.waiting().get(seq).is_some();
                let is_first = self.groups.first_of(group) == Some(seq);
                assert!(waits != is_first, "one of a group is first, the others wait");
            }
        }
        let grouped = self.marks.iter().filter(|(_, mark)| mark.group.is_some()).count();
        assert_eq!(grouped, self.groups.members(), "each member has its mark");
    }
}

fn traits(message: &SharedMessage) -> Traits<'_> {
    let (published_at, ends_at) = (message.published_at, message.expires_at());
    Traits { published_at, ends_at, group: message.group() }
}

/// Whether no other message of its group is before it.
struct IsFirst(bool);

/// Whether a lane may know of a message only that it is there.
pub(super) fn is_plain(message: &SharedMessage) -> bool {
    let Some(properties) = &message.properties else { return true };
    properties.group.is_none() && properties.delay_ms == 0 && properties.ttl_ms.is_none()
}
