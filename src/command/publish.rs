//! `publish`: needs `publish` on the queue; makes a queue that is missing only with `manage` too.

use super::{Caller, Denial};
use crate::engine::Request;
use crate::types::{Action, Level, Message, QueueName};

pub(super) fn publish(
    caller: &Caller<'_>,
    queue: QueueName,
    messages: Vec<Message>,
    batch: bool,
    require: Option<Level>,
) -> Result<Request, Denial> {
    caller.require(Action::Publish, &queue)?;
    let may_create = caller.principal.grants().allow(Action::Manage, queue.as_str());
    Ok(Request::Publish { queue, may_create, messages, batch, require })
}
