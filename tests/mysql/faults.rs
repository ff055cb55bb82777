//! A server whose database breaks connections off, is silent, or is not as it must be.

use std::time::{Duration, Instant};

use gmq::client::{Client, Error, payload};
use gmq::torture::load::Load;
use gmq::types::QueueName;
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;

use super::server::{LEASE, Server};
use super::waiting::{confirmed_after, reached};
use super::{address, database, mariadb};

/// Connections that are broken off under load, replies of commits among them.
const BREAKS: u64 = 60;

async fn server(folder: &tempfile::TempDir, name: &str) -> (Server, String) {
    let database = database(&mariadb(), name).await;
    let dir = folder.path().join("bus");
    Server::init(&dir);
    (Server::new(dir, &mariadb(), &database).await, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_at_any_moment_lose_nothing_and_double_no_ack() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, _) = server(&folder, "breaks").await;
    let mut profile = server.make_accounts();
    server.start();
    profile.server = server.address.clone();
    let load = Load::default();
    let mut clients = JoinSet::new();
    load.start_lasting(&mut clients, &profile);
    for n in 0..BREAKS {
        tokio::time::sleep(Duration::from_millis(20 + n * 7 % 60)).await;
        server.proxy.sever();
        load.check().unwrap();
    }
    confirmed_after(&load, Instant::now()).await;
    clients.shutdown().await;
    let seen = load.finish(&profile).await.unwrap();
    println!("{BREAKS} connections broken off: {seen:?}");
    assert!(seen.confirmed > 0 && seen.acked > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_database_confirms_nothing_and_the_server_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, _) = server(&folder, "silent").await;
    let mut profile = server.make_accounts();
    server.start();
    profile.server = server.address.clone();
    let queue = QueueName::new("orders").unwrap();
    let client = Client::connect(&profile).await.unwrap();
    client.publish(&queue, payload(b"before")).await.unwrap();

    server.proxy.cut(true);
    let publishing = client.publish(&queue, payload(b"meanwhile"));
    let refused = tokio::time::timeout(LEASE * 10, publishing).await.expect("it is answered");
    match refused {
        Err(Error::Refused(error)) => assert_eq!(error.code, "storage_unavailable"),
        other => panic!("{other:?}"),
    }
    // Whoever comes now is told, and not kept waiting.
    let told = tokio::time::timeout(LEASE * 10, Client::connect(&profile)).await.unwrap();
    assert!(matches!(told, Err(Error::Login(_))), "{:?}", told.err());

    server.proxy.cut(false);
    let client = reached(&profile).await;
    client.publish(&queue, payload(b"after")).await.unwrap();
}

/// What `gmq serve` says as it refuses to start.
pub async fn refusal(server: &Server) -> String {
    let mut command = server.command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(server.dir.join("gmq.toml"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_as_it_must_be_is_refused_at_the_start_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    let (server, database) = server(&folder, "refused").await;
    let mut connection = address(&mariadb(), &database).connect().await.unwrap();
    let mut sql = async |text: &'static str| {
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    };
    sql("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 13").await;
    let said = refusal(&server).await;
    assert!(
        said.contains("migration 13") && said.contains("DELETE FROM _sqlx_migrations"),
        "{said}"
    );
    sql("UPDATE _sqlx_migrations SET success = TRUE").await;
    sql("INSERT INTO _sqlx_migrations SELECT 999, 'x', NOW(), 1, 'x', 0").await;
    assert!(refusal(&server).await.contains("newer version"));
    sql("DELETE FROM _sqlx_migrations WHERE version IN (18, 999)").await;
    assert!(refusal(&server).await.contains("gmq admin migrate"));
    sql("UPDATE _sqlx_migrations SET success = TRUE").await;
    server.proxy.cut(true);
    let said = refusal(&server).await;
    assert!(said.contains("cannot be reached") && said.contains("database.url"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_migration_is_waited_for_and_then_said() {
    let folder = tempfile::tempdir().unwrap();
    let (server, database) = server(&folder, "migrates").await;
    let mut other = address(&mariadb(), &database).connect().await.unwrap();
    let lock = "SELECT GET_LOCK(CONCAT('gmq.', DATABASE()), 0)";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let mut command = server.command();
    command.args(["admin", "migrate", "--config"]).arg(server.dir.join("gmq.toml"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("somebody else brings") && said.contains("try again"), "{said}");
    drop(other);
    server.run(&["admin", "migrate"], "");
}

/// A database that takes a little at a time: publishers wait, memory stays bounded, nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_holds_publishers_back_and_memory_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, _) = server(&folder, "slow").await;
    let mut profile = server.make_accounts();
    server.settings.push(("GMQ_CLUSTER__LEASE", "60s".to_owned()));
    server.start();
    profile.server = server.address.clone();
    server.proxy.slow(Duration::from_millis(8));
    let queue = QueueName::new("orders").unwrap();
    let mut publishing = JoinSet::new();
    for _ in 0..2 {
        let client = std::sync::Arc::new(Client::connect(&profile).await.unwrap());
        for _ in 0..800 {
            let (client, queue) = (std::sync::Arc::clone(&client), queue.clone());
            publishing
                .spawn(async move { client.publish(&queue, payload(vec![7; 64 << 10])).await });
        }
    }
    let mut most_bytes = 0;
    let mut confirmed = 0;
    while let Some(published) = publishing.join_next().await {
        published.unwrap().unwrap();
        confirmed += 1;
        most_bytes = most_bytes.max(server.resident_bytes());
    }
    println!("{confirmed} of 64 KiB, {} MiB resident at most", most_bytes >> 20);
    assert!(most_bytes < 160 << 20, "{most_bytes}");
    server.proxy.slow(Duration::ZERO);
    let client = Client::connect(&profile).await.unwrap();
    let mut subscription = client.consume(&queue, 20).await.unwrap();
    for _ in 0..confirmed {
        let delivery = subscription.next().await.unwrap().unwrap();
        client.ack(&[delivery.hand()]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_waits_for_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, _) = server(&folder, "waits").await;
    let mut profile = server.make_accounts();
    server.proxy.cut(true);
    let proxy = server.proxy.clone();
    // It is there only after the server has looked for it in vain.
    let opening = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(6)).await;
        proxy.cut(false);
    });
    server.start_with(&["--wait"]);
    opening.await.unwrap();
    profile.server = server.address.clone();
    Client::connect(&profile).await.unwrap();
}
