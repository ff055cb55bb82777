//! What is done beside writing: the next file is made ready ahead of its need, tables and
//! checkpoints are saved, files in which nothing is alive are given up, and those in which little
//! is alive are emptied into the file at hand. One thread calls [`Journal::maintain`] again and
//! again; nothing of it is in the way of writing.
//!
//! A file may go once the checkpoint on disk begins behind it and none of its messages is alive;
//! the acks that say so are flushed before.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::checkpoint;
use super::disk::{Disk, DiskFile};
use super::frame::Frames;
use super::index::{FileNumber, Place, RunId};
use super::journal::{Journal, Options, WriteError, lock};
use super::names;
use crate::types::{QueueId, Seq, TenantId};

/// Files that are kept to be written again, beside the one made ready.
const SPARES_MAX: usize = 1;

/// Most that is moved with one write. Unit: bytes.
const MOVED_BYTES: usize = 1024 * 1024;

/// What is given up to write a checkpoint on a full disk, as a part of a journal file.
pub(super) const RESERVE_PER_FILE: u32 = 16;

/// See the module.
#[derive(Default)]
pub(super) struct Upkeep {
    /// The last file that was taken to be written.
    pub(super) taken: FileNumber,
    /// The file after it, made ready.
    pub(super) next: Option<Arc<dyn DiskFile>>,
    pub(super) spares: Vec<FileNumber>,
    /// Tables that are not on the disk yet.
    pub(super) tables: BTreeMap<FileNumber, Arc<Vec<u8>>>,
    /// A checkpoint that is not on the disk yet.
    pub(super) snapshot: Option<(FileNumber, Vec<u8>)>,
    /// Where the checkpoint on the disk begins.
    pub(super) position: FileNumber,
    /// Files that cannot be emptied, because something in them cannot be read.
    pub(super) unreadable: BTreeSet<FileNumber>,
    /// Whether the last attempt to make a file ready found the disk full.
    pub(super) full: bool,
}

impl Upkeep {
    /// A table that is not on the disk yet.
    pub(super) fn table(&self, file: FileNumber) -> Option<Arc<Vec<u8>>> {
        self.tables.get(&file).cloned()
    }

    /// Notes a sealed file's table, and the checkpoint behind it.
    pub(super) fn sealed(
        &mut self,
        file: FileNumber,
        table: Vec<u8>,
        snapshot: (FileNumber, Vec<u8>),
    ) {
        self.tables.insert(file, Arc::new(table));
        self.snapshot = Some(snapshot);
    }
}

impl Journal {
    /// One round. Answers whether another one has more to do.
    pub(super) fn maintain(&self) -> io::Result<bool> {
        self.prepare_next()?;
        self.save()?;
        let released = self.release()?;
        let emptied = self.empty_one()?;
        Ok(released || emptied)
    }

    /// Saves the tables and the checkpoint that are not on the disk yet.
    pub(super) fn save(&self) -> io::Result<()> {
        self.save_tables()?;
        self.save_checkpoint()
    }

    /// Whether there is no file to go on in when the one at hand is full.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.upkeep).full
    }

    /// The file after the one at hand, made ready now if it is not.
    pub(super) fn take_next(&self) -> io::Result<Arc<dyn DiskFile>> {
        let mut upkeep = lock(&self.upkeep);
        let next = match upkeep.next.take() {
            Some(next) => next,
            None => upkeep.make_ready(&*self.disk, self.options)?,
        };
        upkeep.taken += 1;
        Ok(next)
    }

    /// Makes the next file ready.
    pub(super) fn prepare_next(&self) -> io::Result<()> {
        let mut upkeep = lock(&self.upkeep);
        if upkeep.next.is_some() {
            return Ok(());
        }
        match upkeep.make_ready(&*self.disk, self.options) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            made => {
                upkeep.next = Some(made?);
                Ok(())
            }
        }
    }

    fn save_tables(&self) -> io::Result<()> {
        let tables = lock(&self.upkeep).tables.clone();
        for (file, table) in &tables {
            let name = names::table(*file);
            self.with_reserve(|disk| {
                let file = disk.create(&name)?;
                file.write_at(table, 0)?;
                file.sync()
            })?;
        }
        if !tables.is_empty() {
            self.disk.sync_names()?;
        }
        let mut upkeep = lock(&self.upkeep);
        tables.keys().for_each(|file| {
            upkeep.tables.remove(file);
        });
        Ok(())
    }

    fn save_checkpoint(&self) -> io::Result<()> {
        let Some((position, snapshot)) = lock(&self.upkeep).snapshot.clone() else {
            return Ok(());
        };
        if lock(&self.upkeep).tables.range(..position).next().is_some() {
            return Ok(());
        }
        for name in [names::CHECKPOINT, names::CHECKPOINT_COPY] {
            self.with_reserve(|disk| write_checkpoint(disk, name, &snapshot))?;
        }
        let mut upkeep = lock(&self.upkeep);
        upkeep.position = position;
        if upkeep.snapshot.as_ref().is_some_and(|(at, _)| *at == position) {
            upkeep.snapshot = None;
        }
        Ok(())
    }

    /// Does something that needs a little room, which is kept for it if the disk is full.
    fn with_reserve(&self, write: impl Fn(&dyn Disk) -> io::Result<()>) -> io::Result<()> {
        match write(&*self.disk) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            done => return done,
        }
        if let Err(error) = self.disk.remove(names::RESERVE)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        write(&*self.disk)
    }

    /// Gives up files in which nothing is alive.
    pub(super) fn release(&self) -> io::Result<bool> {
        let position = lock(&self.upkeep).position;
        let files: Vec<FileNumber> = {
            let index = lock(&self.index);
            let before = index.files.range(..position);
            before.filter(|(_, state)| state.messages == 0).map(|(file, _)| *file).collect()
        };
        if files.is_empty() {
            return Ok(false);
        }
        // Marked too: what was moved out of these files stands nowhere else, so that damage to it
        // must not pass for a torn write.
        if self.flush().and_then(|()| self.mark()).is_err() {
            return Ok(false);
        }
        for file in &files {
            lock(&self.index).files.remove(file);
            remove_if_there(&*self.disk, &names::table(*file))?;
            let mut upkeep = lock(&self.upkeep);
            upkeep.unreadable.remove(file);
            if upkeep.spares.len() < SPARES_MAX {
                match self.disk.rename(&names::journal(*file), &names::spare(*file)) {
                    // It was given up before a crash, by a run whose checkpoint still names it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                    Ok(()) => upkeep.spares.push(*file),
                }
            } else {
                remove_if_there(&*self.disk, &names::journal(*file))?;
            }
        }
        self.disk.sync_names()?;
        self.keep_reserve();
        Ok(true)
    }

    /// Takes the reserve again, if it was given up and there is room.
    pub(super) fn keep_reserve(&self) {
        let keep = || {
            if self.disk.names()?.iter().any(|name| name == names::RESERVE) {
                return Ok(());
            }
            let bytes = self.options.file_bytes / RESERVE_PER_FILE;
            self.disk.create(names::RESERVE)?.allocate(u64::from(bytes))
        };
        let kept: io::Result<()> = keep();
        if kept.is_err() {
            let _ = self.disk.remove(names::RESERVE);
        }
    }

    /// Moves what is alive out of the file in which the least is, if that is less than half.
    fn empty_one(&self) -> io::Result<bool> {
        let file = {
            let upkeep = lock(&self.upkeep);
            let (position, unreadable) = (upkeep.position, upkeep.unreadable.clone());
            drop(upkeep);
            let index = lock(&self.index);
            let sealed = index.files.range(..position);
            let half = u64::from(self.options.file_bytes) / 2;
            let little = sealed
                .filter(|(file, state)| state.live_bytes() < half && !unreadable.contains(file));
            little.min_by_key(|(_, state)| state.live_bytes()).map(|(file, _)| *file)
        };
        let Some(file) = file else { return Ok(false) };
        self.move_out(file)
    }

    /// Writes what is alive in a sealed file into the one at hand; `false` if not all can be read,
    /// or there is no room for it.
    fn move_out(&self, file: FileNumber) -> io::Result<bool> {
        let table = self.table_content(file)?;
        let runs = checkpoint::runs_of(&table, file);
        let mut complete = runs.is_ok();
        let mut frames = Frames::default();
        for run in runs.unwrap_or_default() {
            complete &= self.move_run(file, run, &table, &mut frames)?;
        }
        if !complete {
            lock(&self.upkeep).unreadable.insert(file);
        }
        Ok(self.write_moved(&mut frames) && complete)
    }

    fn move_run(
        &self,
        file: FileNumber,
        run: RunId,
        table: &[u8],
        frames: &mut Frames,
    ) -> io::Result<bool> {
        let RunId { tenant, queue, priority, first } = run;
        let key = (priority, first, file);
        let (seqs, places) = {
            let index = lock(&self.index);
            let there = index.queue(tenant, queue);
            let Some(there) = there.filter(|there| there.runs.contains_key(&key)) else {
                return Ok(true);
            };
            let located = there.located_in(key);
            let places = located.iter().map(|located| match located.place {
                Place::At(place) => place,
                // What does not stand in the table is not found in the file either.
                Place::InTable(at) => checkpoint::place_in(table, at as usize).unwrap_or(0),
            });
            let places: Vec<u32> = places.collect();
            (located.iter().map(|located| located.seq).collect::<Vec<_>>(), places)
        };
        let mut records = self.records(file, &places)?;
        let mut complete = true;
        for (position, seq) in seqs.iter().enumerate() {
            if position == 0 || frames.bytes.len() >= MOVED_BYTES {
                if frames.bytes.len() >= MOVED_BYTES && !self.write_moved(frames) {
                    // There is no room, or no writing any more: what is left stays where it is.
                    return Ok(complete);
                }
                frames.begin_moved(tenant);
            }
            let sound = records.message(tenant, queue, *seq, position)?.is_some();
            match records.record(position)? {
                Some(record) if sound => frames.bytes.extend_from_slice(record),
                _ => complete &= !self.is_alive(tenant, queue, *seq, file),
            }
        }
        Ok(complete)
    }

    pub(super) fn is_alive(
        &self,
        tenant: TenantId,
        queue: QueueId,
        seq: Seq,
        file: FileNumber,
    ) -> bool {
        let index = lock(&self.index);
        index.queue(tenant, queue).is_some_and(|queue| queue.is_in(seq, file))
    }

    fn write_moved(&self, frames: &mut Frames) -> bool {
        let mut first = 0;
        while first < frames.starts.len() {
            match self.write(frames, first, true) {
                Ok(next) => first = next,
                Err(WriteError::NoRoom | WriteError::Latched(_)) => return false,
            }
        }
        frames.clear();
        true
    }
}

impl Upkeep {
    fn make_ready(&mut self, disk: &dyn Disk, options: Options) -> io::Result<Arc<dyn DiskFile>> {
        let spare = self.spares.pop();
        let made = Journal::prepare(disk, options, self.taken + 1, spare);
        self.full = made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull);
        made
    }
}

fn write_checkpoint(disk: &dyn Disk, name: &str, snapshot: &[u8]) -> io::Result<()> {
    let file = disk.create(names::CHECKPOINT_NEW)?;
    file.write_at(snapshot, 0)?;
    file.sync()?;
    disk.rename(names::CHECKPOINT_NEW, name)?;
    disk.sync_names()
}

fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
