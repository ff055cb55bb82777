//! An ordered set that takes little more memory than its members: they stand in chunks of
//! neighbours, and what is added in order fills its chunks. Called by a queue's contents, for the
//! times of what may be there in millions, and by its groups.

use std::collections::{BTreeMap, VecDeque};

/// Most members of one chunk.
const CHUNK: usize = 128;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct ChunkSet<T> {
    /// By a bound below all members of the chunk; none is empty, and each is ascending.
    chunks: BTreeMap<T, VecDeque<T>>,
    /// What was added last in order, beyond all chunks, ascending.
    tail: VecDeque<T>,
}

impl<T> Default for ChunkSet<T> {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), tail: VecDeque::new() }
    }
}

impl<T: Ord + Copy> ChunkSet<T> {
    /// Adds a member, if it is not there.
    pub(super) fn insert(&mut self, member: T) {
        if self.last().is_none_or(|last| last < member) {
            self.tail.push_back(member);
        } else if self.tail.front().is_some_and(|first| *first <= member) {
            let Err(at) = self.tail.binary_search(&member) else { return };
            self.tail.insert(at, member);
        } else {
            return self.insert_into_chunk(member);
        }
        if let Some(first) = self.tail.front().filter(|_| self.tail.len() == CHUNK) {
            self.chunks.insert(*first, std::mem::take(&mut self.tail));
        }
    }

    /// Adds a member that is before the tail, if it is not there.
    fn insert_into_chunk(&mut self, member: T) {
        let Some((_, chunk)) = self.chunks.range_mut(..=member).next_back() else {
            return self.insert_first(member);
        };
        let Err(at) = chunk.binary_search(&member) else { return };
        if chunk.len() < CHUNK {
            return chunk.insert(at, member);
        }
        let mut rest = chunk.split_off(CHUNK / 2);
        match at.checked_sub(chunk.len()) {
            Some(at) if at > 0 => rest.insert(at, member),
            _ => chunk.insert(at, member),
        }
        if let Some(first) = rest.front() {
            self.chunks.insert(*first, rest);
        }
    }

    /// A member before all chunks goes into the first one, if that has room.
    fn insert_first(&mut self, member: T) {
        let chunk = match self.chunks.first_entry() {
            Some(first) if first.get().len() < CHUNK => {
                let mut chunk = first.remove();
                chunk.push_front(member);
                chunk
            }
            _ => VecDeque::from([member]),
        };
        self.chunks.insert(member, chunk);
    }

    /// Takes a member out, if it is there.
    pub(super) fn remove(&mut self, member: T) {
        if self.tail.front().is_some_and(|first| *first <= member) {
            return take_out(&mut self.tail, member);
        }
        let Some((bound, chunk)) = self.chunks.range_mut(..=member).next_back() else { return };
        take_out(chunk, member);
        if chunk.is_empty() {
            let bound = *bound;
            self.chunks.remove(&bound);
        }
    }

    /// Members.
    pub(super) fn len(&self) -> usize {
        self.all().map(VecDeque::len).sum()
    }

    /// The first member.
    pub(super) fn first(&self) -> Option<T> {
        self.all().next().and_then(|chunk| chunk.front().copied())
    }

    fn last(&self) -> Option<T> {
        let chunk = || self.chunks.last_key_value().and_then(|(_, chunk)| chunk.back());
        self.tail.back().or_else(chunk).copied()
    }

    /// Whether it is a member.
    pub(super) fn contains(&self, member: T) -> bool {
        let chunk = self.chunks.range(..=member).next_back();
        chunk.is_some_and(|(_, chunk)| chunk.binary_search(&member).is_ok())
            || self.tail.binary_search(&member).is_ok()
    }

    /// Keeps those that `stays` says.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(T) -> bool) {
        self.chunks.retain(|_, chunk| {
            chunk.retain(|member| stays(*member));
            !chunk.is_empty()
        });
        self.tail.retain(|member| stays(*member));
    }

    /// Each chunk in order, and the tail; none that is empty before one that is not.
    fn all(&self) -> impl Iterator<Item = &VecDeque<T>> {
        self.chunks.values().chain([&self.tail])
    }
}

/// Takes a member out of a chunk. Mostly it is the first, which moves none of the others.
fn take_out<T: Ord>(chunk: &mut VecDeque<T>, member: T) {
    if chunk.front() == Some(&member) {
        chunk.pop_front();
    } else if let Ok(at) = chunk.binary_search(&member) {
        chunk.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_tree(ops in prop::collection::vec((0u64..3_000, 0u8..4), 0..4_000)) {
            let (mut set, mut tree) = (ChunkSet::default(), BTreeSet::new());
            for (number, op) in ops {
                match op {
                    0 => {
                        set.remove(number);
                        tree.remove(&number);
                    }
                    // Mostly in order, as time goes.
                    1 => {
                        let next = tree.last().map_or(0, |last| last + 1);
                        set.insert(next);
                        tree.insert(next);
                    }
                    _ => {
                        set.insert(number);
                        tree.insert(number);
                    }
                }
                prop_assert_eq!(set.first(), tree.first().copied());
                prop_assert_eq!(set.contains(number), tree.contains(&number));
                prop_assert_eq!(set.len(), tree.len());
            }
            set.retain(|member| member % 3 > 0);
            tree.retain(|member| member % 3 > 0);
            prop_assert!(set.all().flatten().eq(&tree));
        }
    }

    #[test]
    fn what_comes_in_order_fills_its_chunks() {
        let mut set = ChunkSet::default();
        (0..10 * CHUNK).for_each(|member| set.insert(member));
        assert_eq!(set.chunks.len(), 10);
    }
}
