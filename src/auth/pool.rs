//! The threads that run argon2: a fixed number at low priority, each with its own memory, fed by a
//! queue that is bounded and fair by address. Refuses ([`Busy`]) what does not fit; skips what its
//! requester no longer waits for. Re-hashes come after every login. Called by
//! [`super::Authenticator`].

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;
use std::{io, thread};

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::password::{Cost, HashError, Verdict, Verifier};
use super::queue::{Bounds, FairQueue};

/// Logins that wait.
const LOGINS: Bounds = Bounds { in_all: 256, per_address: 64 };
/// Re-hashes that wait.
const REHASHES_MAX: usize = 64;
/// Least and most that a refused login is told to wait. Unit: ms.
const RETRY_AFTER_MS: (u64, u64) = (100, 10_000);

/// More logins wait than the pool takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many logins wait for verification: try again in {retry_after_ms} ms")]
pub struct Busy {
    /// When those that wait now will have been verified, about.
    pub retry_after_ms: u64,
}

/// Why a pool could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Not the memory of all workers.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// Not the threads.
    #[error("cannot start a thread for password checks: {0}; set auth.argon2.workers lower")]
    Thread(#[from] io::Error),
}

/// The pool. Dropping it stops its threads after the check that each is at; who still waits gets
/// [`Busy`].
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// Starts `workers` threads (at least one), each with the memory of one check.
    pub fn new(cost: Cost, workers: usize) -> Result<Self, PoolError> {
        let pool = Self::idle(workers);
        pool.start(cost)?;
        Ok(pool)
    }

    /// Checks a password by exactly one run of argon2, as [`Verifier::verify`] does, when it is the
    /// turn of `address` (canonical; of IPv6 masked to its /64).
    pub async fn verify(
        &self,
        address: IpAddr,
        password: Zeroizing<String>,
        stored: Option<Zeroizing<String>>,
    ) -> Result<Verdict, Busy> {
        let (reply, verdict) = oneshot::channel();
        self.shared.queue_login(address, Login { password, stored, reply });
        verdict.await.unwrap_or_else(|_| Err(self.shared.busy()))
    }

    /// Hashes a password anew with the configured cost, once no login waits.
    pub async fn rehash(&self, password: Zeroizing<String>) -> Result<String, Busy> {
        let (reply, hash) = oneshot::channel();
        self.shared.queue_rehash(Rehash { password, reply });
        hash.await.map_err(|_| self.shared.busy())
    }

    /// How often argon2 ran.
    pub fn runs(&self) -> u64 {
        self.shared.runs.load(Ordering::Relaxed)
    }

    fn idle(workers: usize) -> Self {
        let waiting =
            Waiting { logins: FairQueue::new(LOGINS), rehashes: VecDeque::new(), is_closed: false };
        let shared = Shared {
            workers: workers.max(1),
            waiting: Mutex::new(waiting),
            changed: Condvar::new(),
            runs: AtomicU64::new(0),
            last_run_us: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    fn start(&self, cost: Cost) -> Result<(), PoolError> {
        for number in 1..=self.shared.workers {
            let (shared, verifier) = (self.shared.clone(), Verifier::new(cost)?);
            thread::Builder::new()
                .name(format!("gmq-argon2-{number}"))
                .spawn(move || shared.work(verifier))?;
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.close();
    }
}

struct Login {
    password: Zeroizing<String>,
    stored: Option<Zeroizing<String>>,
    reply: oneshot::Sender<Result<Verdict, Busy>>,
}

struct Rehash {
    password: Zeroizing<String>,
    reply: oneshot::Sender<String>,
}

enum Job {
    Login(Login),
    Rehash(Rehash),
}

impl Job {
    fn is_abandoned(&self) -> bool {
        match self {
            Job::Login(login) => login.reply.is_closed(),
            Job::Rehash(rehash) => rehash.reply.is_closed(),
        }
    }
}

struct Waiting {
    logins: FairQueue<Login>,
    rehashes: VecDeque<Rehash>,
    is_closed: bool,
}

impl Waiting {
    fn pop(&mut self) -> Option<Job> {
        let login = self.logins.pop().map(Job::Login);
        login.or_else(|| self.rehashes.pop_front().map(Job::Rehash))
    }
}

struct Shared {
    workers: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    runs: AtomicU64,
    last_run_us: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds the queue")
    }

    /// Queues a login; whichever finds no room is told so through its reply.
    fn queue_login(&self, address: IpAddr, login: Login) {
        let refused = {
            let mut waiting = self.lock();
            if waiting.is_closed {
                return;
            }
            if waiting.logins.is_full_for(address) {
                waiting.logins.retain(|login| !login.reply.is_closed());
            }
            waiting.logins.push(address, login)
        };
        self.changed.notify_one();
        if let Some(refused) = refused {
            // A requester that is gone needs no answer.
            let _ = refused.reply.send(Err(self.busy()));
        }
    }

    /// Queues a re-hash, or drops it and with it its reply.
    fn queue_rehash(&self, rehash: Rehash) {
        let mut waiting = self.lock();
        if !waiting.is_closed && waiting.rehashes.len() < REHASHES_MAX {
            waiting.rehashes.push_back(rehash);
            self.changed.notify_one();
        }
    }

    /// How long those that wait now will take, by the last run.
    fn busy(&self) -> Busy {
        let ahead = self.lock().logins.waiting() / self.workers + 1;
        let run_us = self.last_run_us.load(Ordering::Relaxed);
        let (least, most) = RETRY_AFTER_MS;
        let retry_after_ms = (run_us.saturating_mul(ahead as u64) / 1000).clamp(least, most);
        Busy { retry_after_ms }
    }

    fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.logins.retain(|_| false);
        waiting.rehashes.clear();
        self.changed.notify_all();
    }

    fn work(&self, mut verifier: Verifier) {
        lower_priority();
        while let Some(job) = self.next() {
            let began = Instant::now();
            let answer = job.run(&mut verifier);
            let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.last_run_us.store(took_us, Ordering::Relaxed);
            self.runs.fetch_add(verifier.take_runs(), Ordering::Relaxed);
            answer.send();
        }
    }

    /// Waits for a job that somebody waits for. None: the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        while !waiting.is_closed {
            match waiting.pop() {
                Some(job) if job.is_abandoned() => {}
                Some(job) => return Some(job),
                None => {
                    let woken = self.changed.wait(waiting);
                    waiting = woken.expect("nothing panics while it holds the queue");
                }
            }
        }
        None
    }
}

/// What came of a job, to be sent once the run is counted.
enum Answer {
    Verdict(oneshot::Sender<Result<Verdict, Busy>>, Verdict),
    Hash(oneshot::Sender<String>, String),
    /// No random bytes: the requester's channel closes, and the next login asks again.
    None,
}

impl Job {
    fn run(self, verifier: &mut Verifier) -> Answer {
        match self {
            Job::Login(Login { password, stored, reply }) => {
                let stored = stored.as_ref().map(|text| text.as_str());
                Answer::Verdict(reply, verifier.verify(stored, &password))
            }
            Job::Rehash(Rehash { password, reply }) => match verifier.hash(&password) {
                Ok(hash) => Answer::Hash(reply, hash),
                Err(_) => Answer::None,
            },
        }
    }
}

impl Answer {
    /// A requester that went away meanwhile needs no answer.
    fn send(self) {
        match self {
            Answer::Verdict(reply, verdict) => drop(reply.send(Ok(verdict))),
            Answer::Hash(reply, hash) => drop(reply.send(hash)),
            Answer::None => {}
        }
    }
}

/// Linux alone has a priority for each thread; where `nice` is the process's, it stays as it is.
/// A refusal costs no more than some fairness to the threads that carry messages.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(10);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::hash_blocking;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn cost() -> Cost {
        Cost::new(8, 1, 1).unwrap()
    }

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    /// Queues a login that nothing is stored for.
    async fn attempt(pool: &Pool, address: IpAddr) -> Result<Verdict, Busy> {
        pool.verify(address, secret("x"), None).await
    }

    /// Lets spawned tasks run until `count` logins wait.
    async fn until_waiting(pool: &Pool, count: usize) {
        while pool.shared.lock().logins.waiting() != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn each_check_runs_argon2_once() {
        let pool = Pool::new(cost(), 2).unwrap();
        let stored = secret(&hash_blocking(cost(), "x").unwrap());
        let right = pool.verify(A, secret("x"), Some(stored.clone())).await;
        assert_eq!(right, Ok(Verdict::Match { weaker: false }));
        let wrong = pool.verify(A, secret("y"), Some(stored)).await;
        assert_eq!(wrong, Ok(Verdict::Mismatch));
        assert_eq!(attempt(&pool, A).await, Ok(Verdict::Mismatch));
        assert_eq!(pool.verify(A, secret("x"), Some(secret("?"))).await, Ok(Verdict::Damaged));
        assert_eq!(pool.runs(), 4);
    }

    #[tokio::test]
    async fn a_flood_from_one_address_delays_another_by_its_turn() {
        let pool = Arc::new(Pool::idle(1));
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        for address in std::iter::repeat_n(A, 50).chain([B]) {
            let (pool, done) = (pool.clone(), done.clone());
            tokio::spawn(async move { done.send((address, attempt(&pool, address).await)) });
        }
        until_waiting(&pool, 51).await;
        pool.start(cost()).unwrap();
        let mut served = Vec::new();
        order.recv_many(&mut served, 3).await;
        while served.len() < 3 {
            order.recv_many(&mut served, 3).await;
        }
        assert!(served[..3].contains(&(B, Ok(Verdict::Mismatch))), "{served:?}");
    }

    #[tokio::test]
    async fn what_goes_beyond_the_bound_is_busy_and_runs_nothing() {
        let pool = Arc::new(Pool::idle(1));
        for _ in 0..LOGINS.per_address {
            let pool = pool.clone();
            tokio::spawn(async move { attempt(&pool, A).await });
        }
        until_waiting(&pool, LOGINS.per_address).await;
        let Err(Busy { retry_after_ms }) = attempt(&pool, A).await else {
            panic!("there was room");
        };
        assert!((100..=10_000).contains(&retry_after_ms));
        pool.start(cost()).unwrap();
        assert_eq!(attempt(&pool, B).await, Ok(Verdict::Mismatch), "the others go on");
    }

    #[tokio::test]
    async fn who_went_away_is_skipped_and_makes_room() {
        let pool = Arc::new(Pool::idle(1));
        let gone: Vec<_> = (0..LOGINS.per_address)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { attempt(&pool, A).await })
            })
            .collect();
        until_waiting(&pool, LOGINS.per_address).await;
        for task in gone {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        let stays = tokio::spawn({
            let pool = pool.clone();
            async move { attempt(&pool, A).await }
        });
        until_waiting(&pool, 1).await;
        pool.start(cost()).unwrap();
        assert_eq!(stays.await.unwrap(), Ok(Verdict::Mismatch));
        assert_eq!(pool.runs(), 1);
    }

    #[tokio::test]
    async fn a_rehash_matches_and_waits_for_logins() {
        let pool = Arc::new(Pool::idle(1));
        let rehash = pool.rehash(secret("x"));
        let login = attempt(&pool, A);
        let first = async {
            until_waiting(&pool, 1).await;
            pool.shared.lock().pop()
        };
        let (tx, _rx) = oneshot::channel();
        pool.shared.queue_rehash(Rehash { password: secret("x"), reply: tx });
        tokio::select! {
            biased;
            _ = login => panic!("nobody serves"),
            first = first => assert!(matches!(first, Some(Job::Login(_)))),
        }
        pool.start(cost()).unwrap();
        let hash = Zeroizing::new(rehash.await.unwrap());
        let verdict = pool.verify(A, secret("x"), Some(hash)).await;
        assert_eq!(verdict, Ok(Verdict::Match { weaker: false }));
    }

    #[tokio::test]
    async fn dropping_the_pool_stops_its_threads_and_answers_who_waits() {
        let pool = Pool::idle(2);
        let shared = pool.shared.clone();
        let (reply, verdict) = oneshot::channel();
        shared.queue_login(A, Login { password: secret("x"), stored: None, reply });
        drop(pool);
        assert!(verdict.await.is_err(), "`verify` makes this `Busy`");

        let pool = Pool::new(cost(), 2).unwrap();
        let threads = Arc::downgrade(&pool.shared);
        drop(pool);
        let began = Instant::now();
        while threads.strong_count() > 0 {
            assert!(began.elapsed() < Duration::from_secs(30), "threads live on");
            thread::yield_now();
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_low_priority_is_the_threads_own() {
        let before = rustix::process::nice(0).unwrap();
        let lowered = thread::spawn(|| {
            lower_priority();
            rustix::process::nice(0).unwrap()
        });
        assert_eq!(lowered.join().unwrap(), (before + 10).min(19));
        assert_eq!(rustix::process::nice(0).unwrap(), before);
    }
}
