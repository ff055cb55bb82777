//! The Rust client: pipelined publishing with confirms, subscriptions as streams, errors as types.
//! One [`Client`] is one connection; it is cheap to clone, and all of its clones share it. With
//! [`Client::connect_with`] it connects again by itself when the connection is lost.

mod connection;
mod error;
mod link;
mod open;
mod profile;
mod reconnect;
mod subscription;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use self::error::Error;
pub use self::profile::{Profile, ProfileError};
pub use self::reconnect::{InFlight, Reconnect};
pub use self::subscription::{Delivery, Subscription};
pub use crate::protocol::reply::{ReceivedMessage, ServerError};

use self::connection::{Answer, Connection};
use crate::protocol::reply;
use crate::protocol::request_text;
use crate::protocol::response::{boolean_field, number_field};
use crate::types::{
    Content, Level, Message, Pattern, QueueName, Seq, SettingsPatch, SubscriptionId, Tag,
};

/// Publishes of one connection that wait for their confirm; the server's own default bound.
const IN_FLIGHT_MAX: usize = 10_000;
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
/// let seq = client.publish(&queue, gmq::client::payload("hello")).await?;
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
    resend: bool,
}

/// Names a delivery of this client. It is good for as long as the connection over which the message
/// came; when that is lost, the message returns to its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hand {
    generation: u64,
    tag: Tag,
}

/// A message of any bytes.
pub fn payload(bytes: impl AsRef<[u8]>) -> Message {
    let content = Content::Payload(bytes.as_ref().into());
    Message { content, properties: None, priority: None, published_at: 0 }
}

/// A message that is the text of one JSON value; `None` if it is not.
pub fn body(text: &str) -> Option<Message> {
    let text = text.trim();
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let content = Content::Body(text.into());
    Some(Message { content, properties: None, priority: None, published_at: 0 })
}

/// The reply to a publish that was queued already.
#[must_use = "a publish is confirmed only when this is done"]
pub struct Confirm(Answer);

impl Future for Confirm {
    type Output = Result<Seq, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        #[derive(Deserialize)]
        struct Fields {
            seq: u64,
        }
        let reply = ready!(Pin::new(&mut self.0).poll(context));
        let fields: Result<Fields, Error> =
            received(reply).and_then(|(_, reply)| Ok(reply::fields(&reply)?));
        Poll::Ready(fields.map(|fields| Seq(fields.seq)))
    }
}

/// One queue, as `queue.info` tells it.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[allow(missing_docs, reason = "docs/protocol.md has each field")]
pub struct QueueReport {
    pub queue: String,
    pub ready: u64,
    pub delayed: u64,
    pub in_hand: u64,
    pub bytes: u64,
    pub consumers: u64,
    pub oldest_age_ms: u64,
    pub published: u64,
    pub delivered: u64,
    pub acked: u64,
    pub redelivered: u64,
    pub settings: serde_json::Value,
}

impl Client {
    /// Connects and logs in. A lost connection is the end of it.
    pub async fn connect(profile: &Profile) -> Result<Self, Error> {
        let (stream, frames) = open::open(profile).await?;
        let client = Self::new(false);
        let connection = Arc::clone(&client.connection);
        tokio::spawn(async move {
            let error = link::run(&connection, stream, frames).await;
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
        Self { connection: Arc::default(), in_flight, resend }
    }

    /// Publishes one message and waits for its confirm.
    pub async fn publish(&self, queue: &QueueName, message: Message) -> Result<Seq, Error> {
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
        let permit = self.permit().await;
        Ok(Confirm(self.connection.request(permit, self.resend, |out, id| {
            request_text::publish(out, id, queue, message, require);
        })))
    }

    /// Publishes a batch, all or none.
    pub async fn publish_batch(
        &self,
        queue: &QueueName,
        messages: &[Message],
    ) -> Result<Vec<Seq>, Error> {
        #[derive(Deserialize)]
        struct Fields {
            seqs: Vec<u64>,
        }
        let fields: Fields = self
            .fields(|out, id| request_text::publish_batch(out, id, queue, messages, None))
            .await?;
        Ok(fields.seqs.into_iter().map(Seq).collect())
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
        let (number, deliveries, begun) = self.connection.subscribe(queue, prefetch, auto_ack);
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
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
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
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.settle("nack", hands, |out| number_field(out, "delay_ms", delay_ms)).await
    }

    /// Starts leases anew with this length.
    pub async fn extend(&self, hands: &[Hand], lease: Duration) -> Result<(), Error> {
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
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

    /// Creates a queue, or compares its settings; whether it was made.
    pub async fn declare(
        &self,
        queue: &QueueName,
        settings: &SettingsPatch,
        update: bool,
    ) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Fields {
            created: bool,
        }
        let fields: Fields =
            self.fields(|out, id| request_text::declare(out, id, queue, settings, update)).await?;
        Ok(fields.created)
    }

    /// Deletes a queue.
    pub async fn delete(&self, queue: &QueueName, if_empty: bool) -> Result<(), Error> {
        self.done(|out, id| {
            request_text::on_queue(out, id, "queue.delete", queue, |out| {
                boolean_field(out, "if_empty", if_empty);
            });
        })
        .await
    }

    /// Removes what is ready or delayed; how many messages.
    pub async fn purge(&self, queue: &QueueName) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Fields {
            purged: u64,
        }
        let fields: Fields = self
            .fields(|out, id| request_text::on_queue(out, id, "queue.purge", queue, |_| {}))
            .await?;
        Ok(fields.purged)
    }

    /// One queue.
    pub async fn info(&self, queue: &QueueName) -> Result<QueueReport, Error> {
        self.fields(|out, id| request_text::on_queue(out, id, "queue.info", queue, |_| {})).await
    }

    /// All queues that the user may see, page by page.
    pub async fn queues(&self, pattern: Option<&Pattern>) -> Result<Vec<QueueReport>, Error> {
        #[derive(Deserialize)]
        struct Page {
            queues: Vec<QueueReport>,
            more: bool,
        }
        let mut all: Vec<QueueReport> = Vec::new();
        loop {
            let after = all.last().map(|last| last.queue.clone());
            let page: Page = self
                .fields(|out, id| {
                    request_text::list_queues(out, id, pattern, after.as_deref(), 1_000);
                })
                .await?;
            all.extend(page.queues);
            if !page.more {
                return Ok(all);
            }
        }
    }

    /// Looks at messages without taking them.
    pub async fn peek(
        &self,
        queue: &QueueName,
        from_seq: Seq,
        max: u32,
    ) -> Result<Vec<ReceivedMessage>, Error> {
        let reply = self.reply(|out, id| request_text::peek(out, id, queue, from_seq, max));
        Ok(reply::messages(&reply.await?)?)
    }

    /// How long a round trip takes.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let start = Instant::now();
        self.done(|out, id| request_text::request(out, id, "ping", |_| {})).await?;
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

/// What came, or that the connection's task is gone.
fn received<T>(answer: Result<Result<T, Error>, oneshot::error::RecvError>) -> Result<T, Error> {
    answer.unwrap_or_else(|_| Err(Error::Lost("its task ended".to_owned())))
}

#[cfg(test)]
mod tests;
