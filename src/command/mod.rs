//! Commands: a request of the protocol, the grant it needs, and what it becomes for the engine;
//! and back, what the engine answers as text. Nothing here can be called without a [`Principal`].
//! `server` is the caller.

mod consume;
mod publish;
mod queue;
mod reply;
mod topic;
mod whoami;

use std::sync::Arc;

pub use reply::{Written, write};

use crate::auth::Principal;
use crate::broker::HostedTenant;
use crate::engine;
use crate::protocol::response::{self, Details};
use crate::protocol::{ErrorCode, Request};
use crate::types::{Action, QueueName, RequestToken};

/// Who asks.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The authenticated user.
    pub principal: &'a Principal,
    /// The tenant that it belongs to.
    pub tenant: &'a Arc<HostedTenant>,
    /// Longest reply. Unit: bytes.
    pub reply_bytes_max: usize,
}

/// What becomes of a request that is allowed.
#[derive(Debug)]
pub enum Outcome {
    /// The engine does it and answers.
    Submit(engine::Request),
    /// It is answered already.
    Answer(Answer),
}

/// The fields of a reply that needs no engine, as text with a comma before each.
#[derive(Debug, Default)]
pub struct Answer {
    fields: Vec<u8>,
}

impl Answer {
    /// Appends the reply.
    pub fn write(&self, out: &mut Vec<u8>, token: &RequestToken) {
        response::ok(out, token, |out| out.extend_from_slice(&self.fields));
    }
}

/// A request that is not allowed, or not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// No grant; the same whether the queue exists or not.
    Forbidden,
    /// `auth` on a connection that is authenticated.
    Authenticated,
}

impl Denial {
    /// Appends the reply.
    pub fn write(self, out: &mut Vec<u8>, token: &RequestToken) {
        let (code, message, field) = match self {
            // In the words of the engine, which refuses pulls that wait.
            Denial::Forbidden => {
                (ErrorCode::Forbidden, engine::Refusal::Forbidden.to_string(), None)
            }
            Denial::Authenticated => (
                ErrorCode::BadRequest,
                "this connection is logged in already; open another one".to_owned(),
                Some("op"),
            ),
        };
        response::error(out, token, code, &message, &Details { field, ..Details::default() });
    }
}

/// Checks the grant of a request and makes what the engine is to do of it.
pub fn prepare(caller: &Caller<'_>, request: Request) -> Result<Outcome, Denial> {
    let request = match request {
        Request::Auth(_) => return Err(Denial::Authenticated),
        Request::Ping => return Ok(Outcome::Answer(Answer::default())),
        Request::Whoami => return Ok(Outcome::Answer(whoami::answer(caller))),
        Request::Publish { to, messages, batch, require } => {
            publish::publish(caller, to, messages, batch, require)?
        }
        Request::Consume { queue, prefetch, auto_ack } => {
            consume::consume(caller, queue, prefetch, auto_ack)?
        }
        Request::Pull { queue, max, wait_ms, auto_ack } => {
            consume::pull(caller, queue, max, wait_ms, auto_ack)?
        }
        Request::Cancel { sub } => engine::Request::Cancel { subscription: sub },
        Request::Ack { tags } => engine::Request::Ack(consume::tags(tags)),
        Request::Nack { tags, delay_ms, dead_letter, reason } => {
            let (tags, reason) = (consume::tags(tags), reason.into());
            engine::Request::Nack { tags, delay_ms, dead_letter, reason }
        }
        Request::Extend { tags, lease_ms } => {
            engine::Request::Extend { tags: consume::tags(tags), lease_ms }
        }
        Request::Declare { queue, settings, update } => {
            queue::declare(caller, queue, settings, update)?
        }
        Request::Delete { queue, if_empty } => queue::delete(caller, queue, if_empty)?,
        Request::Purge { queue } => queue::purge(caller, queue)?,
        Request::Info { queue } => queue::info(caller, queue)?,
        Request::List { pattern, after, limit } => queue::list(caller, pattern, after, limit),
        Request::Peek { queue, from_seq, max } => queue::peek(caller, queue, from_seq, max)?,
        Request::Move { from, to, max } => queue::transfer(caller, from, to, max)?,
        Request::Doctor { queue } => queue::doctor(caller, queue)?,
        Request::Bind { pattern, queue } => topic::bind(caller, pattern, queue)?,
        Request::Unbind { pattern, queue } => topic::unbind(caller, pattern, queue)?,
        Request::Bindings { after, limit } => topic::list(caller, after, limit),
    };
    Ok(Outcome::Submit(request))
}

/// Whether the answer may be as long as a frame: then no further request is handed over with it,
/// so that what waits for one connection stays bounded.
pub fn may_answer_at_length(request: &engine::Request) -> bool {
    matches!(
        request,
        engine::Request::Pull { .. }
            | engine::Request::Peek { .. }
            | engine::Request::List { .. }
            | engine::Request::Bindings { .. }
    )
}

impl Caller<'_> {
    fn require(&self, action: Action, queue: &QueueName) -> Result<(), Denial> {
        if self.principal.grants().allow(action, queue.as_str()) {
            Ok(())
        } else {
            Err(Denial::Forbidden)
        }
    }

    /// What a reply leaves for its list: the frame of the reply itself taken off. Unit: bytes.
    fn list_bytes_max(&self) -> usize {
        self.reply_bytes_max.saturating_sub(ENVELOPE_BYTES)
    }
}

/// What stands around the list of a reply at most: its `id`, an escape of six bytes each, and the
/// names of fields. Unit: bytes.
const ENVELOPE_BYTES: usize = 1024;
