//! The promises of every store (see the module above) as tests. A store's own tests describe where
//! it keeps its data as a [`Site`] and call [`keeps_its_promises`]; one that keeps nothing calls
//! [`keeps_nothing_and_says_so`].

mod checks;
mod script;
mod witness;

use std::sync::Arc;

use super::Store;

pub(crate) use checks::{keeps_its_promises, keeps_nothing_and_says_so};
pub(crate) use script::Script;
pub(crate) use witness::Witness;

/// Where a store keeps its data, and what the suite may do to it.
pub(crate) trait Site: Send + Sync {
    /// Starts a store on what is there.
    fn start(&self) -> Arc<dyn Store>;
    /// The process of that store ends at once: it does nothing more.
    fn crash(&self, store: Arc<dyn Store>);
    /// Holds back all flushes, or lets them go.
    fn hold(&self, held: bool);
    /// The next flush fails.
    fn fail_next_flush(&self);
}
