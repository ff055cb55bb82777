//! Dead letters: messages that leave their queue without an ack are moved to its dead-letter queue,
//! or dropped where it has none. A move is one batch: never both, never neither. What cannot be
//! moved, because the other queue is full or is not there, waits. Called by the tenant.

use std::sync::Arc;
use std::time::Duration;

use super::DeadReason;
use super::contents::{Dead, Loose};
use super::lane::Missing;
use super::paging::Loading;
use super::room::{Room, Shortage};
use super::stage::Stage;
use super::tenant::Tenant;
use super::timer::Timer;
use crate::types::{Message, QueueId, QueueName, Seq, WallMs};

/// Moves that are written as one batch at most.
const MOVES_MAX: usize = 256;

/// Batches of one queue that are written at a time.
const BATCHES_MAX: usize = 4;

/// After so long the next ones are.
const MORE: Duration = Duration::from_millis(1);

/// Queues whose dead letters wait, that are looked at after each input.
const LOOKED_AT_MAX: usize = 16;

/// Headers that a dead letter has; those of an earlier death go.
const REASON: &str = "gmq-dead-reason";
const QUEUE: &str = "gmq-dead-queue";
const SEQ: &str = "gmq-dead-seq";
const AT: &str = "gmq-dead-at";
const DETAIL: &str = "gmq-dead-detail";

/// A dead message as its dead-letter queue gets it.
pub(super) fn dead_copy(
    message: &Message,
    queue: &QueueName,
    seq: Seq,
    reason: DeadReason,
    detail: Option<&str>,
    now: WallMs,
) -> Message {
    let mut copy = living_copy(message, now);
    let properties = copy.properties.get_or_insert_default();
    let mut add = |name: &str, value: String| properties.headers.push((name.into(), value.into()));
    add(REASON, reason.as_str().to_owned());
    add(QUEUE, queue.as_str().to_owned());
    add(SEQ, seq.to_string());
    add(AT, now.to_string());
    if let Some(detail) = detail.filter(|detail| !detail.is_empty()) {
        add(DETAIL, detail.to_owned());
    }
    copy
}

/// A message as another queue gets it: without delay and TTL of its own, and without what was told
/// of its death.
pub(super) fn living_copy(message: &Message, now: WallMs) -> Message {
    let mut copy = Message { published_at: now, ..message.clone() };
    if let Some(properties) = &mut copy.properties {
        properties.headers.retain(|(name, _)| !name.starts_with("gmq-dead-"));
        (properties.delay_ms, properties.ttl_ms) = (0, None);
    }
    copy
}

/// What became of the first dead letters.
enum Burial {
    /// So many were moved or dropped.
    Done,
    /// Their contents must be loaded first.
    NotLoaded,
    /// There is no room for them, or nothing that takes them.
    Blocked,
    /// There are none.
    Nothing,
}

impl Tenant {
    /// A message that was taken out of its queue's contents is dead.
    pub(super) fn bury(&mut self, id: QueueId, seq: Seq, loose: Loose, reason: DeadReason) {
        let now = self.now.wall_ms;
        let Some(queue) = self.queues.get_mut(&id) else { return };
        queue.counters.expired += u64::from(reason == DeadReason::Expired);
        let Loose { attempt, message } = loose;
        queue.contents.bury(seq, Dead { reason, detail: None, attempt, message }, now);
        self.stir(id);
    }

    /// Moves or drops the queue's dead letters, as far as that can be done now.
    pub(super) fn undertake(&mut self, id: QueueId) {
        for _ in 0..BATCHES_MAX {
            let Some(queue) = self.queues.get(&id) else { return };
            if queue.contents.dead.is_empty() || queue.is_durable() && self.ledger.failed() {
                self.grieving.remove(&id);
                return;
            }
            match self.bury_some(id) {
                Burial::Done => {}
                Burial::NotLoaded => return self.load_dead(id),
                Burial::Blocked => {
                    self.grieving.insert(id);
                    return;
                }
                Burial::Nothing => return,
            }
        }
        // There are more: the others have their turn first.
        self.grieving.insert(id);
        if let Some(at) = self.grief_at.take() {
            self.timers.stop(at, Timer::Grief);
        }
        self.start_grief(MORE);
    }

    fn bury_some(&mut self, id: QueueId) -> Burial {
        let Some(queue) = self.queues.get(&id) else { return Burial::Nothing };
        let target = queue.settings.dead_letter.clone();
        let to = target.as_ref().and_then(|name| self.names.get(name).copied());
        let first: Vec<Seq> = queue.contents.dead.keys().take(MOVES_MAX).copied().collect();
        let mut stage = Stage::default();
        let mut outcome = Burial::Done;
        for seq in first {
            let Some(queue) = self.queues.get(&id) else { break };
            let Some(Dead { reason, detail, message, .. }) = queue.contents.dead.get(&seq).cloned()
            else {
                break;
            };
            let Some(message) = message else {
                outcome = Burial::NotLoaded;
                break;
            };
            let gone = match (&target, to) {
                // The queue has lost its dead-letter queue: an attempt limit loses no messages.
                (None, _) if reason == DeadReason::MaxAttempts => {
                    outcome = Burial::Blocked;
                    continue;
                }
                (None, _) => {
                    self.stage_removal(&mut stage, id, seq, &message);
                    true
                }
                (Some(_), None) => false,
                (Some(_), Some(to)) => {
                    let story = (reason, detail.as_deref());
                    self.send_dead(&mut stage, (id, seq), &message, story, to)
                }
            };
            if !gone {
                outcome = Burial::Blocked;
                break;
            }
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.contents.dead.remove(&seq);
            }
        }
        self.commit(stage);
        outcome
    }

    /// Whether the store lets messages go from one queue into another just now.
    pub(super) fn can_move(&self, from: QueueId, to: QueueId) -> bool {
        let durable = |id| self.queues.get(&id).is_some_and(|queue| queue.is_durable());
        let Some(target) = self.queues.get(&to) else { return false };
        let (from, into) = (durable(from), durable(to));
        let failed = self.ledger.failed();
        let takes = !(from || into) || !failed && !self.full;
        takes && (into || !failed || target.has_numbers(1, &self.ledger))
    }

    /// Moves a message, which is in none of its queue's places or among its dead, into the
    /// dead-letter queue `to`; `false`: it cannot go there now.
    pub(super) fn send_dead(
        &mut self,
        stage: &mut Stage,
        (id, seq): (QueueId, Seq),
        message: &Message,
        (reason, detail): (DeadReason, Option<&str>),
        to: QueueId,
    ) -> bool {
        let Some(queue) = self.queues.get(&id).filter(|_| self.can_move(id, to)) else {
            return false;
        };
        let copy = dead_copy(message, &queue.name, seq, reason, detail, self.now.wall_ms);
        let mut room = Room::default();
        match self.plan_room(&mut room, to, 1, copy.size()) {
            Ok(()) => self.make_room(stage, room),
            Err(Shortage::Full) => return false,
            Err(Shortage::NotLoaded(queue)) => {
                self.await_room(stage, queue, room);
                return false;
            }
        }
        let Some(queue) = self.queues.get_mut(&id) else { return false };
        queue.counters.dead_lettered += 1;
        self.burials += 1;
        self.stage_removal(stage, id, seq, message);
        self.stage_message(stage, to, Arc::new(copy));
        true
    }

    fn load_dead(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get(&id) else { return };
        let mut unloaded = queue.contents.dead.iter().filter(|(_, dead)| dead.message.is_none());
        let Some((from, _)) = unloaded.next() else { return };
        if queue.dead_load.is_some() || queue.reload_at.is_some() {
            return;
        }
        let to = unloaded.next_back().map_or(*from, |(seq, _)| *seq);
        let window = self.config.window;
        let (messages_max, bytes_max) = (window.messages.max(1), window.bytes.max(1));
        let asked = Missing { from: *from, to, messages_max, bytes_max };
        let ticket = self.ask(Loading::Dead { queue: id, asked }, None, asked);
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.dead_load = Some(ticket);
        }
    }

    /// The store gave contents of dead messages; those that it did not give are lost.
    pub(super) fn dead_loaded(
        &mut self,
        id: QueueId,
        asked: Missing,
        mut messages: Vec<super::StoredMessage>,
    ) {
        let now = self.now.wall_ms;
        let Some(queue) = self.queues.get_mut(&id) else { return };
        queue.dead_load = None;
        messages.retain(|stored| (asked.from..=asked.to).contains(&stored.seq));
        let read_to = messages.last().map_or(asked.to, |stored| stored.seq);
        for stored in messages {
            if let Some(dead) = queue.contents.dead.get_mut(&stored.seq) {
                dead.message.get_or_insert(stored.message);
            }
        }
        let range = queue.contents.dead.range(asked.from..=read_to);
        let lost: Vec<Seq> =
            range.filter(|(_, dead)| dead.message.is_none()).map(|(seq, _)| *seq).collect();
        for seq in &lost {
            queue.contents.dead.remove(seq);
            queue.contents.done(*seq, now);
        }
        queue.forget_many(&mut self.usage, lost.len() as u64, 0);
        self.stir(id);
    }

    /// Looks whether dead letters that wait can be moved now. Answers whether some were, so that
    /// there is room for others.
    pub(super) fn visit_graves(&mut self) -> bool {
        if self.grieving.is_empty() {
            return false;
        }
        let before = self.burials;
        let behind = self.grieving.range(self.last_visited.next()..).chain(&self.grieving);
        let visited: Vec<QueueId> = behind.take(LOOKED_AT_MAX).copied().collect();
        for id in visited {
            self.last_visited = id;
            self.undertake(id);
        }
        self.burials > before
    }

    /// Looks at all of them.
    pub(super) fn visit_all_graves(&mut self) {
        let all: Vec<QueueId> = self.grieving.iter().copied().collect();
        for id in all {
            self.undertake(id);
        }
    }
}
