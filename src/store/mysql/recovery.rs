//! Reading a tenant's state after it was taken. What the server needs to know one by one is read so;
//! of all other messages only their number, which every transaction keeps.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use super::changes::{Memory, QueueFacts};
use super::ownership::{Owner, number};
use super::sweep::Sweep;
use crate::engine::{KnownMessage, Recovered, RecoveredQueue};
use crate::types::{Pattern, Priority, QueueId, QueueName, QueueSettings, Seq, TenantId, WallMs};

type Result<T> = std::result::Result<T, sqlx::Error>;

const QUEUES: &str =
    "SELECT queue, name, settings, next_seq, purged_to, kept, deleted, keys_after FROM queues
    WHERE tenant = ?";
pub(super) const KNOWN: &str = "SELECT seq, priority, known, attempt, not_before,
        published_at, expires_at, message_group, rejected
    FROM messages FORCE INDEX (by_known)
    WHERE tenant = ? AND queue = ? AND known IN (1, 2) ORDER BY seq";
pub(super) const SIZES: &str = "SELECT priority, messages, bytes FROM queue_sizes
    WHERE tenant = ? AND queue = ? AND messages > 0";
pub(super) const KEYS: &str = "SELECT dedup_key, seq, published_at FROM dedup_keys WHERE tenant = ? AND queue = ? ORDER BY seq";
const BINDINGS: &str =
    "SELECT pattern FROM bindings WHERE tenant = ? AND queue = ? ORDER BY pattern";

/// A tenant as it was found.
pub(super) struct Found {
    pub(super) recovered: Recovered,
    pub(super) memory: Memory,
    pub(super) sweep: Sweep,
}

/// Reads all of it.
pub(super) async fn read(
    connection: &mut MySqlConnection,
    tenant: TenantId,
    owner: &Owner,
) -> Result<Found> {
    let id = tenant.0.to_be_bytes();
    let rows = sqlx::query(QUEUES).bind(&id[..]).fetch_all(&mut *connection).await?;
    let mut recovered = Recovered {
        lsn: owner.lsn,
        fence: owner.fence,
        queue_id_max: owner.queue_id_max,
        queues: Vec::new(),
    };
    let (mut memory, mut purged, mut deleted) = (Memory::default(), Vec::new(), Vec::new());
    for row in &rows {
        let queue = QueueId(number(row, 0)?);
        recovered.queue_id_max = recovered.queue_id_max.max(queue);
        if row.try_get::<i64, _>(6)? != 0 {
            deleted.push(queue);
            continue;
        }
        let settings: String = row.try_get(2)?;
        let settings: QueueSettings = serde_json::from_str(&settings).map_err(damaged)?;
        let kept: Option<String> = row.try_get(5)?;
        let kept: Vec<u64> =
            kept.map_or(Ok(Vec::new()), |kept| serde_json::from_str(&kept)).map_err(damaged)?;
        let facts = QueueFacts {
            dedup_window_ms: settings.dedup_window_ms,
            keys_after: Seq(number(row, 7)?),
            purged_to: Seq(number(row, 4)?),
            kept: kept.into_iter().map(Seq).collect(),
        };
        let reading = Reading { connection: &mut *connection, tenant: &id, queue, facts: &facts };
        let found = reading.queue(row, settings).await?;
        let keys = found.keys.iter().map(|(_, seq, at)| (*seq, *at));
        memory.keys.insert(queue, keys.collect());
        recovered.queues.push(found);
        if facts.purged_to > Seq(0) {
            purged.push(queue);
        }
        memory.queues.insert(queue, facts);
    }
    Ok(Found { recovered, memory, sweep: Sweep::new(&purged, deleted) })
}

struct Reading<'a> {
    connection: &'a mut MySqlConnection,
    tenant: &'a [u8; 16],
    queue: QueueId,
    facts: &'a QueueFacts,
}

impl Reading<'_> {
    async fn queue(mut self, row: &MySqlRow, settings: QueueSettings) -> Result<RecoveredQueue> {
        let known = self.known().await?;
        let (mut messages, mut bytes, mut plain) = (0, 0, BTreeMap::new());
        for size in self.rows(SIZES).await? {
            let of_priority = number(&size, 1)?;
            (messages, bytes) = (messages + of_priority, bytes + number(&size, 2)?);
            plain.insert(priority(&size, 0)?, of_priority);
        }
        for one in &known {
            let left = plain.get_mut(&one.priority).and_then(|left| left.checked_sub(1));
            let left = left.ok_or_else(|| damaged("more messages than queue_sizes says"))?;
            plain.insert(one.priority, left);
        }
        plain.retain(|_, left| *left > 0);
        let keys = self.keys().await?;
        let bindings = self.rows(BINDINGS).await?;
        let bindings: Result<Vec<Pattern>> = bindings
            .iter()
            .map(|row| Pattern::new(&text(row.try_get(0)?)?).map_err(damaged))
            .collect();
        Ok(RecoveredQueue {
            id: self.queue,
            name: QueueName::new(&text(row.try_get(1)?)?).map_err(damaged)?,
            settings,
            next_seq: Seq(number(row, 3)?),
            messages,
            bytes,
            known,
            plain: plain.into_iter().collect(),
            keys,
            bindings: bindings?,
        })
    }

    async fn rows(&mut self, query: &'static str) -> Result<Vec<MySqlRow>> {
        let query = sqlx::query(query).bind(&self.tenant[..]).bind(self.queue.0);
        query.fetch_all(&mut *self.connection).await
    }

    async fn known(&mut self) -> Result<Vec<KnownMessage>> {
        let mut all = Vec::new();
        for row in self.rows(KNOWN).await? {
            let message = known(&row)?;
            if self.facts.shows(message.seq) {
                all.push(message);
            }
        }
        Ok(all)
    }

    /// Those that are not forgotten: what is may be there still.
    async fn keys(&mut self) -> Result<Vec<(Box<str>, Seq, WallMs)>> {
        let mut all = Vec::new();
        for row in self.rows(KEYS).await? {
            let at: WallMs = number(&row, 2)?;
            let seq = Seq(number(&row, 1)?);
            if seq > self.facts.keys_after {
                all.push((text(row.try_get(0)?)?.into(), seq, at));
            }
        }
        Ok(all)
    }
}

fn known(row: &MySqlRow) -> Result<KnownMessage> {
    let marked = number(row, 2)? == 1;
    let group: Option<Vec<u8>> = row.try_get(7)?;
    let rejected: Option<Vec<u8>> = row.try_get(8)?;
    let expires_at: Option<i64> = row.try_get(6)?;
    let published_at = number(row, 5)?;
    Ok(KnownMessage {
        seq: Seq(number(row, 0)?),
        priority: priority(row, 1)?,
        attempt: row.try_get(3)?,
        not_before: number(row, 4)?,
        published_at: marked.then_some(published_at),
        expires_at: expires_at.map(i64::cast_unsigned),
        group: group.map(text).transpose()?.map(Into::into),
        rejected: rejected.map(text).transpose()?.map(Into::into),
    })
}

fn priority(row: &MySqlRow, at: usize) -> Result<Priority> {
    Priority::new(number(row, at)?).ok_or_else(|| damaged("a priority beyond 9"))
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(error.to_string().into())
}
