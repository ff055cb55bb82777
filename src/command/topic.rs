//! `topic.*`: a binding needs `manage` on its queue, and a `consume` grant that covers every topic
//! that its pattern matches: otherwise it would be a way around that grant.

use super::{Caller, Denial};
use crate::engine::Request;
use crate::types::{Action, Pattern, QueueName};

pub(super) fn bind(
    caller: &Caller<'_>,
    pattern: Pattern,
    queue: QueueName,
) -> Result<Request, Denial> {
    caller.require(Action::Manage, &queue)?;
    if caller.principal.grants().cover(Action::Consume, &pattern) {
        Ok(Request::Bind { pattern, queue })
    } else {
        Err(Denial::Forbidden)
    }
}

pub(super) fn unbind(
    caller: &Caller<'_>,
    pattern: Pattern,
    queue: QueueName,
) -> Result<Request, Denial> {
    caller.require(Action::Manage, &queue)?;
    Ok(Request::Unbind { pattern, queue })
}

pub(super) fn list(
    caller: &Caller<'_>,
    after: Option<(Pattern, QueueName)>,
    limit: u32,
) -> Request {
    let visible = caller.principal.grants();
    Request::Bindings { after, limit, visible, bytes_max: caller.list_bytes_max() }
}
