//! Faults of the disk, seen from above the threads.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::super::disk::SimulatedDisk;
use super::super::{FileStore, Options};
use crate::engine::{Batch, Record};
use crate::store::{Listener, Store, StoreError};
use crate::types::{
    Content, Level, Lsn, Message, Priority, QueueId, QueueName, QueueSettings, Seq, TenantId,
};

const TENANT: TenantId = TenantId(9);
const QUEUE: QueueId = QueueId(1);
const OPTIONS: Options = Options { level: Level::Disk, file_bytes: 16 * 1024 };

#[derive(Default)]
struct Heard {
    state: Mutex<(Lsn, bool)>,
    news: Condvar,
}

impl Heard {
    fn wait(&self, enough: impl Fn((Lsn, bool)) -> bool) {
        let state = self.state.lock().unwrap();
        let patience = Duration::from_secs(20);
        let waiting = self.news.wait_timeout_while(state, patience, |state| !enough(*state));
        let (state, timeout) = waiting.unwrap();
        assert!(!timeout.timed_out(), "never heard; last: {state:?}");
    }
}

impl Listener for Heard {
    fn durable(&self, _tenant: TenantId, lsn: Lsn) {
        self.state.lock().unwrap().0 = lsn;
        self.news.notify_all();
    }
    fn failed(&self, _tenant: TenantId, error: &StoreError) {
        panic!("nothing fails for good: {error}");
    }
    fn full(&self, _tenant: TenantId, full: bool) {
        self.state.lock().unwrap().1 = full;
        self.news.notify_all();
    }
}

fn published(lsn: u64, seq: u64) -> Batch {
    let content = Content::Payload(vec![7; 1_000].into());
    let message = Arc::new(Message { content, properties: None, priority: None, published_at: 1 });
    let records = vec![Record::Published { queue: QUEUE, seq: Seq(seq), message }];
    Batch { lsn: Lsn(lsn), level: Level::Disk, records }
}

fn created() -> Batch {
    let settings = QueueSettings::default();
    let name = QueueName::new("q").unwrap();
    let records = vec![Record::Created { queue: QUEUE, name, settings }];
    Batch { lsn: Lsn(1), level: Level::Disk, records }
}

/// Waits for something that is not told.
fn until(what: &str, met: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !met() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::yield_now();
    }
}

async fn start(disk: &SimulatedDisk) -> (FileStore, Arc<Heard>) {
    let store = FileStore::start(disk.mount(), OPTIONS).unwrap();
    let heard = Arc::new(Heard::default());
    let listener: Arc<dyn Listener> = heard.clone();
    store.open(TENANT, listener).await.unwrap();
    (store, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_takes_acks_and_recovers_by_itself() {
    let disk = SimulatedDisk::new(3);
    let (store, heard) = start(&disk).await;
    let _ = store.append(TENANT, created());
    heard.wait(|(lsn, _)| lsn == Lsn(1));
    disk.set_capacity(Some(disk.used() + 64 * 1024));
    // Until it is full, as the engine would, which publishes no more then.
    let mut last = 1;
    while !heard.state.lock().unwrap().1 {
        last += 1;
        let _ = store.append(TENANT, published(last, last - 1));
        let appended = Lsn(last);
        heard.wait(|(lsn, full)| lsn == appended || full);
        assert!(last < 1_000, "the disk is never full");
    }
    // Acks are taken, and free the files of what they ack.
    let messages = last - 1;
    for seq in 1..=messages {
        last += 1;
        let (seq, priority) = (Seq(seq), Priority::default());
        let records = vec![Record::Removed { queue: QUEUE, seq, bytes: 1_000, priority }];
        let _ = store.append(TENANT, Batch { lsn: Lsn(last), level: Level::Disk, records });
    }
    let acked = Lsn(last);
    heard.wait(|(lsn, full)| lsn == acked && !full);
    let _ = store.append(TENANT, published(last + 1, messages + 1));
    heard.wait(|(lsn, _)| lsn == Lsn(last + 1));
    assert_eq!(store.close().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_on_a_full_disk_starts_and_gives_back_what_it_has() {
    let disk = SimulatedDisk::new(4);
    let (store, heard) = start(&disk).await;
    let _ = store.append(TENANT, created());
    for lsn in 2..40 {
        let _ = store.append(TENANT, published(lsn, lsn - 1));
    }
    heard.wait(|(lsn, _)| lsn == Lsn(39));
    assert_eq!(store.close().await, Ok(()));
    // The file that was made ready to go on in is not there: the disk was full by then.
    let last = disk.names().into_iter().rfind(|name| name.ends_with(".journal")).unwrap();
    if !disk.content(&last).unwrap().windows(4).any(|bytes| bytes == b"gmqF") {
        disk.replace(&last, None);
    }
    disk.set_capacity(Some(disk.used()));
    let store = FileStore::start(disk.mount(), OPTIONS).unwrap();
    let recovered = store.open(TENANT, Arc::new(Heard::default())).await.unwrap();
    assert_eq!(recovered.queues[0].messages, 38);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_hangs_holds_up_neither_appends_nor_reads() {
    let disk = SimulatedDisk::new(5);
    let (store, heard) = start(&disk).await;
    let _ = store.append(TENANT, created());
    let _ = store.append(TENANT, published(2, 1));
    heard.wait(|(lsn, _)| lsn == Lsn(2));
    disk.hold(true);
    for lsn in 3..200 {
        let _ = store.append(TENANT, published(lsn, lsn - 1));
    }
    let load = crate::engine::Load {
        priority: None,
        ticket: crate::engine::LoadTicket(1),
        queue: QUEUE,
        from_seq: Seq(1),
        to_seq: Seq(1),
        messages_max: 9,
        bytes_max: 9_999,
    };
    assert_eq!(store.load(TENANT, load).await.unwrap().len(), 1);
    assert_eq!(heard.state.lock().unwrap().0, Lsn(2), "nothing is told meanwhile");
    until("the watchdog sees it", || store.hangs());
    disk.hold(false);
    heard.wait(|(lsn, _)| lsn == Lsn(199));
    until("the watchdog sees that it is over", || !store.hangs());
}
