//! Messages in a MySQL or MariaDB database. A tenant is served by one server at a time, which the
//! database itself decides (`ownership`); that server's engine is the only writer of the tenant's
//! rows, so nothing is claimed or locked row by row. What has gathered is written as one
//! transaction (`writer`), and read back page by page. Knows no clients and no rules of queues.

mod changes;
mod faults;
mod loading;
mod ownership;
mod recovery;
mod statements;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnection, MySqlPool};
use tokio::task::{AbortHandle, JoinHandle};

use self::faults::Faults;
use self::ownership::{Claim, Owner, ServerId, Watch};
use self::recovery::Found;
use self::writer::{Desk, Writer};
use super::{Appended, BoxFuture, Listener, Store, StoreError, WINDOW};
use crate::engine::{Batch, Load, Recovered, StoredMessage, Window};
use crate::mysql::{Address, DatabaseError, Facts, facts};
use crate::types::{Level, TenantId};

/// Connections that read messages back.
const READERS: u32 = 4;

/// The owners are looked at this often in the length of a lease.
const WATCHES: u32 = 8;

/// A lease is renewed this often in its length.
const RENEWALS: u32 = 4;

/// What a row needs beside its message's content: names of fields and the record's own.
const ROW_BYTES: u64 = 64 * 1024;

/// How a store is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a reply means: `Disk`, or `Os` where the database may flush later.
    pub level: Level,
    /// Whether the database has each commit on several machines before it answers.
    pub replicated: bool,
    /// An owner that shows no life for so long is taken over from.
    pub lease: Duration,
    /// This data folder, which one process at a time has.
    pub folder: [u8; 16],
    /// What other servers call this one; 32 bytes at most.
    pub name: String,
    /// Longest message. Unit: bytes.
    pub message_bytes_max: u64,
}

/// What all writers need.
#[derive(Debug)]
struct Setup {
    address: Address,
    level: Level,
    lease: Duration,
    server: ServerId,
    statement_bytes_max: usize,
    faults: Faults,
}

impl Setup {
    /// A connection to a database that keeps what it promises, and what that is.
    async fn connect(&self) -> Result<(MySqlConnection, Facts), DatabaseError> {
        let mut connection = self.address.connect().await?;
        let facts = within(self.lease, facts(&mut connection)).await?;
        if facts.read_only {
            return Err(DatabaseError::ReadOnly(self.address.to_string()));
        }
        if !facts.flushes && self.level > Level::Os {
            return Err(DatabaseError::NotFlushed(self.address.to_string()));
        }
        Ok((connection, facts))
    }
}

/// An answer of the database, if it comes within a lease.
async fn within<T, E: From<sqlx::Error>>(
    lease: Duration,
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(lease, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()),
    }
}

/// See the module.
pub struct MysqlStore {
    setup: Arc<Setup>,
    level_max: Level,
    watch: Arc<Watch>,
    readers: MySqlPool,
    tenants: Mutex<HashMap<TenantId, Hosted>>,
    watching: AbortHandle,
}

struct Hosted {
    desk: Arc<Desk>,
    task: JoinHandle<Result<(), StoreError>>,
}

impl MysqlStore {
    /// Looks whether the database can be used; no tenant is taken yet.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached, is behind this version, does not flush, takes no writes, or no
    /// statement that is long enough for a message.
    pub async fn open(address: &Address, options: Options) -> Result<Self, DatabaseError> {
        Self::start(address, options, Faults::default()).await
    }

    async fn start(
        address: &Address,
        options: Options,
        faults: Faults,
    ) -> Result<Self, DatabaseError> {
        let mut run = [0; 16];
        getrandom::fill(&mut run).map_err(|error| DatabaseError::Address(error.to_string()))?;
        let server = ServerId::new(&options.folder, &run, &options.name);
        let mut setup = Setup {
            address: address.clone(),
            level: options.level,
            lease: options.lease,
            server,
            statement_bytes_max: 0,
            faults,
        };
        let (mut connection, facts) = setup.connect().await?;
        let schema = crate::mysql::schema(address, &mut connection).await?;
        if schema.done < schema.all {
            return Err(DatabaseError::Behind(address.to_string()));
        }
        let packet_bytes = facts.packet_bytes_max;
        let needed_bytes = options.message_bytes_max.saturating_add(ROW_BYTES);
        if packet_bytes < needed_bytes {
            let address = address.to_string();
            return Err(DatabaseError::Packet { address, packet_bytes, needed_bytes });
        }
        setup.statement_bytes_max = usize::try_from(packet_bytes / 2).unwrap_or(usize::MAX);
        let level_max = if options.replicated { Level::Replicated } else { options.level };
        let readers = address.pool(READERS).await?;
        let watch = Arc::new(Watch::default());
        let every = setup.lease / WATCHES;
        let watching = tokio::spawn(watch_owners(Arc::clone(&watch), readers.clone(), every));
        let (setup, tenants) = (Arc::new(setup), Mutex::default());
        let watching = watching.abort_handle();
        Ok(Self { setup, level_max, watch, readers, tenants, watching })
    }

    async fn take(
        &self,
        tenant: TenantId,
        listener: Arc<dyn Listener>,
    ) -> Result<Recovered, StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError::new("open", error.to_string());
        // One that failed, or that this store has still: its writer ends first.
        self.leave(tenant).await;
        let (mut connection, _) = self.setup.connect().await.map_err(|error| failed(&error))?;
        let Setup { server, lease, .. } = &*self.setup;
        let claim = ownership::claim(&mut connection, tenant, server, *lease, &self.watch);
        let owner = match within(*lease, claim).await.map_err(|error| failed(&error))? {
            Claim::Taken(owner) => owner,
            Claim::Standby => return Err(StoreError::standby()),
        };
        let read = self.read(&mut connection, tenant, &owner).await;
        let Some((found, lease_until)) = read.map_err(|error| failed(&error))? else {
            return Err(StoreError::standby());
        };
        let desk = Desk::new(lease_until, found.memory.queues.clone());
        let writer = Writer {
            tenant,
            setup: Arc::clone(&self.setup),
            desk: Arc::clone(&desk),
            listener,
            connection: Some(connection),
            epoch: owner.epoch,
            memory: found.memory,
            sweep: found.sweep,
        };
        let task = tokio::spawn(writer.run());
        self.lock().insert(tenant, Hosted { desk, task });
        tracing::info!(%tenant, epoch = owner.epoch.0, "this server serves the tenant");
        Ok(found.recovered)
    }

    /// Reads the state of a tenant that was taken, and until when it is taken then: the lease is
    /// renewed meanwhile, however long a backlog takes. `None`: another server has it now.
    async fn read(
        &self,
        connection: &mut MySqlConnection,
        tenant: TenantId,
        owner: &Owner,
    ) -> Result<Option<(Found, Instant)>, sqlx::Error> {
        let lease = self.setup.lease;
        let reading = async {
            let mut reader = self.readers.acquire().await?;
            recovery::read(&mut reader, tenant, owner).await
        };
        tokio::pin!(reading);
        loop {
            let found = tokio::time::timeout(lease / RENEWALS, &mut reading).await;
            let sent = Instant::now();
            let renewing = ownership::change(connection, ownership::RENEW, tenant, owner.epoch);
            if !within(lease, renewing).await? {
                return Ok(None);
            }
            if let Ok(found) = found {
                return Ok(Some((found?, sent + lease)));
            }
        }
    }

    /// Ends the tenant's writer, if there is one.
    async fn leave(&self, tenant: TenantId) {
        let hosted = self.lock().remove(&tenant);
        if let Some(hosted) = hosted {
            hosted.desk.close();
            let _ = hosted.task.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Hosted>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self, tenant: TenantId) -> Option<Arc<Desk>> {
        self.lock().get(&tenant).map(|hosted| Arc::clone(&hosted.desk))
    }
}

impl Drop for MysqlStore {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// Looks at the owners of all tenants again and again, so that it is known how long one has shown
/// no life when a client comes.
async fn watch_owners(watch: Arc<Watch>, readers: MySqlPool, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        // What cannot be seen now is seen later: an owner is only taken over from after a look.
        let _ = tokio::time::timeout(every, ownership::look(&readers, &watch)).await;
    }
}

impl Store for MysqlStore {
    fn level(&self) -> Level {
        self.setup.level
    }

    fn level_max(&self) -> Level {
        self.level_max
    }

    fn window(&self) -> Window {
        WINDOW
    }

    fn open(
        &self,
        tenant: TenantId,
        listener: Arc<dyn Listener>,
    ) -> BoxFuture<'_, Result<Recovered, StoreError>> {
        Box::pin(self.take(tenant, listener))
    }

    fn append(&self, tenant: TenantId, batch: Batch) -> Appended {
        if let Some(desk) = self.desk(tenant) {
            desk.append(batch);
        }
        Appended::Pending
    }

    fn load(
        &self,
        tenant: TenantId,
        load: Load,
    ) -> BoxFuture<'_, Result<Vec<StoredMessage>, StoreError>> {
        Box::pin(async move {
            let facts = self.desk(tenant).and_then(|desk| desk.queue(load.queue));
            let Some(facts) = facts else { return Ok(Vec::new()) };
            let loading = loading::load(&self.readers, tenant, &load, &facts);
            match tokio::time::timeout(self.setup.lease, loading).await {
                Ok(loaded) => loaded.map_err(|error| StoreError::new("read", error.to_string())),
                Err(_) => Err(StoreError::new("read", "the database does not answer".to_owned())),
            }
        })
    }

    fn holds(&self, tenant: TenantId) -> bool {
        self.desk(tenant).is_some_and(|desk| desk.holds())
    }

    fn orphans(&self) -> Vec<TenantId> {
        let mut orphans = self.watch.orphans(self.setup.lease, Instant::now());
        // Its own ones are seen again only at the next look.
        orphans.retain(|tenant| !self.holds(*tenant));
        orphans
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let all: Vec<Hosted> = self.lock().drain().map(|(_, hosted)| hosted).collect();
            all.iter().for_each(|hosted| hosted.desk.close());
            let mut closed = Ok(());
            for hosted in all {
                let ended = hosted.task.await;
                closed = closed.and(
                    ended.unwrap_or_else(|error| Err(StoreError::new("write", error.to_string()))),
                );
            }
            self.readers.close().await;
            closed
        })
    }
}
