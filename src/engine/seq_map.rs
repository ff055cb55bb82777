//! A map by `seq` that takes little more memory than its entries: they stand in chunks of
//! neighbouring numbers, so that a million messages that arrive in order fill their chunks. Called
//! by a queue's contents, for what may be there in millions.

use std::collections::BTreeMap;

use crate::types::Seq;

/// Numbers of one chunk.
const CHUNK: u64 = 64;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct SeqMap<T> {
    /// By `seq / CHUNK`; none is empty, and each is ascending.
    chunks: BTreeMap<u64, Vec<(Seq, T)>>,
    entries: usize,
}

impl<T> Default for SeqMap<T> {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), entries: 0 }
    }
}

impl<T> SeqMap<T> {
    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Adds an entry, in place of the one that has its number.
    pub(super) fn insert(&mut self, seq: Seq, value: T) {
        let chunk = self.chunks.entry(seq.0 / CHUNK).or_default();
        match chunk.binary_search_by_key(&seq, |(seq, _)| *seq) {
            Ok(at) => chunk[at].1 = value,
            Err(at) => {
                chunk.insert(at, (seq, value));
                self.entries += 1;
            }
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, seq: Seq) -> Option<T> {
        let chunk = self.chunks.get_mut(&(seq.0 / CHUNK))?;
        let at = chunk.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        let (_, value) = chunk.remove(at);
        if chunk.is_empty() {
            self.chunks.remove(&(seq.0 / CHUNK));
        }
        self.entries -= 1;
        Some(value)
    }

    /// The entry of that number.
    pub(super) fn get(&self, seq: Seq) -> Option<&T> {
        let chunk = self.chunks.get(&(seq.0 / CHUNK))?;
        let at = chunk.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        Some(&chunk[at].1)
    }

    /// The entry of that number, to be changed.
    pub(super) fn get_mut(&mut self, seq: Seq) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(&(seq.0 / CHUNK))?;
        let at = chunk.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        Some(&mut chunk[at].1)
    }

    /// The first entry at or after `from`.
    pub(super) fn next_from(&self, from: Seq) -> Option<(Seq, &T)> {
        let chunks = self.chunks.range(from.0 / CHUNK..);
        chunks.flat_map(|(_, chunk)| chunk).find(|(seq, _)| *seq >= from).map(|(s, t)| (*s, t))
    }

    /// All entries, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Seq, &T)> {
        self.chunks.values().flatten().map(|(seq, value)| (*seq, value))
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
