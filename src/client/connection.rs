//! What a client waits for, over the ends of streams: requests by their `id`, subscriptions by a
//! number of the client's own. A stream that is lost may be followed by another; what was in flight
//! is then sent again or reported, as the caller chose, and subscriptions are begun anew.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};

use super::{Error, Hand};
use crate::protocol::reply::{self, ReceivedMessage, ServerLine};
use crate::protocol::request_text;
use crate::protocol::response::{boolean_field, number_field};
use crate::types::{QueueName, SubscriptionId};

/// What a subscription receives.
pub(super) type Deliveries = mpsc::UnboundedReceiver<Result<(Hand, ReceivedMessage), Error>>;
type DeliverySender = mpsc::UnboundedSender<Result<(Hand, ReceivedMessage), Error>>;

/// The reply to a request.
pub(super) type Answer = oneshot::Receiver<Result<(u64, String), Error>>;

/// See the module; shared by the client's handles and the task that keeps its stream.
#[derive(Default)]
pub(super) struct Connection {
    state: Mutex<State>,
    /// Told when there is something to write, or when it is time to end.
    queued: Notify,
}

#[derive(Default)]
struct State {
    /// Grows with each stream; what was in hand on an older one is not any more.
    generation: u64,
    out: Vec<u8>,
    last_id: u64,
    /// Requests up to this one were handed to the stream.
    written_id: u64,
    waiting: BTreeMap<u64, Waiting>,
    subscriptions: BTreeMap<u64, Subscribed>,
    last_subscription: u64,
    /// The client's number of each of the server's subscriptions, on this stream.
    numbers: HashMap<SubscriptionId, u64>,
    /// Nothing more is taken.
    closing: bool,
    /// Why there will be no stream any more.
    ended: Option<Error>,
}

enum Waiting {
    Reply {
        answer: oneshot::Sender<Result<(u64, String), Error>>,
        /// Given back with the reply.
        _permit: Option<OwnedSemaphorePermit>,
        /// Where it stands in `out`, until it is written.
        unwritten: Range<usize>,
        fate: Fate,
    },
    /// The reply to the `consume` of this subscription; `None` once it was begun before.
    Subscribe(u64, Option<oneshot::Sender<Result<(), Error>>>),
}

/// What becomes of a request when its stream is lost.
enum Fate {
    /// It is reported if it was written; else the next stream takes it.
    Report,
    /// The next stream takes it: this is its text.
    Resend(Box<[u8]>),
    /// It names deliveries of its stream, and these have returned.
    InHand,
    /// It names what ends with its stream: it is reported, and no other stream takes it.
    Bound,
}

struct Subscribed {
    queue: QueueName,
    prefetch: u16,
    auto_ack: bool,
    /// Its queue ends with the stream, and it too.
    is_bound: bool,
    sender: DeliverySender,
}

/// What the stream is to write next.
pub(super) enum Next {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The end of this side.
    End,
}

impl Connection {
    /// Queues a request, in the order of calls; with `resend` each new stream sends it until it is
    /// answered.
    pub fn request(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        resend: bool,
        write: impl FnOnce(&mut Vec<u8>, u64),
    ) -> Answer {
        self.queue(
            [],
            permit,
            write,
            |text| {
                if resend { Fate::Resend(text.into()) } else { Fate::Report }
            },
        )
    }

    /// Queues a request about deliveries, which must be of the present stream.
    pub fn request_in_hand(&self, hands: &[Hand], write: impl FnOnce(&mut Vec<u8>, u64)) -> Answer {
        self.queue(hands.iter().map(|hand| hand.generation), None, write, |_| Fate::InHand)
    }

    /// Queues a request that names what ends with the stream of this generation.
    pub fn request_on(
        &self,
        generation: u64,
        permit: Option<OwnedSemaphorePermit>,
        write: impl FnOnce(&mut Vec<u8>, u64),
    ) -> Answer {
        self.queue([generation], permit, write, |_| Fate::Bound)
    }

    /// `generations` are of what the request names.
    fn queue(
        &self,
        generations: impl IntoIterator<Item = u64>,
        permit: Option<OwnedSemaphorePermit>,
        write: impl FnOnce(&mut Vec<u8>, u64),
        fate: impl FnOnce(&[u8]) -> Fate,
    ) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.lock();
        let returned = generations.into_iter().any(|of| of != state.generation);
        if let Some(error) = state.refusal().or(returned.then_some(Error::Returned)) {
            let _ = answer.send(Err(error));
            return receiver;
        }
        let start = state.out.len();
        let id = state.next_id();
        write(&mut state.out, id);
        let unwritten = start..state.out.len();
        let fate = fate(&state.out[start..]);
        state.waiting.insert(id, Waiting::Reply { answer, _permit: permit, unwritten, fate });
        drop(state);
        self.queued.notify_one();
        receiver
    }

    /// Begins a subscription; its number, what it receives, and whether it was begun. With a
    /// generation it is for that stream alone.
    pub fn subscribe(
        &self,
        queue: &QueueName,
        prefetch: u16,
        auto_ack: bool,
        bound: Option<u64>,
    ) -> (u64, Deliveries, oneshot::Receiver<Result<(), Error>>) {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let (begun, receiver) = oneshot::channel();
        let mut state = self.lock();
        let gone = bound.is_some_and(|generation| generation != state.generation);
        if let Some(error) = state.refusal().or(gone.then_some(Error::Returned)) {
            let _ = begun.send(Err(error));
            return (0, deliveries, receiver);
        }
        state.last_subscription += 1;
        let number = state.last_subscription;
        let is_bound = bound.is_some();
        let subscribed = Subscribed { queue: queue.clone(), prefetch, auto_ack, is_bound, sender };
        state.subscriptions.insert(number, subscribed);
        state.consume(number, Some(begun));
        drop(state);
        self.queued.notify_one();
        (number, deliveries, receiver)
    }

    /// Forgets a subscription; the server's number of it, if it has one just now.
    pub fn forget(&self, number: u64) -> Option<SubscriptionId> {
        let mut state = self.lock();
        state.subscriptions.remove(&number);
        state.numbers.iter().find(|(_, own)| **own == number).map(|(id, _)| *id)
    }

    /// Sends what is queued and then the end; the server answers what it has taken.
    pub fn close(&self) {
        self.lock().closing = true;
        self.queued.notify_one();
    }

    /// Whether the program has closed it.
    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// What the stream is to write; waits for something.
    pub async fn next_write(&self) -> Next {
        loop {
            {
                let mut state = self.lock();
                if !state.out.is_empty() {
                    state.written_id = state.last_id;
                    return Next::Bytes(std::mem::take(&mut state.out));
                }
                if state.closing {
                    return Next::End;
                }
            }
            self.queued.notified().await;
        }
    }

    /// Hands a line of the server to whoever waits for it.
    pub fn take_line(&self, line: &[u8]) -> Result<(), Error> {
        let mut state = self.lock();
        match reply::parse(line)? {
            ServerLine::Reply { id: Some(id), result } => {
                let result = result.map_err(|error| Error::Refused(Box::new(error)));
                if let Some(waiting) = state.waiting.remove(&id) {
                    state.answer(waiting, result)?;
                }
            }
            ServerLine::Message { subscription, message } => {
                let generation = state.generation;
                if let Some(subscribed) = state.subscribed(subscription) {
                    let hand = Hand { generation, tag: message.tag };
                    // A subscription that was dropped leaves its messages to their lease.
                    let _ = subscribed.sender.send(Ok((hand, *message)));
                }
            }
            ServerLine::Cancelled { subscription, reason } => {
                if let Some(number) = state.numbers.remove(&subscription)
                    && let Some(subscribed) = state.subscriptions.remove(&number)
                {
                    let reason = format!("the subscription ended: {reason}");
                    let _ = subscribed.sender.send(Err(Error::Closed(reason)));
                }
            }
            ServerLine::Closing { code } => return Err(Error::Closed(code)),
            // What is no reply to a request of ours is told with `closing`, or not for us.
            ServerLine::Reply { id: None, .. } | ServerLine::Hello { .. } | ServerLine::Unknown => {
            }
        }
        Ok(())
    }

    /// The stream is gone and another one will come: reports what may not be sent again, and begins
    /// every subscription anew.
    pub fn lost(&self, error: &Error) {
        let mut state = self.lock();
        state.generation += 1;
        state.numbers.clear();
        let unsent = std::mem::take(&mut state.out);
        let mut reported = Vec::new();
        let mut begun = HashMap::new();
        for (id, waiting) in std::mem::take(&mut state.waiting) {
            match waiting {
                Waiting::Subscribe(number, sender) => drop(begun.insert(number, sender)),
                Waiting::Reply { answer, _permit, unwritten, fate } => {
                    let text = match &fate {
                        Fate::InHand => Err(Error::Returned),
                        Fate::Resend(text) => Ok(&**text),
                        Fate::Report if id > state.written_id => Ok(&unsent[unwritten]),
                        Fate::Report | Fate::Bound => Err(error.clone()),
                    };
                    match text {
                        Err(error) => reported.push((answer, error)),
                        Ok(text) => {
                            let start = state.out.len();
                            state.out.extend_from_slice(text);
                            let unwritten = start..state.out.len();
                            let waiting = Waiting::Reply { answer, _permit, unwritten, fate };
                            state.waiting.insert(id, waiting);
                        }
                    }
                }
            }
        }
        // What nobody listens to any more would only take messages from those who do.
        let ends = |subscribed: &Subscribed| subscribed.is_bound || subscribed.sender.is_closed();
        let ended: Vec<_> =
            state.subscriptions.extract_if(.., |_, subscribed| ends(subscribed)).collect();
        let numbers: Vec<u64> = state.subscriptions.keys().copied().collect();
        for number in numbers {
            state.consume(number, begun.remove(&number).flatten());
        }
        // All that waits is to be written by the next stream.
        state.written_id = 0;
        drop(state);
        self.queued.notify_one();
        reported.into_iter().for_each(|(answer, error)| drop(answer.send(Err(error))));
        for (number, subscribed) in ended {
            // One that was not begun yet returns, to be begun anew.
            match begun.remove(&number).flatten() {
                Some(begun) => drop(begun.send(Err(Error::Returned))),
                None => drop(subscribed.sender.send(Err(error.clone()))),
            }
        }
    }

    /// There will be no stream any more: tells everybody who waits.
    pub fn end(&self, error: &Error) {
        let mut state = self.lock();
        state.ended.get_or_insert_with(|| error.clone());
        let waiting = std::mem::take(&mut state.waiting);
        let subscriptions = std::mem::take(&mut state.subscriptions);
        drop(state);
        waiting.into_values().for_each(|waiting| waiting.fail(error));
        for subscribed in subscriptions.into_values() {
            let _ = subscribed.sender.send(Err(error.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refusal(&self) -> Option<Error> {
        let closed = || Error::Closed("it was closed by this program".to_owned());
        self.ended.clone().or_else(|| self.closing.then(closed))
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn subscribed(&self, subscription: SubscriptionId) -> Option<&Subscribed> {
        self.subscriptions.get(self.numbers.get(&subscription)?)
    }

    /// Queues the `consume` of a subscription.
    fn consume(&mut self, number: u64, begun: Option<oneshot::Sender<Result<(), Error>>>) {
        let id = self.next_id();
        let Some(subscribed) = self.subscriptions.get(&number) else { return };
        request_text::on_queue(&mut self.out, id, "consume", &subscribed.queue, |out| {
            number_field(out, "prefetch", u64::from(subscribed.prefetch));
            boolean_field(out, "auto_ack", subscribed.auto_ack);
        });
        self.waiting.insert(id, Waiting::Subscribe(number, begun));
    }

    fn answer(&mut self, waiting: Waiting, result: Result<String, Error>) -> Result<(), Error> {
        // Whoever asked may have stopped waiting.
        match waiting {
            Waiting::Reply { answer, .. } => {
                let _ = answer.send(result.map(|reply| (self.generation, reply)));
            }
            Waiting::Subscribe(number, begun) => {
                let outcome = match result {
                    Ok(reply) => {
                        self.numbers.insert(subscription(&reply)?, number);
                        Ok(())
                    }
                    Err(error) => Err(error),
                };
                match (begun, outcome) {
                    (Some(begun), outcome) => {
                        if outcome.is_err() {
                            self.subscriptions.remove(&number);
                        }
                        let _ = begun.send(outcome);
                    }
                    // It cannot go on over the new stream.
                    (None, Err(error)) => {
                        if let Some(subscribed) = self.subscriptions.remove(&number) {
                            let _ = subscribed.sender.send(Err(error));
                        }
                    }
                    (None, Ok(())) => {}
                }
            }
        }
        Ok(())
    }
}

fn subscription(reply: &str) -> Result<SubscriptionId, Error> {
    #[derive(serde::Deserialize)]
    struct Fields {
        sub: u64,
    }
    let Fields { sub } = reply::fields(reply)?;
    Ok(SubscriptionId(sub))
}

impl Waiting {
    fn fail(self, error: &Error) {
        match self {
            Waiting::Reply { answer, .. } => drop(answer.send(Err(error.clone()))),
            Waiting::Subscribe(_, Some(begun)) => drop(begun.send(Err(error.clone()))),
            Waiting::Subscribe(_, None) => {}
        }
    }
}
