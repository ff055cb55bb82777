//! What is due when: leases, waits and retries on the monotonic clock, delays on the wall clock.
//! Each start, stop and expiry costs O(log n). Called by the tenant only.

use std::collections::BTreeSet;
use std::time::Duration;

use super::connection::PullId;
use crate::types::{ConnectionId, Monotonic, Now, QueueId, Seq, Tag, WallMs};

/// What happens when a time on the monotonic clock has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The lease of a delivery is over.
    Lease(ConnectionId, Tag),
    /// A pull has waited long enough.
    Pull(ConnectionId, PullId),
    /// A load that failed is asked again.
    Reload(QueueId),
}

/// A jump of the wall clock is noticed at most so late: while a message waits for a wall time, the
/// engine wants to be called this often.
const WALL_CHECK: Duration = Duration::from_secs(10);

/// All timers of one tenant.
#[derive(Debug, Default)]
pub(super) struct Timers {
    monotonic: BTreeSet<(Monotonic, Timer)>,
    wall: BTreeSet<(WallMs, QueueId, Seq)>,
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

    /// Wakes a message at a wall time.
    pub(super) fn start_delay(&mut self, until: WallMs, queue: QueueId, seq: Seq) {
        self.wall.insert((until, queue, seq));
    }

    /// Forgets a message's wall time.
    pub(super) fn stop_delay(&mut self, until: WallMs, queue: QueueId, seq: Seq) {
        self.wall.remove(&(until, queue, seq));
    }

    /// Takes the first message whose wall time has come.
    pub(super) fn pop_due_delay(&mut self, now: Now) -> Option<(QueueId, Seq)> {
        let (until, _, _) = self.wall.first()?;
        if *until > now.wall_ms {
            return None;
        }
        self.wall.pop_first().map(|(_, queue, seq)| (queue, seq))
    }

    /// When the next timer is due, seen from `now`.
    pub(super) fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        let monotonic = self.monotonic.first().map(|(at, _)| *at);
        let wall = self.wall.first().map(|(until, _, _)| {
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
    pub(super) fn wall(&self) -> impl Iterator<Item = &(WallMs, QueueId, Seq)> {
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
        timers.start_delay(at(100_000).wall_ms, QueueId(1), Seq(1));
        assert_eq!(timers.next_deadline(at(0)), Some(at(10_000).monotonic));
        assert_eq!(timers.next_deadline(at(99_000)), Some(at(100_000).monotonic));
        assert_eq!(timers.pop_due_delay(at(99_999)), None);
        assert_eq!(timers.pop_due_delay(at(100_000)), Some((QueueId(1), Seq(1))));
    }
}
