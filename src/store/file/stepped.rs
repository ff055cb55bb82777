//! The file store without its threads: each step is a call. For simulations, which choose the
//! order of the steps themselves, and for tools that only read.

use std::io;
use std::sync::Arc;

use super::disk::Disk;
use super::group::Group;
use super::journal::{Journal, Options, WriteError};
use super::loading::Loaded;
use super::recovery::{Damage, OpenError, Recovery};
use crate::engine::{Batch, Load, Recovered, StoredMessage};
use crate::types::{Level, Lsn, TenantId};

/// How a write ended.
#[derive(Debug)]
pub enum Written {
    /// The tenants' batches up to these are durable at their levels.
    Durable(Vec<(TenantId, Lsn)>),
    /// The disk is full; what gathered is still there.
    NoRoom,
    /// The store is latched.
    Latched,
}

/// See the module.
pub struct Stepped {
    journal: Journal,
    group: Group,
    /// Frames of the group that are written already.
    first: usize,
    damage: Vec<Damage>,
}

impl Stepped {
    /// Starts on a disk.
    ///
    /// # Errors
    ///
    /// As [`super::FileStore::open`].
    pub fn start(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        let (journal, damage) = Recovery::read(&*disk)?.start(disk, options)?;
        Ok(Self { journal, group: Group::default(), first: 0, damage })
    }

    /// What was found damaged at the start.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// What an engine starts from.
    pub fn recovered(&self, tenant: TenantId) -> io::Result<Recovered> {
        self.journal.recovered(tenant)
    }

    /// Takes the next batch of a tenant.
    pub fn append(&mut self, tenant: TenantId, batch: &Batch) {
        self.group.add(tenant, batch, self.journal.options.file_bytes);
    }

    /// Whether something waits to be written.
    pub fn has_gathered(&self) -> bool {
        !self.group.is_empty()
    }

    /// Writes what has gathered, as far as one file takes it.
    pub fn write(&mut self) -> Written {
        if self.group.is_empty() {
            return Written::Durable(Vec::new());
        }
        let flush = self.group.level > Some(Level::Os);
        match self.journal.write(&mut self.group.frames, self.first, flush) {
            Ok(next) => {
                let told = self.group.told(self.first..next);
                self.first = next;
                if next == self.group.ends.len() {
                    self.first = 0;
                    self.group.clear();
                }
                Written::Durable(told)
            }
            Err(WriteError::NoRoom) => Written::NoRoom,
            Err(WriteError::Latched(_)) => Written::Latched,
        }
    }

    /// Flushes what was written at level `os`; `false`: the store is latched.
    pub fn flush(&self) -> bool {
        self.journal.flush().is_ok()
    }

    /// Marks the end of the journal, as is done when nothing is written for a while.
    pub fn mark(&self) -> bool {
        self.journal.mark().is_ok()
    }

    /// One round of upkeep.
    ///
    /// # Errors
    ///
    /// If the disk says no.
    pub fn maintain(&self) -> io::Result<bool> {
        self.journal.maintain()
    }

    /// Whether publishes are to be refused for want of room.
    pub fn is_full(&self) -> bool {
        self.journal.is_full()
    }

    /// Reads messages back; what cannot be read is left out.
    ///
    /// # Errors
    ///
    /// If the disk says no.
    pub fn load(&self, tenant: TenantId, load: &Load) -> io::Result<Vec<StoredMessage>> {
        let Loaded { messages, damaged } = self.journal.load(tenant, load)?;
        if let Some(damaged) = damaged.first() {
            return Err(io::Error::other(damaged.to_string()));
        }
        Ok(messages)
    }
}
