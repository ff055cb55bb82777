//! Two servers on one database that three nodes replicate, under load: the owner is killed, is
//! stopped past its lease and woken, loses its node, or is cut off. Nothing that was confirmed may be
//! lost, and no ack undone; how long it took is printed. `GMQ_STANDBY_ROUNDS` says how often.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gmq::client::{Client, Error, Profile};
use gmq::torture::load::Load;
use sqlx::Row;
use tokio::task::JoinSet;

use super::server::{GMQ, LEASE, Server};
use super::waiting::{PATIENCE, confirmed_after};
use super::{alone, database, databases, galera, kill_database, mariadb, start_database};

/// Each kind of fault once, in the ordinary run.
const ROUNDS: u64 = 4;

#[derive(Debug, Clone, Copy)]
enum Fault {
    Killed,
    Stopped,
    CutOff,
    NodeKilled,
}

const FAULTS: [Fault; 4] = [Fault::Killed, Fault::Stopped, Fault::CutOff, Fault::NodeKilled];

/// A node of the cluster, by its number.
fn node(number: usize) -> String {
    format!("node{}", number + 1)
}

/// Starts a node again, and waits until it has caught up with the others.
async fn start_node(number: usize) {
    start_database(&node(number));
    let until = Instant::now() + PATIENCE;
    loop {
        let status = Command::new("mariadb")
            .args([
                "--no-defaults",
                "-u",
                "root",
                "-N",
                "-e",
                "SHOW STATUS LIKE 'wsrep_ready'",
                "-S",
            ])
            .arg(databases(&format!("{}.sock", node(number))))
            .stderr(Stdio::null())
            .output()
            .unwrap();
        if String::from_utf8_lossy(&status.stdout).contains("ON") {
            return;
        }
        assert!(Instant::now() < until, "node {number} does not come back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-rp").arg(from).arg(to).status().unwrap().success());
}

/// Waits until the server owns the tenant.
async fn taken_over(server: &Server) {
    let node = std::fs::read_to_string(server.dir.join("data/node")).unwrap();
    let number = node.split_whitespace().next().unwrap();
    let address = super::address(&server.upstream, &server.database);
    let mut connection = address.connect().await.unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let owner = "SELECT LOWER(HEX(LEFT(server, 16))) FROM owners WHERE server <> ''";
        // The cluster takes no statements while it finds out which nodes are gone.
        if let Ok(rows) = sqlx::query(owner).fetch_all(&mut connection).await
            && rows.iter().any(|row| row.get::<String, _>(0) == number)
        {
            return;
        }
        assert!(Instant::now() < until, "nobody took over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two servers on one database; the second one has the first one's certificates.
async fn two_servers(folder: &Path, upstreams: [&str; 2], name: &str) -> [Server; 2] {
    let database = database(upstreams[0], name).await;
    let (one, other) = (folder.join("one"), folder.join("other"));
    Server::init(&one);
    copy(&one, &other);
    std::fs::remove_dir_all(other.join("data")).unwrap();
    std::fs::create_dir(other.join("data")).unwrap();
    [
        Server::new(one, upstreams[0], &database).await,
        Server::new(other, upstreams[1], &database).await,
    ]
}

/// Starts both, the first one as the owner, with a profile that names both.
async fn start_both(servers: &mut [Server; 2], load: &Load, clients: &mut JoinSet<()>) -> Profile {
    let mut profile = servers[0].make_accounts();
    servers.iter_mut().for_each(Server::start);
    let port = |server: &Server| server.address.rsplit(':').next().unwrap().to_owned();
    profile.server = format!("localhost:{},localhost:{}", port(&servers[0]), port(&servers[1]));
    load.start_lasting(clients, &profile);
    confirmed_after(load, Instant::now()).await;
    taken_over(&servers[0]).await;
    profile
}

/// A lease that no test waits for: what is given up is taken at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_drained_hands_over_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers = two_servers(folder.path(), [&mariadb(), &mariadb()], "drained").await;
    for server in &mut servers {
        server.settings.push(("GMQ_CLUSTER__LEASE", "600s".to_owned()));
        server.settings.push(("GMQ_LOG__LEVEL", "debug".to_owned()));
        let name = server.dir.file_name().unwrap().to_str().unwrap().to_owned();
        server.settings.push(("GMQ_CLUSTER__NODE", name));
    }
    let (load, mut clients) = (Load::default(), JoinSet::new());
    let profile = start_both(&mut servers, &load, &mut clients).await;
    let other = Profile { server: servers[1].address.clone(), ..profile.clone() };
    match Client::connect(&other).await {
        Err(Error::Login(error)) => assert_eq!(error.code, "standby"),
        found => panic!("{:?}", found.err()),
    }
    let log = std::fs::read_to_string(servers[1].dir.join("server.log")).unwrap();
    assert!(log.contains("another server serves the tenant") && log.contains("\"one\""), "{log}");
    let began = Instant::now();
    servers[0].signal("-TERM");
    servers[0].wait();
    let ended = began.elapsed();
    taken_over(&servers[1]).await;
    let taken = began.elapsed();
    confirmed_after(&load, Instant::now()).await;
    println!(
        "drained in {ended:?}, taken over after {taken:?}, confirming after {:?}",
        began.elapsed()
    );
    clients.shutdown().await;
    let seen = load.finish(&profile).await.unwrap();
    assert!(seen.confirmed > 0 && seen.acked > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_waits_for_the_server_that_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers = two_servers(folder.path(), [&mariadb(), &mariadb()], "typed").await;
    for server in &mut servers {
        server.settings.push(("GMQ_CLUSTER__LEASE", "5s".to_owned()));
    }
    servers[0].make_accounts();
    let profile = servers[0].dir.join("client.toml");
    let publish = |to: &str| {
        let mut command = Command::new(GMQ);
        command.args(["publish", "orders", "typed", "--server", to, "--profile"]).arg(&profile);
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    servers[0].start();
    assert_eq!(publish(&servers[0].address), ["published to orders, seq 1\n", ""]);
    servers[1].start();
    let both = format!("{},{}", servers[0].address, servers[1].address);
    servers[0].kill();
    let [said, told] = publish(&both);
    assert!(said.starts_with("published to orders, seq"), "{said}{told}");
    assert!(told.contains("trying all servers"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_and_nothing_confirmed_is_lost() {
    let _alone = alone("cluster");
    let rounds = std::env::var("GMQ_STANDBY_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut servers = two_servers(folder.path(), [&galera()[0], &galera()[1]], "standby").await;
    let (load, mut clients) = (Load::default(), JoinSet::new());
    let profile = start_both(&mut servers, &load, &mut clients).await;
    let mut owner = 0;
    for round in 0..rounds {
        let fault = FAULTS[round as usize % FAULTS.len()];
        let began = Instant::now();
        let server = &mut servers[owner];
        match fault {
            Fault::Killed => server.kill(),
            Fault::Stopped => server.signal("-STOP"),
            Fault::CutOff => server.proxy.cut(true),
            Fault::NodeKilled => kill_database(&node(owner)),
        }
        taken_over(&servers[1 - owner]).await;
        let taken = began.elapsed();
        confirmed_after(&load, Instant::now()).await;
        let took = began.elapsed();
        println!("round {round}: {fault:?}: taken over after {taken:?}, confirming after {took:?}");
        let server = &mut servers[owner];
        tokio::time::sleep(Duration::from_millis(300)).await;
        match fault {
            Fault::Killed => server.start(),
            Fault::Stopped => {
                // Woken past its lease, it finds its writes refused.
                tokio::time::sleep(LEASE).await;
                server.signal("-CONT");
            }
            Fault::CutOff => server.proxy.cut(false),
            Fault::NodeKilled => start_node(owner).await,
        }
        confirmed_after(&load, Instant::now()).await;
        load.check().unwrap();
        owner = 1 - owner;
    }
    clients.shutdown().await;
    let seen = load.finish(&profile).await.unwrap();
    println!("{rounds} rounds: {seen:?}");
    assert!(seen.confirmed > 0 && seen.acked > 0);
}
