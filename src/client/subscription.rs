//! A subscription as a stream of deliveries.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::connection::Deliveries;
use super::{Client, Error, Hand, ReceivedMessage};

/// See the module. Dropping it leaves the subscription, and what comes to it, to the end of its
/// connection; see [`Subscription::cancel`].
pub struct Subscription {
    client: Client,
    number: u64,
    deliveries: Deliveries,
}

impl Subscription {
    pub(super) fn new(client: Client, number: u64, deliveries: Deliveries) -> Self {
        Self { client, number, deliveries }
    }

    /// The next message; an error is the last item.
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// The next message if there is one already.
    pub fn next_ready(&mut self) -> Option<Result<Delivery, Error>> {
        let next = self.deliveries.try_recv().ok()?;
        Some(self.delivery(next))
    }

    /// Ends the subscription; what was delivered can still be settled.
    pub async fn cancel(self) -> Result<(), Error> {
        self.client.cancel(self.number).await
    }

    fn delivery(&self, next: Result<(Hand, ReceivedMessage), Error>) -> Result<Delivery, Error> {
        next.map(|(hand, message)| Delivery::new(self.client.clone(), hand, message))
    }
}

impl Stream for Subscription {
    type Item = Result<Delivery, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.deliveries.poll_recv(context);
        next.map(|next| next.map(|next| self.delivery(next)))
    }
}

/// One message in hand. It returns to its queue when its lease or its connection ends, unless it is
/// settled.
pub struct Delivery {
    client: Client,
    hand: Hand,
    message: ReceivedMessage,
}

impl Delivery {
    pub(super) fn new(client: Client, hand: Hand, message: ReceivedMessage) -> Self {
        Self { client, hand, message }
    }

    /// The message.
    pub fn message(&self) -> &ReceivedMessage {
        &self.message
    }

    /// Its name, for [`Client::ack`] and the like with several at once.
    pub fn hand(&self) -> Hand {
        self.hand
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// It is done.
    pub async fn ack(&self) -> Result<(), Error> {
        self.client.ack(&[self.hand]).await
    }

    /// It goes back, not to be delivered again before `delay`.
    pub async fn nack(&self, delay: Duration) -> Result<(), Error> {
        self.client.nack(&[self.hand], delay).await
    }

    /// It goes to the dead-letter queue at once; where there is none, it is dropped. The reason is
    /// kept with it as the header `gmq-dead-detail`, its first 256 bytes.
    pub async fn dead_letter(&self, reason: &str) -> Result<(), Error> {
        self.client.dead_letter(&[self.hand], reason).await
    }

    /// Its lease starts anew with this length.
    pub async fn extend(&self, lease: Duration) -> Result<(), Error> {
        self.client.extend(&[self.hand], lease).await
    }
}
