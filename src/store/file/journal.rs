//! The journal: takes frames, writes them behind one another into the file at hand, flushes, and
//! applies them to the index. It is driven by threads (see the module above) or, one step after
//! the other, by the simulation; it has no thread, clock or randomness of its own.
//!
//! The first write or flush that fails latches: nothing is written after it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::checkpoint;
use super::disk::{Disk, DiskFile};
use super::frame::{FILE_HEADER_BYTES, Frames, file_header, frame_at};
use super::index::{FileNumber, Index, Misfit};
use super::names;
use super::upkeep::Upkeep;

/// What a store is opened with.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Length of a journal file. Unit: bytes.
    pub file_bytes: u32,
}

/// Room that is kept at the end of each file for a mark and for its last frame. Unit: bytes.
const END_BYTES: usize = 64;

/// Why frames were not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The disk is full: the frames can be written once there is room.
    NoRoom,
    /// The journal is latched, now or since before.
    Latched(String),
}

/// See the module.
pub(super) struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Options,
    pub(super) index: Mutex<Index>,
    pub(super) upkeep: Mutex<Upkeep>,
    writing: Mutex<Writing>,
    rotated: AtomicBool,
}

/// The file at hand.
struct Writing {
    number: FileNumber,
    file: Arc<dyn DiskFile>,
    /// Its length; less than that of others if the disk was full when it was made.
    length: u32,
    /// Where the next frame goes.
    at: u32,
    /// Everything before is flushed.
    flushed: u32,
    latched: Option<String>,
}

impl Journal {
    /// A journal that goes on in file `number`, which has nothing but its header; `previous_end`
    /// is where the file before ends.
    pub(super) fn begin(
        disk: Arc<dyn Disk>,
        options: Options,
        index: Index,
        upkeep: Upkeep,
        (number, file, length): (FileNumber, Arc<dyn DiskFile>, u32),
        previous_end: Option<u32>,
    ) -> io::Result<Self> {
        let at = FILE_HEADER_BYTES as u32;
        let mut writing = Writing { number, file, length, at, flushed: at, latched: None };
        if let Some(previous_end) = previous_end {
            writing.begin(previous_end)?;
        }
        writing.sync()?;
        Ok(Self {
            disk,
            options,
            index: Mutex::new(index),
            upkeep: Mutex::new(upkeep),
            writing: Mutex::new(writing),
            rotated: AtomicBool::new(false),
        })
    }

    /// A journal of which nothing but messages is read.
    pub(super) fn read_only(disk: Arc<dyn Disk>, index: Index) -> Self {
        let latched = Some("it is only read".to_owned());
        let writing =
            Writing { number: 0, file: Arc::new(NoFile), length: 0, at: 0, flushed: 0, latched };
        Self {
            disk,
            options: Options { file_bytes: 0 },
            index: Mutex::new(index),
            upkeep: Mutex::default(),
            writing: Mutex::new(writing),
            rotated: AtomicBool::new(false),
        }
    }

    /// Writes the frames from `first` on, as many as fit into one file, flushes them where that is
    /// asked for, and applies them. Answers which frame is next.
    pub(super) fn write(
        &self,
        frames: &mut Frames,
        first: usize,
        flush: bool,
    ) -> Result<usize, WriteError> {
        let mut writing = lock(&self.writing);
        writing.check()?;
        let mut end = self.fitting(&writing, frames, first);
        if end == first {
            self.rotate(&mut writing)?;
            end = self.fitting(&writing, frames, first);
            if end == first && writing.length < self.options.file_bytes {
                return Err(WriteError::NoRoom);
            }
            if end == first {
                return Err(writing.latch(&io::Error::other("a batch is larger than a file")));
            }
        }
        frames.finish(first, end, writing.number, writing.flushed);
        let bytes = &frames.bytes[frames.range(first).start..frames.range(end - 1).end];
        let at = writing.at;
        if let Err(error) = writing.put(bytes, flush) {
            return Err(writing.latch(&error));
        }
        self.apply(writing.number, at, bytes);
        Ok(end)
    }

    /// Flushes what was written without.
    pub(super) fn flush(&self) -> Result<(), WriteError> {
        let mut writing = lock(&self.writing);
        writing.check()?;
        if writing.flushed == writing.at {
            return Ok(());
        }
        writing.sync().map_err(|error| writing.latch(&error))
    }

    /// Notes in the file that everything before is flushed, so that damage to what was written
    /// last can be told from a write that a power cut tore.
    pub(super) fn mark(&self) -> Result<(), WriteError> {
        let mut frames = Frames::default();
        frames.put_mark();
        let mut writing = lock(&self.writing);
        writing.check()?;
        let room = (writing.length - writing.at) as usize;
        // A mark after the last frame that fits; the file's own end needs no mark.
        if writing.flushed != writing.at || room < END_BYTES / 2 + frames.bytes.len() {
            return Ok(());
        }
        frames.finish(0, 1, writing.number, writing.flushed);
        writing.put(&frames.bytes, false).map_err(|error| writing.latch(&error))
    }

    /// Whether another file was begun since this was last asked.
    pub(super) fn has_rotated(&self) -> bool {
        self.rotated.swap(false, Ordering::Relaxed)
    }

    /// Why nothing is written any more, if so.
    pub(super) fn latched(&self) -> Option<String> {
        lock(&self.writing).latched.clone()
    }

    /// How many of the frames from `first` on fit into the file at hand: the first that does not.
    fn fitting(&self, writing: &Writing, frames: &Frames, first: usize) -> usize {
        let room = (writing.length - writing.at) as usize;
        let room = room.saturating_sub(END_BYTES);
        let start = frames.range(first).start;
        let fits = |index: &usize| frames.range(*index).end - start <= room;
        (first..frames.starts.len()).take_while(fits).last().map_or(first, |last| last + 1)
    }

    /// Ends the file at hand and goes on in the next one.
    fn rotate(&self, writing: &mut Writing) -> Result<(), WriteError> {
        let number = writing.number + 1;
        let next = match self.take_next() {
            Ok(next) => next,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                return Err(WriteError::NoRoom);
            }
            Err(error) => return Err(writing.latch(&error)),
        };
        let previous_end = writing.end().map_err(|error| writing.latch(&error))?;
        {
            let mut index = lock(&self.index);
            let table = checkpoint::seal(&mut index, writing.number);
            index.files.entry(writing.number).or_default().end = u64::from(previous_end);
            let snapshot = checkpoint::encode(&index, number);
            lock(&self.upkeep).sealed(writing.number, table, (number, snapshot));
        }
        self.rotated.store(true, Ordering::Relaxed);
        let at = FILE_HEADER_BYTES as u32;
        let length = self.options.file_bytes;
        *writing = Writing { number, file: next, length, at, flushed: at, latched: None };
        writing.begin(previous_end).map_err(|error| writing.latch(&error))?;
        // At once, so that a full disk is known while a whole file is left for what frees room.
        // Upkeep tries again if it fails.
        let _ = self.prepare_next();
        Ok(())
    }

    fn apply(&self, number: FileNumber, at: u32, bytes: &[u8]) {
        let mut misfits: Vec<Misfit> = Vec::new();
        let mut index = lock(&self.index);
        let mut from = 0;
        while let Ok(mut standing) = frame_at(bytes, number, from) {
            from = standing.end;
            standing.end += at as usize;
            standing.records_at += at as usize;
            index.apply(number, &standing, &mut misfits);
        }
        debug_assert!(from == bytes.len() && misfits.is_empty(), "{misfits:?}");
        for misfit in misfits {
            tracing::error!(%misfit, "what was just written does not fit: a fault of gmq, report it");
        }
    }

    /// Makes a file ready to be the one after that at hand. It gets its name when it is ready, in
    /// the place of one that has it, so that an error or a crash leaves that as it was.
    pub(super) fn prepare(
        disk: &dyn Disk,
        options: Options,
        number: FileNumber,
        spare: Option<FileNumber>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let name = names::spare(spare.unwrap_or(number));
        let prepare = || {
            let file = if spare.is_some() { disk.open(&name)? } else { disk.create(&name)? };
            file.allocate(u64::from(options.file_bytes))?;
            file.write_at(&file_header(number, options.file_bytes), 0)?;
            file.sync()?;
            disk.rename(&name, &names::journal(number))?;
            disk.sync_names()?;
            Ok(file)
        };
        prepare().inspect_err(|_| {
            // What is half made is of no use; if it cannot be removed, a start will do it.
            let _ = disk.remove(&name);
        })
    }
}

/// What a journal that is only read has at hand.
struct NoFile;

impl DiskFile for NoFile {
    fn length(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn read_at(&self, _into: &mut [u8], _at: u64) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
    fn write_at(&self, _bytes: &[u8], _at: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn allocate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Writing {
    fn check(&self) -> Result<(), WriteError> {
        self.latched.clone().map_or(Ok(()), |reason| Err(WriteError::Latched(reason)))
    }

    fn latch(&mut self, error: &io::Error) -> WriteError {
        let reason = format!("{}: {error}", names::journal(self.number));
        self.latched = Some(reason.clone());
        WriteError::Latched(reason)
    }

    fn put(&mut self, bytes: &[u8], flush: bool) -> io::Result<()> {
        self.file.write_at(bytes, u64::from(self.at))?;
        self.at += bytes.len() as u32;
        if flush { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.flushed = self.at;
        Ok(())
    }

    /// Writes the first frame of a file.
    fn begin(&mut self, previous_end: u32) -> io::Result<()> {
        let mut frames = Frames::default();
        frames.put_begin(previous_end);
        frames.finish(0, 1, self.number, self.flushed);
        self.put(&frames.bytes, false)
    }

    /// Writes the last frame of the file, durably; answers where the file ends.
    fn end(&mut self) -> io::Result<u32> {
        let mut frames = Frames::default();
        frames.put_end();
        frames.finish(0, 1, self.number, self.flushed);
        self.put(&frames.bytes, true)?;
        Ok(self.at)
    }
}

/// A panic elsewhere leaves nothing here half changed that is used again: the store's threads end.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
