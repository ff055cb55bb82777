//! What the store takes on the disk, against what is in it.

use std::sync::Arc;

use super::super::disk::SimulatedDisk;
use super::super::journal::Options;
use super::super::stepped::{Stepped, Written};
use crate::engine::{Batch, Record};
use crate::types::{
    Content, Level, Lsn, Message, Priority, QueueId, QueueName, QueueSettings, Seq, TenantId,
};

const TENANT: TenantId = TenantId(5);
const QUEUE: QueueId = QueueId(1);
const FILE_BYTES: u32 = 16 * 1024;

struct Bench {
    disk: SimulatedDisk,
    store: Stepped,
    lsn: u64,
}

impl Bench {
    fn new() -> Self {
        let disk = SimulatedDisk::new(8);
        let store = Stepped::start(disk.mount(), Options { file_bytes: FILE_BYTES }).unwrap();
        let mut bench = Self { disk, store, lsn: 0 };
        let settings = QueueSettings::default();
        let name = QueueName::new("q").unwrap();
        bench.write(Record::Created { queue: QUEUE, name, settings });
        bench
    }

    fn write(&mut self, record: Record) {
        self.lsn += 1;
        let records = vec![record];
        self.store.append(TENANT, &Batch { lsn: Lsn(self.lsn), level: Level::Disk, records });
        while self.store.has_gathered() {
            assert!(matches!(self.store.write(), Written::Durable(_)));
        }
    }

    fn publish(&mut self, seq: u64, bytes: usize) {
        let content = Content::Payload(vec![seq as u8; bytes].into());
        let message =
            Arc::new(Message { content, properties: None, priority: None, published_at: 1 });
        self.write(Record::Published { queue: QUEUE, seq: Seq(seq), message });
    }

    fn ack(&mut self, seq: u64, bytes: usize) {
        let (seq, bytes, priority) = (Seq(seq), bytes as u64, Priority::default());
        self.write(Record::Removed { queue: QUEUE, seq, bytes, priority });
    }

    /// Upkeep until there is nothing to do.
    fn settle(&self) {
        while self.store.maintain().unwrap() {}
    }

    /// What is beyond twice the content may be the file at hand, the next one, and a spare.
    fn check(&self, live_bytes: u64) {
        let room = 2 * live_bytes + 3 * u64::from(FILE_BYTES) + 4_096;
        assert!(
            self.disk.used() <= room,
            "{} for {live_bytes}: {:?}",
            self.disk.used(),
            self.disk.names()
        );
    }
}

#[test]
fn a_backlog_takes_little_more_than_its_content() {
    let mut bench = Bench::new();
    let (messages, bytes) = (2_000_u64, 1_000_usize);
    for seq in 1..=messages {
        bench.publish(seq, bytes);
        if seq.is_multiple_of(50) {
            bench.settle();
        }
    }
    bench.settle();
    let content = messages * bytes as u64;
    let room = content * 115 / 100 + 3 * u64::from(FILE_BYTES);
    assert!(bench.disk.used() <= room, "{} for {content}", bench.disk.used());
}

#[test]
fn what_is_left_behind_takes_twice_its_bytes_at_most() {
    for (keep, bytes) in [(2, 500), (7, 500), (10, 2_000), (97, 100)] {
        let mut bench = Bench::new();
        for seq in 1..=1_000 {
            bench.publish(seq, bytes);
            if !seq.is_multiple_of(keep) {
                bench.ack(seq, bytes);
            }
            if seq.is_multiple_of(20) {
                bench.settle();
            }
        }
        bench.settle();
        bench.check((1_000 / keep) * (bytes as u64 + 24));
    }
}

#[test]
fn a_message_that_is_never_acked_pins_its_own_bytes_alone() {
    let mut bench = Bench::new();
    bench.publish(1, 300);
    for seq in 2..3_000 {
        bench.publish(seq, 300);
        bench.ack(seq, 300);
        if seq.is_multiple_of(20) {
            bench.settle();
        }
    }
    bench.settle();
    bench.check(324);
}

#[test]
fn restarts_take_no_more_than_the_files_at_hand() {
    let mut bench = Bench::new();
    for seq in 1..50 {
        bench.publish(seq, 300);
        bench.ack(seq, 300);
        bench.disk.kill();
        let options = Options { file_bytes: FILE_BYTES };
        bench.store = Stepped::start(bench.disk.mount(), options).unwrap();
        assert_eq!(bench.store.damage(), []);
        let room = 4 * u64::from(FILE_BYTES) + 8_192;
        assert!(bench.disk.used() <= room, "{}: {:?}", bench.disk.used(), bench.disk.names());
    }
}
