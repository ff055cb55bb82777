//! The promises of every store, on a folder and on a disk that loses power.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::super::disk::{Disk, DiskFile, Folder, SimulatedDisk};
use super::super::{FileStore, Options};
use crate::store::Store;
use crate::store::conformance::{Site, keeps_its_promises};
use crate::types::Level;

/// Small, so that a test fills many of them.
const OPTIONS: Options = Options { level: Level::Disk, file_bytes: 16 * 1024 };

/// The power goes at each crash.
struct Simulated(SimulatedDisk);

impl Site for Simulated {
    fn start(&self) -> Arc<dyn Store> {
        let store = FileStore::start(self.0.mount(), OPTIONS).expect("it starts");
        assert_eq!(store.damage(), []);
        Arc::new(store)
    }

    fn crash(&self, _store: Arc<dyn Store>) {
        self.0.power_cut();
    }

    fn hold(&self, held: bool) {
        self.0.hold(held);
    }

    fn fail_next_flush(&self) {
        // Any flush may come first: the journal's, or one of upkeep.
        self.0.break_down();
    }
}

/// A real folder, of which one process at a time is alive.
struct Real {
    folder: tempfile::TempDir,
    faults: Arc<Faults>,
    level: Level,
}

#[derive(Default)]
struct Faults {
    held: AtomicBool,
    fails: AtomicBool,
    /// The process whose turn it is; held while it changes something.
    run: Mutex<u64>,
}

struct Faulty {
    folder: Folder,
    faults: Arc<Faults>,
    run: u64,
}

struct FaultyFile {
    file: Arc<dyn DiskFile>,
    faults: Arc<Faults>,
    run: u64,
}

impl Faults {
    /// Does something, if the process that wants it is alive.
    fn alive<T>(&self, run: u64, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let alive = self.run.lock().unwrap();
        if *alive == run { act() } else { Err(io::Error::other("this process is dead")) }
    }

    fn next_run(&self) -> u64 {
        let mut run = self.run.lock().unwrap();
        *run += 1;
        *run
    }
}

impl Disk for Faulty {
    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.faults.alive(self.run, || self.folder.open(name))?;
        let faults = self.faults.clone();
        Ok(Arc::new(FaultyFile { file, faults, run: self.run }))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.faults.alive(self.run, || self.folder.create(name))?;
        let faults = self.faults.clone();
        Ok(Arc::new(FaultyFile { file, faults, run: self.run }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.faults.alive(self.run, || self.folder.rename(from, to))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.faults.alive(self.run, || self.folder.remove(name))
    }
    fn sync_names(&self) -> io::Result<()> {
        self.faults.alive(self.run, || self.folder.sync_names())
    }
}

impl DiskFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(into, at)
    }
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.faults.alive(self.run, || self.file.write_at(bytes, at))
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.faults.alive(self.run, || self.file.allocate(len))
    }
    fn sync(&self) -> io::Result<()> {
        while self.faults.held.load(Ordering::SeqCst) {
            self.faults.alive(self.run, || Ok(()))?;
            std::thread::yield_now();
        }
        if self.faults.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("input/output error"));
        }
        self.faults.alive(self.run, || self.file.sync())
    }
}

impl Site for Real {
    fn start(&self) -> Arc<dyn Store> {
        let run = self.faults.next_run();
        self.faults.fails.store(false, Ordering::SeqCst);
        let folder = Folder::open(self.folder.path()).expect("the folder is there");
        let disk = Faulty { folder, faults: self.faults.clone(), run };
        let options = Options { level: self.level, ..OPTIONS };
        let store = FileStore::start(Arc::new(disk), options).expect("it starts");
        assert_eq!(store.damage(), []);
        Arc::new(store)
    }

    fn crash(&self, _store: Arc<dyn Store>) {
        self.faults.next_run();
    }

    fn hold(&self, held: bool) {
        self.faults.held.store(held, Ordering::SeqCst);
    }

    fn fail_next_flush(&self) {
        self.faults.fails.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_disk_that_loses_power() {
    for seed in 0..10 {
        keeps_its_promises(&Simulated(SimulatedDisk::new(seed))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = Real { folder, faults: Arc::default(), level: Level::Disk };
    keeps_its_promises(&site).await;
}
