//! The engine: one deterministic state machine a tenant. Inputs and the time go in, effects come
//! out; it has no I/O, no clock, no randomness and no async, and says itself when it next wants to
//! be called. The broker owns engines and calls them; the simulator runs the same code.
//!
//! What waits for durability waits in here: a change of a durable queue is an [`Effect::Append`]
//! under an LSN of the tenant, and its reply and its deliveries come out once
//! [`Input::Durable`] says that the store has that LSN.
//!
//! [`Tenant`] takes the inputs (`tenant`). Its requests: `publish`, `topic`, `consume`, `settle`,
//! `declare`, `transfer`, `inspect` and `doctor`; `stall` keeps those that need something from the
//! store first. What else happens: `departure` is what connections tell, `delivery` who gets what,
//! `expiry` what is due, `dead_letter` what becomes of the dead, `paging` what is read back. Changes
//! are gathered in a `stage`, for which there is `room`.
//!
//! What they work on: `queue` with its `contents` (a `lane` of ready messages for each priority,
//! `groups`, a `seq_map` of delayed ones, a `chunk_set` of times) and its `keys`; the `trie` of
//! bindings; `connection`, `timer`, `reservation` (numbers that never repeat) and `waiting` (what is
//! told later).

mod chunk_set;
mod connection;
mod consume;
mod contents;
mod dead_letter;
mod declare;
mod delivery;
mod departure;
mod doctor;
mod effect;
mod expiry;
mod groups;
mod input;
mod inspect;
mod invariants;
mod keys;
mod lane;
mod limits;
mod name_index;
mod number_map;
mod paging;
mod publish;
mod queue;
mod record;
mod reservation;
mod room;
mod seq_map;
mod settle;
mod stage;
mod stall;
mod tenant;
mod timer;
mod topic;
mod transfer;
mod trie;
mod waiting;

use crate::types::CancelReason;
pub use effect::{
    DeadReason, Delivery, Effect, Finding, Load, LoadTicket, Peeked, QueueCounters, QueueInfo,
    Refusal, Reply, Usage,
};
pub use input::{Destination, Input, Request, Tags};
pub use limits::{Config, HashKey, TenantLimits, Window};
pub use record::{Batch, KnownMessage, Record, Recovered, RecoveredQueue, StoredMessage};
pub use tenant::Tenant;

#[cfg(test)]
pub(crate) mod image;
#[cfg(test)]
mod tests;
