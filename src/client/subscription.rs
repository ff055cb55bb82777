//! A subscription as a stream of deliveries.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::connection::Deliveries;
use super::{Client, Error, ReceivedMessage};
use crate::types::SubscriptionId;

/// See the module. Dropping it leaves the subscription to the connection's end; see
/// [`Subscription::cancel`].
pub struct Subscription {
    client: Client,
    id: SubscriptionId,
    deliveries: Deliveries,
}

impl Subscription {
    pub(super) fn new(client: Client, id: SubscriptionId, deliveries: Deliveries) -> Self {
        Self { client, id, deliveries }
    }

    /// The next message; an error is the last item.
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// The next message if there is one already.
    pub fn next_ready(&mut self) -> Option<Result<Delivery, Error>> {
        let message = self.deliveries.try_recv().ok()?;
        let client = self.client.clone();
        Some(message.map(|message| Delivery { client, message }))
    }

    /// Ends the subscription; what was delivered can still be settled.
    pub async fn cancel(self) -> Result<(), Error> {
        self.client.cancel(self.id).await
    }
}

impl Stream for Subscription {
    type Item = Result<Delivery, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let client = self.client.clone();
        self.deliveries
            .poll_recv(context)
            .map(|next| next.map(|message| message.map(|message| Delivery { client, message })))
    }
}

/// One message in hand. It returns to its queue when its lease ends, unless it is settled.
pub struct Delivery {
    client: Client,
    message: ReceivedMessage,
}

impl Delivery {
    /// The message.
    pub fn message(&self) -> &ReceivedMessage {
        &self.message
    }

    /// It is done.
    pub async fn ack(&self) -> Result<(), Error> {
        self.client.ack(&[self.message.tag]).await
    }

    /// It goes back, not to be delivered again before `delay`.
    pub async fn nack(&self, delay: Duration) -> Result<(), Error> {
        self.client.nack(&[self.message.tag], delay).await
    }

    /// Its lease starts anew with this length.
    pub async fn extend(&self, lease: Duration) -> Result<(), Error> {
        self.client.extend(&[self.message.tag], lease).await
    }
}
