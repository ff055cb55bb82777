//! A listener that remembers what it was told, and checks how it is told.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::engine::Batch;
use crate::store::{Appended, Listener, Store, StoreError};
use crate::types::{Lsn, TenantId};

thread_local! {
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
}

/// Longer than any store takes, if it does what is waited for at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was told of one tenant.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Told {
    pub(super) appended: Lsn,
    pub(super) durable: Lsn,
    pub(super) failures: u32,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Witness {
    told: Mutex<BTreeMap<TenantId, Told>>,
    news: Notify,
}

impl Witness {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn told(&self, tenant: TenantId) -> Told {
        self.told.lock().unwrap().get(&tenant).copied().unwrap_or_default()
    }

    /// Notes that a tenant was opened with that LSN.
    pub(super) fn opened(&self, tenant: TenantId, lsn: Lsn) {
        let told = Told { appended: lsn, durable: lsn, failures: 0 };
        self.told.lock().unwrap().insert(tenant, told);
    }

    /// Gives a batch to the store.
    pub(super) fn append(&self, store: &dyn Store, tenant: TenantId, batch: &Batch) {
        self.told.lock().unwrap().entry(tenant).or_default().appended = batch.lsn;
        IN_CALL.set(true);
        let appended = store.append(tenant, batch.clone());
        IN_CALL.set(false);
        if appended == Appended::Durable {
            self.note_durable(tenant, batch.lsn);
        }
    }

    /// Waits until that much is told of a tenant.
    pub(super) async fn wait(&self, tenant: TenantId, enough: impl Fn(Told) -> bool) {
        let wait = async {
            loop {
                let news = self.news.notified();
                if enough(self.told(tenant)) {
                    return;
                }
                news.await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("never told: {:?}", self.told(tenant)));
    }

    fn note_durable(&self, tenant: TenantId, lsn: Lsn) {
        let mut all = self.told.lock().unwrap();
        let told = all.entry(tenant).or_default();
        let before = *told;
        told.durable = lsn;
        drop(all);
        self.news.notify_waiters();
        assert!(lsn > before.durable, "promise 3: the LSNs told grow");
        assert!(lsn <= before.appended, "promise 3: only what was appended is told");
        assert_eq!(before.failures, 0, "promise 6: nothing is told after the failure");
    }
}

impl Listener for Witness {
    fn durable(&self, tenant: TenantId, lsn: Lsn) {
        assert!(!IN_CALL.get(), "never told from within a call of the store");
        self.note_durable(tenant, lsn);
    }

    fn full(&self, _tenant: TenantId, _full: bool) {}

    fn failed(&self, tenant: TenantId, _error: &StoreError) {
        assert!(!IN_CALL.get(), "never told from within a call of the store");
        self.told.lock().unwrap().entry(tenant).or_default().failures += 1;
        self.news.notify_waiters();
    }
}
