//! `publish`: needs `publish` on the queue or the topic; makes a queue that is missing only with
//! `manage` too.

use super::{Caller, Denial};
use crate::engine::{self, Request};
use crate::protocol::request::Destination;
use crate::types::{Action, Level, Message};

pub(super) fn publish(
    caller: &Caller<'_>,
    to: Destination,
    messages: Vec<Message>,
    batch: bool,
    require: Option<Level>,
) -> Result<Request, Denial> {
    let to = match to {
        Destination::Queue(name) => {
            caller.require(Action::Publish, &name)?;
            let may_create = caller.principal.grants().allow(Action::Manage, name.as_str());
            engine::Destination::Queue { name, may_create }
        }
        Destination::Topic(topic) => {
            caller.require(Action::Publish, &topic)?;
            engine::Destination::Topic(topic)
        }
    };
    Ok(Request::Publish { to, messages, batch, require })
}
