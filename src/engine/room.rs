//! Room for messages: whether they fit into a queue, and which of its messages make room for them
//! under `drop_oldest`, and where those go. Decides and changes nothing until it is applied. Called
//! by publishes and by moves.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::DeadReason;
use super::dead_letter::dead_copy;
use super::queue::Queue;
use super::stage::Stage;
use super::tenant::Tenant;
use crate::types::{Overflow, QueueId, Seq, SharedMessage};

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortage {
    /// The queue is full, or the one that its oldest messages would go to.
    Full,
    /// What is to make room in this queue is in the store only.
    NotLoaded(QueueId),
}

/// A message that makes room.
#[derive(Debug)]
struct Victim {
    queue: QueueId,
    seq: Seq,
    /// Its copy for the dead-letter queue.
    moved: Option<(QueueId, SharedMessage)>,
}

/// What was planned for one queue.
#[derive(Debug, Default, Clone, Copy)]
struct Planned {
    messages_in: u64,
    bytes_in: u64,
    messages_out: u64,
    bytes_out: u64,
    next_victim: Seq,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Room {
    queues: BTreeMap<QueueId, Planned>,
    victims: Vec<Victim>,
}

/// Dead-letter queues one after the other.
pub(super) const CHAIN_MAX: usize = 4;

impl Room {
    /// Whether something has to make room.
    pub(super) fn has_victims(&self) -> bool {
        !self.victims.is_empty()
    }
}

impl Tenant {
    /// Whether one more message of that size fits without any other making room.
    pub(super) fn fits(&self, id: QueueId, size: u64) -> bool {
        let Some(queue) = self.queues.get(&id) else { return false };
        let (messages_max, bytes_max) = self.limits_of(queue);
        queue.messages < messages_max && queue.bytes.saturating_add(size) <= bytes_max
    }

    /// Plans room for so many messages more.
    pub(super) fn plan_room(
        &self,
        room: &mut Room,
        id: QueueId,
        messages: u64,
        bytes: u64,
    ) -> Result<(), Shortage> {
        self.plan_room_at(room, id, messages, bytes, 0)
    }

    fn plan_room_at(
        &self,
        room: &mut Room,
        id: QueueId,
        messages: u64,
        bytes: u64,
        depth: usize,
    ) -> Result<(), Shortage> {
        let Some(queue) = self.queues.get(&id) else { return Err(Shortage::Full) };
        let (messages_max, bytes_max) = self.limits_of(queue);
        if messages_max == u64::MAX && bytes_max == u64::MAX {
            return Ok(());
        }
        let mut planned = room.queues.get(&id).copied().unwrap_or_default();
        loop {
            let has = queue.messages + planned.messages_in - planned.messages_out;
            let has_bytes = (queue.bytes + planned.bytes_in).saturating_sub(planned.bytes_out);
            let fits = has.saturating_add(messages) <= messages_max
                && has_bytes.saturating_add(bytes) <= bytes_max;
            if fits {
                break;
            }
            let can_fit = messages <= messages_max && bytes <= bytes_max && depth <= CHAIN_MAX;
            if queue.settings.overflow == Overflow::Reject || !can_fit {
                return Err(Shortage::Full);
            }
            // What is planned so far stands, also where not all is loaded.
            room.queues.insert(id, planned);
            let victim = self.next_victim(room, queue, planned.next_victim, depth)?;
            planned = room.queues.get(&id).copied().unwrap_or_default();
            planned.next_victim = victim.0.seq.next();
            planned.messages_out += 1;
            planned.bytes_out += victim.1;
            room.victims.push(victim.0);
        }
        planned.messages_in += messages;
        planned.bytes_in += bytes;
        room.queues.insert(id, planned);
        Ok(())
    }

    /// The oldest ready message behind those that were planned, and its size.
    fn next_victim(
        &self,
        room: &mut Room,
        queue: &Queue,
        from: Seq,
        depth: usize,
    ) -> Result<(Victim, u64), Shortage> {
        let (seq, entry) = queue.contents.oldest_ready(from).ok_or(Shortage::Full)?;
        let entry = entry.ok_or(Shortage::NotLoaded(queue.id))?;
        let moved = match &queue.settings.dead_letter {
            None => None,
            Some(name) => {
                let to = *self.names.get(name).ok_or(Shortage::Full)?;
                let reason = DeadReason::Overflow;
                let now = self.now.wall_ms;
                let copy = dead_copy(&entry.message, &queue.name, seq, reason, None, now);
                self.plan_room_at(room, to, 1, copy.size(), depth + 1)?;
                Some((to, Arc::new(copy)))
            }
        };
        Ok((Victim { queue: queue.id, seq, moved }, entry.message.size()))
    }

    /// What is to make room in a queue must be loaded first. What makes room is kept until all is
    /// there, unless that is more than is held in memory at a time.
    pub(super) fn await_room(&mut self, stage: &mut Stage, queue: QueueId, room: Room) {
        let Some(there) = self.queues.get_mut(&queue) else { return };
        there.wanted = true;
        if there.contents.missing().is_none() {
            self.make_room(stage, room);
        }
        self.stir(queue);
    }

    /// Makes the room that was planned.
    pub(super) fn make_room(&mut self, stage: &mut Stage, room: Room) {
        for Victim { queue: id, seq, moved } in room.victims {
            let Some(queue) = self.queues.get_mut(&id) else { continue };
            let Some(message) = queue.contents.withdraw(seq).and_then(|loose| loose.message) else {
                continue;
            };
            queue.counters.dead_lettered += u64::from(moved.is_some());
            self.stage_removal(stage, id, seq, &message);
            if let Some((to, copy)) = moved {
                self.stage_message(stage, to, copy);
            }
            self.stir(id);
        }
    }

    /// The queue's limits in force: messages and bytes.
    pub(super) fn limits_of(&self, queue: &Queue) -> (u64, u64) {
        let messages = queue.settings.max_messages.or(self.limits.queue_messages_max);
        (messages.unwrap_or(u64::MAX), queue.settings.max_bytes.unwrap_or(u64::MAX))
    }
}
