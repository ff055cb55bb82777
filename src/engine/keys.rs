//! The keys that a queue remembers: what was published within its `dedup_window_ms`, consumed or
//! not. Called by publish.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::types::{Seq, WallMs};

/// Most keys of one queue.
pub(super) const KEYS_MAX: usize = 1_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Clients choose keys: they must not know their hashes. Nothing else depends on these.
    hasher: RandomState,
    known: BTreeMap<Place, Known>,
    /// In the order of their publishing. A key that was published anew stands in it twice.
    order: VecDeque<(Seq, Place)>,
}

/// Where a key stands: by its hash, so that few keys are compared as text, and among those of the
/// same hash.
type Place = (u64, u32);

#[derive(Debug)]
struct Known {
    key: Box<str>,
    seq: Seq,
    at: WallMs,
}

impl Keys {
    /// Keys that are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets what was published `window_ms` ago or longer.
    pub(super) fn forget_old(&mut self, now: WallMs, window_ms: u64) {
        while let Some((seq, place)) = self.order.front() {
            match self.known.get(place) {
                Some(of) if of.seq == *seq && is_within(of.at, now, window_ms) => return,
                Some(of) if of.seq == *seq => {
                    self.known.remove(place);
                }
                _ => {}
            }
            self.order.pop_front();
        }
    }

    /// The message that has the key, if it was published less than `window_ms` ago.
    pub(super) fn find(&self, key: &str, now: WallMs, window_ms: u64) -> Option<Seq> {
        let hash = self.hasher.hash_one(key);
        let (_, known) = self.of_hash(hash).find(|(_, known)| *known.key == *key)?;
        is_within(known.at, now, window_ms).then_some(known.seq)
    }

    /// Remembers the key of a message that was published.
    pub(super) fn remember(&mut self, key: &str, seq: Seq, at: WallMs) {
        let place = self.place(self.hasher.hash_one(key), key);
        self.known.insert(place, Known { key: key.into(), seq, at });
        self.order.push_back((seq, place));
    }

    /// The place of a key, or a free one for it.
    fn place(&self, hash: u64, key: &str) -> Place {
        let mut free = (hash, 0);
        for (place, known) in self.of_hash(hash) {
            if *known.key == *key {
                return *place;
            }
            free.1 = place.1 + 1;
        }
        free
    }

    fn of_hash(&self, hash: u64) -> impl Iterator<Item = (&Place, &Known)> {
        self.known.range((hash, 0)..=(hash, u32::MAX))
    }
}

/// A clock that went back counts as standing still.
fn is_within(at: WallMs, now: WallMs, window_ms: u64) -> bool {
    now.saturating_sub(at) < window_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_for_the_length_of_the_window() {
        let mut keys = Keys::default();
        keys.remember("a", Seq(1), 1_000);
        keys.remember("b", Seq(2), 1_500);
        assert_eq!(keys.find("a", 1_999, 1_000), Some(Seq(1)));
        assert_eq!(keys.find("a", 2_000, 1_000), None);
        assert_eq!(keys.find("a", 500, 1_000), Some(Seq(1)), "the clock went back");
        keys.remember("a", Seq(3), 2_000);
        keys.forget_old(2_500, 1_000);
        assert_eq!(keys.len(), 1);
        assert_eq!(keys.find("a", 2_500, 1_000), Some(Seq(3)));
        keys.forget_old(3_000, 1_000);
        assert_eq!(keys.len(), 0);
    }

    #[test]
    fn keys_of_one_hash_have_places_of_their_own() {
        let mut keys = Keys::default();
        let know = |keys: &mut Keys, key: &str, seq| {
            let place = keys.place(7, key);
            keys.known.insert(place, Known { key: key.into(), seq: Seq(seq), at: 0 });
            place
        };
        assert_eq!(know(&mut keys, "a", 1), (7, 0));
        assert_eq!(know(&mut keys, "b", 2), (7, 1));
        assert_eq!(know(&mut keys, "a", 3), (7, 0));
        keys.known.remove(&(7, 0));
        assert_eq!(know(&mut keys, "b", 4), (7, 1));
        assert_eq!(know(&mut keys, "c", 5), (7, 2));
    }
}
