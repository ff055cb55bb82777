//! The suite itself. Each check has tenants of its own, so that they do not meet.

use std::sync::Arc;

use super::Site;
use super::script::Script;
use super::witness::Witness;
use crate::engine::image::Image;
use crate::engine::{Load, LoadTicket, Recovered, RecoveredQueue, StoredMessage};
use crate::store::{Appended, Store};
use crate::types::{Level, Lsn, Priority, QueueId, Seq, TenantId};

/// Every promise of a durable store.
///
/// # Panics
///
/// If one is not kept.
pub(crate) async fn keeps_its_promises(site: &dyn Site) {
    let store = site.start();
    assert!(store.level() > Level::Memory && store.level_max() >= store.level());
    assert!(store.window().messages > 0 && store.window().bytes > 0);
    site.crash(store);
    append_does_not_wait(site, TenantId(1)).await;
    for seed in 0..6 {
        what_is_told_outlives_crashes(site, TenantId(10 + u128::from(seed)), seed).await;
    }
    tenants_do_not_meet(site, TenantId(100), TenantId(101)).await;
    close_makes_all_durable(site, TenantId(200)).await;
    a_higher_level_is_reached_before_it_is_told(site, TenantId(250)).await;
    a_failed_flush_latches(site, TenantId(300), TenantId(301)).await;
}

/// What holds for a store that keeps nothing.
///
/// # Panics
///
/// If it does not.
pub(crate) async fn keeps_nothing_and_says_so(start: impl Fn() -> Arc<dyn Store>) {
    let tenant = TenantId(1);
    let store = start();
    assert_eq!((store.level(), store.level_max()), (Level::Memory, Level::Memory));
    assert!(store.window().messages == usize::MAX, "there is nothing to page in from");
    let witness = Witness::new();
    assert_eq!(store.open(tenant, witness.clone()).await, Ok(Recovered::default()));
    let mut script = Script::new(1, Level::Memory);
    for _ in 0..20 {
        let appended = store.append(tenant, script.next().clone());
        assert_eq!(appended, Appended::Durable, "its level is reached at once");
    }
    let load = load(QueueId(1), Seq(1), Seq(99), 10, 1_000);
    assert_eq!(store.load(tenant, load).await, Ok(Vec::new()));
    assert_eq!(store.close().await, Ok(()));
    assert_eq!(witness.told(tenant).failures, 0);
    let opened = start().open(tenant, Witness::new()).await;
    assert_eq!(opened, Ok(Recovered::default()));
}

/// A started store, and what it told.
struct Running {
    store: Arc<dyn Store>,
    witness: Arc<Witness>,
}

impl Running {
    fn start(site: &dyn Site) -> Self {
        Self { store: site.start(), witness: Witness::new() }
    }

    /// Opens a tenant; what came back is what some number of batches, at least `told`, add up to.
    async fn open(&self, tenant: TenantId, script: &mut Script, told: Lsn) {
        let recovered = self.store.open(tenant, self.witness.clone()).await.expect("it opens");
        assert!(recovered.lsn >= told, "promise 3: what was told durable stands");
        let image = script.image(recovered.lsn.0).expect("promise 5: only what was appended");
        compare(&recovered, image);
        self.witness.opened(tenant, recovered.lsn);
        self.compare_loads(tenant, image).await;
        script.rewind(recovered.lsn.0);
    }

    fn append(&self, tenant: TenantId, script: &mut Script, batches: usize) {
        for _ in 0..batches {
            self.witness.append(&*self.store, tenant, script.next());
        }
    }

    /// Waits until all that was appended is told durable.
    async fn settle(&self, tenant: TenantId) {
        self.witness.wait(tenant, |told| told.durable == told.appended).await;
    }

    fn durable(&self, tenant: TenantId) -> Lsn {
        self.witness.told(tenant).durable
    }

    /// Every message of every queue, whole and piece by piece.
    async fn compare_loads(&self, tenant: TenantId, image: &Image) {
        for (queue, there) in &image.queues {
            let all: Vec<StoredMessage> = there.messages.values().cloned().collect();
            let last = Seq(there.next_seq.0 - 1);
            for (messages_max, bytes_max) in [(usize::MAX, u64::MAX), (3, u64::MAX), (99, 350)] {
                let ask = |from| load(*queue, from, last, messages_max, bytes_max);
                assert_eq!(self.load_all(tenant, ask).await, all, "promise 4: what stands, by seq");
            }
            if let [first, .., before_last, _] = &all[..] {
                let (from, to) = (first.seq.next(), before_last.seq);
                let some = self.load_all(tenant, |at| load(*queue, at.max(from), to, 9, 9_999));
                assert_eq!(some.await, all[1..all.len() - 1], "promise 4: the range asked for");
            }
            for priority in (0..10).filter_map(Priority::new) {
                let of: Vec<StoredMessage> =
                    all.iter().filter(|s| s.message.priority() == priority).cloned().collect();
                let ask =
                    |from| Load { priority: Some(priority), ..load(*queue, from, last, 4, 9_999) };
                assert_eq!(self.load_all(tenant, ask).await, of, "promise 4: one priority");
            }
        }
        let unknown = load(QueueId(u64::MAX >> 12), Seq(1), Seq(9), 9, 9);
        assert_eq!(self.store.load(tenant, unknown).await, Ok(Vec::new()));
    }

    async fn load_all(&self, tenant: TenantId, ask: impl Fn(Seq) -> Load) -> Vec<StoredMessage> {
        let mut all: Vec<StoredMessage> = Vec::new();
        loop {
            let load = ask(all.last().map_or(Seq(1), |stored| stored.seq.next()));
            if load.from_seq > load.to_seq {
                return all;
            }
            let (messages_max, bytes_max) = (load.messages_max, load.bytes_max);
            let some = self.store.load(tenant, load).await.expect("it can be read");
            if some.is_empty() {
                return all;
            }
            assert!(some.len() <= messages_max, "promise 4: no more than asked for");
            let bytes: u64 = some.iter().map(|stored| stored.message.size()).sum();
            assert!(some.len() == 1 || bytes <= bytes_max, "promise 4: no more than asked for");
            all.extend(some);
        }
    }
}

fn load(queue: QueueId, from: Seq, to: Seq, messages_max: usize, bytes_max: u64) -> Load {
    let ticket = LoadTicket(7);
    Load { ticket, queue, priority: None, from_seq: from, to_seq: to, messages_max, bytes_max }
}

/// Numbers may be higher than they need to be; all else is as it was.
fn compare(recovered: &Recovered, image: &Image) {
    let expected = image.recovered();
    assert!(recovered.fence >= expected.fence, "promise 5: fences");
    assert!(recovered.queue_id_max >= expected.queue_id_max, "promise 5: queue numbers");
    let mut queues: Vec<&RecoveredQueue> = recovered.queues.iter().collect();
    queues.sort_by_key(|queue| queue.id);
    assert_eq!(queues.len(), expected.queues.len(), "promise 2: queues");
    for (queue, expected) in queues.into_iter().zip(&expected.queues) {
        assert!(queue.next_seq >= expected.next_seq, "promise 5: sequence numbers");
        let queue = RecoveredQueue { next_seq: expected.next_seq, ..queue.clone() };
        assert_eq!(queue, *expected, "promise 2: all of each batch");
    }
}

async fn append_does_not_wait(site: &dyn Site, tenant: TenantId) {
    let running = Running::start(site);
    let mut script = Script::new(99, running.store.level());
    running.open(tenant, &mut script, Lsn(0)).await;
    site.hold(true);
    running.append(tenant, &mut script, 200);
    site.hold(false);
    running.settle(tenant).await;
    site.crash(running.store);
}

async fn what_is_told_outlives_crashes(site: &dyn Site, tenant: TenantId, seed: u64) {
    let mut told = Lsn(0);
    let mut running = Running::start(site);
    let mut script = Script::new(seed + 1, running.store.level());
    running.open(tenant, &mut script, told).await;
    for round in 0..8 {
        running.append(tenant, &mut script, 20);
        running.settle(tenant).await;
        // What is appended but not told durable stands whole, batch by batch, or not at all.
        site.hold(true);
        running.append(tenant, &mut script, round);
        told = running.durable(tenant);
        site.crash(running.store);
        site.hold(false);
        running = Running::start(site);
        running.open(tenant, &mut script, told).await;
        if round % 3 == 2 {
            // Nothing is written between two crashes.
            site.crash(running.store);
            running = Running::start(site);
            running.open(tenant, &mut script, told).await;
        }
    }
    site.crash(running.store);
}

async fn tenants_do_not_meet(site: &dyn Site, one: TenantId, other: TenantId) {
    let mut running = Running::start(site);
    let level = running.store.level();
    let (mut first, mut second) = (Script::new(21, level), Script::new(22, level));
    running.open(one, &mut first, Lsn(0)).await;
    running.open(other, &mut second, Lsn(0)).await;
    for _ in 0..30 {
        running.append(one, &mut first, 1);
        running.append(other, &mut second, 2);
    }
    running.settle(one).await;
    running.settle(other).await;
    let told = (running.durable(one), running.durable(other));
    site.crash(running.store);
    running = Running::start(site);
    running.open(other, &mut second, told.1).await;
    running.open(one, &mut first, told.0).await;
    site.crash(running.store);
}

async fn close_makes_all_durable(site: &dyn Site, tenant: TenantId) {
    let mut running = Running::start(site);
    let mut script = Script::new(31, running.store.level());
    running.open(tenant, &mut script, Lsn(0)).await;
    site.hold(true);
    running.append(tenant, &mut script, 40);
    let close = running.store.close();
    site.hold(false);
    assert_eq!(close.await, Ok(()));
    site.crash(running.store);
    running = Running::start(site);
    running.open(tenant, &mut script, Lsn(40)).await;
    site.crash(running.store);
}

async fn a_higher_level_is_reached_before_it_is_told(site: &dyn Site, tenant: TenantId) {
    let mut running = Running::start(site);
    let mut script = Script::new(41, running.store.level_max());
    running.open(tenant, &mut script, Lsn(0)).await;
    running.append(tenant, &mut script, 10);
    running.settle(tenant).await;
    site.crash(running.store);
    running = Running::start(site);
    running.open(tenant, &mut script, Lsn(10)).await;
    site.crash(running.store);
}

async fn a_failed_flush_latches(site: &dyn Site, one: TenantId, other: TenantId) {
    let mut running = Running::start(site);
    let level = running.store.level();
    let (mut first, mut second) = (Script::new(51, level), Script::new(52, level));
    running.open(one, &mut first, Lsn(0)).await;
    running.open(other, &mut second, Lsn(0)).await;
    running.append(one, &mut first, 10);
    running.append(other, &mut second, 10);
    running.settle(one).await;
    running.settle(other).await;
    site.fail_next_flush();
    running.append(one, &mut first, 1);
    running.witness.wait(one, |told| told.failures > 0).await;
    running.witness.wait(other, |told| told.failures > 0).await;
    running.append(one, &mut first, 5);
    running.append(other, &mut second, 5);
    // Whatever a close says, it does not make durable what failed before.
    let _ = running.store.close().await;
    for tenant in [one, other] {
        let told = running.witness.told(tenant);
        assert_eq!((told.failures, told.durable), (1, Lsn(10)), "promise 6: once, and no more");
    }
    site.crash(running.store);
    running = Running::start(site);
    for (tenant, script) in [(one, &mut first), (other, &mut second)] {
        script.rewind(11);
        running.open(tenant, script, Lsn(10)).await;
    }
    site.crash(running.store);
}
