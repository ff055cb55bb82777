//! The file store's threads. The writer takes the group that has gathered, writes and flushes it,
//! and tells; the next group gathers meanwhile. Upkeep is done beside it, and a watchdog says when
//! a flush hangs.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::group::Group;
use super::journal::{Journal, WriteError, lock};
use super::latched;
use crate::engine::Batch;
use crate::store::{Listener, StoreError};
use crate::types::{Level, Lsn, TenantId};

/// What was written and not flushed (level `os`) is flushed so much later, at the latest.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// After so long without anything to write, the end of the journal is marked.
const MARK_AFTER: Duration = Duration::from_millis(50);

/// How often upkeep is looked after if nothing asks for it.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// A flush that takes longer is told of.
const HANGS_AFTER: Duration = Duration::from_secs(5);

/// How often a writer without room looks whether there is some.
const ROOM_EVERY: Duration = Duration::from_millis(200);

/// What the threads share.
pub(super) struct Shared {
    pub(super) journal: Journal,
    gathered: Mutex<Gathered>,
    /// There is something to write, or the store closes.
    news: Condvar,
    /// The store closes.
    closing: Condvar,
    listeners: Mutex<BTreeMap<TenantId, Told>>,
    /// Since when the writer writes.
    writing_since: Mutex<Option<Instant>>,
    upkeep_news: (Mutex<bool>, Condvar),
    /// The watchdog has seen a flush that takes too long, and has not seen it end.
    hangs: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the writer is to do.
enum Next {
    /// Write the group.
    Group,
    /// Flush what was written without.
    Flush,
    /// Nothing was written for a while.
    Idle,
    /// End.
    Closing,
}

#[derive(Default)]
struct Gathered {
    group: Group,
    /// Nothing was written since the end was marked.
    idle: bool,
    closing: bool,
    latched: Option<String>,
}

/// A tenant's listener.
struct Told {
    listener: Arc<dyn Listener>,
    /// Whether it was told that the disk is full.
    full: bool,
}

impl Shared {
    pub(super) fn start(journal: Journal) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Self {
            journal,
            gathered: Mutex::default(),
            news: Condvar::new(),
            closing: Condvar::new(),
            listeners: Mutex::default(),
            writing_since: Mutex::default(),
            upkeep_news: (Mutex::new(true), Condvar::new()),
            hangs: AtomicBool::new(false),
            threads: Mutex::default(),
        });
        for (name, run) in [
            ("journal", Shared::write as fn(&Shared)),
            ("upkeep", Shared::keep_up),
            ("watchdog", Shared::watch),
        ] {
            let theirs = Arc::clone(&shared);
            let thread = thread::Builder::new().name(name.to_owned());
            let thread = thread.spawn(move || run(&theirs))?;
            lock(&shared.threads).push(thread);
        }
        Ok(shared)
    }

    /// Takes a batch into the group that gathers.
    pub(super) fn append(&self, tenant: TenantId, batch: &Batch) {
        let mut gathered = lock(&self.gathered);
        if gathered.latched.is_some() {
            return;
        }
        let first = gathered.group.is_empty();
        gathered.group.add(tenant, batch, self.journal.options.file_bytes);
        drop(gathered);
        if first {
            self.news.notify_all();
        }
    }

    /// Notes who is told of a tenant's batches.
    pub(super) fn listen(
        &self,
        tenant: TenantId,
        listener: Arc<dyn Listener>,
    ) -> Result<(), StoreError> {
        if let Some(reason) = &lock(&self.gathered).latched {
            return Err(latched(reason.clone()));
        }
        lock(&self.listeners).insert(tenant, Told { listener, full: false });
        Ok(())
    }

    /// Whether a flush takes longer than it should.
    pub(super) fn hangs(&self) -> bool {
        self.hangs.load(Ordering::Relaxed)
    }

    /// Writes what has gathered, and ends the threads.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.stop();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
        let latched_for = lock(&self.gathered).latched.clone();
        latched_for.map_or(Ok(()), |reason| Err(latched(reason)))
    }

    /// Asks the threads to end.
    pub(super) fn stop(&self) {
        lock(&self.gathered).closing = true;
        self.news.notify_all();
        self.closing.notify_all();
        self.ask_for_upkeep();
    }

    /// The writer.
    fn write(&self) {
        let mut group = Group::default();
        let mut unflushed: Option<Instant> = None;
        loop {
            let done = match self.next(&mut group, unflushed) {
                Next::Group => {
                    let flush = group.level > Some(Level::Os)
                        || unflushed.is_some_and(|since| since.elapsed() >= FLUSH_AFTER);
                    let since = unflushed.unwrap_or_else(Instant::now);
                    unflushed = (!flush).then_some(since);
                    self.write_group(&mut group, flush)
                }
                Next::Flush => {
                    unflushed = None;
                    self.journal.flush()
                }
                Next::Idle => {
                    self.ask_for_upkeep();
                    self.journal.mark()
                }
                Next::Closing => break,
            };
            match done {
                Ok(()) => {}
                Err(WriteError::Latched(reason)) => return self.latch(&reason),
                Err(WriteError::NoRoom) => {
                    return self.latch("the disk was full when the store closed");
                }
            }
        }
        if let Err(WriteError::Latched(reason)) =
            self.journal.flush().and_then(|()| self.journal.mark())
        {
            self.latch(&reason);
        }
    }

    /// Writes the group, and waits for room if there is none.
    fn write_group(&self, group: &mut Group, flush: bool) -> Result<(), WriteError> {
        let mut first = 0;
        while first < group.ends.len() {
            *lock(&self.writing_since) = Some(Instant::now());
            let written = self.journal.write(&mut group.frames, first, flush);
            *lock(&self.writing_since) = None;
            if self.journal.has_rotated() {
                self.tell_room();
                self.ask_for_upkeep();
            }
            match written {
                Ok(next) => {
                    self.tell(group.told(first..next));
                    first = next;
                }
                Err(WriteError::NoRoom) if self.wait_for_room() => {}
                Err(error) => return Err(error),
            }
        }
        group.clear();
        Ok(())
    }

    /// Waits for what is to be done next; swaps a group that has gathered for the empty one.
    fn next(&self, group: &mut Group, unflushed: Option<Instant>) -> Next {
        let mut gathered = lock(&self.gathered);
        let mut idle_at = Some(Instant::now() + MARK_AFTER).filter(|_| !gathered.idle);
        let flush_at = unflushed.map(|since| since + FLUSH_AFTER);
        while gathered.group.is_empty() {
            let now = Instant::now();
            if gathered.closing {
                return Next::Closing;
            }
            if flush_at.is_some_and(|at| at <= now) {
                return Next::Flush;
            }
            if idle_at.is_some_and(|at| at <= now) && unflushed.is_none() {
                gathered.idle = true;
                return Next::Idle;
            }
            idle_at = idle_at.filter(|_| unflushed.is_none());
            gathered = match flush_at.or(idle_at) {
                None => self.news.wait(gathered).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let waited = self.news.wait_timeout(gathered, at - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        gathered.idle = false;
        std::mem::swap(&mut gathered.group, group);
        Next::Group
    }

    /// Waits until there may be room on the disk; `false`: the store closes.
    fn wait_for_room(&self) -> bool {
        self.ask_for_upkeep();
        let gathered = lock(&self.gathered);
        if gathered.closing {
            return false;
        }
        let waited = self.news.wait_timeout(gathered, ROOM_EVERY);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        true
    }

    fn tell(&self, durable: Vec<(TenantId, Lsn)>) {
        for (tenant, lsn) in durable {
            let listener = lock(&self.listeners).get(&tenant).map(|told| told.listener.clone());
            if let Some(listener) = listener {
                listener.durable(tenant, lsn);
            }
        }
    }

    /// Nothing is written any more; everybody is told, once.
    fn latch(&self, reason: &str) {
        let reason = format!("{reason}; look at the disk, then restart the server");
        {
            let mut gathered = lock(&self.gathered);
            if gathered.latched.is_some() {
                return;
            }
            gathered.latched = Some(reason.clone());
            gathered.group.clear();
        }
        let error = latched(reason);
        for (tenant, listener) in self.listeners() {
            listener.failed(tenant, &error);
        }
    }

    fn listeners(&self) -> Vec<(TenantId, Arc<dyn Listener>)> {
        let listeners = lock(&self.listeners);
        listeners.iter().map(|(tenant, told)| (*tenant, told.listener.clone())).collect()
    }

    fn ask_for_upkeep(&self) {
        let (asked, news) = &self.upkeep_news;
        *lock(asked) = true;
        news.notify_all();
    }

    fn is_closing(&self) -> bool {
        let gathered = lock(&self.gathered);
        gathered.closing || gathered.latched.is_some()
    }

    /// Upkeep, round after round.
    fn keep_up(&self) {
        let mut failed = false;
        while !self.is_closing() {
            let more = self.journal.maintain();
            if let Some(reason) = self.journal.latched() {
                return self.latch(&reason);
            }
            self.tell_room();
            match more {
                Ok(true) => continue,
                Ok(false) => failed = false,
                Err(error) if !failed => {
                    failed = true;
                    tracing::error!(%error, "the store's files cannot be tidied; it goes on");
                }
                Err(_) => {}
            }
            let (asked, news) = &self.upkeep_news;
            let waited = news.wait_timeout_while(lock(asked), UPKEEP_EVERY, |asked| !*asked);
            *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
        }
    }

    /// Tells those who do not know yet that the disk is full, or no longer.
    fn tell_room(&self) {
        let full = self.journal.is_full();
        let mut news = Vec::new();
        for (tenant, told) in lock(&self.listeners).iter_mut() {
            if told.full != full {
                told.full = full;
                news.push((*tenant, told.listener.clone()));
            }
        }
        for (tenant, listener) in news {
            listener.full(tenant, full);
        }
    }

    /// Says when a write or a flush hangs, and when it went on.
    fn watch(&self) {
        let mut hangs: Option<Instant> = None;
        let mut gathered = lock(&self.gathered);
        while !gathered.closing {
            drop(gathered);
            let since = *lock(&self.writing_since);
            match (hangs, since) {
                (None, Some(since)) if since.elapsed() >= HANGS_AFTER => {
                    hangs = Some(since);
                    self.hangs.store(true, Ordering::Relaxed);
                    tracing::error!(
                        seconds = HANGS_AFTER.as_secs(),
                        "a flush hangs: nothing is confirmed until the disk answers"
                    );
                }
                (Some(began), now) if now != Some(began) => {
                    hangs = None;
                    self.hangs.store(false, Ordering::Relaxed);
                    let seconds = began.elapsed().as_secs();
                    tracing::warn!(seconds, "the flush that hung is done");
                }
                _ => {}
            }
            gathered = lock(&self.gathered);
            if !gathered.closing {
                let waited = self.closing.wait_timeout(gathered, UPKEEP_EVERY);
                gathered = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}
