//! Tests of the file store: the conformance suite over a real folder and a simulated disk, damage
//! to any of its bytes, faults of the disk seen from its threads, stores of earlier versions, what
//! the store takes on the disk.

mod corpus;
mod damage;
mod faults;
mod promises;
mod space;
