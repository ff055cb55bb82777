//! The gate: how many connections there may be, in all and before they have logged in. It is
//! asked before TLS starts, so that whoever is not authenticated holds a bounded amount of memory.
//!
//! A full gate never turns the newcomer away for the sake of the silent: the connection that has
//! been waiting longest to log in, of the same address where that one has its fill, is let go. So
//! a flood of silent connections cannot keep out a client that logs in at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// What the gate allows.
#[derive(Debug, Clone, Copy)]
pub struct GateLimits {
    /// Connections in all.
    pub connections: usize,
    /// Connections that have not logged in, in all.
    pub unauthenticated: usize,
    /// Connections that have not logged in, of one address (IPv6: of one /64).
    pub unauthenticated_per_address: usize,
}

/// See the module.
pub struct Gate {
    limits: GateLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: usize,
    next: u64,
    /// Those that have not logged in, the oldest first.
    strangers: BTreeMap<u64, (IpAddr, CancellationToken)>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

/// A connection's place; gives it back when dropped.
pub struct Pass {
    gate: Arc<Gate>,
    number: u64,
    /// Cancelled when the connection has to make room before it has logged in.
    pub evicted: CancellationToken,
    /// Whether the server has more connections than it may: the peer is told so, and let go.
    pub over_limit: bool,
}

impl Gate {
    /// An empty gate.
    pub fn new(limits: GateLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Lets a new connection in, at the cost of an older one that has not logged in if there are
    /// too many of these.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Pass {
        let address = network(address);
        let mut state = self.lock();
        let of_address = state.by_address.get(&address);
        if of_address.map_or(0, BTreeSet::len) >= self.limits.unauthenticated_per_address {
            let oldest = of_address.and_then(BTreeSet::first).copied();
            state.evict(oldest);
        } else if state.strangers.len() >= self.limits.unauthenticated {
            let oldest = state.strangers.keys().next().copied();
            state.evict(oldest);
        }
        state.next += 1;
        state.connections += 1;
        let number = state.next;
        let evicted = CancellationToken::new();
        state.strangers.insert(number, (address, evicted.clone()));
        state.by_address.entry(address).or_default().insert(number);
        let over_limit = state.connections > self.limits.connections;
        Pass { gate: Arc::clone(self), number, evicted, over_limit }
    }

    /// Connections in all, and those of them that have not logged in.
    #[cfg(test)]
    fn count(&self) -> (usize, usize) {
        let state = self.lock();
        (state.connections, state.strangers.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn evict(&mut self, number: Option<u64>) {
        if let Some(token) = number.and_then(|number| self.forget(number)) {
            token.cancel();
        }
    }

    /// Takes a connection off the list of those that have not logged in.
    fn forget(&mut self, number: u64) -> Option<CancellationToken> {
        let (address, token) = self.strangers.remove(&number)?;
        if let Some(numbers) = self.by_address.get_mut(&address) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(token)
    }
}

impl Pass {
    /// The connection has logged in.
    pub fn authenticated(&self) {
        self.gate.lock().forget(self.number);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.forget(self.number);
        state.connections -= 1;
    }
}

/// What counts as one address: an IPv4 address (also one that came in IPv6), or an IPv6 /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(connections: usize, unauthenticated: usize, per_address: usize) -> Arc<Gate> {
        Gate::new(GateLimits {
            connections,
            unauthenticated,
            unauthenticated_per_address: per_address,
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_oldest_stranger_of_a_full_address_makes_room() {
        let gate = gate(100, 100, 2);
        let other = gate.enter(address("10.0.0.2"));
        let first = gate.enter(address("10.0.0.1"));
        let second = gate.enter(address("10.0.0.1"));
        let third = gate.enter(address("::ffff:10.0.0.1"));
        assert!(first.evicted.is_cancelled());
        for stays in [&other, &second, &third] {
            assert!(!stays.evicted.is_cancelled());
        }
    }

    #[test]
    fn the_oldest_stranger_of_a_full_server_makes_room() {
        let gate = gate(100, 2, 2);
        let first = gate.enter(address("2001:db8::1"));
        let logged_in = gate.enter(address("10.0.0.1"));
        logged_in.authenticated();
        let second = gate.enter(address("10.0.0.2"));
        let third = gate.enter(address("10.0.0.3"));
        assert!(first.evicted.is_cancelled());
        assert!(!logged_in.evicted.is_cancelled());
        assert!(!second.evicted.is_cancelled() && !third.evicted.is_cancelled());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let gate = gate(100, 100, 1);
        let first = gate.enter(address("2001:db8::1"));
        let _second = gate.enter(address("2001:db8::2"));
        let third = gate.enter(address("2001:db8:0:1::1"));
        assert!(first.evicted.is_cancelled() && !third.evicted.is_cancelled());
    }

    #[test]
    fn places_are_given_back() {
        let gate = gate(2, 10, 10);
        let passes: Vec<_> = (0..3).map(|_| gate.enter(address("10.0.0.1"))).collect();
        assert_eq!(passes.iter().map(|p| p.over_limit).collect::<Vec<_>>(), [false, false, true]);
        drop(passes);
        assert_eq!(gate.count(), (0, 0));
        assert!(!gate.enter(address("10.0.0.1")).over_limit);
    }
}
