//! Databases for tests, on the MariaDB that `scripts/databases` runs.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::Address;

const HOW: &str = "run ./scripts/test, or: scripts/databases cargo test";

/// A new one with all tables.
pub(crate) async fn database(name: &str) -> Address {
    let address = empty_database(name).await;
    super::migrate(&address).await.expect("tables");
    address
}

/// A new one without any.
pub(crate) async fn empty_database(name: &str) -> Address {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("GMQ_TEST_MARIADB").expect(HOW);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let name = format!("{name}_{}_{number}", std::process::id());
    let mut connection = MySqlConnection::connect(&server).await.expect("it runs");
    let make = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut connection).await.expect("a database");
    Address::new(&format!("{server}/{name}"), None, None).expect("an address")
}
