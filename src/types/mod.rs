//! Values that cannot be bad: each type here checks itself where it is made, so that what lies
//! above never meets an unchecked name, size or pattern. Knows no other room; everybody calls it.

mod san;

pub use san::{San, SanError, SanKind};
