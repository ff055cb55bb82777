//! The one writer of a tenant: a task that writes what has gathered as one transaction, one at a
//! time, while the next group gathers. It renews the lease with each transaction, or alone where
//! there is nothing to write; when the lease has run out, or another server has taken the tenant
//! over, it says so and ends, and nothing more is written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::mysql::MySqlConnection;
use tokio::sync::Notify;

use super::changes::{Changes, Memory, QueueFacts};
use super::ownership::{self, Epoch};
use super::sweep::Sweep;
use super::{RENEWALS, Setup, statements, within};
use crate::engine::Batch;
use crate::mysql::{is_collision, is_refusal};
use crate::store::{Listener, StoreError};
use crate::types::{Lsn, QueueId, TenantId};

/// A group ends at so many records, or bytes of messages.
const GROUP_ROWS_MAX: usize = 20_000;
const GROUP_BYTES_MAX: usize = 8 << 20;

/// A transaction that met another one is tried so often.
const ATTEMPTS_MAX: u32 = 8;

/// Pauses before the database is tried again grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// After a step of the sweep it rests so many times as long as that took: groups that come wait for
/// few of them, and the database has time for others.
const SWEEP_PAUSE: u32 = 3;

/// What a writer shares with the store.
#[derive(Debug)]
pub(super) struct Desk {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug)]
struct Inner {
    gathered: Vec<Batch>,
    /// No more batches come; what is there is written, and the tenant given up.
    closing: bool,
    /// Nothing is written any more.
    failed: bool,
    lease_until: Instant,
    /// As the last transaction left them.
    queues: BTreeMap<QueueId, QueueFacts>,
}

impl Desk {
    pub(super) fn new(lease_until: Instant, queues: BTreeMap<QueueId, QueueFacts>) -> Arc<Self> {
        let (gathered, closing, failed) = (Vec::new(), false, false);
        let inner = Inner { gathered, closing, failed, lease_until, queues };
        Arc::new(Self { inner: Mutex::new(inner), news: Notify::new() })
    }

    pub(super) fn append(&self, batch: Batch) {
        let mut inner = self.lock();
        if !inner.failed && !inner.closing {
            inner.gathered.push(batch);
            drop(inner);
            self.news.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.news.notify_one();
    }

    /// Whether this server serves the tenant, as far as it can know without asking.
    pub(super) fn holds(&self) -> bool {
        let inner = self.lock();
        !inner.failed && Instant::now() < inner.lease_until
    }

    /// What is remembered of a queue.
    pub(super) fn queue(&self, queue: QueueId) -> Option<QueueFacts> {
        self.lock().queues.get(&queue).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why nothing more is written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// Another server serves the tenant.
    #[error("another server has taken the tenant over")]
    TakenOver,
    /// The database did not answer within the lease.
    #[error("the lease has run out: {0}")]
    LeaseOver(String),
    /// The database refuses what is written.
    #[error("the database refuses a change: {0}")]
    Refused(sqlx::Error),
}

/// See the module.
pub(super) struct Writer {
    pub(super) tenant: TenantId,
    pub(super) setup: Arc<Setup>,
    pub(super) desk: Arc<Desk>,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) connection: Option<MySqlConnection>,
    pub(super) epoch: Epoch,
    /// What is remembered, with the group being written in it.
    pub(super) memory: Memory,
    pub(super) sweep: Sweep,
}

impl Writer {
    /// Writes until the store closes or the tenant is lost. Answers whether all was written.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        match self.work().await {
            Ok(()) => Ok(()),
            Err(ended) => {
                self.desk.lock().failed = true;
                let error = StoreError::new("write", ended.to_string());
                self.listener.failed(self.tenant, &error);
                Err(error)
            }
        }
    }

    async fn work(&mut self) -> Result<(), Ended> {
        let renewal = self.setup.lease / RENEWALS;
        let mut renewed = Instant::now();
        let mut sweep_at = renewed;
        loop {
            let (group, closing) = self.gather();
            if !group.is_empty() {
                self.write_group(&group).await?;
                renewed = Instant::now();
                continue;
            }
            if closing {
                self.give_up().await;
                return Ok(());
            }
            if renewed.elapsed() >= renewal {
                self.renew().await?;
                renewed = Instant::now();
            }
            let mut wait = renewal.saturating_sub(renewed.elapsed());
            if self.sweep.has_work() {
                let began = Instant::now();
                if began >= sweep_at {
                    self.sweep_some().await?;
                    sweep_at = Instant::now() + began.elapsed() * SWEEP_PAUSE;
                    continue;
                }
                wait = wait.min(sweep_at - began);
            }
            let _ = tokio::time::timeout(wait, self.desk.news.notified()).await;
        }
    }

    /// What has gathered, up to the bounds of a group.
    fn gather(&mut self) -> (Changes, bool) {
        let mut changes = Changes::default();
        let mut inner = self.desk.lock();
        let closing = inner.closing;
        let mut taken = 0;
        let batches = std::mem::take(&mut inner.gathered);
        drop(inner);
        let mut left = batches.into_iter();
        for batch in left.by_ref() {
            changes.add(self.tenant, batch, &mut self.memory);
            taken += 1;
            if changes.rows >= GROUP_ROWS_MAX || changes.bytes >= GROUP_BYTES_MAX {
                break;
            }
        }
        if left.len() > 0 && taken > 0 {
            let mut inner = self.desk.lock();
            let later = std::mem::take(&mut inner.gathered);
            inner.gathered = left.chain(later).collect();
        }
        (changes, closing)
    }

    /// Writes a group, however often that must be tried within the lease.
    async fn write_group(&mut self, group: &Changes) -> Result<(), Ended> {
        let mut attempts = 0;
        loop {
            let sent = Instant::now();
            let error = match self.try_group(group).await {
                Ok(true) => {
                    self.written(group, sent);
                    return Ok(());
                }
                Ok(false) => return Err(Ended::TakenOver),
                Err(error) => error,
            };
            attempts += 1;
            if is_collision(&error) && attempts < ATTEMPTS_MAX {
                tracing::debug!(tenant = %self.tenant, %error, "a transaction met another one");
                continue;
            }
            if is_refusal(&error) {
                return Err(Ended::Refused(error));
            }
            tracing::warn!(tenant = %self.tenant, %error, "a transaction broke off");
            // The commit may be done all the same: a new epoch, then what the row says.
            let (lsn, sent) = self.start_anew(&error).await?;
            if lsn >= group.lsn {
                self.written(group, sent);
                return Ok(());
            }
        }
    }

    fn written(&mut self, group: &Changes, sent: Instant) {
        let mut inner = self.desk.lock();
        inner.lease_until = sent + self.setup.lease;
        for queue in group.touched() {
            match self.memory.queues.get(&queue) {
                Some(facts) => inner.queues.insert(queue, facts.clone()),
                None => inner.queues.remove(&queue),
            };
        }
        drop(inner);
        self.sweep.note(group);
        self.listener.durable(self.tenant, group.lsn);
    }

    /// One transaction; `false`: the tenant is another server's.
    async fn try_group(&mut self, group: &Changes) -> Result<bool, sqlx::Error> {
        self.setup.faults.pass().await?;
        let setup = Arc::clone(&self.setup);
        let (tenant, epoch) = (self.tenant, self.epoch);
        let Some(connection) = &mut self.connection else { return Err(not_connected()) };
        let writing = async {
            let mut transaction = connection.begin().await?;
            let queue_id_max = group.created.keys().next_back().map_or(0, |queue| queue.0);
            let hold = sqlx::query(ownership::HOLD).bind(group.lsn.0).bind(group.fence.0);
            let hold = hold.bind(queue_id_max).bind(tenant.0.to_be_bytes().to_vec()).bind(epoch.0);
            if hold.execute(&mut *transaction).await?.rows_affected() != 1 {
                transaction.rollback().await?;
                return Ok(false);
            }
            statements::write(&mut transaction, tenant, group, setup.statement_bytes_max).await?;
            setup.faults.pass().await?;
            transaction.commit().await?;
            Ok(true)
        };
        within(setup.lease, writing).await
    }

    async fn renew(&mut self) -> Result<(), Ended> {
        let sent = Instant::now();
        let error = match self.try_renew(ownership::RENEW).await {
            Ok(true) => {
                self.desk.lock().lease_until = sent + self.setup.lease;
                return Ok(());
            }
            Ok(false) => return Err(Ended::TakenOver),
            Err(error) => error,
        };
        self.start_anew(&error).await.map(|_| ())
    }

    async fn try_renew(&mut self, statement: &'static str) -> Result<bool, sqlx::Error> {
        self.setup.faults.pass().await?;
        let Some(connection) = &mut self.connection else { return Err(not_connected()) };
        let changing = ownership::change(connection, statement, self.tenant, self.epoch);
        within(self.setup.lease, changing).await
    }

    /// Connects anew and takes the tenant with a new epoch, until the lease runs out. Answers how
    /// far the tenant is written, and when that was asked.
    async fn start_anew(&mut self, why: &sqlx::Error) -> Result<(Lsn, Instant), Ended> {
        self.connection = None;
        let lease_until = self.desk.lock().lease_until;
        let (mut pause, longest) = PAUSES;
        let mut why = why.to_string();
        while Instant::now() < lease_until {
            let left = lease_until.saturating_duration_since(Instant::now());
            let sent = Instant::now();
            match tokio::time::timeout(left, self.try_anew()).await {
                Ok(Ok(Some(lsn))) => {
                    self.desk.lock().lease_until = sent + self.setup.lease;
                    return Ok((lsn, sent));
                }
                Ok(Ok(None)) => return Err(Ended::TakenOver),
                Ok(Err(error)) => why = error,
                Err(_) => why = "the database does not answer".to_owned(),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
        Err(Ended::LeaseOver(why))
    }

    async fn try_anew(&mut self) -> Result<Option<Lsn>, String> {
        self.setup.faults.pass().await.map_err(|error| error.to_string())?;
        let (mut connection, _) = self.setup.connect().await.map_err(|error| error.to_string())?;
        let taken = ownership::reclaim(&mut connection, self.tenant, &self.setup.server).await;
        let Some(owner) = taken.map_err(|error| error.to_string())? else { return Ok(None) };
        self.epoch = owner.epoch;
        self.connection = Some(connection);
        Ok(Some(owner.lsn))
    }

    /// The tenant is free for any server.
    async fn give_up(&mut self) {
        if let Err(error) = self.try_renew(ownership::RELEASE).await {
            tracing::warn!(tenant = %self.tenant, %error, "a standby waits for the lease to end");
        }
    }

    /// A little of what is purged or deleted goes; what fails goes later.
    async fn sweep_some(&mut self) -> Result<(), Ended> {
        let Some(connection) = &mut self.connection else { return self.renew().await };
        let step = self.sweep.step(connection, self.tenant, self.epoch, &self.memory.queues);
        match within(self.setup.lease, step).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Ended::TakenOver),
            Err(error) if is_collision(&error) => Ok(()),
            Err(error) => self.start_anew(&error).await.map(|_| ()),
        }
    }
}

fn not_connected() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::NotConnected.into())
}
