//! What the file store needs of a disk, and nothing else: so that the whole store runs on a real
//! folder ([`Folder`]) and on one that loses power at any write ([`SimulatedDisk`]). All names are
//! of files in one folder; there are no folders within it.

mod folder;
mod simulated;

use std::io;
use std::sync::Arc;

pub use folder::Folder;
pub use simulated::SimulatedDisk;

/// A folder of files.
pub trait Disk: Send + Sync {
    /// The files' names, in no order.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Opens a file that exists, to read and write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file, in the place of one that exists.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, in the place of one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; who has it open can go on with it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes everything durable that happened to names.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file. Its name may change meanwhile.
pub trait DiskFile: Send + Sync {
    /// Its length. Unit: bytes.
    fn length(&self) -> io::Result<u64>;
    /// Fills `into` from `at` on; an error if the file ends before.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `at`.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes the file at least `len` long, and takes the room for it, so that no later write up to
    /// there finds the disk full. What is new reads as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes content and length durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
}

/// All of a file.
pub(super) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(file.length()?).unwrap_or(usize::MAX)];
    file.read_at(&mut content, 0)?;
    Ok(content)
}
