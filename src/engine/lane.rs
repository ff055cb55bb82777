//! The ready messages of one priority of one queue, by `seq`: those in memory, those that are known
//! one by one but whose content is in the store, and the range that is in the store as a whole.
//! Called by the queue's contents; decides what to load, and refuses nothing.
//!
//! ```text
//! returned, unloaded      fresh                paged
//! 3  7  9                 12 13 14 15          16 ............ 90000
//! ```
//!
//! A message that was delivered, or that has more than its place (a group, a delay, a TTL), is known
//! one by one. Messages are delivered by `seq`, so that every plain one that was ever delivered lies
//! before `fresh`, and `fresh` before `paged`; what is known one by one may lie within `paged`, and
//! is not delivered before the range has been read past it.

use std::collections::{BTreeMap, VecDeque};

use super::{StoredMessage, Window};
use crate::types::{Seq, SharedMessage};

/// One message with its content.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) seq: Seq,
    /// Deliveries so far.
    pub(super) attempt: u32,
    pub(super) message: SharedMessage,
}

/// Messages that are in the store only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Paged {
    from: Seq,
    to: Seq,
    messages: u64,
}

/// What can be had from a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// The first message is here and may be delivered.
    Ready,
    /// There is a message to be delivered, but its content must be loaded first.
    Unloaded,
    /// There is nothing that may be delivered now.
    Empty,
}

/// What a lane wants to have loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) from: Seq,
    pub(super) to: Seq,
    pub(super) messages_max: usize,
    pub(super) bytes_max: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    window: Window,
    returned: BTreeMap<Seq, Entry>,
    unloaded: BTreeMap<Seq, u32>,
    fresh: VecDeque<Entry>,
    paged: Option<Paged>,
    /// Bytes of the messages in `returned` and `fresh`.
    loaded_bytes: u64,
}

impl Lane {
    /// An empty lane that keeps at most `window` in memory.
    pub(super) fn new(window: Window) -> Self {
        let window = Window { messages: window.messages.max(1), bytes: window.bytes.max(1) };
        Self {
            window,
            returned: BTreeMap::new(),
            unloaded: BTreeMap::new(),
            fresh: VecDeque::new(),
            paged: None,
            loaded_bytes: 0,
        }
    }

    /// After a restart: `messages` messages in the store, up to `to`, not known one by one.
    pub(super) fn recover(&mut self, to: Seq, messages: u64) {
        self.paged = (messages > 0).then_some(Paged { from: Seq(1), to, messages });
    }

    /// Whether the number is one of those of messages in the store only, or may come to be.
    pub(super) fn is_paged(&self, seq: Seq) -> bool {
        self.paged.is_some_and(|paged| paged.from <= seq)
    }

    /// Messages in the lane.
    pub(super) fn len(&self) -> u64 {
        let known = self.returned.len() + self.unloaded.len() + self.fresh.len();
        known as u64 + self.paged.map_or(0, |paged| paged.messages)
    }

    /// Takes a new message, whose `seq` is greater than all before.
    pub(super) fn publish(&mut self, entry: Entry) {
        if let Some(paged) = &mut self.paged {
            paged.to = entry.seq;
            paged.messages += 1;
        } else if self.has_room(entry.message.size()) {
            self.loaded_bytes += entry.message.size();
            self.fresh.push_back(entry);
        } else {
            self.paged = Some(Paged { from: entry.seq, to: entry.seq, messages: 1 });
        }
    }

    /// Takes a message back to its place.
    pub(super) fn put_back(&mut self, entry: Entry) {
        self.page_out(entry.message.size());
        self.keep_or_leave(entry);
    }

    /// Takes a message that is known one by one, with its content if there is room for it.
    pub(super) fn keep_or_leave(&mut self, entry: Entry) {
        if self.has_room(entry.message.size()) {
            self.keep(entry.seq, entry.attempt, entry.message);
        } else {
            self.unloaded.insert(entry.seq, entry.attempt);
        }
    }

    /// Takes out a message that is known one by one: its deliveries so far and, if it is in memory,
    /// itself.
    pub(super) fn remove(&mut self, seq: Seq) -> Option<(u32, Option<SharedMessage>)> {
        if let Some(attempt) = self.unloaded.remove(&seq) {
            return Some((attempt, None));
        }
        let entry = match self.returned.remove(&seq) {
            Some(entry) => entry,
            None => {
                let at = self.fresh.binary_search_by_key(&seq, |entry| entry.seq).ok()?;
                self.fresh.remove(at)?
            }
        };
        self.loaded_bytes = self.loaded_bytes.saturating_sub(entry.message.size());
        Some((entry.attempt, Some(entry.message)))
    }

    /// Takes a message back whose content is in the store only.
    pub(super) fn put_back_unloaded(&mut self, seq: Seq, attempt: u32) {
        self.unloaded.insert(seq, attempt);
    }

    /// What there is to deliver, if messages up to `visible_to` may be.
    pub(super) fn head(&self, visible_to: Seq) -> Head {
        let (loaded, missing) = (self.first_loaded(), self.first_missing());
        match (loaded, missing) {
            (Some(loaded), missing) if missing.is_none_or(|missing| loaded <= missing) => {
                if loaded <= visible_to { Head::Ready } else { Head::Empty }
            }
            (_, Some(missing)) if missing <= visible_to => Head::Unloaded,
            _ => Head::Empty,
        }
    }

    /// The message that [`take`](Self::take) would give, if [`head`](Self::head) is `Ready`.
    pub(super) fn peek(&self) -> Option<&Entry> {
        let returned = self.returned.first_key_value().map(|(_, entry)| entry);
        match (returned, self.fresh.front()) {
            (Some(a), Some(b)) => Some(if a.seq < b.seq { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    /// Takes the first message, if [`head`](Self::head) is `Ready`.
    pub(super) fn take(&mut self) -> Option<Entry> {
        let fresh = self.fresh.front().map(|entry| entry.seq);
        let entry = match self.returned.first_entry() {
            Some(first) if fresh.is_none_or(|fresh| *first.key() < fresh) => Some(first.remove()),
            _ => self.fresh.pop_front(),
        }?;
        self.loaded_bytes = self.loaded_bytes.saturating_sub(entry.message.size());
        Some(entry)
    }

    /// What should be loaded now: what stands in the way of a delivery, or the messages after those
    /// in memory once half of the window is free. Only messages up to `visible_to`.
    pub(super) fn missing(&self, visible_to: Seq) -> Option<Missing> {
        let first = self.first_missing().filter(|first| *first <= visible_to)?;
        let messages = self.returned.len() + self.fresh.len();
        let blocked = self.first_loaded().is_none_or(|loaded| first < loaded);
        let half_free =
            messages <= self.window.messages / 2 && self.loaded_bytes <= self.window.bytes / 2;
        if !blocked && !half_free {
            return None;
        }
        let to = match self.paged {
            Some(paged) if paged.from <= first => paged.to,
            Some(paged) => self.unloaded.range(..paged.from).next_back().map(|(seq, _)| *seq)?,
            None => *self.unloaded.last_key_value()?.0,
        };
        Some(Missing {
            from: first,
            to: to.min(visible_to),
            messages_max: self.window.messages.saturating_sub(messages).max(1),
            bytes_max: self.window.bytes.saturating_sub(self.loaded_bytes).max(1),
        })
    }

    /// Takes what the store gave for [`missing`](Self::missing). `known` says which messages are
    /// elsewhere, or would be known one by one if they were here. Answers how many messages turned out not to exist.
    pub(super) fn loaded(
        &mut self,
        asked: Missing,
        messages: Vec<StoredMessage>,
        known: impl Fn(&StoredMessage) -> bool,
    ) -> u64 {
        let mut last = None;
        let range = self.paged.filter(|paged| paged.from == asked.from);
        if range.is_none() && !self.unloaded.contains_key(&asked.from) {
            return 0;
        }
        for stored in messages {
            if stored.seq < asked.from || stored.seq > asked.to || Some(stored.seq) <= last {
                continue;
            }
            last = Some(stored.seq);
            if let Some(attempt) = self.unloaded.remove(&stored.seq) {
                self.keep(stored.seq, attempt, stored.message);
            } else if range.is_some() && !self.holds(stored.seq) && !known(&stored) {
                self.page_in(stored);
            }
        }
        let read_to = last.unwrap_or(asked.to);
        let lost = if range.is_some() { self.advance(read_to.next()) } else { 0 };
        lost + self.forget_unloaded(asked.from, read_to)
    }

    /// Removes all messages.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.window);
    }

    /// The first message at or after `from`: its place and, if it is in memory, itself. A place in
    /// the paged range may turn out to be empty.
    pub(super) fn next_from(&self, from: Seq) -> Option<(Seq, Option<&Entry>)> {
        let fresh = self.fresh.get(self.fresh.partition_point(|entry| entry.seq < from));
        let returned = self.returned.range(from..).next().map(|(_, entry)| entry);
        let unloaded = self.unloaded.range(from..).next().map(|(seq, _)| *seq);
        let paged = self.paged.filter(|paged| paged.to >= from).map(|paged| paged.from.max(from));
        let loaded = [fresh, returned].into_iter().flatten().min_by_key(|entry| entry.seq);
        let missing = [unloaded, paged].into_iter().flatten().min();
        match (loaded, missing) {
            (Some(entry), missing) if missing.is_none_or(|missing| entry.seq <= missing) => {
                Some((entry.seq, Some(entry)))
            }
            (_, missing) => missing.map(|missing| (missing, None)),
        }
    }

    /// Deliveries so far of a message that is in the lane, as far as the lane knows them. A plain
    /// one may be in the paged range.
    pub(super) fn attempt_of(&self, seq: Seq, plain: bool) -> Option<Option<u32>> {
        if let Some(attempt) = self.unloaded.get(&seq) {
            return Some(Some(*attempt));
        }
        if let Some(entry) = self.returned.get(&seq) {
            return Some(Some(entry.attempt));
        }
        if let Ok(index) = self.fresh.binary_search_by_key(&seq, |entry| entry.seq) {
            return self.fresh.get(index).map(|entry| Some(entry.attempt));
        }
        self.paged.filter(|paged| plain && (paged.from..=paged.to).contains(&seq)).map(|_| None)
    }

    fn first_loaded(&self) -> Option<Seq> {
        self.peek().map(|entry| entry.seq)
    }

    fn first_missing(&self) -> Option<Seq> {
        let unloaded = self.unloaded.first_key_value().map(|(seq, _)| *seq);
        match (unloaded, self.paged.map(|paged| paged.from)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn has_room(&self, size: u64) -> bool {
        let messages = self.returned.len() + self.fresh.len();
        messages < self.window.messages
            && (messages == 0 || self.loaded_bytes.saturating_add(size) <= self.window.bytes)
    }

    /// Whether the message is in memory.
    fn holds(&self, seq: Seq) -> bool {
        self.returned.contains_key(&seq)
            || self.fresh.back().is_some_and(|last| seq <= last.seq)
                && self.fresh.binary_search_by_key(&seq, |entry| entry.seq).is_ok()
    }

    fn keep(&mut self, seq: Seq, attempt: u32, message: SharedMessage) {
        self.loaded_bytes += message.size();
        self.returned.insert(seq, Entry { seq, attempt, message });
    }

    /// Takes the next message of the paged range; one that was not counted cannot be.
    fn page_in(&mut self, stored: StoredMessage) {
        let Some(paged) = self.paged.as_mut().filter(|paged| paged.messages > 0) else { return };
        paged.messages -= 1;
        self.loaded_bytes += stored.message.size();
        let StoredMessage { seq, attempt, message, .. } = stored;
        self.fresh.push_back(Entry { seq, attempt, message });
    }

    /// Leaves the last fresh messages to the store until there is room for one of `size`.
    fn page_out(&mut self, size: u64) {
        while !self.has_room(size) {
            let Some(entry) = self.fresh.pop_back() else { return };
            self.loaded_bytes = self.loaded_bytes.saturating_sub(entry.message.size());
            match &mut self.paged {
                Some(paged) => {
                    paged.from = entry.seq;
                    paged.messages += 1;
                }
                None => self.paged = Some(Paged { from: entry.seq, to: entry.seq, messages: 1 }),
            }
        }
    }

    /// The paged range begins at `from` now. Answers how many of its messages cannot be anywhere.
    fn advance(&mut self, from: Seq) -> u64 {
        let Some(paged) = &mut self.paged else { return 0 };
        paged.from = from;
        if paged.messages > 0 && paged.from <= paged.to {
            return 0;
        }
        self.paged.take().map_or(0, |paged| paged.messages)
    }

    /// Forgets messages known one by one that the store did not give although it read past them.
    fn forget_unloaded(&mut self, from: Seq, to: Seq) -> u64 {
        let lost: Vec<Seq> = self.unloaded.range(from..=to).map(|(seq, _)| *seq).collect();
        for seq in &lost {
            self.unloaded.remove(seq);
        }
        lost.len() as u64
    }

    /// Panics unless the lane is as the module says.
    pub(super) fn check(&self) {
        let fresh: Vec<Seq> = self.fresh.iter().map(|entry| entry.seq).collect();
        assert!(fresh.is_sorted(), "fresh messages ascend");
        if let (Some(last), Some(paged)) = (fresh.last(), self.paged) {
            assert!(*last < paged.from, "fresh messages lie before the paged range");
        }
        if let Some(paged) = self.paged {
            assert!(paged.messages > 0 && paged.from <= paged.to, "a paged range has messages");
        }
        let loaded = self.returned.values().chain(&self.fresh);
        let bytes: u64 = loaded.map(|entry| entry.message.size()).sum();
        assert_eq!(bytes, self.loaded_bytes, "bytes in memory add up");
        let known = self.returned.keys().chain(self.unloaded.keys()).chain(&fresh);
        let different: std::collections::BTreeSet<_> = known.clone().collect();
        assert_eq!(known.count(), different.len(), "no message is known twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Content, Message};

    #[test]
    fn what_is_known_where_the_paged_range_begins_can_be_had() {
        let mut lane = Lane::new(Window { messages: 4, bytes: 1 << 20 });
        lane.recover(Seq(7), 1);
        let content = Content::Payload([].into());
        let message = Message { content, properties: None, priority: None, published_at: 0 };
        lane.keep_or_leave(Entry { seq: Seq(1), attempt: 0, message: message.into() });
        assert_eq!(lane.head(Seq(7)), Head::Ready);
        assert!(lane.next_from(Seq(1)).is_some_and(|(_, entry)| entry.is_some()));
    }
}
