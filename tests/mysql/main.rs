//! The store and the standby over real databases: one MariaDB and a Galera cluster of three nodes,
//! which `scripts/databases` runs.

mod faults;
mod proxy;
mod race;
mod server;
mod standby;

use gmq::mysql::{Address, migrate};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection};

const HOW: &str = "run ./scripts/test, or: scripts/databases cargo test --test mysql";

/// Where the one MariaDB is.
fn mariadb() -> String {
    std::env::var("GMQ_TEST_MARIADB").expect(HOW)
}

/// Where the nodes of the cluster are.
fn galera() -> Vec<String> {
    let all = std::env::var("GMQ_TEST_GALERA").expect(HOW);
    all.split(',').map(str::to_owned).collect()
}

/// One test at a time has the cluster, over processes too: some kill its nodes.
fn cluster_alone() -> std::fs::File {
    let folder = std::env::var("GMQ_TEST_DATABASES").expect(HOW);
    let path = std::path::Path::new(&folder).join("cluster.lock");
    let file = std::fs::File::create(path).expect("a file to lock");
    tokio::task::block_in_place(|| file.lock()).expect("the cluster");
    file
}

/// A new database there, with all tables; answers its name.
async fn database(server: &str, name: &str) -> String {
    let name = format!("{name}_{}", std::process::id());
    let mut connection = MySqlConnection::connect(server).await.expect("it runs");
    let make = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut connection).await.expect("a database");
    migrate(&address(server, &name)).await.expect("tables");
    name
}

fn address(server: &str, database: &str) -> Address {
    Address::new(&format!("{server}/{database}"), None, None).expect("an address")
}
