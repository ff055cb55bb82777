//! What is due: leases and waits on the monotonic clock, delays and TTLs on the wall clock. A bounded
//! number of the latter is done with one input, so that a million delays that end at once hold up
//! nobody. Called by the tenant.

use std::time::Duration;

use super::DeadReason;
use super::queue::Queue;
use super::tenant::Tenant;
use super::timer::Timer;
use crate::types::{Monotonic, QueueId, Seq};

/// Delays and TTLs that are looked at with one input.
const ALARMS_MAX: usize = 512;

/// While dead letters wait, all of them are looked at this often.
const GRIEF: Duration = Duration::from_secs(10);

impl Tenant {
    /// Everything whose time has come.
    pub(super) fn expire(&mut self) {
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Lease(connection, tag) => self.lease_over(connection, tag),
                Timer::Pull(connection, pull) => self.wait_over(connection, pull),
                Timer::Reload(queue) => {
                    if let Some(queue) = self.queues.get_mut(&queue) {
                        queue.reload_at = None;
                    }
                    self.stir(queue);
                }
                Timer::Unused(queue) => self.unused(queue),
                Timer::Grief => {
                    self.grief_at = None;
                    self.visit_all_graves();
                }
            }
        }
        self.alarms_left = ALARMS_MAX;
        while self.alarms_left > 0 {
            let Some(id) = self.timers.first_due_wall(self.now) else { break };
            // One more, so that a queue that was armed for nothing counts, too.
            self.alarms_left -= 1;
            self.ring(id);
        }
    }

    /// Does what is due in one queue, while `alarms_left` lasts.
    fn ring(&mut self, id: QueueId) {
        let now = self.now.wall_ms;
        loop {
            let Some(queue) = self.queues.get_mut(&id) else { return };
            let left = &mut self.alarms_left;
            let step = || {
                *left = left.saturating_sub(1);
                *left > 0
            };
            let Some(seq) = queue.contents.ring(now, step) else { break };
            if let Some(loose) = queue.contents.withdraw(seq) {
                self.bury(id, seq, loose, DeadReason::Expired);
            }
        }
        self.age(id);
        self.rearm(id);
        self.stir(id);
    }

    /// Ends what is older than the queue's TTL, while `alarms_left` lasts; where the store must be
    /// asked for the oldest message, `replenish` does.
    fn age(&mut self, id: QueueId) {
        let now = self.now.wall_ms;
        loop {
            let Some(queue) = self.queues.get_mut(&id) else { return };
            queue.age_alarm = None;
            let Some(ttl) = queue.settings.ttl_ms else { return };
            let oldest = queue.contents.oldest_ready(Seq(0));
            let Some((seq, Some(entry))) = oldest else { return };
            let end = entry.message.published_at.saturating_add(ttl);
            if end > now || self.alarms_left == 0 {
                queue.age_alarm = Some(end);
                return;
            }
            self.alarms_left -= 1;
            let Some(loose) = queue.contents.withdraw(seq) else { return };
            self.bury(id, seq, loose, DeadReason::Expired);
        }
    }

    /// Ends all of a queue that is due, however much it is: before it is called full.
    pub(super) fn expire_queue(&mut self, id: QueueId) {
        let left = std::mem::replace(&mut self.alarms_left, usize::MAX);
        self.ring(id);
        self.alarms_left = left;
        self.undertake(id);
    }

    /// Whether it is not known if the queue's oldest message is older than its TTL.
    pub(super) fn may_hide_expired(&self, id: QueueId) -> bool {
        let Some(queue) = self.queues.get(&id) else { return false };
        let oldest = queue.contents.oldest_ready(Seq(0));
        queue.settings.ttl_ms.is_some() && oldest.is_some_and(|(_, entry)| entry.is_none())
    }

    /// Notes when the queue wants to be looked at next.
    pub(super) fn rearm(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let next = [queue.contents.next_alarm(), queue.age_alarm].into_iter().flatten().min();
        if next != queue.armed {
            self.timers.move_wall(id, queue.armed, next);
            queue.armed = next;
        }
    }

    /// What is done for each queue that an input changed, beside deliveries.
    pub(super) fn look_after(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get(&id) else { return };
        if queue.settings.ttl_ms.is_some() || queue.age_alarm.is_some() {
            self.age(id);
        }
        self.undertake(id);
        self.rearm(id);
    }

    /// Asks to be called for dead letters that wait.
    pub(super) fn arm_grief(&mut self) {
        if self.grieving.is_empty() || self.grief_at.is_some() {
            return;
        }
        self.start_grief(GRIEF);
    }

    /// All dead letters that wait are looked at after so long.
    pub(super) fn start_grief(&mut self, after: Duration) {
        let at = self.now.monotonic + after;
        self.grief_at = Some(at);
        self.timers.start(at, Timer::Grief);
    }

    /// The queue is used, or its `expires_ms` was changed.
    pub(super) fn arm_unused(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        if let Some(at) = queue.unused_at.take() {
            self.timers.stop(at, Timer::Unused(id));
        }
        if let Some(at) = unused_from(queue) {
            queue.unused_at = Some(at);
            self.timers.start(at, Timer::Unused(id));
        }
    }

    /// Perhaps the queue was not used for as long as it may be.
    fn unused(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        queue.unused_at = None;
        if !queue.consumers.is_empty() {
            queue.last_used = self.now.monotonic;
        }
        let over = unused_from(queue).is_some_and(|at| at <= self.now.monotonic);
        if over && queue.is_recorded() && self.ledger.failed() {
            return;
        }
        if over {
            self.remove_queue(id);
        } else {
            self.arm_unused(id);
        }
    }
}

/// When the queue has been unused for too long.
fn unused_from(queue: &Queue) -> Option<Monotonic> {
    let ms = queue.settings.expires_ms?;
    Some(queue.last_used + Duration::from_millis(ms))
}
