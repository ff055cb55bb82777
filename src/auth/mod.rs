//! Who a peer is: passwords are verified in a bounded pool, failures are counted, and what a login
//! yields is a [`Principal`], which nothing outside this room can make. Refuses in one way, after
//! one argon2, whatever the cause. Knows no accounts: `server` looks the user up and hands what it
//! found, or that it found nothing, to [`Authenticator::login`].

mod login;
mod password;
mod pool;
mod principal;
mod queue;
mod throttle;

pub use login::{Accepted, Attempt, Authenticator, Candidate, Cause, Denied};
pub use password::{Cost, CostError, HashError, Verdict, Verifier, hash_blocking};
pub use pool::{Busy, Pool, PoolError};
pub use principal::Principal;
pub use throttle::{Claimant, Throttle};
