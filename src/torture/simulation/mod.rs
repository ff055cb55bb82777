//! One simulated life of a server: clients publish, consume, ack and return; the disk loses power
//! at any write, fails, or is full; the server starts again, and may be cut off while it does.
//! In every second life messages have priorities, groups, keys, delays and ends, die, and come by
//! topics.
//! The oracle sees what clients see, and says when a promise is broken.

mod clients;
mod oracle;
mod world;

use self::world::World;

/// What one run did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Messages that were confirmed.
    pub confirmed: u64,
    /// Acks that were confirmed.
    pub acked: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Publishes that were called doubles.
    pub doubles: u64,
    /// Messages that a consumer refused for good.
    pub rejected: u64,
    /// Deliveries of dead letters.
    pub dead: u64,
    /// Times the power was cut.
    pub power_cuts: u64,
    /// Times the process was killed.
    pub kills: u64,
    /// Times a start was itself cut off.
    pub cut_starts: u64,
    /// Flushes, writes and reads that failed.
    pub faults: u64,
    /// Times the disk was full.
    pub full: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.confirmed += other.confirmed;
        self.acked += other.acked;
        self.delivered += other.delivered;
        self.doubles += other.doubles;
        self.rejected += other.rejected;
        self.dead += other.dead;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.cut_starts += other.cut_starts;
        self.faults += other.faults;
        self.full += other.full;
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {what}")]
pub struct Violation {
    /// The seed that shows it again.
    pub seed: u64,
    /// What was promised and not kept.
    pub what: String,
}

/// Runs one life.
///
/// # Errors
///
/// The first promise that was broken.
pub fn run(seed: u64) -> Result<Tally, Violation> {
    let world = World::new(seed);
    world.live().map_err(|what| Violation { seed, what })
}
