//! A store whose disk is a value in memory that outlives it: as simple as a store can be, and wrong
//! in the ways that its tests ask for. For tests of the suite and of what lies above stores.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Appended, BoxFuture, Listener, Store, StoreError};
use crate::engine::image::Image;
use crate::engine::{Batch, Load, Record, Recovered, StoredMessage, Window};
use crate::types::{Fence, Level, Lsn, TenantId};

/// How a store is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Tells durable what it has not written.
    ConfirmsEarly,
    /// Forgets that messages were removed.
    ForgetsRemovals,
    /// Writes half of a batch before a crash.
    HalvesBatches,
    /// Forgets which fences were reserved.
    ForgetsFences,
    /// Forgets the numbers of messages that are gone.
    ForgetsNumbers,
    /// Forgets delays.
    ForgetsDelays,
    /// Gives more than was asked for.
    OverfillsLoads,
    /// Gives messages in the wrong order.
    ReversesLoads,
    /// Goes on after a failed flush.
    RetriesFlushes,
    /// Keeps all tenants in one place.
    MixesTenants,
    /// Loses what is not flushed when it closes.
    ClosesCarelessly,
    /// Tells from within `append`.
    TellsFromWithin,
}

/// What outlives a store.
#[derive(Default)]
pub(crate) struct Disk {
    state: Mutex<DiskState>,
    changed: Condvar,
}

#[derive(Default)]
struct DiskState {
    tenants: BTreeMap<TenantId, Image>,
    held: bool,
    fail_next_flush: bool,
    /// The store that runs; those before it do nothing more.
    running: u64,
    closed: bool,
    open: BTreeMap<TenantId, Open>,
}

/// What a store has in memory of one tenant.
struct Open {
    listener: Arc<dyn Listener>,
    ahead: VecDeque<Batch>,
    told: Lsn,
    failed: bool,
}

/// See the module.
pub(crate) struct ReferenceStore {
    disk: Arc<Disk>,
    number: u64,
    fault: Option<Fault>,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, DiskState> {
        // A test that failed elsewhere is not to hide behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a store on this disk.
    pub(crate) fn start(self: &Arc<Self>, fault: Option<Fault>) -> ReferenceStore {
        let mut state = self.lock();
        state.running += 1;
        state.closed = false;
        state.open.clear();
        let number = state.running;
        drop(state);
        let disk = Arc::clone(self);
        std::thread::spawn(move || disk.write(number, fault));
        ReferenceStore { disk: Arc::clone(self), number, fault }
    }

    /// The process of the store ends at once.
    pub(crate) fn crash(&self, fault: Option<Fault>) {
        let mut state = self.lock();
        state.running += 1;
        let state = &mut *state;
        for (number, (tenant, open)) in std::mem::take(&mut state.open).into_iter().enumerate() {
            let tenant = place(tenant, fault);
            let Some(image) = state.tenants.get_mut(&tenant) else { continue };
            let mut ahead = open.ahead.into_iter().filter(|_| !open.failed);
            if fault == Some(Fault::HalvesBatches) {
                let batch = ahead.next();
                let records = batch.map(|batch| batch.records).unwrap_or_default();
                let half = records.len().div_ceil(2);
                records[..half].iter().for_each(|record| image.apply_record(record));
            } else if fault.is_none() {
                // A batch may have reached the disk without being told.
                ahead.take(number % 2 + 1).for_each(|batch| image.apply(&batch));
            }
        }
        self.changed.notify_all();
    }

    /// Holds back flushes, or lets them go.
    pub(crate) fn hold(&self, held: bool) {
        self.lock().held = held;
        self.changed.notify_all();
    }

    /// The next flush fails.
    pub(crate) fn fail_next_flush(&self) {
        self.lock().fail_next_flush = true;
    }

    /// The one writer of a store.
    fn write(&self, number: u64, fault: Option<Fault>) {
        let mut state = self.lock();
        while state.running == number && !state.closed {
            let flushed = if state.held { Vec::new() } else { state.flush(fault) };
            if flushed.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            flushed.into_iter().for_each(Told::tell);
            state = self.lock();
        }
    }
}

/// What a listener is to be told.
struct Told {
    listener: Arc<dyn Listener>,
    tenant: TenantId,
    durable: Option<Lsn>,
}

impl Told {
    fn tell(self) {
        match self.durable {
            Some(lsn) => self.listener.durable(self.tenant, lsn),
            None => {
                let reason = "a flush failed; restart the server".to_owned();
                let error = StoreError::new("write", reason);
                self.listener.failed(self.tenant, &error);
            }
        }
    }
}

fn place(tenant: TenantId, fault: Option<Fault>) -> TenantId {
    if fault == Some(Fault::MixesTenants) { TenantId(0) } else { tenant }
}

impl DiskState {
    /// Writes all that has gathered.
    fn flush(&mut self, fault: Option<Fault>) -> Vec<Told> {
        let waits = self.open.values().any(|open| !open.ahead.is_empty());
        if waits && std::mem::take(&mut self.fail_next_flush) {
            let retries = fault == Some(Fault::RetriesFlushes);
            let fail = |(tenant, open): (&TenantId, &mut Open)| {
                open.failed = !retries;
                if !retries {
                    open.ahead.clear();
                }
                Told { listener: open.listener.clone(), tenant: *tenant, durable: None }
            };
            return self.open.iter_mut().map(fail).collect();
        }
        let mut told = Vec::new();
        for (tenant, open) in &mut self.open {
            let last = open.ahead.back().map(|batch| batch.lsn);
            let Some(last) = last.filter(|last| *last > open.told) else { continue };
            open.told = last;
            let image = self.tenants.entry(place(*tenant, fault)).or_default();
            let left = usize::from(fault == Some(Fault::ConfirmsEarly));
            for batch in open.ahead.drain(..open.ahead.len() - left) {
                write_batch(image, batch, fault);
            }
            told.push(Told {
                listener: open.listener.clone(),
                tenant: *tenant,
                durable: Some(last),
            });
        }
        told
    }
}

fn write_batch(image: &mut Image, mut batch: Batch, fault: Option<Fault>) {
    match fault {
        Some(Fault::ForgetsRemovals) => {
            batch.records.retain(|record| !matches!(record, Record::Removed { .. }));
        }
        Some(Fault::ForgetsDelays) => {
            batch.records.retain(|record| !matches!(record, Record::Delayed { .. }));
        }
        _ => {}
    }
    image.lsn = batch.lsn;
    batch.records.iter().for_each(|record| image.apply_record(record));
}

impl Store for ReferenceStore {
    fn level(&self) -> Level {
        Level::Os
    }

    fn level_max(&self) -> Level {
        Level::Disk
    }

    fn window(&self) -> Window {
        Window { messages: 16, bytes: 4_096 }
    }

    fn open(
        &self,
        tenant: TenantId,
        listener: Arc<dyn Listener>,
    ) -> BoxFuture<'_, Result<Recovered, StoreError>> {
        let mut state = self.disk.lock();
        let open = Open { listener, ahead: VecDeque::new(), told: Lsn(0), failed: false };
        state.open.insert(tenant, open);
        let image = state.tenants.entry(place(tenant, self.fault)).or_default();
        let mut recovered = image.recovered();
        if self.fault == Some(Fault::ForgetsFences) {
            recovered.fence = Fence(0);
        }
        if self.fault == Some(Fault::ForgetsNumbers) {
            for queue in &mut recovered.queues {
                let last = image.queues[&queue.id].messages.keys().next_back();
                queue.next_seq = last.copied().unwrap_or_default().next();
            }
        }
        Box::pin(async { Ok(recovered) })
    }

    fn append(&self, tenant: TenantId, batch: Batch) -> Appended {
        let mut state = self.disk.lock();
        if state.running != self.number {
            return Appended::Pending;
        }
        if let Some(open) = state.open.get_mut(&tenant).filter(|open| !open.failed) {
            if self.fault == Some(Fault::TellsFromWithin) {
                open.listener.durable(tenant, batch.lsn);
            }
            open.ahead.push_back(batch);
            self.disk.changed.notify_all();
        }
        Appended::Pending
    }

    fn load(
        &self,
        tenant: TenantId,
        mut load: Load,
    ) -> BoxFuture<'_, Result<Vec<StoredMessage>, StoreError>> {
        let state = self.disk.lock();
        if self.fault == Some(Fault::OverfillsLoads) {
            load.messages_max = load.messages_max.saturating_add(1);
        }
        let image = state.tenants.get(&place(tenant, self.fault));
        let mut loaded = image.map(|image| image.load(&load)).unwrap_or_default();
        if self.fault == Some(Fault::ReversesLoads) {
            loaded.reverse();
        }
        Box::pin(async { Ok(loaded) })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut state = self.disk.lock();
        if self.fault != Some(Fault::ClosesCarelessly) {
            let told = state.flush(self.fault);
            drop(told);
        }
        state.open.values_mut().for_each(|open| open.ahead.clear());
        state.closed = true;
        self.disk.changed.notify_all();
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::store::conformance::{Site, keeps_its_promises, keeps_nothing_and_says_so};

    struct Shelf {
        disk: Arc<Disk>,
        fault: Option<Fault>,
    }

    impl Site for Shelf {
        fn start(&self) -> Arc<dyn Store> {
            Arc::new(self.disk.start(self.fault))
        }

        fn crash(&self, _store: Arc<dyn Store>) {
            self.disk.crash(self.fault);
        }

        fn hold(&self, held: bool) {
            self.disk.hold(held);
        }

        fn fail_next_flush(&self) {
            self.disk.fail_next_flush();
        }
    }

    /// Whether the suite finds nothing wrong.
    async fn passes(fault: Option<Fault>) -> bool {
        let shelf = Shelf { disk: Arc::default(), fault };
        tokio::spawn(async move { keeps_its_promises(&shelf).await }).await.is_ok()
    }

    #[tokio::test]
    async fn the_memory_store_conforms() {
        keeps_nothing_and_says_so(|| Arc::new(MemoryStore)).await;
    }

    #[tokio::test]
    async fn the_reference_store_conforms() {
        assert!(passes(None).await);
    }

    macro_rules! caught {
        ($($name:ident: $fault:ident,)*) => {
            $(#[tokio::test]
            async fn $name() {
                assert!(!passes(Some(Fault::$fault)).await, "the suite does not see it");
            })*
        };
    }

    caught! {
        a_store_that_confirms_early_is_caught: ConfirmsEarly,
        a_store_that_forgets_removals_is_caught: ForgetsRemovals,
        a_store_that_halves_batches_is_caught: HalvesBatches,
        a_store_that_forgets_fences_is_caught: ForgetsFences,
        a_store_that_forgets_numbers_is_caught: ForgetsNumbers,
        a_store_that_forgets_delays_is_caught: ForgetsDelays,
        a_store_that_overfills_loads_is_caught: OverfillsLoads,
        a_store_that_reverses_loads_is_caught: ReversesLoads,
        a_store_that_retries_flushes_is_caught: RetriesFlushes,
        a_store_that_mixes_tenants_is_caught: MixesTenants,
        a_store_that_closes_carelessly_is_caught: ClosesCarelessly,
        a_store_that_tells_from_within_is_caught: TellsFromWithin,
    }
}
