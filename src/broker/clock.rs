//! The one place where the server reads the time that engines see.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::types::{Monotonic, Now};

/// Both clocks; the monotonic one counts from its start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: Monotonic::from_nanos(nanos),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The moment of the runtime's timer that a point of the engine's time is.
    pub fn instant(&self, at: Monotonic) -> Instant {
        self.start + Duration::from_nanos(at.as_nanos())
    }
}
