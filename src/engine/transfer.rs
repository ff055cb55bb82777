//! `queue.move`: ready messages of one queue go to another one, one step each: how dead letters go
//! back. Called by the tenant.

use std::sync::Arc;

use super::dead_letter::living_copy;
use super::stage::Stage;
use super::stall::Stalled;
use super::tenant::Tenant;
use super::{DeadReason, Refusal, Reply, Request};
use crate::types::{ConnectionId, Lsn, QueueId, QueueName, RequestToken, Seq, SharedMessage};

/// Moves that are written as one batch at most.
const BATCH_MAX: u64 = 1_000;

/// Why a step ended.
enum Pause {
    /// As many were moved as were asked for, or as there are.
    Done,
    NotLoaded(QueueId),
    /// The other queue is full.
    Full,
    Unavailable,
    /// There may be more.
    Batch,
}

/// What one batch did.
struct Step {
    moved: u64,
    /// Whether more messages were ready.
    more: bool,
    after: Lsn,
    pause: Pause,
}

impl Tenant {
    pub(super) fn transfer(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        (from, to): (QueueName, QueueName),
        max: u32,
        mut moved: u64,
    ) -> Result<(), Stalled> {
        let Some(from_id) = self.find(connection, &token, &from) else { return Ok(()) };
        let Some(to_id) = self.find(connection, &token, &to) else { return Ok(()) };
        if from_id == to_id {
            self.refuse(self.last_delete, connection, token, Refusal::MoveToItself);
            return Ok(());
        }
        let mut left = u64::from(max).saturating_sub(moved);
        let mut after = self.last_lsn_of(from_id).max(self.last_lsn_of(to_id));
        let (pause, more) = loop {
            let step = self.transfer_some(from_id, to_id, left.min(BATCH_MAX));
            let Step { moved: steps, after: lsn, pause, .. } = step;
            moved += steps;
            left -= steps;
            after = after.max(lsn);
            match pause {
                Pause::Batch if left > 0 => {}
                pause => break (pause, step.more),
            }
        };
        match pause {
            Pause::NotLoaded(queue) => {
                return Err(Stalled {
                    queue,
                    request: Box::new(Request::Move { from, to, max, moved }),
                });
            }
            Pause::Full if moved == 0 => {
                self.refuse(after, connection, token, Refusal::QueueFull);
            }
            Pause::Unavailable if moved == 0 => {
                self.refuse(after, connection, token, Refusal::StorageUnavailable);
            }
            _ => {
                self.answer(after, connection, token, Reply::Moved { moved, more });
            }
        }
        Ok(())
    }

    fn last_lsn_of(&self, id: QueueId) -> Lsn {
        self.queues.get(&id).map_or(self.last_delete, |queue| queue.last_lsn)
    }

    /// Moves up to `max` messages as one batch.
    fn transfer_some(&mut self, from: QueueId, to: QueueId, max: u64) -> Step {
        let mut stage = Stage::default();
        let mut moved = 0;
        let pause = loop {
            if moved == max {
                break Pause::Batch;
            }
            if !self.can_move(from, to) {
                break Pause::Unavailable;
            }
            match self.transfer_one(&mut stage, from, to) {
                Ok(true) => moved += 1,
                Ok(false) => {}
                Err(pause) => break pause,
            }
        };
        let queue = self.queues.get(&from);
        let more = queue.is_some_and(|queue| queue.contents.oldest_ready(Seq(0)).is_some());
        let after = self.commit(stage);
        Step { moved, more, after, pause }
    }

    /// Moves the oldest ready message; `false`: it has expired instead.
    fn transfer_one(
        &mut self,
        stage: &mut Stage,
        from: QueueId,
        to: QueueId,
    ) -> Result<bool, Pause> {
        let now = self.now.wall_ms;
        let Some(queue) = self.queues.get(&from) else { return Err(Pause::Done) };
        let Some((seq, entry)) = queue.contents.oldest_ready(Seq(0)) else {
            return Err(Pause::Done);
        };
        let Some(entry) = entry else { return Err(Pause::NotLoaded(from)) };
        if queue.has_expired(&entry.message, now) {
            return self.expire_one(from, seq);
        }
        let copy = living_copy(&entry.message, now);
        let message = SharedMessage::clone(&entry.message);
        if !self.fits(to, copy.size()) {
            return Err(Pause::Full);
        }
        if let Some(queue) = self.queues.get_mut(&from) {
            queue.contents.withdraw(seq);
        }
        self.stage_removal(stage, from, seq, &message);
        self.stage_message(stage, to, Arc::new(copy));
        self.stir(from);
        Ok(true)
    }

    fn expire_one(&mut self, id: QueueId, seq: Seq) -> Result<bool, Pause> {
        let Some(queue) = self.queues.get_mut(&id) else { return Err(Pause::Done) };
        let Some(loose) = queue.contents.withdraw(seq) else { return Err(Pause::Done) };
        self.bury(id, seq, loose, DeadReason::Expired);
        Ok(false)
    }
}
