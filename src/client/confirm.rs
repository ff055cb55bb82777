//! What a publish is answered with, and the wait for it.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::connection::Answer;
use super::{Error, received};
use crate::protocol::reply;
use crate::types::Seq;

/// A message that a queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Published {
    /// Its place in the queue.
    #[serde(deserialize_with = "seq")]
    pub seq: Seq,
    /// Nothing was stored: within its `dedup_window_ms` the queue took a message with the same key
    /// before, and `seq` is that one's.
    #[serde(default)]
    pub duplicate: bool,
}

/// A message that was published to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Routed {
    /// The queues that have it, doubles too. With none the message is gone, and that is no error.
    #[serde(rename = "routed")]
    pub queues: u64,
}

/// The reply to a publish that was queued already.
#[must_use = "a publish is confirmed only when this is done"]
pub struct Confirm<T = Published> {
    answer: Answer,
    reads: PhantomData<fn() -> T>,
}

impl<T> Confirm<T> {
    pub(super) fn new(answer: Answer) -> Self {
        Self { answer, reads: PhantomData }
    }
}

impl<T: DeserializeOwned> Future for Confirm<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(received(reply).and_then(|(_, reply)| Ok(reply::fields(&reply)?)))
    }
}

/// The reply to a batch.
#[derive(Deserialize)]
pub(super) struct Batch {
    seqs: Vec<u64>,
    /// Places in `seqs`.
    #[serde(default)]
    duplicates: Vec<usize>,
}

impl Batch {
    /// What became of each message, in their order.
    pub(super) fn published(self) -> Vec<Published> {
        let new = |seq| Published { seq: Seq(seq), duplicate: false };
        let mut published: Vec<_> = self.seqs.into_iter().map(new).collect();
        for place in self.duplicates {
            if let Some(published) = published.get_mut(place) {
                published.duplicate = true;
            }
        }
        published
    }
}

fn seq<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Seq, D::Error> {
    u64::deserialize(deserializer).map(Seq)
}
