//! Load on a server over TLS, and a ledger of what its clients were told: what was confirmed must be
//! there, what was acknowledged must not come back, and nothing may appear that nobody published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::{Client, Error, Profile, payload};
use crate::types::{Content, Message, QueueName};

/// Connections that publish, and publishes that each has under way.
const PUBLISHERS: u64 = 2;
const IN_FLIGHT: u64 = 32;

/// Connections that consume.
const CONSUMERS: u64 = 2;

/// Messages that each of these has in hand at most.
const PREFETCH: u16 = 100;

/// How long a queue may be silent before it is taken for empty.
const SILENCE: Duration = Duration::from_secs(2);

/// A queue that has messages and gives none for so long is broken.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(60);

/// A publish that is not answered for so long is given up.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// A client that finds no server tries again after this.
const PAUSE: Duration = Duration::from_millis(50);

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

/// What was seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Messages that were confirmed.
    pub confirmed: u64,
    /// Acks that were confirmed.
    pub acked: u64,
    /// Messages that were delivered more than once, as they may be after a crash.
    pub repeated: u64,
}

/// What clients know.
#[derive(Debug, Default)]
struct Ledger {
    next: u64,
    confirmed: BTreeSet<u64>,
    /// When the last publish was confirmed.
    last_confirmed: Option<Instant>,
    acking: BTreeSet<u64>,
    /// With the fence of the delivery that was acknowledged: an older one may arrive late.
    acked: BTreeMap<u64, u64>,
    delivered: BTreeMap<u64, u64>,
    broken: Option<String>,
}

/// See the module. A clone shares the ledger.
#[derive(Debug, Clone, Default)]
pub struct Load {
    ledger: Arc<Mutex<Ledger>>,
}

impl Load {
    /// Starts clients that go on until the server is gone.
    pub fn start(&self, clients: &mut JoinSet<()>, profile: &Profile) {
        self.spawn(clients, profile, false);
    }

    /// Starts clients that connect again and again, to whichever of the profile's addresses serves.
    pub fn start_lasting(&self, clients: &mut JoinSet<()>, profile: &Profile) {
        self.spawn(clients, profile, true);
    }

    fn spawn(&self, clients: &mut JoinSet<()>, profile: &Profile, lasting: bool) {
        for number in 0..PUBLISHERS + CONSUMERS {
            let (load, profile) = (self.clone(), profile.clone());
            clients.spawn(async move {
                loop {
                    if number < PUBLISHERS {
                        load.publish_all(&profile, number).await;
                    } else {
                        // An error is the end of the server.
                        let queue = queue(number - PUBLISHERS);
                        let _ = load.consume(&profile, &queue, Duration::MAX).await;
                    }
                    if !lasting {
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
    }

    /// When the last publish was confirmed.
    pub fn last_confirmed(&self) -> Option<Instant> {
        self.lock().last_confirmed
    }

    /// The first promise that was broken.
    ///
    /// # Errors
    ///
    /// If one was.
    pub fn check(&self) -> Result<(), TortureError> {
        self.lock().broken.take().map_or(Ok(()), |broken| Err(TortureError::Broken(broken)))
    }

    /// Takes and acks everything that is there, and says what all of it adds up to.
    ///
    /// # Errors
    ///
    /// If a confirmed message is lost, or another promise was broken.
    pub async fn finish(&self, profile: &Profile) -> Result<Seen, TortureError> {
        for number in 0..QUEUES.len() as u64 {
            self.empty(profile, &queue(number)).await?;
        }
        self.check()?;
        let ledger = self.lock();
        let lost: Vec<_> =
            ledger.confirmed.iter().filter(|id| !ledger.acking.contains(id)).collect();
        if !lost.is_empty() {
            let some = &lost[..lost.len().min(5)];
            let all = lost.len();
            let what = format!("{all} confirmed messages are lost, among them {some:?}");
            return Err(TortureError::Broken(what));
        }
        Ok(Seen {
            confirmed: ledger.confirmed.len() as u64,
            acked: ledger.acked.len() as u64,
            repeated: ledger.delivered.values().filter(|times| **times > 1).count() as u64,
        })
    }

    /// Takes and acks until the queue says that it has nothing, or gives nothing for too long.
    async fn empty(&self, profile: &Profile, queue: &QueueName) -> Result<(), TortureError> {
        let until = Instant::now() + EMPTY_TIMEOUT;
        loop {
            match self.consume(profile, queue, SILENCE).await {
                Err(TortureError::Failed(reason)) if reason.contains("no_such_queue") => {
                    return Ok(());
                }
                done => done?,
            }
            let client = Client::connect(profile).await.map_err(failed)?;
            let report = client.info(queue).await.map_err(failed)?;
            if report.ready + report.delayed + report.in_hand == 0 {
                return Ok(());
            }
            if Instant::now() > until {
                let why = client.doctor(queue).await.map_err(failed)?;
                let what = format!("messages of {queue} do not come: {report:?}, {why:?}");
                return Err(TortureError::Broken(what));
            }
        }
    }

    async fn publish_all(&self, profile: &Profile, number: u64) {
        let Ok(client) = Client::connect(profile).await else { return };
        let client = Arc::new(client);
        let mut lanes = JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let (load, client) = (self.clone(), Arc::clone(&client));
            lanes.spawn(async move { load.publish(&client, &queue(number)).await });
        }
        while lanes.join_next().await.is_some() {}
    }

    async fn publish(&self, client: &Client, queue: &QueueName) {
        loop {
            let id = {
                let mut ledger = self.lock();
                ledger.next += 1;
                ledger.next
            };
            // A server that is stopped, or cut off, says nothing: the client looks for another one.
            let publishing = client.publish(queue, message(id));
            if !matches!(tokio::time::timeout(PUBLISH_TIMEOUT, publishing).await, Ok(Ok(_))) {
                return;
            }
            let mut ledger = self.lock();
            ledger.confirmed.insert(id);
            ledger.last_confirmed = Some(Instant::now());
        }
    }

    /// Takes and acks messages until nothing has come for `silence`.
    async fn consume(
        &self,
        profile: &Profile,
        queue: &QueueName,
        silence: Duration,
    ) -> Result<(), TortureError> {
        let client = Client::connect(profile).await.map_err(failed)?;
        let mut subscription = client.consume(queue, PREFETCH).await.map_err(failed)?;
        // As many as the subscription has in hand are acknowledged at a time.
        let mut acks: JoinSet<Result<(), Error>> = JoinSet::new();
        loop {
            while let Some(done) = acks.try_join_next() {
                done.map_err(failed)?.map_err(failed)?;
            }
            let delivery = match tokio::time::timeout(silence, subscription.next()).await {
                Err(_) => break,
                Ok(None) => return Err(failed("the subscription ended")),
                Ok(Some(delivery)) => delivery.map_err(failed)?,
            };
            let fence = delivery.message().fence.0;
            let Some(id) = self.seen(&delivery.message().content, fence) else { return Ok(()) };
            let load = self.clone();
            acks.spawn(async move {
                delivery.ack().await?;
                load.lock().acked.insert(id, fence);
                Ok(())
            });
        }
        while let Some(done) = acks.join_next().await {
            done.map_err(failed)?.map_err(failed)?;
        }
        Ok(())
    }

    /// Notes a delivery; `None` if it breaks a promise.
    fn seen(&self, content: &Content, fence: u64) -> Option<u64> {
        let id = match content {
            Content::Payload(bytes) => bytes.first_chunk::<8>().map(|id| u64::from_le_bytes(*id)),
            Content::Body(_) => None,
        };
        let mut ledger = self.lock();
        let right = id.filter(|id| *id <= ledger.next && message(*id).content == *content);
        let Some(id) = right else {
            ledger.broken = Some("a message came that nobody published".into());
            return None;
        };
        if ledger.acked.get(&id).is_some_and(|acked| *acked < fence) {
            ledger.broken = Some(format!("message {id} was acknowledged, and came again"));
            return None;
        }
        *ledger.delivered.entry(id).or_default() += 1;
        ledger.acking.insert(id);
        Some(id)
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn failed(error: impl std::fmt::Display) -> TortureError {
    TortureError::Failed(error.to_string())
}

fn queue(number: u64) -> QueueName {
    let name = QUEUES[number as usize % QUEUES.len()];
    QueueName::new(name).unwrap_or_else(|_| unreachable!("it is a name"))
}

/// A message that carries its number, in one of several lengths.
fn message(id: u64) -> Message {
    let length = if id.is_multiple_of(50) { 20_000 } else { (id % 300) as usize };
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.resize(8 + length, id as u8);
    payload(bytes)
}
