//! The store that keeps nothing: its level is `memory`, so engines make no records for it.

use std::sync::Arc;

use super::{Appended, BoxFuture, Listener, Store, StoreError};
use crate::engine::{Batch, Load, Recovered, StoredMessage, Window};
use crate::types::{Level, TenantId};

/// Everything is lost when the server stops, and every reply says so by its level.
#[derive(Debug, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn level(&self) -> Level {
        Level::Memory
    }

    fn level_max(&self) -> Level {
        Level::Memory
    }

    fn window(&self) -> Window {
        Window { messages: usize::MAX, bytes: u64::MAX }
    }

    fn open(
        &self,
        _tenant: TenantId,
        _listener: Arc<dyn Listener>,
    ) -> BoxFuture<'_, Result<Recovered, StoreError>> {
        Box::pin(async { Ok(Recovered::default()) })
    }

    fn append(&self, _tenant: TenantId, _batch: Batch) -> Appended {
        Appended::Durable
    }

    fn load(
        &self,
        _tenant: TenantId,
        _load: Load,
    ) -> BoxFuture<'_, Result<Vec<StoredMessage>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
