//! Maps keyed by numbers that the server makes. The hash is fixed, so that an engine does the same
//! in every run; clients cannot choose these keys, so that it need not resist them. Called by the
//! engine's other files; maps by names are ordered trees or a `NameIndex`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A hash map by a number such as [`QueueId`](crate::types::QueueId).
pub(super) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Fibonacci hashing: one multiplication.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct NumberHasher(u64);

/// 2^64 divided by the golden ratio, odd.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = (self.0 ^ number).wrapping_mul(FACTOR);
        self.0 = product ^ (product >> 32);
    }
}
