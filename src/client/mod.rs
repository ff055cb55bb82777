//! The Rust client: pipelined publishing with confirms, subscriptions as streams, errors as types.
//! One [`Client`] is one connection; it is cheap to clone, and all of its clones share it. With
//! [`Client::connect_with`] it connects again by itself when the connection is lost.

mod answers;
mod compose;
mod confirm;
mod connection;
mod error;
mod link;
mod open;
mod profile;
mod queues;
mod reconnect;
mod subscription;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use self::compose::{body, payload};
pub use self::confirm::{Confirm, Published, Routed};
pub use self::error::Error;
pub use self::profile::{Profile, ProfileError};
pub use self::queues::{Binding, Finding, Moved, QueueReport};
pub use self::reconnect::{InFlight, Reconnect};
pub use self::subscription::{Delivery, Subscription};
pub use crate::protocol::reply::{ReceivedMessage, ServerError};
pub use crate::protocol::request::Destination;

use self::answers::Answers;
use self::confirm::Batch;
use self::connection::Connection;
use self::link::Silence;
use crate::protocol::reply;
use crate::protocol::request_text;
use crate::protocol::response::{boolean_field, number_field, string_field};
use crate::types::{Level, Message, QueueName, SubscriptionId, Tag};

/// Publishes of one connection that wait for their confirm; the server's own default bound.
const IN_FLIGHT_MAX: usize = 10_000;
/// Longest reason of a dead letter. Unit: bytes.
const REASON_BYTES_MAX: usize = 256;

/// A connection to a server.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use gmq::client::{Client, Profile};
/// use gmq::types::QueueName;
///
/// let profile = Profile::load("client.toml".as_ref())?;
/// let client = Client::connect(&profile).await?;
/// let queue = QueueName::new("orders")?;
/// let published = client.publish(&queue, gmq::client::payload("hello")).await?;
/// println!("seq {}", published.seq);
/// let mut orders = client.consume(&queue, 100).await?;
/// while let Some(delivery) = orders.next().await {
///     let delivery = delivery?;
///     println!("{:?}", delivery.message().content);
///     delivery.ack().await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    connection: Arc<Connection>,
    in_flight: Arc<Semaphore>,
    answers: Arc<Answers>,
    resend: bool,
    /// Closes the connection as the last clone goes, subscriptions and deliveries included: what it
    /// has in hand would otherwise stay in hands that nobody uses.
    _last: Arc<Last>,
}

/// See [`Client`].
struct Last(Arc<Connection>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Names a delivery of this client. It is good for as long as the connection over which the message
/// came; when that is lost, the message returns to its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hand {
    generation: u64,
    tag: Tag,
}

impl Client {
    /// Connects and logs in. A lost connection is the end of it.
    pub async fn connect(profile: &Profile) -> Result<Self, Error> {
        let (stream, frames) = open::open(profile).await?;
        let client = Self::new(false);
        let connection = Arc::clone(&client.connection);
        tokio::spawn(async move {
            let error = link::run(&connection, stream, frames, Silence::default()).await;
            connection.end(&error);
        });
        Ok(client)
    }

    /// Connects and logs in; when the connection is lost, it connects again as `reconnect` says.
    /// The first connection must succeed.
    pub async fn connect_with(profile: &Profile, reconnect: Reconnect) -> Result<Self, Error> {
        let (stream, frames) = open::open(profile).await?;
        let client = Self::new(reconnect.in_flight == InFlight::Resend);
        let connection = Arc::clone(&client.connection);
        let profile = profile.clone();
        tokio::spawn(reconnect::keep(connection, profile, reconnect, stream, frames));
        Ok(client)
    }

    fn new(resend: bool) -> Self {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let connection: Arc<Connection> = Arc::default();
        let _last = Arc::new(Last(Arc::clone(&connection)));
        Self { connection, in_flight, answers: Arc::default(), resend, _last }
    }

    /// Publishes one message and waits for its confirm.
    pub async fn publish(&self, queue: &QueueName, message: Message) -> Result<Published, Error> {
        self.publish_pipelined(queue, &message, None).await?.await
    }

    /// Queues one message, in the order of calls, and gives its confirm to be waited for later.
    /// Waits only while too many publishes are in flight.
    pub async fn publish_pipelined(
        &self,
        queue: &QueueName,
        message: &Message,
        require: Option<Level>,
    ) -> Result<Confirm, Error> {
        self.send(&queue.into(), message, require).await
    }

    /// Publishes a batch, all or none.
    pub async fn publish_batch(
        &self,
        queue: &QueueName,
        messages: &[Message],
    ) -> Result<Vec<Published>, Error> {
        let to = queue.into();
        let batch: Batch = self
            .fields(|out, id| request_text::publish_batch(out, id, &to, messages, None))
            .await?;
        Ok(batch.published())
    }

    /// Publishes one message to a topic: a copy for every queue with a binding that matches, all or
    /// none. See [`Client::bind`].
    pub async fn publish_topic(
        &self,
        topic: &QueueName,
        message: Message,
    ) -> Result<Routed, Error> {
        self.publish_topic_pipelined(topic, &message, None).await?.await
    }

    /// The same, with a confirm to be waited for later; see [`Client::publish_pipelined`].
    pub async fn publish_topic_pipelined(
        &self,
        topic: &QueueName,
        message: &Message,
        require: Option<Level>,
    ) -> Result<Confirm<Routed>, Error> {
        self.send(&Destination::Topic(topic.clone()), message, require).await
    }

    /// Publishes a batch to a topic, all or none; what became of each message, in their order.
    pub async fn publish_topic_batch(
        &self,
        topic: &QueueName,
        messages: &[Message],
    ) -> Result<Vec<Routed>, Error> {
        #[derive(Deserialize)]
        struct Fields {
            routed: Vec<u64>,
        }
        let to = Destination::Topic(topic.clone());
        let fields: Fields = self
            .fields(|out, id| request_text::publish_batch(out, id, &to, messages, None))
            .await?;
        Ok(fields.routed.into_iter().map(|queues| Routed { queues }).collect())
    }

    async fn send<T>(
        &self,
        to: &Destination,
        message: &Message,
        require: Option<Level>,
    ) -> Result<Confirm<T>, Error> {
        let permit = self.permit().await;
        Ok(Confirm::new(self.connection.request(permit, self.resend, |out, id| {
            request_text::publish(out, id, to, message, require);
        })))
    }

    /// Starts a subscription with at most `prefetch` unacknowledged messages.
    pub async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Subscription, Error> {
        self.subscribe(queue, prefetch, false).await
    }

    /// Starts a subscription whose messages are done before they are sent: at most once.
    pub async fn consume_auto_ack(
        &self,
        queue: &QueueName,
        prefetch: u16,
    ) -> Result<Subscription, Error> {
        self.subscribe(queue, prefetch, true).await
    }

    async fn subscribe(
        &self,
        queue: &QueueName,
        prefetch: u16,
        auto_ack: bool,
    ) -> Result<Subscription, Error> {
        let (number, deliveries, begun) =
            self.connection.subscribe(queue, prefetch, auto_ack, None);
        received(begun.await)?;
        Ok(Subscription::new(self.clone(), number, deliveries))
    }

    /// Takes up to `max` messages, waiting so long for the first.
    pub async fn pull(
        &self,
        queue: &QueueName,
        max: u32,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Error> {
        let wait_ms = milliseconds(wait);
        let answer = self.connection.request(None, false, |out, id| {
            request_text::on_queue(out, id, "pull", queue, |out| {
                number_field(out, "max", u64::from(max));
                number_field(out, "wait_ms", wait_ms);
            });
        });
        let (generation, reply) = received(answer.await)?;
        let deliver = |message: ReceivedMessage| {
            let hand = Hand { generation, tag: message.tag };
            Delivery::new(self.clone(), hand, message)
        };
        Ok(reply::messages(&reply)?.into_iter().map(deliver).collect())
    }

    /// Settles deliveries.
    pub async fn ack(&self, hands: &[Hand]) -> Result<(), Error> {
        self.settle("ack", hands, |_| {}).await
    }

    /// Returns deliveries, not to be delivered again before `delay`.
    pub async fn nack(&self, hands: &[Hand], delay: Duration) -> Result<(), Error> {
        let delay_ms = milliseconds(delay);
        self.settle("nack", hands, |out| number_field(out, "delay_ms", delay_ms)).await
    }

    /// Sends deliveries to the dead-letter queue at once; where there is none, drops them. The
    /// reason is kept with them as the header `gmq-dead-detail`, its first 256 bytes.
    pub async fn dead_letter(&self, hands: &[Hand], reason: &str) -> Result<(), Error> {
        let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
        self.settle("nack", hands, |out| {
            boolean_field(out, "dead_letter", true);
            string_field(out, "reason", reason);
        })
        .await
    }

    /// Starts leases anew with this length.
    pub async fn extend(&self, hands: &[Hand], lease: Duration) -> Result<(), Error> {
        let lease_ms = milliseconds(lease);
        self.settle("extend", hands, |out| number_field(out, "lease_ms", lease_ms)).await
    }

    async fn settle(
        &self,
        op: &str,
        hands: &[Hand],
        fields: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        let tags: Vec<Tag> = hands.iter().map(|hand| hand.tag).collect();
        let answer = self.connection.request_in_hand(hands, |out, id| {
            request_text::settle(out, id, op, &tags, fields);
        });
        received(answer.await).map(drop)
    }

    /// Ends a subscription by its number.
    async fn cancel(&self, number: u64) -> Result<(), Error> {
        // Without a connection the server has ended it already.
        let Some(SubscriptionId(id)) = self.connection.forget(number) else { return Ok(()) };
        self.done(|out, request| {
            request_text::request(out, request, "cancel", |out| number_field(out, "sub", id));
        })
        .await
    }

    /// How long a round trip takes.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let start = Instant::now();
        self.done(request_text::ping).await?;
        Ok(start.elapsed())
    }

    /// Ends the connection in order: what was queued is sent and answered first.
    pub fn close(&self) {
        self.connection.close();
    }

    async fn done(&self, write: impl FnOnce(&mut Vec<u8>, u64)) -> Result<(), Error> {
        self.reply(write).await.map(drop)
    }

    async fn fields<T: DeserializeOwned>(
        &self,
        write: impl FnOnce(&mut Vec<u8>, u64),
    ) -> Result<T, Error> {
        Ok(reply::fields(&self.reply(write).await?)?)
    }

    async fn reply(&self, write: impl FnOnce(&mut Vec<u8>, u64)) -> Result<String, Error> {
        received(self.connection.request(None, false, write).await).map(|(_, reply)| reply)
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.in_flight).acquire_owned().await.ok()
    }
}

/// Unit: ms, in whole ones.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What came, or that the connection's task is gone.
fn received<T>(answer: Result<Result<T, Error>, oneshot::error::RecvError>) -> Result<T, Error> {
    answer.unwrap_or_else(|_| Err(Error::Lost("its task ended".to_owned())))
}

#[cfg(test)]
mod tests;
