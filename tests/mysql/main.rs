//! The store and the standby over real databases: one MariaDB and a Galera cluster of three nodes,
//! which `scripts/databases` runs.

mod faults;
mod proxy;
mod race;
mod server;
mod settings;
mod standby;
mod waiting;

use std::path::PathBuf;
use std::process::Command;

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

/// A file in the folder of the databases.
fn databases(file: &str) -> PathBuf {
    PathBuf::from(std::env::var("GMQ_TEST_DATABASES").expect(HOW)).join(file)
}

/// `kill -9` of a database server, by its name there.
fn kill_database(name: &str) {
    let pid = std::fs::read_to_string(databases(&format!("{name}.pid"))).unwrap();
    assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    let _ = std::fs::remove_file(databases(&format!("{name}.pid")));
}

/// Starts it again, and does not wait.
fn start_database(name: &str) {
    let start = databases(&format!("{name}.start"));
    let started = Command::new("sh").args(["-c", "\"$0\" &"]).arg(start).status();
    assert!(started.unwrap().success());
}

/// One test at a time has these databases, over processes too: some kill them.
fn alone(databases_name: &str) -> std::fs::File {
    let path = databases(&format!("{databases_name}.lock"));
    let file = std::fs::File::create(path).expect("a file to lock");
    tokio::task::block_in_place(|| file.lock()).expect("its turn");
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
