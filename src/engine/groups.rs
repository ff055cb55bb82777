//! The groups of one queue: at most one message of each is ready, delayed or in hand, its first;
//! the others wait here behind it. Called by a queue's contents.

use std::num::NonZeroU32;

use slab::Slab;

use super::chunk_set::ChunkSet;
use super::name_index::NameIndex;
use super::seq_map::SeqMap;
use super::{HashKey, Window};
use crate::types::{Priority, Seq, SharedMessage, WallMs};

/// A group within its queue, as long as it has members: then it may be another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupId(NonZeroU32);

impl GroupId {
    fn new(number: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(number))
    }

    fn number(self) -> u32 {
        self.0.get() - 1
    }
}

/// A message that waits behind another one of its group.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) attempt: u32,
    pub(super) priority: Priority,
    pub(super) not_before: WallMs,
}

#[derive(Debug)]
struct Group {
    name: Box<str>,
    /// Of its name.
    hash: u64,
    /// The first of `members`.
    first: Seq,
    /// All of its messages that are not dead.
    members: ChunkSet<Seq>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Groups {
    window: Window,
    index: NameIndex,
    /// By their [`GroupId`].
    groups: Slab<Group>,
    waiting: SeqMap<Waiting>,
    /// Of `waiting`, the contents that are in memory, and their bytes. There may be millions more.
    loaded: SeqMap<SharedMessage>,
    loaded_bytes: u64,
}

impl Groups {
    /// No groups; the content of messages that wait is kept as far as `window` allows.
    pub(super) fn new(window: Window, hash_key: HashKey) -> Self {
        Self {
            window,
            index: NameIndex::new(hash_key),
            groups: Slab::new(),
            waiting: SeqMap::default(),
            loaded: SeqMap::default(),
            loaded_bytes: 0,
        }
    }

    /// Takes a message into the group of that name. Answers the group, and whether the message is
    /// the first of it.
    pub(super) fn join(&mut self, name: &str, seq: Seq) -> (GroupId, bool) {
        let hash = self.index.hash(name);
        let groups = &mut self.groups;
        let is = |number| groups.get(number as usize).is_some_and(|group| *group.name == *name);
        let Some(number) = self.index.find(hash, is) else {
            let mut members = ChunkSet::default();
            members.insert(seq);
            let number = groups.insert(Group { name: name.into(), hash, first: seq, members });
            let number = u32::try_from(number).expect("2³² groups fit in no memory");
            self.index.insert(hash, number, |of| groups[of as usize].hash);
            return (GroupId::new(number), true);
        };
        let group = &mut groups[number as usize];
        group.members.insert(seq);
        group.first = group.first.min(seq);
        (GroupId::new(number), group.first == seq)
    }

    /// A message waits behind the first of its group; its content is kept if there is room for it,
    /// or if it must be.
    pub(super) fn wait(
        &mut self,
        seq: Seq,
        waiting: Waiting,
        message: Option<SharedMessage>,
        needs_content: bool,
    ) {
        self.waiting.insert(seq, waiting);
        if let Some(message) = message
            && (needs_content || self.has_room(message.size()))
        {
            self.keep(seq, message);
        }
    }

    fn keep(&mut self, seq: Seq, message: SharedMessage) {
        self.loaded_bytes += message.size();
        self.loaded.insert(seq, message);
    }

    /// The message leaves its group for good. Answers the one whose turn it is now, if the one
    /// that left was the first.
    pub(super) fn leave(
        &mut self,
        id: GroupId,
        seq: Seq,
    ) -> Option<(Seq, Waiting, Option<SharedMessage>)> {
        let group = self.groups.get_mut(id.number() as usize)?;
        group.members.remove(seq);
        let Some(next) = group.members.first() else {
            let group = self.groups.remove(id.number() as usize);
            self.index.remove(group.hash, id.number());
            return None;
        };
        group.first = next;
        // None if it is not waiting: then it was the first before, too.
        self.take(next).map(|(waiting, message)| (next, waiting, message))
    }

    /// Takes a message out of the waiting; it stays a member of its group.
    pub(super) fn take(&mut self, seq: Seq) -> Option<(Waiting, Option<SharedMessage>)> {
        let waiting = self.waiting.remove(seq)?;
        let message = self.loaded.remove(seq);
        self.loaded_bytes -= message.as_ref().map_or(0, |message| message.size());
        Some((waiting, message))
    }

    /// Keeps the content of a message that waits, if there is room for it.
    pub(super) fn offer(&mut self, seq: Seq, message: &SharedMessage) {
        let waits = || self.waiting.get(seq).is_some() && self.loaded.get(seq).is_none();
        if self.has_room(message.size()) && waits() {
            self.keep(seq, message.clone());
        }
    }

    /// The content of a message that waits, if it is in memory.
    pub(super) fn content_of(&self, seq: Seq) -> Option<&SharedMessage> {
        self.loaded.get(seq)
    }

    /// The messages that wait.
    pub(super) fn waiting(&self) -> &SeqMap<Waiting> {
        &self.waiting
    }

    /// The first message of a group: the one that the others wait for.
    pub(super) fn first_of(&self, id: GroupId) -> Option<Seq> {
        self.get(id).map(|group| group.first)
    }

    /// The group's name.
    pub(super) fn name_of(&self, id: GroupId) -> &str {
        self.get(id).map_or("", |group| &group.name)
    }

    /// Members of all groups.
    pub(super) fn members(&self) -> usize {
        self.groups.iter().map(|(_, group)| group.members.len()).sum()
    }

    fn get(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id.number() as usize)
    }

    fn has_room(&self, size: u64) -> bool {
        self.loaded.len() < self.window.messages
            && self.loaded_bytes.saturating_add(size) <= self.window.bytes
    }
}
