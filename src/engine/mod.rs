//! The engine: one deterministic state machine a tenant. Inputs and the time go in, effects come
//! out; it has no I/O, no clock, no randomness and no async, and says itself when it next wants to
//! be called. The broker owns engines and calls them; the simulator runs the same code.
//!
//! What waits for durability waits in here: a change of a durable queue is an [`Effect::Append`]
//! under an LSN of the tenant, and its reply and its deliveries come out once
//! [`Input::Durable`] says that the store has that LSN.
//!
//! [`Tenant`] takes the inputs (`tenant`); `publish`, `consume`, `settle`, `declare` and `inspect`
//! are its requests, `departure` what else connections tell, `delivery` who gets what, `paging`
//! what
//! is read back. What they work on: `queue` with its `lane` of ready messages, `connection`,
//! `timer`, `reservation` (numbers that never repeat) and `waiting` (what is told later).

mod connection;
mod consume;
mod declare;
mod delivery;
mod departure;
mod effect;
mod input;
mod inspect;
mod invariants;
mod lane;
mod limits;
mod number_map;
mod paging;
mod publish;
mod queue;
mod record;
mod reservation;
mod settle;
mod tenant;
mod timer;
mod waiting;

use crate::types::CancelReason;
pub use effect::{
    Delivery, Effect, Load, LoadTicket, Peeked, QueueCounters, QueueInfo, Refusal, Reply, Usage,
};
pub use input::{Input, Request, Tags};
pub use limits::{Config, TenantLimits, Window};
pub use record::{Batch, Record, Recovered, RecoveredQueue, StoredMessage};
pub use tenant::Tenant;

#[cfg(test)]
pub(crate) mod image;
#[cfg(test)]
mod tests;
