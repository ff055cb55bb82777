//! The statements that write a group, within a transaction that is begun already. Names are data,
//! never parts of a text; only the number of placeholders differs, in powers of two, so that few
//! texts are prepared.

use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, MySql};

use super::changes::{Changes, Fate, Row, Size};
use crate::types::{QueueId, Seq, TenantId};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// So many neighbours are cheaper as a range than by their numbers.
const RUN: usize = 16;

/// Most rows of one statement; 12 values each, of the 65,535 that a statement may have.
const ROWS_MAX: usize = 512;

const INSERT_MESSAGES: (&str, &str, &str) = (
    "INSERT INTO messages (tenant, queue, seq, priority, bytes, known, attempt, not_before,
        published_at, expires_at, message_group, rejected, content) VALUES ",
    "(?,?,?,?,?,?,?,?,?,?,?,?,?)",
    "",
);
const INSERT_KEYS: (&str, &str, &str) = (
    "INSERT INTO dedup_keys (tenant, queue, seq, dedup_key, published_at) VALUES ",
    "(?,?,?,?,?)",
    "",
);
const SET_NEXT_SEQ: (&str, &str, &str) = (
    "INSERT INTO queues (tenant, queue, name, settings, next_seq, keys_after) VALUES ",
    "(?,?,'','',?,?)",
    " ON DUPLICATE KEY UPDATE next_seq = GREATEST(next_seq, VALUES(next_seq)),
        keys_after = GREATEST(keys_after, VALUES(keys_after))",
);
const ADD_SIZES: (&str, &str, &str) = (
    "INSERT INTO queue_sizes (tenant, queue, priority, messages, bytes) VALUES ",
    "(?,?,?,?,?)",
    " ON DUPLICATE KEY UPDATE messages = messages + VALUES(messages),
        bytes = bytes + VALUES(bytes)",
);
/// Adds to the sizes of a queue what these messages are, of which none counts yet.
macro_rules! count {
    ($head:literal $row:literal $tail:literal) => {
        (
            concat!(
                "INSERT INTO queue_sizes (tenant, queue, priority, messages, bytes)
                SELECT tenant, queue, priority, COUNT(*), SUM(bytes)
                FROM messages FORCE INDEX (PRIMARY) WHERE tenant = ? AND queue = ? AND seq ",
                $head
            ),
            $row,
            concat!(
                $tail,
                " GROUP BY tenant, queue, priority ON DUPLICATE KEY UPDATE
                messages = queue_sizes.messages + VALUES(messages),
                bytes = queue_sizes.bytes + VALUES(bytes)"
            ),
        )
    };
}
pub(super) const COUNT: (&str, &str, &str) = count!("IN (" "?" ")");
pub(super) const COUNT_RANGE: (&str, &str, &str) = count!("" "BETWEEN ? AND ?" "");
const FORGET_SIZES: &str = "UPDATE queue_sizes SET messages = 0, bytes = 0
    WHERE tenant = ? AND queue = ?";
pub(super) const DELETE_MESSAGES: (&str, &str, &str) =
    ("DELETE FROM messages WHERE tenant = ? AND queue = ? AND seq IN (", "?", ")");
pub(super) const DELETE_RANGE: &str =
    "DELETE FROM messages WHERE tenant = ? AND queue = ? AND seq BETWEEN ? AND ?";
const INSERT_QUEUE: &str =
    "INSERT INTO queues (tenant, queue, name, settings, next_seq) VALUES (?, ?, ?, ?, 1)";
const CHANGE_QUEUE: &str = "UPDATE queues SET settings = ? WHERE tenant = ? AND queue = ?";
const DELETE_QUEUE: &str = "UPDATE queues SET deleted = 1 WHERE tenant = ? AND queue = ?";
const PURGE_QUEUE: &str =
    "UPDATE queues SET purged_to = ?, kept = ? WHERE tenant = ? AND queue = ?";
const CHANGE_MESSAGE: &str = "UPDATE messages SET attempt = ?, not_before = ?,
    rejected = COALESCE(?, rejected), known = IF(known = 1 OR ?, 1, 2)
    WHERE tenant = ? AND queue = ? AND seq = ?";
const BIND: &str = "INSERT IGNORE INTO bindings (tenant, queue, pattern) VALUES (?, ?, ?)";
const UNBIND: &str = "DELETE FROM bindings WHERE tenant = ? AND queue = ? AND pattern = ?";
const FORGET_KEYS: &str = "DELETE FROM dedup_keys WHERE tenant = ? AND queue = ?";

/// Writes all of it. No statement is longer than `bytes_max`, but for one with a single message.
pub(super) async fn write(
    connection: &mut MySqlConnection,
    tenant: TenantId,
    changes: &Changes,
    bytes_max: usize,
) -> Result<()> {
    let tenant = tenant.0.to_be_bytes();
    let mut writing = Writing { connection, tenant: &tenant, bytes_max };
    writing.queues(changes).await?;
    writing.next_seqs(changes).await?;
    writing.published(changes).await?;
    writing.fates(changes).await?;
    writing.sizes(changes).await?;
    writing.keys(changes).await?;
    writing.bindings(changes).await
}

struct Writing<'a> {
    connection: &'a mut MySqlConnection,
    tenant: &'a [u8; 16],
    bytes_max: usize,
}

/// A text for `rows` rows.
pub(super) fn text((head, row, tail): (&str, &str, &str), rows: usize) -> String {
    let mut text = String::with_capacity(head.len() + rows * (row.len() + 1) + tail.len());
    text.push_str(head);
    for n in 0..rows {
        if n > 0 {
            text.push(',');
        }
        text.push_str(row);
    }
    text.push_str(tail);
    text
}

/// How many of `left` rows go into the next statement.
fn next_rows(left: usize) -> usize {
    let most = left.min(ROWS_MAX);
    if most.is_power_of_two() { most } else { most.next_power_of_two() / 2 }
}

/// What goes into one statement after the other.
fn portions<T>(all: &[T]) -> impl Iterator<Item = &[T]> {
    let mut left = all;
    std::iter::from_fn(move || {
        let some = left.split_off(..next_rows(left.len()))?;
        (!some.is_empty()).then_some(some)
    })
}

impl Writing<'_> {
    async fn run(&mut self, query: Query<'_, MySql, MySqlArguments>) -> Result<u64> {
        Ok(query.execute(&mut *self.connection).await?.rows_affected())
    }

    async fn queues(&mut self, changes: &Changes) -> Result<()> {
        let tenant = self.tenant;
        for (queue, (name, settings)) in &changes.created {
            let query = sqlx::query(INSERT_QUEUE).bind(&tenant[..]).bind(queue.0);
            let query = query.bind(name.as_str().as_bytes()).bind(json(settings));
            self.run(query).await?;
        }
        for (queue, settings) in &changes.changed {
            let query = sqlx::query(CHANGE_QUEUE).bind(json(settings));
            self.run(query.bind(&tenant[..]).bind(queue.0)).await?;
        }
        for (queue, (up_to, kept)) in &changes.purged {
            let kept: Vec<u64> = kept.iter().map(|seq| seq.0).collect();
            let query = sqlx::query(PURGE_QUEUE).bind(up_to.0).bind(json(&kept));
            self.run(query.bind(&tenant[..]).bind(queue.0)).await?;
        }
        for queue in &changes.forgetful {
            self.run(sqlx::query(FORGET_KEYS).bind(&tenant[..]).bind(queue.0)).await?;
        }
        for queue in &changes.deleted {
            self.run(sqlx::query(DELETE_QUEUE).bind(&tenant[..]).bind(queue.0)).await?;
        }
        Ok(())
    }

    async fn next_seqs(&mut self, changes: &Changes) -> Result<()> {
        let tenant = self.tenant;
        let all: Vec<(&QueueId, &Seq)> =
            changes.next_seq.iter().filter(|(queue, _)| !changes.deleted.contains(queue)).collect();
        for some in portions(&all) {
            let mut query = sqlx::query(AssertSqlSafe(text(SET_NEXT_SEQ, some.len())));
            for (queue, next) in some {
                let keys_after = changes.keys_after.get(queue).copied().unwrap_or_default();
                query = query.bind(&tenant[..]).bind(queue.0).bind(next.0);
                query = query.bind(keys_after.0);
            }
            self.run(query).await?;
        }
        Ok(())
    }

    async fn published(&mut self, changes: &Changes) -> Result<()> {
        let all: Vec<(&(QueueId, Seq), &Row)> = changes.published.iter().collect();
        let mut left = &all[..];
        while !left.is_empty() {
            let mut bytes = 0;
            let fits = left.iter().take_while(|(_, row)| {
                bytes += row.content.len() + 128;
                bytes <= self.bytes_max
            });
            let (some, rest) = left.split_at(next_rows(fits.count().max(1)));
            self.insert(some).await?;
            left = rest;
        }
        Ok(())
    }

    async fn sizes(&mut self, changes: &Changes) -> Result<()> {
        let tenant = self.tenant;
        let changed = changes.sizes.iter().filter(|(_, size)| **size != Size::default());
        let all: Vec<_> = changed.collect();
        for some in portions(&all) {
            let mut query = sqlx::query(AssertSqlSafe(text(ADD_SIZES, some.len())));
            for ((queue, priority), size) in some {
                query = query.bind(&tenant[..]).bind(queue.0).bind(priority.number());
                query = query.bind(size.messages).bind(size.bytes);
            }
            self.run(query).await?;
        }
        for (queue, (up_to, kept)) in &changes.purged {
            self.run(sqlx::query(FORGET_SIZES).bind(&tenant[..]).bind(queue.0)).await?;
            // What a purge kept, and what came since: that is in this group still.
            self.count(*queue, kept).await?;
            self.count_range(*queue, (up_to.next(), Seq(i64::MAX as u64))).await?;
        }
        Ok(())
    }

    /// Adds messages of a queue that are there to its sizes.
    async fn count(&mut self, queue: QueueId, seqs: &[Seq]) -> Result<()> {
        let (runs, alone) = split(seqs);
        for run in runs {
            self.count_range(queue, run).await?;
        }
        let tenant = self.tenant;
        for some in portions(&alone) {
            let query = sqlx::query(AssertSqlSafe(text(COUNT, some.len())));
            let mut query = query.bind(&tenant[..]).bind(queue.0);
            for seq in some {
                query = query.bind(seq.0);
            }
            self.run(query).await?;
        }
        Ok(())
    }

    async fn count_range(&mut self, queue: QueueId, (first, last): (Seq, Seq)) -> Result<()> {
        let tenant = self.tenant;
        let query = sqlx::query(AssertSqlSafe(text(COUNT_RANGE, 1)));
        let query = query.bind(&tenant[..]).bind(queue.0);
        self.run(query.bind(first.0).bind(last.0)).await?;
        Ok(())
    }

    async fn insert(&mut self, rows: &[(&(QueueId, Seq), &Row)]) -> Result<()> {
        let tenant = self.tenant;
        let mut query = sqlx::query(AssertSqlSafe(text(INSERT_MESSAGES, rows.len())));
        for ((queue, seq), row) in rows {
            let known = row.known as u8;
            query = query.bind(&tenant[..]).bind(queue.0).bind(seq.0);
            query = query.bind(row.priority).bind(row.bytes).bind(known).bind(row.attempt);
            query = query.bind(row.not_before).bind(row.published_at).bind(row.expires_at);
            query = query.bind(row.group.as_deref().map(str::as_bytes));
            query = query.bind(row.rejected.as_deref().map(str::as_bytes)).bind(&row.content[..]);
        }
        self.run(query).await?;
        Ok(())
    }

    /// Removals of one queue go together.
    async fn fates(&mut self, changes: &Changes) -> Result<()> {
        let tenant = self.tenant;
        let mut removed: Vec<(QueueId, Seq)> = Vec::new();
        for ((queue, seq), fate) in &changes.fates {
            let query = match fate {
                Fate::Removed => {
                    removed.push((*queue, *seq));
                    continue;
                }
                Fate::Changed { attempt, until, returned, refused } => {
                    let refused = refused.as_deref().map(str::as_bytes);
                    let query = sqlx::query(CHANGE_MESSAGE).bind(attempt).bind(until).bind(refused);
                    query.bind(returned)
                }
            };
            self.run(query.bind(&tenant[..]).bind(queue.0).bind(seq.0)).await?;
        }
        for of_queue in removed.chunk_by(|(a, _), (b, _)| a == b) {
            let seqs: Vec<Seq> = of_queue.iter().map(|(_, seq)| *seq).collect();
            delete(self.connection, tenant, of_queue[0].0, &seqs).await?;
        }
        Ok(())
    }

    async fn keys(&mut self, changes: &Changes) -> Result<()> {
        let tenant = self.tenant;
        let all: Vec<_> = changes.keys.iter().collect();
        for some in portions(&all) {
            let mut query = sqlx::query(AssertSqlSafe(text(INSERT_KEYS, some.len())));
            for ((queue, seq), (key, at)) in some {
                query = query.bind(&tenant[..]).bind(queue.0).bind(seq.0).bind(key.as_bytes());
                query = query.bind(at);
            }
            self.run(query).await?;
        }
        Ok(())
    }

    async fn bindings(&mut self, changes: &Changes) -> Result<()> {
        let tenant = self.tenant;
        for ((queue, pattern), bound) in &changes.bound {
            let query = sqlx::query(if *bound { BIND } else { UNBIND }).bind(&tenant[..]);
            self.run(query.bind(queue.0).bind(pattern.as_str().as_bytes())).await?;
        }
        Ok(())
    }
}

/// Deletes messages of one queue: neighbours as a range, all others by number.
pub(super) async fn delete(
    connection: &mut MySqlConnection,
    tenant: &[u8; 16],
    queue: QueueId,
    seqs: &[Seq],
) -> Result<()> {
    let (runs, alone) = split(seqs);
    for (first, last) in runs {
        let query = sqlx::query(DELETE_RANGE).bind(&tenant[..]).bind(queue.0);
        query.bind(first.0).bind(last.0).execute(&mut *connection).await?;
    }
    for some in portions(&alone) {
        let mut query = sqlx::query(AssertSqlSafe(text(DELETE_MESSAGES, some.len())));
        query = query.bind(&tenant[..]).bind(queue.0);
        for seq in some {
            query = query.bind(seq.0);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Long runs of neighbours, as first and last, and all others.
fn split(seqs: &[Seq]) -> (Vec<(Seq, Seq)>, Vec<Seq>) {
    let (mut runs, mut alone) = (Vec::new(), Vec::new());
    for run in seqs.chunk_by(|seq, next| seq.next() == *next) {
        match run {
            [first, .., last] if run.len() >= RUN => runs.push((*first, *last)),
            _ => alone.extend_from_slice(run),
        }
    }
    (runs, alone)
}

fn json(value: &impl serde::Serialize) -> String {
    // Settings and lists of numbers can always be written.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_texts_are_made() {
        let mut left = 1_000;
        let mut rows = Vec::new();
        while left > 0 {
            rows.push(next_rows(left));
            left -= next_rows(left);
        }
        assert_eq!(rows, [512, 256, 128, 64, 32, 8]);
        assert_eq!(text(DELETE_MESSAGES, 2).split("IN").last(), Some(" (?,?)"));
    }

    #[test]
    fn long_runs_are_ranges() {
        let seqs: Vec<Seq> = [3, 4, 7].into_iter().chain(10..40).chain([50]).map(Seq).collect();
        let (runs, alone) = split(&seqs);
        assert_eq!(runs, [(Seq(10), Seq(39))]);
        assert_eq!(alone, [Seq(3), Seq(4), Seq(7), Seq(50)]);
    }
}
