//! Reading messages back. First their sizes, then the contents of as many as were asked for: a
//! page of long messages is never read in vain.

use sqlx::mysql::MySqlPool;
use sqlx::{MySql, Row, query::Query};

use super::changes::QueueFacts;
use super::ownership::number;
use crate::engine::{Load, StoredMessage};
use crate::store::codec::{self, Reader};
use crate::types::{Seq, TenantId};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Sizes that are looked at in one statement.
const SIZES_MAX: u64 = 2_000;

pub(super) const SIZES: &str = "SELECT seq, bytes FROM messages FORCE INDEX (PRIMARY)
    WHERE tenant = ? AND queue = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?";
pub(super) const SIZES_OF_PRIORITY: &str =
    "SELECT seq, bytes FROM messages FORCE INDEX (by_priority)
    WHERE tenant = ? AND queue = ? AND seq BETWEEN ? AND ? AND priority = ? ORDER BY seq LIMIT ?";
pub(super) const CONTENTS: &str = "SELECT seq, attempt, not_before, content
    FROM messages FORCE INDEX (PRIMARY)
    WHERE tenant = ? AND queue = ? AND seq BETWEEN ? AND ? ORDER BY seq";
pub(super) const CONTENTS_OF_PRIORITY: &str = "SELECT seq, attempt, not_before, content
    FROM messages FORCE INDEX (by_priority)
    WHERE tenant = ? AND queue = ? AND seq BETWEEN ? AND ? AND priority = ? ORDER BY seq";

/// See the module.
pub(super) async fn load(
    pool: &MySqlPool,
    tenant: TenantId,
    load: &Load,
    facts: &QueueFacts,
) -> Result<Vec<StoredMessage>> {
    let last = load.to_seq;
    let mut from = load.from_seq;
    // What is purged may be there in rows still: it is passed over where nothing of it is kept.
    let kept = facts.kept.iter().find(|seq| **seq >= from).copied();
    if from <= facts.purged_to {
        from = kept.unwrap_or(facts.purged_to.next()).min(facts.purged_to.next());
    }
    while from <= last {
        let sizes = sizes(pool, tenant, load, from).await?;
        let Some((read_to, _)) = sizes.last().copied() else { break };
        let (mut first, mut end, mut count, mut bytes) = (None, from, 0, 0_u64);
        for (seq, size) in sizes.iter().filter(|(seq, _)| facts.shows(*seq)) {
            bytes = bytes.saturating_add(*size);
            if count >= load.messages_max || count > 0 && bytes > load.bytes_max {
                break;
            }
            first = first.or(Some(*seq));
            (end, count) = (*seq, count + 1);
        }
        if let Some(first) = first {
            let mut found = contents(pool, tenant, load, first, end).await?;
            found.retain(|stored| facts.shows(stored.seq));
            found.truncate(load.messages_max);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        from = read_to.next();
    }
    Ok(Vec::new())
}

async fn sizes(
    pool: &MySqlPool,
    tenant: TenantId,
    load: &Load,
    from: Seq,
) -> Result<Vec<(Seq, u64)>> {
    let text = if load.priority.is_some() { SIZES_OF_PRIORITY } else { SIZES };
    let limit = (load.messages_max as u64).clamp(1, SIZES_MAX);
    let query = ask(text, tenant, load, from, load.to_seq).bind(limit);
    let rows = query.fetch_all(pool).await?;
    rows.iter().map(|row| Ok((Seq(number(row, 0)?), number(row, 1)?))).collect()
}

async fn contents(
    pool: &MySqlPool,
    tenant: TenantId,
    load: &Load,
    from: Seq,
    to: Seq,
) -> Result<Vec<StoredMessage>> {
    let text = if load.priority.is_some() { CONTENTS_OF_PRIORITY } else { CONTENTS };
    let rows = ask(text, tenant, load, from, to).fetch_all(pool).await?;
    let salt = codec::salt(tenant);
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let seq = Seq(number(row, 0)?);
        let content: &[u8] = row.try_get(3)?;
        match Reader::new(content).message(salt) {
            Ok((queue, of, message)) if (queue, of) == (load.queue, seq) => {
                let (attempt, not_before) = (row.try_get(1)?, number(row, 2)?);
                found.push(StoredMessage { seq, attempt, not_before, message: message.into() });
            }
            _ => tracing::error!(
                %tenant, queue = load.queue.0, seq = seq.0,
                "a message is damaged in the database; it is passed over"
            ),
        }
    }
    Ok(found)
}

fn ask<'q>(
    text: &'static str,
    tenant: TenantId,
    load: &Load,
    from: Seq,
    to: Seq,
) -> Query<'q, MySql, sqlx::mysql::MySqlArguments> {
    let to = to.0.min(i64::MAX as u64);
    let query = sqlx::query(text).bind(tenant.0.to_be_bytes().to_vec()).bind(load.queue.0);
    let query = query.bind(from.0).bind(to);
    match load.priority {
        Some(priority) => query.bind(priority.number()),
        None => query,
    }
}
