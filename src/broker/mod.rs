//! The broker: the only owner of engines and of the store. It carries inputs into the engine of
//! their tenant and effects out of it: records to the store, replies and deliveries into the
//! outboxes of connections, deadlines to a timer. Knows nothing of sockets or of JSON; `command`
//! and `server` call it.

mod clock;
mod outbox;
mod slot;
mod tenant;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::clock::Clock;
pub use self::outbox::{Outbox, Outgoing, Signal};
use self::slot::Slot;
pub use self::tenant::{HostedTenant, TenantFull};

use crate::engine::{Config, HashKey, TenantLimits};
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
    tenants: Mutex<HashMap<TenantId, Arc<Slot>>>,
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
        let slot = Arc::clone(self.lock().entry(id).or_default());
        slot.set_limits(limits.clone());
        if let Some(tenant) = slot.tenant() {
            return Ok(tenant);
        }
        let store = Arc::clone(&self.store);
        let config = self.engine_config();
        slot.open(HostedTenant::open(id, store, config, limits.clone(), self.clock)).await
    }

    /// Tenants that no server serves any more, and that this one could.
    pub fn orphans(&self) -> Vec<TenantId> {
        self.store.orphans()
    }

    /// Puts limits in force where the tenant is open; one that is not gets them when it is opened.
    pub fn set_limits(&self, id: TenantId, limits: TenantLimits) {
        let slot = self.lock().get(&id).cloned();
        if let Some(slot) = slot {
            slot.set_limits(limits);
        }
    }

    /// The tenants that are open.
    pub fn open_tenants(&self) -> Vec<Arc<HostedTenant>> {
        self.lock().values().filter_map(|slot| slot.tenant()).collect()
    }

    /// Stops taking: see [`crate::engine::Input::Drain`].
    pub fn drain(&self) {
        for tenant in self.open_tenants() {
            tenant.drain();
        }
    }

    /// Makes everything durable and closes the store.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Slot>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
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
            hash_key: HashKey([0, 1].map(|half| RandomState::new().hash_one(half))),
        }
    }
}
