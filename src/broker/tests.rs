//! Tenants are opened one by one, over a store that can hold one up or refuse it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use tokio::sync::Semaphore;

use super::*;
use crate::engine::{Batch, Load, Recovered, StoredMessage, Window};
use crate::store::{Appended, BoxFuture, Listener, MemoryStore};
use crate::types::Level;

/// Memory, but for opening.
#[derive(Default)]
struct Doors {
    memory: MemoryStore,
    opened: AtomicUsize,
    /// Tenants whose opening waits for a permit.
    held: BTreeMap<TenantId, Semaphore>,
    refused: Option<TenantId>,
}

impl Store for Doors {
    fn level(&self) -> Level {
        self.memory.level()
    }

    fn level_max(&self) -> Level {
        self.memory.level_max()
    }

    fn window(&self) -> Window {
        self.memory.window()
    }

    fn open(
        &self,
        tenant: TenantId,
        listener: Arc<dyn Listener>,
    ) -> BoxFuture<'_, Result<Recovered, StoreError>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if let Some(held) = self.held.get(&tenant) {
                held.acquire().await.unwrap().forget();
            }
            if self.refused == Some(tenant) {
                return Err(StoreError::standby());
            }
            self.memory.open(tenant, listener).await
        })
    }

    fn append(&self, tenant: TenantId, batch: Batch) -> Appended {
        self.memory.append(tenant, batch)
    }

    fn load(
        &self,
        tenant: TenantId,
        load: Load,
    ) -> BoxFuture<'_, Result<Vec<StoredMessage>, StoreError>> {
        self.memory.load(tenant, load)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.memory.close()
    }
}

fn broker(doors: Doors) -> (Arc<Broker>, Arc<Doors>) {
    let store = Arc::new(doors);
    let limits = BrokerLimits { outbox_bytes_max: 1, subscriptions_max: 1, pulls_max: 1 };
    (Arc::new(Broker::new(store.clone(), limits)), store)
}

fn limits(max_queues: u64) -> TenantLimits {
    let mut limits = TenantLimits::default();
    limits.quotas.queues = Some(max_queues);
    limits
}

#[tokio::test]
async fn a_tenant_that_opens_slowly_holds_up_no_other_one_and_is_opened_once() {
    let (slow, quick) = (TenantId(1), TenantId(2));
    let held = BTreeMap::from([(slow, Semaphore::new(0))]);
    let (broker, doors) = broker(Doors { held, ..Doors::default() });
    let open = |id| {
        let broker = Arc::clone(&broker);
        tokio::spawn(async move { broker.tenant(id, &limits(1)).await.unwrap() })
    };
    let (one, other) = (open(slow), open(slow));
    while doors.opened.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    open(quick).await.unwrap();
    assert_eq!(broker.open_tenants().len(), 1);
    // What is told meanwhile is in force afterwards.
    broker.set_limits(slow, limits(7));
    doors.held[&slow].add_permits(1);
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!(one.quotas().queues, Some(7));
    assert_eq!(doors.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_store_that_refuses_a_tenant_is_not_asked_for_every_client() {
    let (broker, doors) = broker(Doors { refused: Some(TenantId(1)), ..Doors::default() });
    let ask = async || broker.tenant(TenantId(1), &limits(1)).await;
    assert!(ask().await.is_err_and(|error| error.standby));
    for _ in 0..100 {
        assert!(ask().await.is_err_and(|error| error.standby));
    }
    let asked = doors.opened.load(Ordering::SeqCst);
    assert!(asked < 100, "{asked}");
    // And it is, after a moment.
    while doors.opened.load(Ordering::SeqCst) == asked {
        assert!(ask().await.is_err());
        tokio::task::yield_now().await;
    }
}
