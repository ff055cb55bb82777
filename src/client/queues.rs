//! Queues and topics: making, looking at and changing them.

use serde::Deserialize;

use super::{Client, Error, ReceivedMessage};
use crate::protocol::reply;
use crate::protocol::request_text;
use crate::protocol::response::boolean_field;
use crate::types::{Pattern, QueueName, Seq, SettingsPatch};

/// Asked for at a time. Unit: items of a list.
const PAGE: u32 = 1_000;

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
    pub dead_waiting: u64,
    pub published: u64,
    pub delivered: u64,
    pub acked: u64,
    pub redelivered: u64,
    pub dead_lettered: u64,
    pub expired: u64,
    pub duplicates: u64,
    pub settings: serde_json::Value,
}

/// What one request moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Moved {
    /// Messages.
    pub moved: u64,
    /// Whether there are more to move.
    pub more: bool,
}

/// What a topic's messages are copied by: each whose topic matches the pattern goes to the queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Binding {
    /// `*` is one word, `#` last any number.
    pub pattern: String,
    /// The queue.
    pub queue: String,
}

/// A reason why nothing, or nothing more, is delivered from a queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Finding {
    /// One of those in docs/protocol.md; a newer server may have others.
    pub code: String,
    /// In words.
    pub text: String,
}

impl Client {
    /// Creates a queue, or compares its settings; whether it was made. With `update` the settings
    /// that are named are changed.
    ///
    /// ```no_run
    /// # async fn example(client: gmq::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use gmq::types::{QueueName, SettingsPatch};
    ///
    /// let (orders, dead) = (QueueName::new("orders")?, QueueName::new("orders.dead")?);
    /// client.declare(&dead, &SettingsPatch::default(), false).await?;
    /// let settings = SettingsPatch {
    ///     max_attempts: Some(Some(5)),
    ///     dead_letter: Some(Some(dead)),
    ///     ..SettingsPatch::default()
    /// };
    /// client.declare(&orders, &settings, false).await?;
    /// # Ok(()) }
    /// ```
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

    /// Moves at most `max` (1 to 10,000) ready messages to another queue, without the headers of
    /// dead letters: how these go back to work.
    ///
    /// ```no_run
    /// # async fn example(client: gmq::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use gmq::types::QueueName;
    ///
    /// let (dead, orders) = (QueueName::new("orders.dead")?, QueueName::new("orders")?);
    /// while client.move_messages(&dead, &orders, 10_000).await?.more {}
    /// # Ok(()) }
    /// ```
    pub async fn move_messages(
        &self,
        from: &QueueName,
        to: &QueueName,
        max: u32,
    ) -> Result<Moved, Error> {
        self.fields(|out, id| request_text::transfer(out, id, from, to, max)).await
    }

    /// One queue.
    pub async fn info(&self, queue: &QueueName) -> Result<QueueReport, Error> {
        self.fields(|out, id| request_text::on_queue(out, id, "queue.info", queue, |_| {})).await
    }

    /// Why nothing, or nothing more, is delivered from a queue just now.
    pub async fn doctor(&self, queue: &QueueName) -> Result<Vec<Finding>, Error> {
        #[derive(Deserialize)]
        struct Fields {
            findings: Vec<Finding>,
        }
        let fields: Fields = self
            .fields(|out, id| request_text::on_queue(out, id, "queue.doctor", queue, |_| {}))
            .await?;
        Ok(fields.findings)
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
                    request_text::list_queues(out, id, pattern, after.as_deref(), PAGE);
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

    /// From now on the queue gets a copy of what is published to a topic that matches; whether the
    /// binding is new. It lasts as long as its queue.
    ///
    /// ```no_run
    /// # async fn example(client: gmq::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use gmq::client::payload;
    /// use gmq::types::{Pattern, QueueName};
    ///
    /// let mails = QueueName::new("mails")?;
    /// client.bind(&Pattern::new("orders.*.created")?, &mails).await?;
    /// let topic = QueueName::new("orders.eu.created")?;
    /// let routed = client.publish_topic(&topic, payload("order 7")).await?;
    /// println!("{} queues have it", routed.queues);
    /// # Ok(()) }
    /// ```
    pub async fn bind(&self, pattern: &Pattern, queue: &QueueName) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Fields {
            created: bool,
        }
        let fields: Fields = self
            .fields(|out, id| request_text::binding(out, id, "topic.bind", pattern, queue))
            .await?;
        Ok(fields.created)
    }

    /// Ends a binding; whether there was one.
    pub async fn unbind(&self, pattern: &Pattern, queue: &QueueName) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Fields {
            removed: bool,
        }
        let fields: Fields = self
            .fields(|out, id| request_text::binding(out, id, "topic.unbind", pattern, queue))
            .await?;
        Ok(fields.removed)
    }

    /// All bindings that the user may see, page by page.
    pub async fn bindings(&self) -> Result<Vec<Binding>, Error> {
        #[derive(Deserialize)]
        struct Page {
            bindings: Vec<Binding>,
            more: bool,
        }
        let mut all: Vec<Binding> = Vec::new();
        loop {
            let last = all.last().cloned();
            let after = last.as_ref().map(|last| (&*last.pattern, &*last.queue));
            let page: Page =
                self.fields(|out, id| request_text::list_bindings(out, id, after, PAGE)).await?;
            all.extend(page.bindings);
            if !page.more {
                return Ok(all);
            }
        }
    }
}
