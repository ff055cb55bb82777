//! The engine: one deterministic state machine a tenant. Inputs and the time go in, effects come
//! out; it has no I/O, no clock, no randomness and no async, and says itself when it next wants to
//! be called. The broker owns engines and calls them; the simulator runs the same code.
//!
//! What waits for durability waits in here: a change to a durable queue is an [`Effect::Append`]
//! with an LSN of the tenant, and its reply and its deliveries come out when
//! [`Input::Durable`] says that the store has that LSN.

mod effect;
mod input;

pub use effect::{Append, CancelReason, Delivery, Effect, Load, Peeked, QueueInfo, Refusal, Reply};
pub use input::{Input, Request, Tags};
