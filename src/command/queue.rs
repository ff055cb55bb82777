//! `queue.*`: changing one needs `manage`, looking at its messages `consume`, and seeing that it is
//! there any grant that speaks of it. What sends messages elsewhere needs `publish` there.

use super::{Caller, Denial};
use crate::engine::Request;
use crate::types::{Action, Pattern, QueueName, Seq, SettingsPatch};

pub(super) fn declare(
    caller: &Caller<'_>,
    queue: QueueName,
    settings: SettingsPatch,
    update: bool,
) -> Result<Request, Denial> {
    caller.require(Action::Manage, &queue)?;
    if let Some(Some(dead_letter)) = &settings.dead_letter {
        caller.require(Action::Publish, dead_letter)?;
    }
    Ok(Request::Declare { queue, settings, update })
}

pub(super) fn delete(
    caller: &Caller<'_>,
    queue: QueueName,
    if_empty: bool,
) -> Result<Request, Denial> {
    caller.require(Action::Manage, &queue)?;
    Ok(Request::Delete { queue, if_empty })
}

pub(super) fn purge(caller: &Caller<'_>, queue: QueueName) -> Result<Request, Denial> {
    caller.require(Action::Manage, &queue)?;
    Ok(Request::Purge { queue })
}

pub(super) fn transfer(
    caller: &Caller<'_>,
    from: QueueName,
    to: QueueName,
    max: u32,
) -> Result<Request, Denial> {
    caller.require(Action::Consume, &from)?;
    caller.require(Action::Publish, &to)?;
    Ok(Request::Move { from, to, max, moved: 0 })
}

pub(super) fn doctor(caller: &Caller<'_>, queue: QueueName) -> Result<Request, Denial> {
    caller.require(Action::Manage, &queue)?;
    Ok(Request::Doctor { queue })
}

pub(super) fn info(caller: &Caller<'_>, queue: QueueName) -> Result<Request, Denial> {
    if caller.principal.grants().mention(queue.as_str()) {
        Ok(Request::Info { queue })
    } else {
        Err(Denial::Forbidden)
    }
}

pub(super) fn list(
    caller: &Caller<'_>,
    pattern: Option<Pattern>,
    after: Option<String>,
    limit: u32,
) -> Request {
    let visible = caller.principal.grants();
    Request::List { pattern, after, limit, visible, bytes_max: caller.list_bytes_max() }
}

pub(super) fn peek(
    caller: &Caller<'_>,
    queue: QueueName,
    from_seq: Seq,
    max: u32,
) -> Result<Request, Denial> {
    caller.require(Action::Consume, &queue)?;
    Ok(Request::Peek { queue, from_seq, max, bytes_max: caller.list_bytes_max() })
}
