//! Who a peer is. Built so far: verifying passwords, at the cost of one argon2 whatever is wrong.
//! The pool that bounds it, the throttle and the login itself come next. Knows no accounts: what a
//! user's hash is, or that there is no such user, is handed in.

mod password;

pub use password::{Cost, CostError, HashError, Verdict, Verifier, hash_blocking};
