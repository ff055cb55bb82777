//! The keys that a queue remembers: what was published within its `dedup_window_ms`, consumed or
//! not. Called by publish.

use std::collections::VecDeque;

use super::HashKey;
use super::name_index::NameIndex;
use crate::types::{Seq, WallMs};

/// Most keys of one queue.
pub(super) const KEYS_MAX: usize = 1_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Keys {
    /// The last publish of each key, by its number among all.
    index: NameIndex,
    /// In the order of their publishing. A key that was published anew stands in it twice.
    published: VecDeque<Published>,
    /// Number of the first of `published`.
    first: u64,
}

#[derive(Debug)]
struct Published {
    key: Box<str>,
    hash: u64,
    seq: Seq,
    at: WallMs,
}

impl Keys {
    /// No keys.
    pub(super) fn new(hash_key: HashKey) -> Self {
        Self { index: NameIndex::new(hash_key), published: VecDeque::new(), first: 0 }
    }

    /// Keys that are remembered.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Forgets what was published `window_ms` ago or longer.
    pub(super) fn forget_old(&mut self, now: WallMs, window_ms: u64) {
        let is_old = |old: &mut Published| !is_within(old.at, now, window_ms);
        while let Some(old) = self.published.pop_front_if(is_old) {
            self.index.remove(old.hash, self.first);
            self.first += 1;
        }
    }

    /// The message that has the key, if it was published less than `window_ms` ago.
    pub(super) fn find(&self, key: &str, now: WallMs, window_ms: u64) -> Option<Seq> {
        let number = self.number_of(self.index.hash(key), key)?;
        let last = self.published.get((number - self.first) as usize)?;
        is_within(last.at, now, window_ms).then_some(last.seq)
    }

    /// Remembers the key of a message that was published.
    pub(super) fn remember(&mut self, key: &str, seq: Seq, at: WallMs) {
        let hash = self.index.hash(key);
        if let Some(before) = self.number_of(hash, key) {
            self.index.remove(hash, before);
            // It goes as soon as it is the first.
            self.published[(before - self.first) as usize].at = WallMs::MIN;
        }
        self.index.insert(hash, self.first + self.published.len() as u64);
        self.published.push_back(Published { key: key.into(), hash, seq, at });
    }

    fn number_of(&self, hash: u64, key: &str) -> Option<u64> {
        let has_key = |number: u64| {
            let published = self.published.get((number - self.first) as usize);
            published.is_some_and(|published| *published.key == *key)
        };
        self.index.find(hash, has_key)
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
        let mut keys = Keys::new(HashKey([1, 2]));
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
}
