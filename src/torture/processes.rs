//! Kill -9 of a real server under load over TLS, again and again, on a real disk: what was
//! confirmed must be there, what was acknowledged must not come back, and nothing may appear that
//! nobody published.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::random::Random;
use crate::client::{Client, Profile, payload};
use crate::types::{Content, Message, QueueName};

/// Connections that publish, and publishes that each has under way.
const PUBLISHERS: u64 = 2;
const IN_FLIGHT: u64 = 32;

/// Connections that consume.
const CONSUMERS: u64 = 2;

/// How long a queue may be silent before it is taken for empty.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

const QUEUES: [&str; 2] = ["torture", "torture.other"];

/// Why a torture ended.
#[derive(Debug, thiserror::Error)]
pub enum TortureError {
    /// A promise was broken.
    #[error("a promise was broken: {0}")]
    Broken(String),
    /// It could not be carried out.
    #[error("the torture cannot go on: {0}")]
    Failed(String),
}

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Times the server was killed.
    pub kills: u64,
    /// Messages that were confirmed.
    pub confirmed: u64,
    /// Acks that were confirmed.
    pub acked: u64,
    /// Messages that were delivered more than once, as they may be after a kill.
    pub repeated: u64,
}

/// What clients know.
#[derive(Debug, Default)]
struct Ledger {
    next: u64,
    confirmed: BTreeSet<u64>,
    acking: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    delivered: BTreeMap<u64, u64>,
    broken: Option<String>,
}

type Shared = Arc<Mutex<Ledger>>;

/// Kills a server `cycles` times in `dir`, which `gmq init` has made; `program` is gmq itself.
/// `told` is called after each cycle.
///
/// # Errors
///
/// The first promise that was broken.
pub async fn run(
    program: &Path,
    dir: &Path,
    cycles: u64,
    mut told: impl FnMut(u64),
) -> Result<Report, TortureError> {
    let ledger = Shared::default();
    let mut random = Random::new(7);
    for cycle in 0..cycles {
        let server = Server::start(program, dir)?;
        let mut clients = JoinSet::new();
        load(&mut clients, &server.profile, &ledger);
        // From a moment after the start to some hundred flushes on.
        tokio::time::sleep(Duration::from_millis(20 + random.below(400))).await;
        drop(server);
        while clients.join_next().await.is_some() {}
        check(&ledger)?;
        told(cycle + 1);
    }
    let server = Server::start(program, dir)?;
    drain(&server.profile, &ledger).await?;
    drop(server);
    check(&ledger)?;
    let ledger = lock(&ledger);
    let lost: Vec<_> = ledger.confirmed.iter().filter(|id| !ledger.acking.contains(id)).collect();
    if !lost.is_empty() {
        let some = &lost[..lost.len().min(5)];
        return Err(TortureError::Broken(format!(
            "{} confirmed messages are lost, among them {some:?}",
            lost.len()
        )));
    }
    Ok(Report {
        kills: cycles,
        confirmed: ledger.confirmed.len() as u64,
        acked: ledger.acked.len() as u64,
        repeated: ledger.delivered.values().filter(|times| **times > 1).count() as u64,
    })
}

fn check(ledger: &Shared) -> Result<(), TortureError> {
    lock(ledger).broken.take().map_or(Ok(()), |broken| Err(TortureError::Broken(broken)))
}

fn lock(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: impl std::fmt::Display) -> TortureError {
    TortureError::Failed(error.to_string())
}

fn queues() -> Vec<QueueName> {
    QUEUES.iter().filter_map(|name| QueueName::new(name).ok()).collect()
}

/// Clients that go on until the server is gone.
fn load(clients: &mut JoinSet<()>, profile: &Profile, ledger: &Shared) {
    for number in 0..PUBLISHERS {
        let (profile, ledger) = (profile.clone(), Arc::clone(ledger));
        let queue = queues()[number as usize % QUEUES.len()].clone();
        clients.spawn(async move {
            let Ok(client) = Client::connect(&profile).await else { return };
            let client = Arc::new(client);
            let mut lanes = JoinSet::new();
            for _ in 0..IN_FLIGHT {
                lanes.spawn(publish(Arc::clone(&client), queue.clone(), Arc::clone(&ledger)));
            }
            while lanes.join_next().await.is_some() {}
        });
    }
    for number in 0..CONSUMERS {
        let (profile, ledger) = (profile.clone(), Arc::clone(ledger));
        let queue = queues()[number as usize % QUEUES.len()].clone();
        clients.spawn(async move {
            // An error is the end of the server.
            let _ = consume(&profile, &queue, &ledger, Duration::MAX).await;
        });
    }
}

async fn publish(client: Arc<Client>, queue: QueueName, ledger: Shared) {
    loop {
        let id = {
            let mut ledger = lock(&ledger);
            ledger.next += 1;
            ledger.next
        };
        if client.publish(&queue, message(id)).await.is_err() {
            return;
        }
        lock(&ledger).confirmed.insert(id);
    }
}

/// A message that carries its number, in one of several lengths.
fn message(id: u64) -> Message {
    let length = if id.is_multiple_of(50) { 20_000 } else { (id % 300) as usize };
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.resize(8 + length, id as u8);
    payload(bytes)
}

/// Takes and acks messages until nothing has come for `silence`.
async fn consume(
    profile: &Profile,
    queue: &QueueName,
    ledger: &Shared,
    silence: Duration,
) -> Result<(), TortureError> {
    let client = Client::connect(profile).await.map_err(failed)?;
    let mut subscription = client.consume(queue, 100).await.map_err(failed)?;
    loop {
        let delivery = match tokio::time::timeout(silence, subscription.next()).await {
            Err(_) => return Ok(()),
            Ok(None) => return Err(failed("the subscription ended")),
            Ok(Some(delivery)) => delivery.map_err(failed)?,
        };
        let Some(id) = seen(ledger, &delivery.message().content) else { return Ok(()) };
        delivery.ack().await.map_err(failed)?;
        lock(ledger).acked.insert(id);
    }
}

/// Notes a delivery; `None` if it breaks a promise.
fn seen(ledger: &Shared, content: &Content) -> Option<u64> {
    let id = match content {
        Content::Payload(bytes) => bytes.first_chunk::<8>().map(|id| u64::from_le_bytes(*id)),
        Content::Body(_) => None,
    };
    let mut ledger = lock(ledger);
    let right = id.filter(|id| *id <= ledger.next && message(*id).content == *content);
    let Some(id) = right else {
        ledger.broken = Some("a message came that nobody published".into());
        return None;
    };
    if ledger.acked.contains(&id) {
        ledger.broken = Some(format!("message {id} was acknowledged, and came again"));
        return None;
    }
    *ledger.delivered.entry(id).or_default() += 1;
    ledger.acking.insert(id);
    Some(id)
}

async fn drain(profile: &Profile, ledger: &Shared) -> Result<(), TortureError> {
    for queue in queues() {
        match consume(profile, &queue, ledger, SILENCE).await {
            Err(TortureError::Failed(reason)) if reason.contains("no_such_queue") => {}
            done => done?,
        }
    }
    Ok(())
}

/// A server in a process of its own; dropping it is `kill -9`.
struct Server {
    child: Child,
    profile: Profile,
}

impl Server {
    fn start(program: &Path, dir: &Path) -> Result<Self, TortureError> {
        let config: PathBuf = dir.join("gmq.toml");
        let log = std::fs::File::create(dir.join("server.log")).map_err(failed)?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let output = child.stdout.take();
        let mut server =
            Self { child, profile: Profile::load(&dir.join("client.toml")).map_err(failed)? };
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = output.map(|output| BufReader::new(output).read_line(&mut line));
            // Nobody waits any more if the start took too long.
            let _ = sender.send(read.map(|_| line));
        });
        let line = receiver.recv_timeout(START).ok().flatten().unwrap_or_default();
        let listening: Option<serde_json::Value> = serde_json::from_str(&line).ok();
        let address = listening.as_ref().and_then(|line| line["address"].as_str());
        let Some(address) = address else {
            let log = dir.join("server.log");
            return Err(failed(format!("the server did not start; see {}", log.display())));
        };
        server.profile.server = address.to_owned();
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is gone already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
