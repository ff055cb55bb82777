//! The broker: the only owner of engines and of the store. It carries inputs into the engine of
//! their tenant and effects out of it: records to the store, replies and deliveries into the
//! outboxes of connections, deadlines to a timer. Knows nothing of sockets or of JSON; `command`
//! and `server` call it.

mod clock;
mod outbox;
mod tenant;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

pub use self::clock::Clock;
pub use self::outbox::{Outbox, Outgoing, Signal};
pub use self::tenant::{HostedTenant, TenantFull};

use crate::engine::{Config, TenantLimits};
use crate::store::{Store, StoreError};
use crate::types::{ConnectionId, TenantId};

/// The server's limits that engines need.
#[derive(Debug, Clone, Copy)]
pub struct BrokerLimits {
    /// Deliveries that wait for one connection's peer. Unit: bytes.
    pub outbox_bytes_max: u64,
    /// Subscriptions of one connection.
    pub subscriptions_max: usize,
    /// Waiting pulls of one connection.
    pub pulls_max: usize,
}

/// How many fences or sequence numbers one durable reservation covers: a restart skips at most so
/// many, and one is written for each so many deliveries.
const RESERVATION: u64 = 1 << 20;

/// All tenants of this server.
pub struct Broker {
    store: Arc<dyn Store>,
    limits: BrokerLimits,
    clock: Clock,
    connections: AtomicU64,
    /// Locked over an `open`, so that a tenant is never opened twice.
    tenants: Mutex<HashMap<TenantId, Arc<HostedTenant>>>,
}

impl Broker {
    /// A broker without tenants yet; each is opened when it is first asked for.
    pub fn new(store: Arc<dyn Store>, limits: BrokerLimits) -> Self {
        Self {
            store,
            limits,
            clock: Clock::start(),
            connections: AtomicU64::new(0),
            tenants: Mutex::new(HashMap::new()),
        }
    }

    /// A number that no connection had before.
    pub fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The tenant, opened if it was not, with these limits in force.
    pub async fn tenant(
        &self,
        id: TenantId,
        limits: &TenantLimits,
    ) -> Result<Arc<HostedTenant>, StoreError> {
        let mut tenants = self.tenants.lock().await;
        if let Some(tenant) = tenants.get(&id).filter(|tenant| !tenant.is_lost()) {
            tenant.set_limits(limits.clone());
            return Ok(Arc::clone(tenant));
        }
        let store = Arc::clone(&self.store);
        let tenant =
            HostedTenant::open(id, store, self.engine_config(), limits.clone(), self.clock).await?;
        tenants.insert(id, Arc::clone(&tenant));
        Ok(tenant)
    }

    /// Tenants that no server serves any more, and that this one could.
    pub fn orphans(&self) -> Vec<TenantId> {
        self.store.orphans()
    }

    /// Puts limits in force where the tenant is open; one that is not gets them when it is opened.
    pub async fn set_limits(&self, id: TenantId, limits: TenantLimits) {
        let tenant = self.tenants.lock().await.get(&id).cloned();
        if let Some(tenant) = tenant {
            tenant.set_limits(limits);
        }
    }

    /// The tenants that are open.
    pub async fn open_tenants(&self) -> Vec<Arc<HostedTenant>> {
        self.tenants.lock().await.values().cloned().collect()
    }

    /// Stops taking: see [`crate::engine::Input::Drain`].
    pub async fn drain(&self) {
        for tenant in self.open_tenants().await {
            tenant.drain();
        }
    }

    /// Makes everything durable and closes the store.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }

    fn engine_config(&self) -> Config {
        Config {
            level: self.store.level(),
            level_max: self.store.level_max(),
            window: self.store.window(),
            outbox_bytes_max: self.limits.outbox_bytes_max,
            subscriptions_max: self.limits.subscriptions_max,
            pulls_max: self.limits.pulls_max,
            reservation: RESERVATION,
        }
    }
}
