//! Where things that clients name are found: a hash table from a name's hash to the number of the
//! thing, which itself holds the name. The hash has a random key, so that clients cannot choose
//! names that collide; nothing goes through the table in its order, so that an engine does the same
//! in every run all the same. Called by the engine's keys and groups.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NameIndex {
    state: RandomState,
    places: HashTable<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    hash: u64,
    number: u64,
}

impl NameIndex {
    /// Names.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The hash of a name, for the other calls.
    pub(super) fn hash(&self, name: &str) -> u64 {
        self.state.hash_one(name)
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
