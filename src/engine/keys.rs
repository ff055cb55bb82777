//! The keys that a queue remembers: what was published within its `dedup_window_ms`, consumed or
//! not. Called by publish.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::types::{Seq, WallMs};

/// Most keys of one queue.
pub(super) const KEYS_MAX: usize = 1_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Keys {
    known: BTreeMap<Arc<str>, (Seq, WallMs)>,
    /// In the order of their publishing. A key that was published anew stands in it twice.
    order: VecDeque<(Seq, Arc<str>)>,
}

impl Keys {
    /// Keys that are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets what was published `window_ms` ago or longer.
    pub(super) fn forget_old(&mut self, now: WallMs, window_ms: u64) {
        while let Some((seq, key)) = self.order.front() {
            match self.known.get(key) {
                Some((of, at)) if of == seq && is_within(*at, now, window_ms) => return,
                Some((of, _)) if of == seq => {
                    self.known.remove(key);
                }
                _ => {}
            }
            self.order.pop_front();
        }
    }

    /// The message that has the key, if it was published less than `window_ms` ago.
    pub(super) fn find(&self, key: &str, now: WallMs, window_ms: u64) -> Option<Seq> {
        let (seq, at) = self.known.get(key)?;
        is_within(*at, now, window_ms).then_some(*seq)
    }

    /// Remembers the key of a message that was published.
    pub(super) fn remember(&mut self, key: &str, seq: Seq, at: WallMs) {
        let key: Arc<str> = key.into();
        self.known.insert(Arc::clone(&key), (seq, at));
        self.order.push_back((seq, key));
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
}
