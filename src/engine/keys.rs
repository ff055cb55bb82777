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
    /// The last publish of each key, by its number among all, which starts anew after 2³².
    index: NameIndex,
    /// In the order of their publishing. A key that was published anew stands in it twice.
    published: VecDeque<Published>,
    /// Number of the first of `published`.
    first: u32,
    /// The texts of `published`, one behind the other: nothing is allocated for a key.
    texts: VecDeque<u8>,
    /// Bytes of texts that went before the first of `texts`.
    forgotten: u64,
}

#[derive(Debug)]
struct Published {
    hash: u64,
    seq: Seq,
    at: WallMs,
    /// Bytes of all texts before its own.
    text: u64,
}

impl Keys {
    /// No keys.
    pub(super) fn new(hash_key: HashKey) -> Self {
        Self {
            index: NameIndex::new(hash_key),
            published: VecDeque::new(),
            first: 0,
            texts: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// Keys that are remembered.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Forgets what was published `window_ms` ago or longer.
    pub(super) fn forget_old(&mut self, now: WallMs, window_ms: u64) {
        let is_old = |old: &mut Published| !is_within(old.at, now, window_ms);
        let end = self.text_end();
        while let Some(old) = self.published.pop_front_if(is_old) {
            self.index.remove(old.hash, self.first);
            self.first = self.first.wrapping_add(1);
        }
        let first_text = self.published.front().map_or(end, |first| first.text);
        self.texts.drain(..(first_text - self.forgotten) as usize);
        self.forgotten = first_text;
    }

    /// The message that has the key, if it was published less than `window_ms` ago.
    pub(super) fn find(&self, key: &str, now: WallMs, window_ms: u64) -> Option<Seq> {
        let place = self.place_of(self.index.hash(key), key)?;
        let last = self.published.get(place)?;
        is_within(last.at, now, window_ms).then_some(last.seq)
    }

    /// Remembers the key of a message that was published.
    pub(super) fn remember(&mut self, key: &str, seq: Seq, at: WallMs) {
        let hash = self.index.hash(key);
        if let Some(before) = self.place_of(hash, key) {
            self.index.remove(hash, self.first.wrapping_add(before as u32));
            // It goes as soon as it is the first.
            self.published[before].at = WallMs::MIN;
        }
        let number = self.first.wrapping_add(self.published.len() as u32);
        let text = self.text_end();
        self.texts.extend(key.as_bytes());
        self.published.push_back(Published { hash, seq, at, text });
        let (published, first) = (&self.published, self.first);
        self.index.insert(hash, number, |of| published[of.wrapping_sub(first) as usize].hash);
    }

    /// Where the last publish of a key stands in `published`.
    fn place_of(&self, hash: u64, key: &str) -> Option<usize> {
        let place = |number: u32| number.wrapping_sub(self.first) as usize;
        self.index.find(hash, |number| self.has_key(place(number), hash, key)).map(place)
    }

    fn has_key(&self, place: usize, hash: u64, key: &str) -> bool {
        let Some(published) = self.published.get(place).filter(|of| of.hash == hash) else {
            return false;
        };
        let next = self.published.get(place + 1);
        let end = next.map_or(self.text_end(), |next| next.text);
        let from = (published.text - self.forgotten) as usize;
        let to = (end - self.forgotten) as usize;
        self.texts.range(from..to).eq(key.as_bytes())
    }

    /// Bytes of all texts there ever were.
    fn text_end(&self) -> u64 {
        self.forgotten + self.texts.len() as u64
    }
}

/// A clock that went back counts as standing still.
fn is_within(at: WallMs, now: WallMs, window_ms: u64) -> bool {
    now.saturating_sub(at) < window_ms
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn agrees_with_a_plain_map(
            ops in prop::collection::vec((0u32..40, 0u64..30, any::<bool>()), 0..400),
        ) {
            const WINDOW_MS: u64 = 100;
            let (mut keys, mut plain) = (Keys::new(HashKey([3, 4])), HashMap::new());
            // Numbers start anew soon.
            keys.first = u32::MAX - 100;
            let mut now = 1_000;
            for (n, (key, passed, forgets)) in ops.into_iter().enumerate() {
                now += passed;
                if forgets {
                    keys.forget_old(now, WINDOW_MS);
                    plain.retain(|_, (_, at)| is_within(*at, now, WINDOW_MS));
                    prop_assert_eq!(keys.len(), plain.len());
                }
                // Keys of different lengths, one the beginning of another.
                let key = "k".repeat(key as usize);
                let known = plain.get(&key).filter(|(_, at)| is_within(*at, now, WINDOW_MS));
                prop_assert_eq!(keys.find(&key, now, WINDOW_MS), known.map(|(seq, _)| *seq));
                if known.is_none() {
                    keys.remember(&key, Seq(n as u64), now);
                    plain.insert(key, (Seq(n as u64), now));
                }
            }
        }
    }
}
