//! Counts failed password logins, per user and address and per address, in windows of one minute
//! that begin with the first failure. Refuses further attempts of who is at a limit, until the
//! window ends; successes count nothing. Holds a fixed number of windows: an ended one goes first,
//! then the oldest; to push one out within its minute takes more failures in that minute than there
//! are windows, each at the price of one argon2.
//! Attempts that were under way when a limit was reached still end, as many as the pool lets one
//! address queue. Called by [`super::Authenticator`].

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::types::{TenantName, UserName};

const WINDOW: Duration = Duration::from_secs(60);
/// Windows of each kind. The names that wait here are the attacker's choice, so that is at most
/// some 20 MiB.
const WINDOWS_MAX: usize = 65_536;

/// Who tries to log in. The address is canonical (no IPv4 mapped into IPv6) and, of IPv6, masked
/// to its /64.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claimant {
    /// The tenant named, whether or not there is one.
    pub tenant: TenantName,
    /// The user named, whether or not there is one.
    pub user: UserName,
    /// Where from.
    pub address: IpAddr,
}

/// Failures of the last minute. A caller shares it behind a lock.
pub struct Throttle {
    users: Windows<Claimant>,
    addresses: Windows<IpAddr>,
}

impl Throttle {
    /// Takes how many failures a minute are let through: of one user from one address, and of one
    /// address.
    pub fn new(per_user: u32, per_address: u32) -> Self {
        Self {
            users: Windows::new(per_user, WINDOWS_MAX),
            addresses: Windows::new(per_address, WINDOWS_MAX),
        }
    }

    /// Whether an attempt may be verified; if not, when to try again (1 to 60,000 ms).
    pub fn check(&self, now: Instant, claimant: &Claimant) -> Result<(), u64> {
        let user_ms = self.users.closed_for_ms(now, claimant);
        let address_ms = self.addresses.closed_for_ms(now, &claimant.address);
        user_ms.max(address_ms).map_or(Ok(()), Err)
    }

    /// Counts a failure.
    pub fn failed(&mut self, now: Instant, claimant: &Claimant) {
        self.users.count(now, claimant);
        self.addresses.count(now, &claimant.address);
    }
}

struct Window {
    began: Instant,
    failures: u32,
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= WINDOW
    }
}

struct Windows<K> {
    limit: u32,
    capacity: usize,
    windows: HashMap<K, Window>,
    /// In the order in which they began; each key of `windows` once.
    by_age: VecDeque<K>,
}

impl<K: Clone + Eq + Hash> Windows<K> {
    fn new(limit: u32, capacity: usize) -> Self {
        Self { limit, capacity, windows: HashMap::new(), by_age: VecDeque::new() }
    }

    fn closed_for_ms(&self, now: Instant, key: &K) -> Option<u64> {
        let window = self.windows.get(key).filter(|window| !window.is_over(now))?;
        let left = WINDOW.saturating_sub(now.saturating_duration_since(window.began));
        let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        (window.failures >= self.limit).then_some(ms.clamp(1, 60_000))
    }

    fn count(&mut self, now: Instant, key: &K) {
        self.forget_ended(now);
        if let Some(window) = self.windows.get_mut(key) {
            window.failures = window.failures.saturating_add(1);
            return;
        }
        if self.windows.len() >= self.capacity {
            self.forget_oldest();
        }
        self.windows.insert(key.clone(), Window { began: now, failures: 1 });
        self.by_age.push_back(key.clone());
    }

    fn forget_ended(&mut self, now: Instant) {
        while let Some(key) = self.by_age.front() {
            if self.windows.get(key).is_some_and(|window| !window.is_over(now)) {
                break;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.by_age.pop_front() {
            self.windows.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(user: &str, last_byte: u8) -> Claimant {
        Claimant {
            tenant: TenantName::default(),
            user: UserName::new(user).unwrap(),
            address: IpAddr::from([192, 0, 2, last_byte]),
        }
    }

    #[test]
    fn a_user_is_refused_from_the_address_that_failed_alone() {
        let (mut throttle, start) = (Throttle::new(2, 100), Instant::now());
        let alice = claimant("alice", 1);
        throttle.failed(start, &alice);
        assert_eq!(throttle.check(start, &alice), Ok(()));
        throttle.failed(start + Duration::from_secs(10), &alice);
        assert_eq!(throttle.check(start + Duration::from_secs(10), &alice), Err(50_000));
        assert_eq!(throttle.check(start, &claimant("alice", 2)), Ok(()));
        assert_eq!(throttle.check(start, &claimant("bob", 1)), Ok(()));
    }

    #[test]
    fn an_address_is_refused_for_all_users() {
        let (mut throttle, now) = (Throttle::new(100, 3), Instant::now());
        for user in ["a", "b", "c"] {
            assert_eq!(throttle.check(now, &claimant("d", 1)), Ok(()));
            throttle.failed(now, &claimant(user, 1));
        }
        assert_eq!(throttle.check(now, &claimant("d", 1)), Err(60_000));
        assert_eq!(throttle.check(now, &claimant("d", 2)), Ok(()));
    }

    #[test]
    fn a_window_ends_after_its_minute() {
        let (mut throttle, start) = (Throttle::new(1, 100), Instant::now());
        let alice = claimant("alice", 1);
        throttle.failed(start, &alice);
        let last = start + WINDOW - Duration::from_micros(1);
        assert_eq!(throttle.check(last, &alice), Err(1));
        assert_eq!(throttle.check(start + WINDOW, &alice), Ok(()));
        throttle.failed(start + WINDOW, &alice);
        assert_eq!(throttle.check(start + WINDOW, &alice), Err(60_000));
    }

    #[test]
    fn ended_windows_are_forgotten_first_then_the_oldest() {
        let (mut windows, start) = (Windows::new(1, 3), Instant::now());
        for key in 0..3 {
            windows.count(start + Duration::from_secs(key), &key);
        }
        windows.count(start + WINDOW, &3);
        assert_eq!(windows.closed_for_ms(start + WINDOW, &0), None);
        assert!((1..=3).all(|key| windows.closed_for_ms(start + WINDOW, &key).is_some()));
        windows.count(start + WINDOW, &4);
        assert_eq!(windows.closed_for_ms(start + WINDOW, &1), None);
        assert!((2..=4).all(|key| windows.closed_for_ms(start + WINDOW, &key).is_some()));
        assert_eq!((windows.windows.len(), windows.by_age.len()), (3, 3));
    }
}
