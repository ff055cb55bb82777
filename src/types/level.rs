//! Levels of durability, as in the protocol's section "Durability".

use std::fmt;

/// How durable a change is; the order is from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Accepted; lost when the server stops.
    Memory,
    /// Handed to the operating system.
    Os,
    /// Flushed to the disk, or committed.
    Disk,
    /// Committed by a database that replicates synchronously.
    Replicated,
}

impl Level {
    /// The level's name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Memory => "memory",
            Level::Os => "os",
            Level::Disk => "disk",
            Level::Replicated => "replicated",
        }
    }

    /// The level of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Level::Memory, Level::Os, Level::Disk, Level::Replicated]
            .into_iter()
            .find(|level| level.as_str() == name)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
