//! Watches the accounts: what the administration changes is in force within a second. A poll of
//! one row finds the changes of every process, and works over any database.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Context;
use super::session::Live;
use crate::accounts::{AccountsError, UserRecord};
use crate::broker::Signal;
use crate::types::UserId;

/// Between two looks at the version.
const PERIOD: Duration = Duration::from_millis(250);

/// Applies changes until `stop`.
pub(super) async fn watch(context: Arc<Context>, stop: CancellationToken) {
    let mut seen = None;
    let mut reachable = true;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => return,
        }
        match look(&context, seen).await {
            Ok(version) => {
                seen = Some(version);
                reachable = true;
                adopt(&context).await;
            }
            Err(error) => {
                if reachable {
                    tracing::error!(%error, "changes of the accounts are not seen; trying again");
                }
                reachable = false;
            }
        }
    }
}

/// Opens tenants that no server serves any more: their clients may wait at one that is stopped, and
/// come here as soon as they give it up.
async fn adopt(context: &Context) {
    let orphans = context.broker.orphans();
    if orphans.is_empty() {
        return;
    }
    let Ok(tenants) = context.accounts.tenants().await else { return };
    for tenant in tenants.iter().filter(|tenant| orphans.contains(&tenant.id)) {
        let opened = context.broker.tenant(tenant.id, &context.tenant_limits(tenant)).await;
        match opened {
            Ok(_) => tracing::info!(tenant = %tenant.name, "took the tenant over"),
            // Another server was faster, or the database is not there: the next look finds out.
            Err(error) => tracing::debug!(tenant = %tenant.name, %error, "not taken over"),
        }
    }
}

/// Applies what changed since version `seen`. The version is read first, so that a change in
/// between is found by the next look.
async fn look(context: &Context, seen: Option<u64>) -> Result<u64, AccountsError> {
    let version = context.accounts.version().await?;
    if seen == Some(version) {
        return Ok(version);
    }
    for record in context.accounts.tenants().await? {
        context.broker.set_limits(record.id, context.tenant_limits(&record));
    }
    let mut users: HashMap<UserId, Option<UserRecord>> = HashMap::new();
    for live in context.registry.live() {
        let id = live.principal.user_id();
        let record = match users.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(context.accounts.user_by_id(id).await?),
        };
        enforce(&live, record.as_ref());
    }
    Ok(version)
}

/// Ends a session whose user may no longer be here, or gives it the grants that hold now.
pub(super) fn enforce(live: &Live, record: Option<&UserRecord>) {
    let version = live.principal.credentials_version();
    match record {
        Some(user) if !user.disabled && user.credentials_version == version => {
            live.principal.replace_grants(user.grants.clone());
            live.enforce_grants();
        }
        _ => live.outbox.signal(Signal::Revoked),
    }
}
