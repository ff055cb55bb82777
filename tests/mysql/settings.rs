//! A database that is reached over TLS, by the users that docs/mysql.md makes, and whose settings
//! change under a server, or which is started again. One test at a time has it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gmq::client::{Client, Error, Profile, payload};
use gmq::torture::load::Load;
use gmq::types::QueueName;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::task::JoinSet;

use super::faults::refusal;
use super::server::{GMQ, Server};
use super::waiting::{PATIENCE, confirmed_after, reached};
use super::{HOW, alone, databases, kill_database, start_database};

/// How often the database is killed and started again under load.
const RESTARTS: u64 = 3;

fn upstream() -> String {
    std::env::var("GMQ_TEST_SECURE").expect(HOW)
}

async fn sql(text: String) {
    let mut connection = MySqlConnection::connect(&upstream()).await.expect("it runs");
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.expect("it is done");
}

/// Makes the database and its users as docs/mysql.md says, under names of their own.
async fn by_the_guide(name: &str) -> String {
    let guide = include_str!("../../docs/mysql.md");
    let statements = guide.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let name = format!("{name}_{}", std::process::id());
    for statement in statements.split_inclusive(";\n") {
        sql(statement.replace("gmq", &name)).await;
    }
    name
}

/// A server on it, as the guide has it: its own user, whose password is in a file, and TLS.
async fn server(folder: &Path, name: &str) -> (Server, Profile) {
    let database = by_the_guide(name).await;
    let dir = folder.join("bus");
    Server::init(&dir);
    let mut server = Server::new(dir.clone(), &upstream(), &database).await;
    let port = server.proxy.address.rsplit(':').next().unwrap().to_owned();
    let be = |server: &mut Server, user: &str, password: &str| {
        let file = dir.join(format!("{user}.password"));
        std::fs::write(&file, format!("{password}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        server.settings = vec![
            ("GMQ_DATABASE__URL", format!("mysql://{user}@localhost:{port}/{database}")),
            ("GMQ_DATABASE__PASSWORD_FILE", file.display().to_string()),
            ("GMQ_DATABASE__CA", databases("ca.pem").display().to_string()),
        ];
    };
    be(&mut server, &database, "a password");
    let mut command = server.command();
    command.args(["admin", "migrate", "--config"]).arg(dir.join("gmq.toml"));
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("cannot be made") && said.contains("docs/mysql.md"), "{said}");
    be(&mut server, &format!("{database}_admin"), "another password");
    server.run(&["admin", "migrate"], "");
    be(&mut server, &database, "a password");
    server.run(&["admin", "migrate"], "");
    let mut profile = server.make_accounts();
    server.start();
    profile.server = server.address.clone();
    (server, profile)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_the_guide_are_enough_for_everything_and_tls_is_verified() {
    let _alone = alone("secure");
    let folder = tempfile::tempdir().unwrap();
    let (mut server, profile) = server(folder.path(), "guide").await;
    let load = Load::default();
    let mut clients = JoinSet::new();
    load.start_lasting(&mut clients, &profile);
    confirmed_after(&load, Instant::now()).await;
    clients.shutdown().await;
    assert!(load.finish(&profile).await.unwrap().confirmed > 0);
    // Purged and deleted rows go by the same rights; accounts change by them, too.
    let name = QueueName::new("orders").unwrap();
    let client = Client::connect(&profile).await.unwrap();
    client.publish(&name, payload(b"one")).await.unwrap();
    server.run(&["admin", "user", "add", "web", "--generate"], "");
    server.run(&["admin", "user", "remove", "web"], "");
    for what in ["purge", "delete"] {
        let mut command = Command::new(GMQ);
        command.args(["queue", what, "orders", "--profile"]);
        let command = command.arg(server.dir.join("client.toml")).args(["--server"]);
        assert!(command.arg(&server.address).stdout(Stdio::null()).status().unwrap().success());
    }
    server.kill();

    // An authority that did not sign it, and a host that is not its name.
    let ca = databases("ca.pem").display().to_string();
    let own = server.dir.join("certs/ca.pem").display().to_string();
    let url = |server: &Server| server.settings[0].1.clone();
    let by_number = url(&server).replace("localhost", "127.0.0.1");
    for (url, ca) in [(url(&server), own), (by_number, ca)] {
        (server.settings[0].1, server.settings[2].1) = (url, ca);
        let said = refusal(&server).await;
        assert!(said.contains("cannot be reached") && said.contains("certificate"), "{said}");
        assert!(said.contains("database.ca"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_any_more_is_waited_for_and_refused_at_the_start() {
    let _alone = alone("secure");
    let folder = tempfile::tempdir().unwrap();
    let (mut server, profile) = server(folder.path(), "writes").await;
    let name = QueueName::new("orders").unwrap();
    let client = Client::connect(&profile).await.unwrap();
    client.publish(&name, payload(b"before")).await.unwrap();

    sql("SET GLOBAL read_only = 1".to_owned()).await;
    match client.publish(&name, payload(b"meanwhile")).await {
        Err(Error::Refused(error)) => assert_eq!(error.code, "storage_unavailable"),
        other => panic!("{other:?}"),
    }
    sql("SET GLOBAL read_only = 0".to_owned()).await;
    let client = reached(&profile).await;
    client.publish(&name, payload(b"after")).await.unwrap();
    server.kill();

    sql("SET GLOBAL read_only = 1".to_owned()).await;
    let said = refusal(&server).await;
    sql("SET GLOBAL read_only = 0".to_owned()).await;
    assert!(said.contains("takes no writes (read_only)"), "{said}");

    sql("SET GLOBAL max_allowed_packet = 65536".to_owned()).await;
    let said = refusal(&server).await;
    sql("SET GLOBAL max_allowed_packet = 16777216".to_owned()).await;
    assert!(said.contains("at most 65536 bytes (max_allowed_packet)"), "{said}");
    assert!(said.contains("limits.max_message_bytes"), "{said}");

    sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2".to_owned()).await;
    let said = refusal(&server).await;
    sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1".to_owned()).await;
    assert!(said.contains("innodb_flush_log_at_trx_commit"), "{said}");
    server.start();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_and_started_again_under_load_loses_nothing() {
    let _alone = alone("secure");
    let folder = tempfile::tempdir().unwrap();
    let (_server, profile) = server(folder.path(), "restart").await;
    let load = Load::default();
    let mut clients = JoinSet::new();
    load.start_lasting(&mut clients, &profile);
    confirmed_after(&load, Instant::now()).await;
    for _ in 0..RESTARTS {
        // Not between two transactions only.
        tokio::time::sleep(Duration::from_millis(300)).await;
        restart().await;
        confirmed_after(&load, Instant::now()).await;
    }
    clients.shutdown().await;
    let seen = load.finish(&profile).await.unwrap();
    println!("{RESTARTS} restarts of the database: {seen:?}");
    assert!(seen.confirmed > 0 && seen.acked > 0);
}

/// `kill -9`, and another start.
async fn restart() {
    let pid = std::fs::read_to_string(databases("secure.pid")).unwrap();
    kill_database("secure");
    let gone = PathBuf::from(format!("/proc/{}", pid.trim()));
    let until = Instant::now() + PATIENCE;
    while gone.exists() {
        assert!(Instant::now() < until, "it does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    start_database("secure");
    while MySqlConnection::connect(&upstream()).await.is_err() {
        assert!(Instant::now() < until, "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Holds rows as another transaction would, so that the server's waits for them in vain (1205) or is
/// ended for them (1213): it is tried again, and a client sees no more than that it took a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_meets_another_one_is_tried_again() {
    let _alone = alone("secure");
    sql("SET GLOBAL innodb_lock_wait_timeout = 1".to_owned()).await;
    let folder = tempfile::tempdir().unwrap();
    let (mut server, mut profile) = server(folder.path(), "locks").await;
    server.kill();
    let lease = ("GMQ_CLUSTER__LEASE", "60s".to_owned());
    server.settings.extend([lease, ("GMQ_LOG__LEVEL", "debug".to_owned())]);
    server.start();
    profile.server = server.address.clone();
    let name = QueueName::new("orders").unwrap();
    let client = Client::connect(&profile).await.unwrap();
    client.publish(&name, payload(b"first")).await.unwrap();
    let mut subscription = client.consume(&name, 10).await.unwrap();
    let delivery = subscription.next().await.unwrap().unwrap();
    sql("SET GLOBAL innodb_lock_wait_timeout = 50".to_owned()).await;

    let url = format!("{}/{}", upstream(), server.database);
    let mut other = MySqlConnection::connect(&url).await.unwrap();
    let all = |text: &'static str| sqlx::raw_sql(text);
    let mut transaction = other.begin().await.unwrap();
    all("SELECT * FROM owners FOR UPDATE").execute(&mut *transaction).await.unwrap();
    let (published, ()) = tokio::join!(client.publish(&name, payload(b"second")), async {
        met(&server, 1).await;
        transaction.rollback().await.unwrap();
    });
    published.unwrap();

    // The one that has changed less is ended.
    let mut transaction = other.begin().await.unwrap();
    let heavy = "CREATE TEMPORARY TABLE heavy ENGINE = InnoDB SELECT seq FROM seq_1_to_5000";
    all(heavy).execute(&mut *transaction).await.unwrap();
    all("UPDATE heavy SET seq = seq + 1").execute(&mut *transaction).await.unwrap();
    let row = "UPDATE messages SET attempt = attempt + 1 WHERE seq = 1";
    all(row).execute(&mut *transaction).await.unwrap();
    let hands = [delivery.hand()];
    let (acked, ()) = tokio::join!(client.ack(&hands), async {
        let mut watching = MySqlConnection::connect(&url).await.unwrap();
        let waits = "SELECT COUNT(*) FROM information_schema.INNODB_LOCK_WAITS";
        let until = Instant::now() + PATIENCE;
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut watching).await.unwrap() == 0 {
            assert!(Instant::now() < until, "nobody waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        all("SELECT * FROM owners FOR UPDATE").execute(&mut *transaction).await.unwrap();
        met(&server, 2).await;
        transaction.rollback().await.unwrap();
    });
    acked.unwrap();
    let second = subscription.next().await.unwrap().unwrap();
    assert_eq!(second.message().content, payload(b"second").content);
}

/// Waits until the server has said so often that it met another transaction.
async fn met(server: &Server, times: usize) {
    let until = Instant::now() + PATIENCE;
    loop {
        let log = std::fs::read_to_string(server.dir.join("server.log")).unwrap();
        if log.matches("a transaction met another one").count() >= times {
            return;
        }
        assert!(Instant::now() < until, "{log}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
