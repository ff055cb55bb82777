//! A disk in memory that keeps its promises and not a bit more: what was not flushed may be lost,
//! torn or reordered by a power cut, sector by sector; names that were not flushed may fall back;
//! a flush that failed has lost what it was to flush. Everything random comes from its seed.
//!
//! [`SimulatedDisk`] is the hardware; [`SimulatedDisk::mount`] gives the disk as one run of a
//! process sees it, which a power cut or the end of the process makes useless.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

/// What is written as a whole or not at all. Unit: bytes.
const SECTOR_BYTES: usize = 512;

/// The hardware; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    released: Arc<Condvar>,
}

/// The disk as one run of a process sees it.
struct Mounted {
    disk: SimulatedDisk,
    run: u64,
}

/// A file as one run of a process has it open.
struct Open {
    disk: SimulatedDisk,
    run: u64,
    file: FileId,
}

type FileId = u64;

#[derive(Default)]
struct State {
    random: u64,
    /// The run of a process that may use the disk.
    run: u64,
    /// That run was cut off.
    gone: bool,
    files: BTreeMap<FileId, SimulatedFile>,
    file_max: FileId,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    /// What happened to names since they were flushed.
    name_changes: Vec<NameChange>,
    operations: u64,
    /// The power goes at that operation.
    cut_at: Option<u64>,
    /// How many more until one fails.
    sync_fails_in: Option<u64>,
    write_fails_in: Option<u64>,
    read_fails_in: Option<u64>,
    capacity: Option<u64>,
    held: bool,
    /// Every flush fails.
    broken: bool,
}

#[derive(Clone)]
enum NameChange {
    Link(String, FileId),
    Unlink(String),
    Rename(String, String),
}

#[derive(Default)]
struct SimulatedFile {
    visible: Vec<u8>,
    durable: Vec<u8>,
    /// What was written to each sector since it was flushed, one after the other.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The same, of sectors whose flush failed: no later flush writes them.
    doubtful: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.lock().random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        disk
    }

    /// The disk for a new run of a process.
    pub fn mount(&self) -> Arc<dyn Disk> {
        let mut state = self.lock();
        state.run += 1;
        state.gone = false;
        let run = state.run;
        drop(state);
        self.released.notify_all();
        Arc::new(Mounted { disk: self.clone(), run })
    }

    /// The process ends; what it wrote is still in the memory of the operating system.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.run += 1;
        state.cut_at = None;
        state.broken = false;
        drop(state);
        self.released.notify_all();
    }

    /// The power goes.
    pub fn power_cut(&self) {
        self.kill();
        self.lock().lose_power();
    }

    /// The process, and all that it does, ends at that many changes from now on; the change that it
    /// is in the middle of may happen in part.
    pub fn cut_after(&self, operations: u64) {
        let mut state = self.lock();
        state.cut_at = Some(state.operations + operations);
    }

    /// Whether the run that mounted it last can still use it.
    pub fn is_of_use(&self) -> bool {
        !self.lock().gone
    }

    /// The flush after `n` more fails, and loses what it was to flush.
    pub fn fail_sync(&self, n: u64) {
        self.lock().sync_fails_in = Some(n);
    }

    /// Every flush from now on fails, until the process ends.
    pub fn break_down(&self) {
        self.lock().broken = true;
    }

    /// The write after `n` more fails.
    pub fn fail_write(&self, n: u64) {
        self.lock().write_fails_in = Some(n);
    }

    /// The read after `n` more fails.
    pub fn fail_read(&self, n: u64) {
        self.lock().read_fails_in = Some(n);
    }

    /// No more faults that were asked for and did not come.
    pub fn heal(&self) {
        let mut state = self.lock();
        (state.sync_fails_in, state.write_fails_in, state.read_fails_in) = (None, None, None);
        state.cut_at = None;
    }

    /// The files that have names take no more than that together. Unit: bytes.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.lock().capacity = capacity;
    }

    /// What the files that have names take. Unit: bytes.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Flushes wait until they are let go.
    pub fn hold(&self, held: bool) {
        self.lock().held = held;
        self.released.notify_all();
    }

    /// The names of the files.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// What is in a file.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let file = state.names.get(name)?;
        Some(state.files[file].visible.clone())
    }

    /// Puts that into a file behind the back of whoever uses the disk; `None` removes it.
    pub fn replace(&self, name: &str, content: Option<Vec<u8>>) {
        let mut state = self.lock();
        let Some(content) = content else {
            state.names.remove(name);
            state.durable_names.remove(name);
            return;
        };
        let id = state.new_file();
        let durable = content.clone();
        let file = SimulatedFile { visible: content, durable, ..SimulatedFile::default() };
        state.files.insert(id, file);
        state.names.insert(name.to_owned(), id);
        state.durable_names.insert(name.to_owned(), id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for a run that is still allowed to use it.
    fn of_run(&self, run: u64) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.run == run { Ok(state) } else { Err(io::Error::other("the power is gone")) }
    }
}

impl State {
    /// Marsaglia's xorshift64: enough to mix.
    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn new_file(&mut self) -> FileId {
        self.file_max += 1;
        self.file_max
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[file].visible.len() as u64).sum()
    }

    /// Counts a change. `Err`: the power goes during it; it is to happen only in part.
    fn change(&mut self) -> Result<(), ()> {
        self.operations += 1;
        if self.cut_at.is_some_and(|at| self.operations >= at) {
            self.run += 1;
            self.gone = true;
            self.cut_at = None;
            return Err(());
        }
        Ok(())
    }

    fn grows_to(&self, file: FileId, length: usize) -> io::Result<()> {
        let more = length.saturating_sub(self.files[&file].visible.len()) as u64;
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn name_change(&mut self, change: NameChange) -> io::Result<()> {
        let whole = self.change().is_ok();
        if whole || self.below(2) == 0 {
            apply_change(&mut self.names, &change);
            self.name_changes.push(change);
        }
        if whole { Ok(()) } else { Err(io::Error::other("the power is gone")) }
    }

    fn lose_power(&mut self) {
        let kept = self.below(self.name_changes.len() as u64 + 1) as usize;
        for change in std::mem::take(&mut self.name_changes).into_iter().take(kept) {
            apply_change(&mut self.durable_names, &change);
        }
        self.names = self.durable_names.clone();
        let linked: BTreeSet<FileId> = self.names.values().copied().collect();
        self.files.retain(|file, _| linked.contains(file));
        let mut files = std::mem::take(&mut self.files);
        for file in files.values_mut() {
            file.lose_power(&mut |end| self.below(end));
        }
        self.files = files;
    }
}

fn apply_change(names: &mut BTreeMap<String, FileId>, change: &NameChange) {
    match change {
        NameChange::Link(name, file) => drop(names.insert(name.clone(), *file)),
        NameChange::Unlink(name) => drop(names.remove(name)),
        NameChange::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
    }
}

impl SimulatedFile {
    fn set_length(&mut self, length: usize) {
        if self.visible.len() < length {
            self.visible.resize(length, 0);
        }
    }

    fn write(&mut self, bytes: &[u8], at: usize, mut stays: impl FnMut() -> bool) {
        self.set_length(at + bytes.len());
        let first = at / SECTOR_BYTES;
        let last = (at + bytes.len()).div_ceil(SECTOR_BYTES);
        for sector in first..last {
            if !stays() {
                continue;
            }
            let start = sector * SECTOR_BYTES;
            let (from, to) = (at.max(start), (at + bytes.len()).min(start + SECTOR_BYTES));
            self.visible[from..to].copy_from_slice(&bytes[from - at..to - at]);
            let end = (start + SECTOR_BYTES).min(self.visible.len());
            let whole = self.visible[start..end].to_vec();
            self.dirty.entry(sector).or_default().push(whole);
        }
    }

    fn sync(&mut self) {
        self.durable.resize(self.visible.len(), 0);
        for (sector, states) in std::mem::take(&mut self.dirty) {
            self.doubtful.remove(&sector);
            self.settle(sector, states.last());
        }
    }

    fn settle(&mut self, sector: usize, state: Option<&Vec<u8>>) {
        let Some(state) = state else { return };
        let start = sector * SECTOR_BYTES;
        let length = state.len().min(self.durable.len().saturating_sub(start));
        if length > 0 {
            self.durable[start..start + length].copy_from_slice(&state[..length]);
        }
    }

    fn fail_sync(&mut self) {
        for (sector, states) in std::mem::take(&mut self.dirty) {
            self.doubtful.entry(sector).or_default().extend(states);
        }
    }

    fn lose_power(&mut self, below: &mut impl FnMut(u64) -> u64) {
        if below(2) == 0 {
            self.durable.resize(self.visible.len(), 0);
        }
        let mut open = std::mem::take(&mut self.doubtful);
        for (sector, states) in std::mem::take(&mut self.dirty) {
            open.entry(sector).or_default().extend(states);
        }
        for (sector, states) in open {
            // One of them, or what was there before; the newest more often than not.
            let chosen = match below(4) {
                0 => None,
                1 => states.get(below(states.len() as u64) as usize),
                _ => states.last(),
            };
            self.settle(sector, chosen);
        }
        self.visible = self.durable.clone();
    }
}

/// Counts down to a fault; `true`: now.
fn is_due(left: &mut Option<u64>) -> bool {
    match left {
        Some(0) => {
            *left = None;
            true
        }
        Some(n) => {
            *n -= 1;
            false
        }
        None => false,
    }
}

fn input_output_error() -> io::Error {
    io::Error::other("input/output error")
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} is not there"))
}

impl Mounted {
    fn handle(&self, file: FileId) -> Arc<dyn DiskFile> {
        Arc::new(Open { disk: self.disk.clone(), run: self.run, file })
    }
}

impl Disk for Mounted {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.of_run(self.run)?.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.of_run(self.run)?.names.get(name).copied();
        file.map(|file| self.handle(file)).ok_or_else(|| not_found(name))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.disk.of_run(self.run)?;
        let file = state.new_file();
        state.files.insert(file, SimulatedFile::default());
        state.name_change(NameChange::Link(name.to_owned(), file))?;
        Ok(self.handle(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.disk.of_run(self.run)?;
        if !state.names.contains_key(from) {
            return Err(not_found(from));
        }
        state.name_change(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.of_run(self.run)?;
        if !state.names.contains_key(name) {
            return Err(not_found(name));
        }
        state.name_change(NameChange::Unlink(name.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.disk.of_run(self.run)?;
        let whole = state.change();
        if is_due(&mut state.sync_fails_in) || state.broken {
            return Err(input_output_error());
        }
        if whole.is_err() {
            return Err(io::Error::other("the power is gone"));
        }
        state.name_changes.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl DiskFile for Open {
    fn length(&self) -> io::Result<u64> {
        let state = self.disk.of_run(self.run)?;
        Ok(state.files.get(&self.file).map_or(0, |file| file.visible.len() as u64))
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.of_run(self.run)?;
        if is_due(&mut state.read_fails_in) {
            return Err(input_output_error());
        }
        let file = state.files.get(&self.file);
        let there = file.and_then(|file| file.visible.get(at as usize..at as usize + into.len()));
        into.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.of_run(self.run)?;
        state.grows_to(self.file, at as usize + bytes.len())?;
        let whole = state.change().is_ok();
        if is_due(&mut state.write_fails_in) {
            return Err(input_output_error());
        }
        let Some(mut file) = state.files.remove(&self.file) else { return Ok(()) };
        file.write(bytes, at as usize, || whole || state.below(2) == 0);
        state.files.insert(self.file, file);
        if whole { Ok(()) } else { Err(io::Error::other("the power is gone")) }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.of_run(self.run)?;
        state.grows_to(self.file, len as usize)?;
        let whole = state.change().is_ok();
        if let Some(file) = state.files.get_mut(&self.file) {
            file.set_length(len as usize);
        }
        if whole { Ok(()) } else { Err(io::Error::other("the power is gone")) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.of_run(self.run)?;
        while state.held && state.run == self.run {
            state = self.disk.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        let mut state = self.disk.of_run(self.run)?;
        let whole = state.change().is_ok();
        let fails = is_due(&mut state.sync_fails_in) || state.broken;
        let Some(file) = state.files.get_mut(&self.file) else { return Ok(()) };
        if fails {
            file.fail_sync();
            return Err(input_output_error());
        }
        if !whole {
            return Err(io::Error::other("the power is gone"));
        }
        file.sync();
        Ok(())
    }
}
