//! A map by `seq` that takes little more memory than its values: they stand in chunks of
//! neighbouring numbers, so that a million messages that arrive in order fill their chunks, and which
//! numbers a chunk has is one bit each. Called by a queue's contents, for what may be there in
//! millions.

use std::collections::{BTreeMap, VecDeque};

use crate::types::Seq;

/// Numbers of one chunk.
const CHUNK: u64 = u64::BITS as u64;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct SeqMap<T> {
    /// By `seq / CHUNK`; none is empty.
    chunks: BTreeMap<u64, Chunk<T>>,
    entries: usize,
    /// The chunk that was filled last: what comes in order goes on in the next one, and fills it.
    filled: Option<u64>,
}

#[derive(Debug, Clone)]
struct Chunk<T> {
    /// Bit n: there is a value for the chunk's number n.
    present: u64,
    /// In the order of their numbers; the first one goes without moving the others.
    values: VecDeque<T>,
}

impl<T> Default for SeqMap<T> {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), entries: 0, filled: None }
    }
}

impl<T> Chunk<T> {
    /// An empty one with room for so many values.
    fn with_room(values: usize) -> Self {
        Self { present: 0, values: VecDeque::with_capacity(values) }
    }

    /// The bit of a number, and where its value stands, or would.
    fn place(&self, seq: Seq) -> (u64, usize) {
        let bit = 1 << (seq.0 % CHUNK);
        (bit, (self.present & (bit - 1)).count_ones() as usize)
    }

    fn find(&self, seq: Seq) -> Option<usize> {
        let (bit, at) = self.place(seq);
        (self.present & bit != 0).then_some(at)
    }

    /// The values from the chunk's number `from` on.
    fn iter(&self, number: u64, from: u64) -> impl Iterator<Item = (Seq, &T)> {
        let mut left = self.present & (u64::MAX << from);
        let skipped = (self.present.count_ones() - left.count_ones()) as usize;
        self.values.range(skipped..).map(move |value| {
            let seq = Seq(number * CHUNK + u64::from(left.trailing_zeros()));
            left &= left.wrapping_sub(1);
            (seq, value)
        })
    }
}

impl<T> SeqMap<T> {
    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Adds an entry, in place of the one that has its number.
    pub(super) fn insert(&mut self, seq: Seq, value: T) {
        let number = seq.0 / CHUNK;
        let in_order = self.filled.is_some_and(|filled| filled + 1 == number);
        let room = if in_order { CHUNK as usize } else { 0 };
        let chunk = self.chunks.entry(number).or_insert_with(|| Chunk::with_room(room));
        match chunk.place(seq) {
            (bit, at) if chunk.present & bit != 0 => chunk.values[at] = value,
            (bit, at) => {
                chunk.present |= bit;
                chunk.values.insert(at, value);
                self.entries += 1;
            }
        }
        if chunk.present == u64::MAX {
            self.filled = Some(number);
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, seq: Seq) -> Option<T> {
        let chunk = self.chunks.get_mut(&(seq.0 / CHUNK))?;
        let at = chunk.find(seq)?;
        chunk.present &= !(1 << (seq.0 % CHUNK));
        let value = chunk.values.remove(at)?;
        if chunk.values.is_empty() {
            self.chunks.remove(&(seq.0 / CHUNK));
        }
        self.entries -= 1;
        Some(value)
    }

    /// The entry of that number.
    pub(super) fn get(&self, seq: Seq) -> Option<&T> {
        let chunk = self.chunks.get(&(seq.0 / CHUNK))?;
        Some(&chunk.values[chunk.find(seq)?])
    }

    /// The first entry at or after `from`.
    pub(super) fn next_from(&self, from: Seq) -> Option<(Seq, &T)> {
        let first = from.0 / CHUNK;
        let start = |number: u64| if number == first { from.0 % CHUNK } else { 0 };
        let mut chunks = self.chunks.range(first..);
        chunks.find_map(|(number, chunk)| chunk.iter(*number, start(*number)).next())
    }

    /// All entries, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Seq, &T)> {
        self.chunks.iter().flat_map(|(number, chunk)| chunk.iter(*number, 0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_tree(ops in prop::collection::vec((0u64..300, any::<bool>()), 0..400)) {
            let (mut map, mut tree) = (SeqMap::default(), BTreeMap::new());
            for (n, (seq, insert)) in ops.into_iter().enumerate() {
                let seq = Seq(seq);
                if insert {
                    map.insert(seq, n);
                    tree.insert(seq, n);
                } else {
                    prop_assert_eq!(map.remove(seq), tree.remove(&seq));
                }
                prop_assert_eq!(map.len(), tree.len());
                prop_assert_eq!(map.get(seq), tree.get(&seq));
                let next = tree.range(seq..).next().map(|(seq, value)| (*seq, value));
                prop_assert_eq!(map.next_from(seq), next);
            }
            prop_assert!(map.iter().eq(tree.iter().map(|(seq, value)| (*seq, value))));
        }
    }
}
