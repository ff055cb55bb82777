//! Tests of the file store: the conformance suite over a real folder and a simulated disk, the
//! format, damage.

mod promises;
