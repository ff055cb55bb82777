//! `consume` and `pull`: need `consume` on the queue. What is in hand was given under that grant,
//! so `ack`, `nack` and `extend` need none.

use super::{Caller, Denial};
use crate::engine::{self, Request};
use crate::protocol::request::Tags;
use crate::types::{Action, QueueName};

pub(super) fn consume(
    caller: &Caller<'_>,
    queue: QueueName,
    prefetch: u32,
    auto_ack: bool,
) -> Result<Request, Denial> {
    caller.require(Action::Consume, &queue)?;
    Ok(Request::Consume { queue, prefetch, auto_ack })
}

pub(super) fn pull(
    caller: &Caller<'_>,
    queue: QueueName,
    max: u32,
    wait_ms: u64,
    auto_ack: bool,
) -> Result<Request, Denial> {
    caller.require(Action::Consume, &queue)?;
    let bytes_max = caller.list_bytes_max();
    Ok(Request::Pull { queue, max, wait_ms, auto_ack, bytes_max })
}

pub(super) fn tags(tags: Tags) -> engine::Tags {
    match tags {
        Tags::List(list) => engine::Tags::List(list),
        Tags::UpTo(tag) => engine::Tags::UpTo(tag),
    }
}
