//! Time as the engine sees it: a reading of both clocks, handed in with each input.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on a clock that never goes back, in nanoseconds since an arbitrary start. Leases count
/// on it, so that a change of the wall clock never ends or stretches one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic {
    nanos: u64,
}

impl Monotonic {
    /// The point that many nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;
    fn add(self, length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self { nanos: self.nanos.saturating_add(nanos) }
    }
}

impl Sub for Monotonic {
    type Output = Duration;
    /// The time from `earlier` to `self`; zero if it lies ahead.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

/// Wall clock: milliseconds since 1970-01-01 00:00 UTC. Delays, expiry and `published_at` use it.
pub type WallMs = u64;

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// For leases and waits.
    pub monotonic: Monotonic,
    /// For times that are stored or shown.
    pub wall_ms: WallMs,
}
