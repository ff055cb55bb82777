//! What waits to be written to one connection. Engines fill it from any thread, the connection's
//! task empties it. It is bounded by the engine, which stops delivering, and by the connection,
//! which stops reading requests, while much waits in it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use crate::engine::{Delivery, Refusal, Reply};
use crate::types::{CancelReason, RequestToken, SubscriptionId};

/// One thing to write.
#[derive(Debug)]
pub enum Outgoing {
    /// The answer to a request.
    Reply {
        /// Which request.
        token: RequestToken,
        /// The answer.
        result: Result<Reply, Refusal>,
    },
    /// A message of a subscription.
    Deliver {
        /// The subscription.
        subscription: SubscriptionId,
        /// The message.
        delivery: Delivery,
    },
    /// The server ended a subscription.
    Cancelled {
        /// The subscription.
        subscription: SubscriptionId,
        /// Why.
        reason: CancelReason,
    },
}

/// An upper bound of what a reply without messages takes. Unit: bytes.
const REPLY_BYTES: u64 = 512;

impl Outgoing {
    /// What it counts while it waits. Unit: bytes.
    fn bytes(&self) -> u64 {
        match self {
            Outgoing::Deliver { delivery, .. } => delivery.wire_bytes(),
            Outgoing::Reply { result: Ok(reply), .. } => match reply {
                Reply::Pulled { deliveries } => {
                    deliveries.iter().map(Delivery::wire_bytes).sum::<u64>() + REPLY_BYTES
                }
                Reply::Peeked { messages, .. } => {
                    messages.iter().map(|peeked| peeked.message.wire_bytes() as u64).sum::<u64>()
                        + REPLY_BYTES
                }
                Reply::List { queues, .. } => (queues.len() as u64 + 1) * 2 * REPLY_BYTES,
                Reply::Published { seqs, .. } => REPLY_BYTES + 17 * seqs.len() as u64,
                _ => REPLY_BYTES,
            },
            Outgoing::Reply { result: Err(Refusal::UnknownTag { tags }), .. } => {
                REPLY_BYTES + 17 * tags.len() as u64
            }
            Outgoing::Reply { .. } | Outgoing::Cancelled { .. } => REPLY_BYTES,
        }
    }
}

/// Tells a connection's task something about its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The credentials that opened it are no longer good: close with `revoked`.
    Revoked,
    /// The server is stopping: close with `shutting_down` once all is answered.
    Drain,
    /// The server does not serve the tenant any more: close with `standby`.
    Lost,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Outgoing>,
    bytes: u64,
    signal: Option<Signal>,
    waker: Option<Waker>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
}

impl Outbox {
    /// Adds all of `items`; wakes the connection's task unless it is the one that calls.
    pub(super) fn push_all(&self, items: impl Iterator<Item = Outgoing>, wake: bool) {
        let mut waiting = self.lock();
        for item in items {
            waiting.bytes += item.bytes();
            waiting.items.push_back(item);
        }
        wake_task(waiting, wake);
    }

    /// Tells the connection's task; a `Drain` takes nothing back that closes at once.
    pub fn signal(&self, signal: Signal) {
        let mut waiting = self.lock();
        if waiting.signal.is_none_or(|before| before == Signal::Drain) {
            waiting.signal = Some(signal);
        }
        wake_task(waiting, true);
    }

    /// Takes the next item.
    pub fn pop(&self) -> Option<Outgoing> {
        let mut waiting = self.lock();
        let item = waiting.items.pop_front()?;
        waiting.bytes -= item.bytes();
        Some(item)
    }

    /// Bytes that wait, by upper bounds.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// The signal given last, if any.
    pub fn signalled(&self) -> Option<Signal> {
        self.lock().signal
    }

    /// Whether there is something to take, or a signal other than `seen`; if neither, the task is
    /// woken when there is.
    pub fn poll_ready(&self, context: &Context<'_>, seen: Option<Signal>) -> bool {
        let mut waiting = self.lock();
        if !waiting.items.is_empty() || waiting.signal != seen {
            return true;
        }
        match &mut waiting.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        false
    }

    /// A panic elsewhere cannot leave the list half changed, so poisoning is passed over.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes outside of the lock, so that the task does not run into it.
fn wake_task(mut waiting: MutexGuard<'_, Waiting>, wake: bool) {
    let waker = if wake { waiting.waker.take() } else { None };
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}
