//! Where one tenant is, or will be: it is opened once however many clients come for it, no other
//! tenant waits for that, and a store that refuses it is not asked again at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::HostedTenant;
use crate::engine::TenantLimits;
use crate::store::StoreError;

/// An open that follows another one waits until so long after it, or is answered as that one was.
const PAUSE: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Default)]
pub(super) struct Slot {
    inner: Mutex<Inner>,
    /// Locked over an `open`.
    last: tokio::sync::Mutex<Last>,
}

#[derive(Default)]
struct Inner {
    tenant: Option<Arc<HostedTenant>>,
    /// In force, also where they were told while it was opened.
    limits: Option<TenantLimits>,
}

/// The last `open`.
#[derive(Default)]
struct Last {
    ended: Option<Instant>,
    refused: Option<StoreError>,
}

impl Slot {
    /// The tenant, where it is open and this server's.
    pub(super) fn tenant(&self) -> Option<Arc<HostedTenant>> {
        self.lock().tenant.clone().filter(|tenant| !tenant.is_lost())
    }

    /// Puts limits in force.
    pub(super) fn set_limits(&self, limits: TenantLimits) {
        let mut inner = self.lock();
        if let Some(tenant) = &inner.tenant {
            tenant.set_limits(limits.clone());
        }
        inner.limits = Some(limits);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenant, opened if it is not.
    pub(super) async fn open(
        &self,
        open: impl Future<Output = Result<Arc<HostedTenant>, StoreError>>,
    ) -> Result<Arc<HostedTenant>, StoreError> {
        let mut last = self.last.lock().await;
        if let Some(tenant) = self.tenant() {
            return Ok(tenant);
        }
        if let Some(pause) = last.ended.and_then(|ended| PAUSE.checked_sub(ended.elapsed())) {
            if let Some(error) = &last.refused {
                return Err(error.clone());
            }
            tokio::time::sleep(pause).await;
        }
        let opened = open.await;
        *last = Last { ended: Some(Instant::now()), refused: opened.as_ref().err().cloned() };
        let tenant = opened?;
        let mut inner = self.lock();
        if let Some(limits) = inner.limits.clone() {
            tenant.set_limits(limits);
        }
        inner.tenant = Some(Arc::clone(&tenant));
        drop(inner);
        Ok(tenant)
    }
}
