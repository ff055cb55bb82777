//! Request and reply. A client's answers come in over one exclusive queue, made when the first
//! request needs it: it and what waits for an answer end with the stream, and the next request
//! makes another one.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::oneshot;

use super::connection::Deliveries;
use super::{Client, Delivery, Error, ReceivedMessage, received};
use crate::protocol::reply;
use crate::protocol::request::Destination;
use crate::protocol::request_text;
use crate::types::{Message, QueueName, SettingsPatch};

/// Answers that may be on their way to a client that is slow to read.
const PREFETCH: u16 = 1_000;

/// What all handles of a client share.
#[derive(Default)]
pub(super) struct Answers {
    /// Locked while one is made, so that all first requests use the same.
    inbox: tokio::sync::Mutex<Option<Arc<Inbox>>>,
}

/// One reply queue, on one stream.
struct Inbox {
    queue: QueueName,
    generation: u64,
    waiting: Mutex<Waiting>,
}

type Answer = Result<ReceivedMessage, Error>;

#[derive(Default)]
struct Waiting {
    last_id: u64,
    /// By correlation id.
    questions: HashMap<String, oneshot::Sender<Answer>>,
    /// The queue is gone.
    ended: bool,
}

impl Client {
    /// Publishes a question and waits for its answer: the first message that comes back with its
    /// `correlation_id`. Sets `reply_to` and `correlation_id` of the message.
    ///
    /// The client's first request makes an exclusive queue named `reply.` and a random number, over
    /// which all of its answers come in; it ends with the connection. So the user needs `manage` and
    /// `consume` on `reply.#`, and whoever answers `publish` on it. Let those who answer not
    /// `manage` it: an answer that comes too late would make a queue that nobody reads.
    ///
    /// When the connection is lost, the requests that wait fail with [`Error::Lost`]; those after
    /// it go over the new connection, with another reply queue.
    ///
    /// ```no_run
    /// # async fn example(client: gmq::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use gmq::client::payload;
    /// use gmq::types::QueueName;
    ///
    /// let prices = QueueName::new("prices")?;
    /// let answer = client.request(&prices, payload("apples"), Duration::from_secs(5)).await?;
    /// println!("{:?}", answer.content);
    /// # Ok(()) }
    /// ```
    ///
    /// A topic is named as one: `client.request(Destination::Topic(name), …)`. Of several answers
    /// the first one counts.
    pub async fn request(
        &self,
        to: impl Into<Destination>,
        message: Message,
        timeout: Duration,
    ) -> Result<ReceivedMessage, Error> {
        let to = to.into();
        match tokio::time::timeout(timeout, self.ask(&to, message)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::NoAnswer { to: name_of(&to), timeout }),
        }
    }

    async fn ask(&self, to: &Destination, mut message: Message) -> Result<ReceivedMessage, Error> {
        loop {
            let inbox = self.inbox().await?;
            let Some(mut question) = Question::new(&inbox) else { continue };
            message = message.with_reply_to(&inbox.queue).with_correlation_id(&question.id);
            let permit = self.permit().await;
            let confirm = self.connection.request_on(inbox.generation, permit, |out, id| {
                request_text::publish(out, id, to, &message, None);
            });
            match received(confirm.await) {
                // The stream was lost just before: nothing was sent.
                Err(Error::Returned) => inbox.end(&Error::Returned),
                Err(error) => return Err(error),
                Ok((_, confirmed)) => {
                    refuse_unrouted(to, &confirmed)?;
                    return received((&mut question.answer).await);
                }
            }
        }
    }

    /// The reply queue of the present stream.
    async fn inbox(&self) -> Result<Arc<Inbox>, Error> {
        let mut present = self.answers.inbox.lock().await;
        if let Some(inbox) = present.as_ref().filter(|inbox| !inbox.lock().ended) {
            return Ok(Arc::clone(inbox));
        }
        loop {
            match self.open_inbox().await {
                // Lost meanwhile: the queue that was just made is gone with its stream.
                Err(Error::Returned) => {}
                Err(error) => return Err(error),
                Ok(inbox) => {
                    *present = Some(Arc::clone(&inbox));
                    return Ok(inbox);
                }
            }
        }
    }

    async fn open_inbox(&self) -> Result<Arc<Inbox>, Error> {
        let queue = reply_queue()?;
        let settings = SettingsPatch { exclusive: Some(true), ..SettingsPatch::default() };
        let declared = self.connection.request(None, false, |out, id| {
            request_text::declare(out, id, &queue, &settings, false);
        });
        let (generation, _) = received(declared.await)?;
        let (_, deliveries, begun) =
            self.connection.subscribe(&queue, PREFETCH, true, Some(generation));
        received(begun.await)?;
        let inbox = Arc::new(Inbox { queue, generation, waiting: Mutex::default() });
        tokio::spawn(hand_out(Arc::clone(&inbox), deliveries));
        Ok(inbox)
    }
}

impl Delivery {
    /// Answers a question where it says, with its `correlation_id`; whether somebody still waits,
    /// as far as can be seen: `false` when the reply queue is gone. Acknowledge the question behind
    /// it: a worker that dies between has answered twice, never not at all.
    ///
    /// ```no_run
    /// # async fn example(client: gmq::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use gmq::client::payload;
    /// use gmq::types::QueueName;
    ///
    /// let mut questions = client.consume(&QueueName::new("prices")?, 10).await?;
    /// while let Some(question) = questions.next().await {
    ///     let question = question?;
    ///     question.reply(payload("2.50")).await?;
    ///     question.ack().await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn reply(&self, answer: Message) -> Result<bool, Error> {
        let question = self.message();
        let reply_to = question.reply_to.as_deref().and_then(|name| QueueName::new(name).ok());
        let Some(reply_to) = reply_to else {
            return Err(Error::NoReplyTo { queue: question.queue.clone(), seq: question.seq });
        };
        let answer = match &question.correlation_id {
            Some(id) => answer.with_correlation_id(id),
            None => answer,
        };
        match self.client().publish(&reply_to, answer).await {
            Ok(_) => Ok(true),
            Err(Error::Refused(error)) if error.code == "no_such_queue" => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Nobody answers what no queue has taken.
fn refuse_unrouted(to: &Destination, confirmed: &str) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(default)]
        routed: Option<u64>,
    }
    let Fields { routed } = reply::fields(confirmed)?;
    if routed == Some(0) { Err(Error::NotRouted { topic: name_of(to) }) } else { Ok(()) }
}

fn name_of(to: &Destination) -> String {
    match to {
        Destination::Queue(name) | Destination::Topic(name) => name.to_string(),
    }
}

/// A name that nobody else has: the number is of 128 random bits.
fn reply_queue() -> Result<QueueName, Error> {
    let random = || RandomState::new().hash_one(());
    let name = format!("reply.{:016x}{:016x}", random(), random());
    QueueName::new(&name).map_err(|error| Error::Lost(error.to_string()))
}

/// Gives each answer to its question, until the queue ends.
async fn hand_out(inbox: Arc<Inbox>, mut deliveries: Deliveries) {
    while let Some(delivered) = deliveries.recv().await {
        match delivered {
            Ok((_, message)) => {
                let id = message.correlation_id.as_deref().unwrap_or_default();
                let question = inbox.lock().questions.remove(id);
                // An answer that comes too late, or the second one, is nobody's.
                if let Some(question) = question {
                    let _ = question.send(Ok(message));
                }
            }
            Err(error) => inbox.end(&error),
        }
    }
    inbox.end(&Error::Lost("its reply queue ended".to_owned()));
}

impl Inbox {
    /// Whoever waits gets the error; the next request makes another queue.
    fn end(&self, error: &Error) {
        let mut waiting = self.lock();
        waiting.ended = true;
        let questions = std::mem::take(&mut waiting.questions);
        drop(waiting);
        for question in questions.into_values() {
            let _ = question.send(Err(error.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that waits; dropped, it does not any more.
struct Question<'a> {
    inbox: &'a Inbox,
    id: String,
    answer: oneshot::Receiver<Answer>,
}

impl<'a> Question<'a> {
    /// `None`: the inbox has ended.
    fn new(inbox: &'a Inbox) -> Option<Self> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = inbox.lock();
        if waiting.ended {
            return None;
        }
        waiting.last_id += 1;
        let id = waiting.last_id.to_string();
        waiting.questions.insert(id.clone(), sender);
        drop(waiting);
        Some(Self { inbox, id, answer })
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.inbox.lock().questions.remove(&self.id);
    }
}
