//! The promises of every store, on a real MariaDB, and what only this store promises.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};

use super::faults::Faults;
use super::statements::{self, text};
use super::{MysqlStore, Options, loading, ownership, recovery, sweep};
use crate::mysql::{Address, testing};
use crate::store::Store;
use crate::store::conformance::{Site, Witness, keeps_its_promises};
use crate::types::{Level, TenantId};

fn options() -> Options {
    Options {
        level: Level::Disk,
        replicated: false,
        lease: Duration::from_millis(700),
        folder: [7; 16],
        name: "bus1".to_owned(),
        message_bytes_max: 1 << 20,
    }
}

struct Database {
    address: Address,
    /// Of the store that runs.
    faults: std::sync::Mutex<Faults>,
}

impl Site for Database {
    fn start(&self) -> Arc<dyn Store> {
        let held = Arc::clone(&self.faults.lock().unwrap().held);
        let faults = Faults { held, broken: Arc::default() };
        *self.faults.lock().unwrap() = faults.clone();
        let start = MysqlStore::start(&self.address, options(), faults);
        let store =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(start));
        Arc::new(store.expect("it starts"))
    }

    fn crash(&self, _store: Arc<dyn Store>) {
        self.faults.lock().unwrap().broken.store(true, Ordering::SeqCst);
    }

    fn hold(&self, held: bool) {
        self.faults.lock().unwrap().held.store(held, Ordering::SeqCst);
    }

    fn fail_next_flush(&self) {
        self.faults.lock().unwrap().broken.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_its_promises() {
    let address = testing::database("conformance").await;
    keeps_its_promises(&Database { address, faults: std::sync::Mutex::default() }).await;
}

/// Every statement that reads or removes many rows, with the index that it is to use.
#[tokio::test]
async fn every_statement_uses_its_index() {
    let address = testing::database("explain").await;
    let mut connection = address.connect().await.unwrap();
    let fill =
        "INSERT INTO messages (tenant, queue, seq, priority, bytes, known, published_at, content)
        SELECT UNHEX(REPEAT(seq % 3, 32)), seq % 7, seq, seq % 10, 9, seq % 50 = 0, 1, 'x'
        FROM seq_1_to_20000";
    sqlx::raw_sql(fill).execute(&mut connection).await.unwrap();
    let keys = "INSERT INTO dedup_keys SELECT tenant, queue, seq, seq, seq FROM messages";
    sqlx::raw_sql(keys).execute(&mut connection).await.unwrap();
    let owner = "INSERT INTO owners VALUES (UNHEX(REPEAT('1', 32)), 5, 5, 'a', 5, 5, 5)";
    sqlx::raw_sql(owner).execute(&mut connection).await.unwrap();
    sqlx::raw_sql("ANALYZE TABLE messages, dedup_keys").execute(&mut connection).await.unwrap();
    let (delete, count) = (text(statements::DELETE_MESSAGES, 2), text(statements::COUNT, 2));
    let count_range = text(statements::COUNT_RANGE, 1);
    for (statement, index) in [
        (loading::SIZES, "PRIMARY"),
        (loading::SIZES_OF_PRIORITY, "by_priority"),
        (loading::CONTENTS, "PRIMARY"),
        (loading::CONTENTS_OF_PRIORITY, "by_priority"),
        (recovery::KNOWN, "by_known"),
        (recovery::SIZES, "PRIMARY"),
        (recovery::KEYS, "PRIMARY"),
        (statements::DELETE_RANGE, "PRIMARY"),
        (&delete, "PRIMARY"),
        (&count, "PRIMARY"),
        (&count_range, "PRIMARY"),
        (sweep::PURGED, "PRIMARY"),
        (sweep::DELETE_KEYS, "PRIMARY"),
        (sweep::OLD_KEYS, "PRIMARY"),
        (ownership::READ, "PRIMARY"),
        (ownership::HOLD, "PRIMARY"),
        (ownership::RENEW, "PRIMARY"),
        (ownership::CLAIM, "PRIMARY"),
        (ownership::RECLAIM, "PRIMARY"),
    ] {
        // Numbers stand for all parameters; the tenant is one that has rows.
        let statement = statement
            .replace("tenant = ?", "tenant = UNHEX(REPEAT('1', 32))")
            .replace("queue = ?", "queue = 3")
            .replace("server = ?", "server = 'a'")
            .replace("seq IN (?,?)", "seq IN (10,31)")
            .replace("BETWEEN ? AND ?", "BETWEEN 1 AND 15000")
            .replace('?', "5");
        let explain = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN {statement}")));
        let rows = sqlx::Executor::fetch_all(&mut connection, explain).await.unwrap();
        // An insert from a select has a line of its own first.
        let used: Option<String> = rows[rows.len() - 1].get("key");
        assert_eq!(used.as_deref(), Some(index), "{statement}");
    }
}

/// A database that was filled before there was a table of sizes (migrations 16 to 18).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_that_was_there_before_its_sizes_is_counted() {
    let address = testing::database("sizes").await;
    let mut connection = address.connect().await.unwrap();
    // 1 has two priorities; 2 is purged but for one message and what came after; 3 is deleted.
    let before = "
        DELETE FROM _sqlx_migrations WHERE version >= 16;
        DROP TABLE queue_sizes;
        ALTER TABLE messages DROP KEY by_known,
            ADD KEY by_known (tenant, queue, known, priority, bytes);
        SET @tenant = UNHEX(LPAD('7', 32, '0'));
        INSERT INTO queues (tenant, queue, name, settings, next_seq, purged_to, kept, deleted)
            VALUES (@tenant, 1, 'plain', '{}', 11, 0, NULL, 0),
                (@tenant, 2, 'purged', '{}', 11, 8, '[3]', 0),
                (@tenant, 3, 'deleted', '{}', 11, 0, NULL, 1),
                (@tenant, 4, 'empty', '{}', 11, 0, NULL, 0);
        INSERT INTO messages (tenant, queue, seq, priority, bytes, known, published_at, content)
            SELECT @tenant, queue.seq, message.seq, IF(message.seq > 7, 9, 4), 100, 0, 1, 'x'
            FROM seq_1_to_3 AS queue JOIN seq_1_to_10 AS message";
    sqlx::raw_sql(before).execute(&mut connection).await.unwrap();
    crate::mysql::migrate(&address).await.unwrap();

    let store = MysqlStore::start(&address, options(), Faults::default()).await.unwrap();
    let recovered = store.open(TenantId(7), Witness::new()).await.unwrap();
    let queues: Vec<_> = recovered
        .queues
        .iter()
        .map(|queue| {
            let plain: Vec<_> =
                queue.plain.iter().map(|(priority, count)| (priority.number(), *count)).collect();
            (queue.name.as_str(), queue.messages, queue.bytes, plain)
        })
        .collect();
    assert_eq!(
        queues,
        [
            ("plain", 10, 1_000, vec![(4, 7), (9, 3)]),
            ("purged", 3, 300, vec![(4, 1), (9, 2)]),
            ("empty", 0, 0, vec![]),
        ]
    );
}
