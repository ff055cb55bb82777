//! What is due when: leases, waits and retries on the monotonic clock, delays and TTLs on the wall
//! clock. Of the latter each queue has its own order; here stands only when each is due first. Each
//! start, stop and expiry costs O(log n). Called by the tenant only.

use std::collections::BTreeSet;
use std::time::Duration;

use super::connection::PullId;
use crate::types::{ConnectionId, Monotonic, Now, QueueId, Tag, WallMs};

/// What happens when a time on the monotonic clock has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The lease of a delivery is over.
    Lease(ConnectionId, Tag),
    /// A pull has waited long enough.
    Pull(ConnectionId, PullId),
    /// A load that failed is asked again.
    Reload(QueueId),
    /// Perhaps a queue was not used for as long as it may be.
    Unused(QueueId),
    /// Dead letters that wait are looked at again.
    Grief,
}

/// A jump of the wall clock is noticed at most so late: while a message waits for a wall time, the
/// engine wants to be called this often.
const WALL_CHECK: Duration = Duration::from_secs(10);

/// All timers of one tenant.
#[derive(Debug, Default)]
pub(super) struct Timers {
    monotonic: BTreeSet<(Monotonic, Timer)>,
    /// Each queue with the first time at which something in it is due.
    wall: BTreeSet<(WallMs, QueueId)>,
}

impl Timers {
    /// Starts a timer.
    pub(super) fn start(&mut self, at: Monotonic, timer: Timer) {
        self.monotonic.insert((at, timer));
    }

    /// Stops a timer that was started for that time.
    pub(super) fn stop(&mut self, at: Monotonic, timer: Timer) {
        self.monotonic.remove(&(at, timer));
    }

    /// Takes the first timer that is due.
    pub(super) fn pop_due(&mut self, now: Now) -> Option<Timer> {
        let (at, _) = self.monotonic.first()?;
        if *at > now.monotonic {
            return None;
        }
        self.monotonic.pop_first().map(|(_, timer)| timer)
    }

    /// The queue is due at another wall time than before.
    pub(super) fn move_wall(
        &mut self,
        queue: QueueId,
        before: Option<WallMs>,
        then: Option<WallMs>,
    ) {
        if let Some(before) = before {
            self.wall.remove(&(before, queue));
        }
        if let Some(then) = then {
            self.wall.insert((then, queue));
        }
    }

    /// The queue in which something has been due for the longest.
    pub(super) fn first_due_wall(&self, now: Now) -> Option<QueueId> {
        let (at, queue) = self.wall.first()?;
        (*at <= now.wall_ms).then_some(*queue)
    }

    /// When the next timer is due, seen from `now`.
    pub(super) fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        let monotonic = self.monotonic.first().map(|(at, _)| *at);
        let wall = self.wall.first().map(|(until, _)| {
            let wait = Duration::from_millis(until.saturating_sub(now.wall_ms));
            now.monotonic + wait.min(WALL_CHECK)
        });
        match (monotonic, wall) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// All timers of the monotonic clock; for the invariants.
    pub(super) fn monotonic(&self) -> impl Iterator<Item = &(Monotonic, Timer)> {
        self.monotonic.iter()
    }

    /// All wall times; for the invariants.
    pub(super) fn wall(&self) -> impl Iterator<Item = &(WallMs, QueueId)> {
        self.wall.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { monotonic: Monotonic::from_nanos(ms * 1_000_000), wall_ms: 1_000_000 + ms }
    }

    #[test]
    fn timers_come_in_the_order_of_their_times() {
        let mut timers = Timers::default();
        timers.start(at(20).monotonic, Timer::Reload(QueueId(2)));
        timers.start(at(10).monotonic, Timer::Reload(QueueId(1)));
        assert_eq!(timers.next_deadline(at(0)), Some(at(10).monotonic));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(20)), Some(Timer::Reload(QueueId(1))));
        assert_eq!(timers.pop_due(at(20)), Some(Timer::Reload(QueueId(2))));
        assert_eq!(timers.next_deadline(at(20)), None);
    }

    #[test]
    fn a_stopped_timer_does_not_come() {
        let mut timers = Timers::default();
        timers.start(at(10).monotonic, Timer::Reload(QueueId(1)));
        timers.stop(at(10).monotonic, Timer::Reload(QueueId(1)));
        assert_eq!(timers.pop_due(at(20)), None);
    }

    #[test]
    fn a_far_wall_time_is_checked_again_within_ten_seconds() {
        let mut timers = Timers::default();
        timers.move_wall(QueueId(1), None, Some(at(100_000).wall_ms));
        assert_eq!(timers.next_deadline(at(0)), Some(at(10_000).monotonic));
        assert_eq!(timers.next_deadline(at(99_000)), Some(at(100_000).monotonic));
        assert_eq!(timers.first_due_wall(at(99_999)), None);
        assert_eq!(timers.first_due_wall(at(100_000)), Some(QueueId(1)));
        timers.move_wall(QueueId(1), Some(at(100_000).wall_ms), None);
        assert_eq!(timers.next_deadline(at(0)), None);
    }
}
