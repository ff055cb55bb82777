//! Stores make the records of engines durable and say how far they are. A store knows nothing of
//! clients, queues' rules or time; the broker is the only caller.
//!
//! # Promises of every store
//!
//! 1. `append` never waits for a disk or a network: it takes the batch into memory and returns.
//!    The batches of one tenant come in the order of their LSNs, without gaps.
//! 2. A batch is atomic: after a restart all of its records stand or none, and if batch *n*
//!    stands, all before it stand.
//! 3. [`Listener::durable`] with LSN *n* is called only after all batches of that tenant up to *n*
//!    are each at its own level ([`Batch::level`]), which is the store's or a higher one that it
//!    offers; the LSNs told grow. A store whose `append` says
//!    [`Appended::Durable`] need not call it.
//! 4. `load` returns the messages of a queue in `[from_seq, to_seq]` in the order of `seq`, as
//!    the batches told durable left them, at least one if there is one, and no more than the
//!    bounds allow. It sees everything up to the last durable LSN; it may see more.
//! 5. `open` gives the state that the batches which stand add up to. Sequence numbers, fences and
//!    queue numbers in it are greater than any that was told durable before.
//! 6. The first failed flush latches: [`Listener::failed`] is called once a tenant, nothing is
//!    told durable after it, and every later `append` is dropped.
//!
//! `conformance` is these promises as tests; every store passes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::engine::{Batch, Load, Recovered, StoredMessage, Window};
use crate::types::{Level, Lsn, TenantId};

mod codec;
#[cfg(test)]
pub(crate) mod conformance;
pub mod file;
mod memory;
pub mod mysql;
#[cfg(test)]
pub(crate) mod reference;

pub use file::FileStore;
pub use memory::MemoryStore;
pub use mysql::MysqlStore;

/// What the engine keeps in memory of each queue that is stored elsewhere.
const WINDOW: Window = Window { messages: 8 * 1024, bytes: 2 * 1024 * 1024 };

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whether a batch is durable already when `append` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Appended {
    /// It is.
    Durable,
    /// The listener will be told.
    Pending,
}

/// What a store could not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot {action}: {reason}")]
pub struct StoreError {
    /// What it was asked to do, as a verb.
    pub action: &'static str,
    /// Why not, and what to do.
    pub reason: String,
    /// Whether another server serves the tenant.
    pub standby: bool,
}

impl StoreError {
    fn new(action: &'static str, reason: String) -> Self {
        Self { action, reason, standby: false }
    }

    pub(crate) fn standby() -> Self {
        let reason = "another server serves the tenant; this one stands by".to_owned();
        Self { action: "open", reason, standby: true }
    }
}

/// Told by a store, from a thread of its own and never from within a call of the store.
pub trait Listener: Send + Sync {
    /// Everything of this tenant up to `lsn` is durable.
    fn durable(&self, tenant: TenantId, lsn: Lsn);
    /// The store is latched.
    fn failed(&self, tenant: TenantId, error: &StoreError);
    /// There is no room for more messages, or there is again. What was appended stays, and what
    /// frees room is taken.
    fn full(&self, tenant: TenantId, full: bool);
}

/// One store, serving every tenant of the server.
pub trait Store: Send + Sync + 'static {
    /// What a reply means where the request does not say.
    fn level(&self) -> Level;
    /// The highest level that can be asked for.
    fn level_max(&self) -> Level;
    /// How much of a durable queue the engine keeps in memory.
    fn window(&self) -> Window;
    /// Reads a tenant's state; called once a tenant, before anything else of it.
    fn open(
        &self,
        tenant: TenantId,
        listener: Arc<dyn Listener>,
    ) -> BoxFuture<'_, Result<Recovered, StoreError>>;
    /// Takes the next batch of a tenant.
    fn append(&self, tenant: TenantId, batch: Batch) -> Appended;
    /// Reads messages back.
    fn load(
        &self,
        tenant: TenantId,
        load: Load,
    ) -> BoxFuture<'_, Result<Vec<StoredMessage>, StoreError>>;
    /// Whether this server serves the tenant still, as far as it knows. Where it does not, nothing
    /// of the tenant may be told any more: the engine is dropped, and another `open` may succeed.
    fn holds(&self, tenant: TenantId) -> bool {
        let _ = tenant;
        true
    }
    /// Tenants that no server serves any more: one that stands by opens them.
    fn orphans(&self) -> Vec<TenantId> {
        Vec::new()
    }
    /// Makes everything durable that was appended, and closes.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
