//! The file store: one journal for all queues of all tenants, so that one flush serves all of
//! them. `docs/storage.md` has the layout, its reasons and its format.
//!
//! What engines append is encoded at once into the group that gathers (`group`); one writer
//! thread (`threads`) takes the group, writes it behind the journal, flushes, applies it to the
//! index and tells. `journal` writes, `index` is what it adds up to, `run` where messages
//! lie, `loading` reads them back, `upkeep` saves checkpoints and gives files up,
//! `recovery` starts on what is there. `frame` and `checkpoint` are the bytes (and `store::codec`,
//! how a record is written), `disk` what they lie on.

mod backup;
mod check;
mod checkpoint;
pub mod disk;
mod frame;
mod group;
mod index;
mod journal;
mod loading;
mod names;
mod recovery;
mod run;
pub mod stepped;
#[cfg(test)]
mod tests;
mod threads;
mod upkeep;

use std::path::Path;
use std::sync::Arc;

pub use self::backup::backup;
pub use self::check::{Contents, FileContents, QueueContents, check, stat};
pub use self::index::Misfit;
pub use self::journal::Options as JournalOptions;
pub use self::loading::DamagedMessage;
pub use self::recovery::{Damage, OpenError};

use self::disk::{Disk, Folder};
use self::recovery::Recovery;
use self::threads::Shared;
use super::{Appended, BoxFuture, Listener, Store, StoreError, WINDOW};
use crate::engine::{Batch, Load, Recovered, StoredMessage, Window};
use crate::types::{Level, TenantId};

/// Length of a journal file, if batches can be no larger than half of it. Unit: bytes.
pub const FILE_BYTES: u32 = 64 * 1024 * 1024;

/// What a file store is started with.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What a reply means: [`Level::Disk`] or [`Level::Os`].
    pub level: Level,
    /// Length of a journal file. Unit: bytes.
    pub file_bytes: u32,
}

/// See the module.
pub struct FileStore {
    shared: Arc<Shared>,
    level: Level,
    /// What was found damaged at the start.
    damage: Vec<Damage>,
}

impl FileStore {
    /// Starts on a folder, which exists and which nobody else uses.
    ///
    /// # Errors
    ///
    /// If the disk says no, if a newer version wrote what is there, or if nothing can be known of
    /// it. Damage to parts of it is no error: see [`damage`](Self::damage).
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        Self::start(Arc::new(Folder::open(folder)?), options)
    }

    /// Starts on any disk.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn start(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        let journal_options = JournalOptions { file_bytes: options.file_bytes };
        let (journal, damage) = Recovery::read(&*disk)?.start(disk, journal_options)?;
        let shared = Shared::start(journal)?;
        Ok(Self { shared, level: options.level, damage })
    }

    /// Whether a flush is taking more than five seconds; the log says when that began.
    pub fn hangs(&self) -> bool {
        self.shared.hangs()
    }

    /// What was found damaged at the start; all else is served.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Store for FileStore {
    fn level(&self) -> Level {
        self.level
    }

    fn level_max(&self) -> Level {
        Level::Disk
    }

    fn window(&self) -> Window {
        WINDOW
    }

    fn open(
        &self,
        tenant: TenantId,
        listener: Arc<dyn Listener>,
    ) -> BoxFuture<'_, Result<Recovered, StoreError>> {
        Box::pin(async move {
            self.shared.listen(tenant, listener)?;
            let shared = Arc::clone(&self.shared);
            let read = tokio::task::spawn_blocking(move || shared.journal.recovered(tenant));
            match read.await {
                Ok(Ok(recovered)) => Ok(recovered),
                Ok(Err(error)) => Err(cannot_read(&error.to_string())),
                Err(error) => Err(cannot_read(&error.to_string())),
            }
        })
    }

    fn append(&self, tenant: TenantId, batch: Batch) -> Appended {
        self.shared.append(tenant, &batch);
        Appended::Pending
    }

    fn load(
        &self,
        tenant: TenantId,
        load: Load,
    ) -> BoxFuture<'_, Result<Vec<StoredMessage>, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || shared.journal.load(tenant, &load));
            let loaded = match read.await {
                Ok(Ok(loaded)) => loaded,
                Ok(Err(error)) => return Err(cannot_read(&error.to_string())),
                Err(error) => return Err(cannot_read(&error.to_string())),
            };
            for damaged in &loaded.damaged {
                tracing::error!(%damaged, "a message is damaged on the disk; it is passed over");
            }
            Ok(loaded.messages)
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let closed = tokio::task::spawn_blocking(move || shared.close()).await;
            closed.unwrap_or_else(|error| Err(latched(error.to_string())))
        })
    }
}

fn cannot_read(reason: &str) -> StoreError {
    StoreError::new("read", reason.to_owned())
}

/// The error of a store that is latched.
fn latched(reason: String) -> StoreError {
    StoreError::new("write", reason)
}
