//! Rows of what was purged or deleted go little by little, so that no transaction grows with a
//! backlog. Called by the writer when it has nothing else to do.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Connection;
use sqlx::mysql::MySqlConnection;

use super::changes::{Changes, QueueFacts};
use super::ownership::{self, Epoch, number};
use super::statements;
use crate::types::{QueueId, Seq, TenantId};

/// Rows of one step.
const STEP_ROWS: usize = 2_000;

pub(super) const PURGED: &str =
    "SELECT seq FROM messages WHERE tenant = ? AND queue = ? AND seq BETWEEN ? AND ?
     ORDER BY seq LIMIT 2000";
pub(super) const DELETE_KEYS: &str =
    "DELETE FROM dedup_keys WHERE tenant = ? AND queue = ? ORDER BY seq LIMIT 2000";
pub(super) const OLD_KEYS: &str =
    "DELETE FROM dedup_keys WHERE tenant = ? AND queue = ? AND seq <= ? ORDER BY seq LIMIT 2000";
const DELETE_BINDINGS: &str = "DELETE FROM bindings WHERE tenant = ? AND queue = ?";
const DELETE_SIZES: &str = "DELETE FROM queue_sizes WHERE tenant = ? AND queue = ?";
const DELETE_QUEUE: &str = "DELETE FROM queues WHERE tenant = ? AND queue = ? AND deleted = 1";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Queues with purged rows, and from where these are looked for.
    purged: BTreeMap<QueueId, Seq>,
    deleted: BTreeSet<QueueId>,
    /// Queues that may have forgotten keys.
    old_keys: BTreeSet<QueueId>,
}

impl Sweep {
    /// What a start found.
    pub(super) fn new(purged: &[QueueId], deleted: Vec<QueueId>) -> Self {
        let purged = purged.iter().map(|queue| (*queue, Seq(0))).collect();
        Self { purged, deleted: deleted.into_iter().collect(), old_keys: BTreeSet::new() }
    }

    /// What a group that was written leaves behind.
    pub(super) fn note(&mut self, group: &Changes) {
        self.purged.extend(group.purged.keys().map(|queue| (*queue, Seq(0))));
        for queue in &group.deleted {
            self.purged.remove(queue);
            self.old_keys.remove(queue);
            self.deleted.insert(*queue);
        }
        self.old_keys.extend(group.keys_after.keys());
    }

    /// Whether there is something to do.
    pub(super) fn has_work(&self) -> bool {
        !self.purged.is_empty() || !self.deleted.is_empty() || !self.old_keys.is_empty()
    }

    /// Removes some rows; `false`: the tenant is another server's. A step that does not end is made
    /// again.
    pub(super) async fn step(
        &mut self,
        connection: &mut MySqlConnection,
        tenant: TenantId,
        epoch: Epoch,
        queues: &BTreeMap<QueueId, QueueFacts>,
    ) -> Result<bool, sqlx::Error> {
        let tenant = tenant.0.to_be_bytes();
        let mut transaction = connection.begin().await?;
        let held = sqlx::query(ownership::RENEW).bind(&tenant[..]).bind(epoch.0);
        if held.execute(&mut *transaction).await?.rows_affected() != 1 {
            transaction.rollback().await?;
            return Ok(false);
        }
        if let Some((queue, from)) = self.purged.first_key_value().map(|(q, from)| (*q, *from)) {
            let facts = queues.get(&queue).cloned().unwrap_or_default();
            let next = purge(&mut transaction, &tenant, queue, from, &facts).await?;
            transaction.commit().await?;
            match next {
                Some(next) => self.purged.insert(queue, next),
                None => self.purged.remove(&queue),
            };
        } else if let Some(queue) = self.old_keys.first().copied() {
            let after = queues.get(&queue).map_or(Seq(0), |queue| queue.keys_after);
            let query = sqlx::query(OLD_KEYS).bind(&tenant[..]).bind(queue.0).bind(after.0);
            let gone = query.execute(&mut *transaction).await?.rows_affected();
            transaction.commit().await?;
            if (gone as usize) < STEP_ROWS {
                self.old_keys.remove(&queue);
            }
        } else if let Some(queue) = self.deleted.first().copied() {
            let all = delete_some(&mut transaction, &tenant, queue).await?;
            transaction.commit().await?;
            if all {
                self.deleted.remove(&queue);
            }
        }
        Ok(true)
    }
}

/// Answers from where to go on; `None`: nothing is left.
async fn purge(
    connection: &mut MySqlConnection,
    tenant: &[u8; 16],
    queue: QueueId,
    from: Seq,
    facts: &QueueFacts,
) -> Result<Option<Seq>, sqlx::Error> {
    let query = sqlx::query(PURGED).bind(&tenant[..]).bind(queue.0);
    let rows = query.bind(from.0).bind(facts.purged_to.0).fetch_all(&mut *connection).await?;
    let seqs: Result<Vec<Seq>, _> = rows.iter().map(|row| number(row, 0).map(Seq)).collect();
    let seqs = seqs?;
    let gone: Vec<Seq> = seqs.iter().copied().filter(|seq| !facts.shows(*seq)).collect();
    statements::delete(connection, tenant, queue, &gone).await?;
    Ok(seqs.last().filter(|_| seqs.len() >= STEP_ROWS).map(|last| last.next()))
}

/// Removes some rows of a deleted queue; `true`: none is left.
async fn delete_some(
    connection: &mut MySqlConnection,
    tenant: &[u8; 16],
    queue: QueueId,
) -> Result<bool, sqlx::Error> {
    let all = QueueFacts { purged_to: Seq(i64::MAX as u64), ..QueueFacts::default() };
    if purge(connection, tenant, queue, Seq(0), &all).await?.is_some() {
        return Ok(false);
    }
    let keys = sqlx::query(DELETE_KEYS).bind(&tenant[..]).bind(queue.0);
    if keys.execute(&mut *connection).await?.rows_affected() as usize >= STEP_ROWS {
        return Ok(false);
    }
    for statement in [DELETE_BINDINGS, DELETE_SIZES, DELETE_QUEUE] {
        let query = sqlx::query(statement).bind(&tenant[..]).bind(queue.0);
        query.execute(&mut *connection).await?;
    }
    Ok(true)
}
