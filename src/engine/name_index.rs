//! Where things that clients name are found: a hash table from a name's hash to the number of the
//! thing, which itself holds the name. The hash has a secret key, so that clients cannot choose
//! names that collide. Called by the engine's keys and groups.

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::HashKey;

/// See the module.
#[derive(Debug)]
pub(super) struct NameIndex {
    hasher: SipHasher13,
    places: HashTable<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    hash: u64,
    number: u64,
}

impl NameIndex {
    /// No names.
    pub(super) fn new(HashKey([first, second]): HashKey) -> Self {
        let hasher = SipHasher13::new_with_keys(first, second);
        Self { hasher, places: HashTable::new() }
    }

    /// Names.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The hash of a name, for the other calls.
    pub(super) fn hash(&self, name: &str) -> u64 {
        self.hasher.hash(name.as_bytes())
    }

    /// The number of the name that has the hash; `is` says whether a number has the name.
    pub(super) fn find(&self, hash: u64, is: impl Fn(u64) -> bool) -> Option<u64> {
        let found = self.places.find(hash, |place| place.hash == hash && is(place.number))?;
        Some(found.number)
    }

    /// Adds a name that is not there.
    pub(super) fn insert(&mut self, hash: u64, number: u64) {
        self.places.insert_unique(hash, Place { hash, number }, |place| place.hash);
    }

    /// Takes the name out that has the hash and the number, if it is there.
    pub(super) fn remove(&mut self, hash: u64, number: u64) {
        if let Ok(found) = self.places.find_entry(hash, |place| *place == Place { hash, number }) {
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
        index.insert(7, 1);
        index.insert(7, 2);
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
