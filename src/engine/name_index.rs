//! Where things that clients name are found: a hash table of the numbers of things, which themselves
//! hold their names and the hashes of these. An entry is four bytes, so that a table of a hundred
//! thousand names stays near the processor. The hash has a secret key, so that clients cannot
//! choose names that collide. Called by the engine's keys and groups.

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::HashKey;

/// See the module.
#[derive(Debug)]
pub(super) struct NameIndex {
    hasher: SipHasher13,
    numbers: HashTable<u32>,
}

impl NameIndex {
    /// No names.
    pub(super) fn new(HashKey([first, second]): HashKey) -> Self {
        let hasher = SipHasher13::new_with_keys(first, second);
        Self { hasher, numbers: HashTable::new() }
    }

    /// Names.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The hash of a name, for the other calls.
    pub(super) fn hash(&self, name: &str) -> u64 {
        self.hasher.hash(name.as_bytes())
    }

    /// The number of the name that has the hash; `is` says whether a number has the name.
    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.numbers.find(hash, |number| is(*number)).copied()
    }

    /// Adds a name that is not there; `hash_of` answers the hashes of those that are.
    pub(super) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        self.numbers.insert_unique(hash, number, |number| hash_of(*number));
    }

    /// Takes the name out that has the hash and the number, if it is there.
    pub(super) fn remove(&mut self, hash: u64, number: u32) {
        if let Ok(found) = self.numbers.find_entry(hash, |of| *of == number) {
            found.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_the_same_hash_are_told_apart() {
        let mut index = NameIndex::new(HashKey([1, 2]));
        index.insert(7, 1, |_| 7);
        index.insert(7, 2, |_| 7);
        assert_eq!(index.find(7, |number| number == 2), Some(2));
        index.remove(7, 2);
        assert_eq!(index.find(7, |number| number == 2), None);
        assert_eq!((index.find(7, |_| true), index.len()), (Some(1), 1));
    }

    #[test]
    fn the_hash_depends_on_the_key() {
        let hash = |key| NameIndex::new(HashKey(key)).hash("orders");
        assert_ne!(hash([1, 2]), hash([1, 3]));
        assert_ne!(hash([1, 2]), hash([2, 2]));
    }
}
