//! Who serves a tenant: one row of `owners`. Every transaction of the owner changes that row if its
//! epoch is the owner's still, and ends otherwise: so a server that was taken over from cannot
//! commit, also where it does not know yet (tests/mysql/race.rs). Reading the epoch would not do:
//! reads are not certified between the nodes of a cluster.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Row;
use sqlx::mysql::{MySqlConnection, MySqlPool, MySqlRow};

use crate::types::{Fence, Lsn, QueueId, TenantId};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Which server it is, as the column `server` has it: 16 bytes of its data folder, 16 of this run,
/// then what people call it. Empty: none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerId(Vec<u8>);

impl ServerId {
    pub(super) fn new(folder: &[u8; 16], run: &[u8; 16], name: &str) -> Self {
        Self([folder, run, name.as_bytes()].concat())
    }

    fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is a run of the same data folder, of which there is one at a time.
    fn has_folder_of(&self, other: &Self) -> bool {
        let folder = |of: &Self| of.0.get(..16).map(<[u8]>::to_owned);
        folder(self).is_some() && folder(self) == folder(other)
    }

    /// What people call it.
    fn name(&self) -> String {
        String::from_utf8_lossy(self.0.get(32..).unwrap_or_default()).into_owned()
    }
}

/// Raised by every takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch(pub(super) u64);

/// The owner's row.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) epoch: Epoch,
    beat: u64,
    server: ServerId,
    pub(super) lsn: Lsn,
    pub(super) fence: Fence,
    pub(super) queue_id_max: QueueId,
}

pub(super) const READ: &str =
    "SELECT epoch, beat, server, lsn, fence, queue_id_max FROM owners WHERE tenant = ?";
const READ_ALL: &str = "SELECT epoch, beat, server, lsn, fence, queue_id_max, tenant FROM owners";
const INSERT: &str =
    "INSERT IGNORE INTO owners (tenant, epoch, beat, server, lsn, fence, queue_id_max)
    VALUES (?, 0, 0, '', 0, 0, 0)";
pub(super) const CLAIM: &str = "UPDATE owners SET epoch = epoch + 1, beat = beat + 1, server = ?
    WHERE tenant = ? AND epoch = ? AND (? IS NULL OR beat = ?)";
pub(super) const RECLAIM: &str =
    "UPDATE owners SET epoch = epoch + 1, beat = beat + 1 WHERE tenant = ? AND server = ?";
pub(super) const HOLD: &str = "UPDATE owners SET beat = beat + 1, lsn = ?,
    fence = GREATEST(fence, ?), queue_id_max = GREATEST(queue_id_max, ?)
    WHERE tenant = ? AND epoch = ?";
pub(super) const RENEW: &str = "UPDATE owners SET beat = beat + 1 WHERE tenant = ? AND epoch = ?";
pub(super) const RELEASE: &str =
    "UPDATE owners SET beat = beat + 1, server = '' WHERE tenant = ? AND epoch = ?";

/// What became of a claim.
#[derive(Debug)]
pub(super) enum Claim {
    /// The tenant is this server's.
    Taken(Owner),
    /// Another server has it, and showed life within the lease.
    Standby,
}

/// What was seen of the owners of other tenants: an owner whose beat stands still for the lease, on
/// this server's own clock, is taken over from.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: Mutex<HashMap<TenantId, Sighting>>,
}

#[derive(Debug)]
struct Sighting {
    epoch: Epoch,
    beat: u64,
    /// Since when the row says that.
    since: Instant,
    /// The owner gave the tenant up.
    given_up: bool,
}

impl Watch {
    /// Notes what a row says now. Answers for how long it has said that.
    pub(super) fn note(&self, tenant: TenantId, owner: &Owner, now: Instant) -> Duration {
        let (epoch, beat, given_up) = (owner.epoch, owner.beat, owner.server.is_none());
        let mut seen = self.lock();
        let news = Sighting { epoch, beat, since: now, given_up };
        match seen.get(&tenant) {
            Some(before) if (before.epoch, before.beat) == (epoch, beat) => {
                now.saturating_duration_since(before.since)
            }
            _ => {
                seen.insert(tenant, news);
                Duration::ZERO
            }
        }
    }

    /// Tenants whose owners gave them up, or showed no life for the lease.
    pub(super) fn orphans(&self, lease: Duration, now: Instant) -> Vec<TenantId> {
        let seen = self.lock();
        let orphan =
            |seen: &&Sighting| seen.given_up || now.saturating_duration_since(seen.since) >= lease;
        seen.iter().filter(|(_, seen)| orphan(seen)).map(|(tenant, _)| *tenant).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Sighting>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes what the rows of all tenants say now.
pub(super) async fn look(pool: &MySqlPool, watch: &Watch) -> Result<()> {
    let rows = sqlx::query(READ_ALL).fetch_all(pool).await?;
    let now = Instant::now();
    for row in &rows {
        let tenant: Vec<u8> = row.try_get(6)?;
        if let Ok(tenant) = tenant.try_into() {
            watch.note(TenantId(u128::from_be_bytes(tenant)), &owner(row)?, now);
        }
    }
    Ok(())
}

/// The owner's row, if there is one.
pub(super) async fn read(
    connection: &mut MySqlConnection,
    tenant: TenantId,
) -> Result<Option<Owner>> {
    let id = tenant.0.to_be_bytes();
    let row = sqlx::query(READ).bind(&id[..]).fetch_optional(connection).await?;
    row.as_ref().map(owner).transpose()
}

fn owner(row: &MySqlRow) -> Result<Owner> {
    Ok(Owner {
        epoch: Epoch(number(row, 0)?),
        beat: number(row, 1)?,
        server: ServerId(row.try_get(2)?),
        lsn: Lsn(number(row, 3)?),
        fence: Fence(number(row, 4)?),
        queue_id_max: QueueId(number(row, 5)?),
    })
}

/// Takes the tenant, if nobody else serves it: it has no owner, was given up, was this data
/// folder's before (which one process at a time has), or its owner shows no life.
pub(super) async fn claim(
    connection: &mut MySqlConnection,
    tenant: TenantId,
    server: &ServerId,
    lease: Duration,
    watch: &Watch,
) -> Result<Claim> {
    let id = tenant.0.to_be_bytes();
    let owner = match read(connection, tenant).await? {
        Some(owner) => owner,
        None => {
            sqlx::query(INSERT).bind(&id[..]).execute(&mut *connection).await?;
            match read(connection, tenant).await? {
                Some(owner) => owner,
                None => return Ok(Claim::Standby),
            }
        }
    };
    let free = owner.server.is_none() || owner.server.has_folder_of(server);
    if !free && watch.note(tenant, &owner, Instant::now()) < lease {
        tracing::debug!(%tenant, owner = owner.server.name(), "another server serves the tenant");
        return Ok(Claim::Standby);
    }
    // A sign of life since then makes it nobody's to take, but for the run before of this folder,
    // whose last words may still be under way.
    let beat = if free { None } else { Some(owner.beat) };
    let claim = sqlx::query(CLAIM).bind(&server.0[..]).bind(&id[..]).bind(owner.epoch.0);
    let claim = claim.bind(beat).bind(beat).execute(&mut *connection).await?;
    if claim.rows_affected() != 1 {
        return Ok(Claim::Standby);
    }
    if !free {
        let owner = owner.server.name();
        tracing::warn!(%tenant, owner, "taken over from a server without life");
    }
    // Only now, after the commit: nothing of the owner before can come any more.
    match read(connection, tenant).await? {
        Some(owner) if owner.server == *server => Ok(Claim::Taken(owner)),
        _ => Ok(Claim::Standby),
    }
}

/// Renews the lease, or gives the tenant up, as the statement says; `false`: it is another server's.
pub(super) async fn change(
    connection: &mut MySqlConnection,
    statement: &'static str,
    tenant: TenantId,
    epoch: Epoch,
) -> Result<bool> {
    let query = sqlx::query(statement).bind(tenant.0.to_be_bytes().to_vec()).bind(epoch.0);
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

/// After a connection broke, perhaps in the middle of a commit: a new epoch, so that nothing of the
/// old connection can come any more, and what the row says then; `None`: another server has it.
pub(super) async fn reclaim(
    connection: &mut MySqlConnection,
    tenant: TenantId,
    server: &ServerId,
) -> Result<Option<Owner>> {
    let id = tenant.0.to_be_bytes();
    let query = sqlx::query(RECLAIM).bind(&id[..]).bind(&server.0[..]);
    if query.execute(&mut *connection).await?.rows_affected() != 1 {
        return Ok(None);
    }
    Ok(read(connection, tenant).await?.filter(|owner| owner.server == *server))
}

/// A column that is never negative.
pub(super) fn number(row: &sqlx::mysql::MySqlRow, at: usize) -> Result<u64> {
    let number: i64 = row.try_get(at)?;
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
