//! The stream of a client: one task writes what is queued, as one write, the other reads lines and
//! hands each to whoever waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};

use super::Error;
use crate::protocol::frame::FrameReader;
use crate::protocol::reply::{self, ReceivedMessage, ServerLine};
use crate::types::SubscriptionId;

/// Longest line that is taken from a server. Unit: bytes.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Read at a time. Unit: bytes.
const READ_BYTES: usize = 64 * 1024;

/// What a subscription receives.
pub(super) type Deliveries = mpsc::UnboundedReceiver<Result<ReceivedMessage, Error>>;
type DeliverySender = mpsc::UnboundedSender<Result<ReceivedMessage, Error>>;

/// See the module; shared by the client's handles and its two tasks.
pub(super) struct Connection {
    state: Mutex<State>,
    /// Told when there is something to write, or when it is time to end.
    queued: Notify,
}

#[derive(Default)]
struct State {
    out: Vec<u8>,
    last_id: u64,
    waiting: HashMap<u64, Waiting>,
    subscriptions: HashMap<SubscriptionId, DeliverySender>,
    /// Nothing more is sent.
    closing: bool,
    /// Why there is no connection any more.
    ended: Option<Error>,
}

enum Waiting {
    Reply(oneshot::Sender<Result<String, Error>>, Option<OwnedSemaphorePermit>),
    Subscribe(oneshot::Sender<Result<(SubscriptionId, Deliveries), Error>>),
}

impl Connection {
    /// Starts the two tasks on a stream that is greeted and logged in.
    pub fn start<S>(stream: S, frames: FrameReader) -> Arc<Self>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let connection = Arc::new(Self { state: Mutex::default(), queued: Notify::new() });
        let (reading, writing) = tokio::io::split(stream);
        tokio::spawn(read(Arc::clone(&connection), reading, frames));
        tokio::spawn(write(Arc::clone(&connection), writing));
        connection
    }

    /// Queues a request, in the order of calls; the receiver gets its reply. The permit is given
    /// back with it.
    pub fn request(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        write: impl FnOnce(&mut Vec<u8>, u64),
    ) -> oneshot::Receiver<Result<String, Error>> {
        let (sender, receiver) = oneshot::channel();
        self.queue(Waiting::Reply(sender, permit), write);
        receiver
    }

    /// Queues a request whose reply is a subscription.
    pub fn subscribe(
        &self,
        write: impl FnOnce(&mut Vec<u8>, u64),
    ) -> oneshot::Receiver<Result<(SubscriptionId, Deliveries), Error>> {
        let (sender, receiver) = oneshot::channel();
        self.queue(Waiting::Subscribe(sender), write);
        receiver
    }

    /// Sends what is queued and then the end; the server answers what it has taken.
    pub fn close(&self) {
        self.lock().closing = true;
        self.queued.notify_one();
    }

    /// Forgets a subscription that nobody listens to any more.
    pub fn forget(&self, subscription: SubscriptionId) {
        self.lock().subscriptions.remove(&subscription);
    }

    fn queue(&self, waiting: Waiting, write: impl FnOnce(&mut Vec<u8>, u64)) {
        let mut state = self.lock();
        if let Some(error) = &state.ended {
            return waiting.fail(error.clone());
        }
        if state.closing {
            return waiting.fail(Error::Closed("it was closed by this program".to_owned()));
        }
        state.last_id += 1;
        let id = state.last_id;
        let was_empty = state.out.is_empty();
        write(&mut state.out, id);
        state.waiting.insert(id, waiting);
        drop(state);
        if was_empty {
            self.queued.notify_one();
        }
    }

    fn take_line(&self, line: &[u8]) -> Result<(), Error> {
        let mut state = self.lock();
        match reply::parse(line)? {
            ServerLine::Reply { id: Some(id), result } => {
                if let Some(waiting) = state.waiting.remove(&id) {
                    state.answer(waiting, result.map_err(|error| Error::Refused(Box::new(error))));
                }
            }
            ServerLine::Message { subscription, message } => {
                if let Some(sender) = state.subscriptions.get(&subscription) {
                    // A subscription that was dropped leaves its messages to their lease.
                    let _ = sender.send(Ok(*message));
                }
            }
            ServerLine::Cancelled { subscription, reason } => {
                if let Some(sender) = state.subscriptions.remove(&subscription) {
                    let reason = format!("the subscription ended: {reason}");
                    let _ = sender.send(Err(Error::Closed(reason)));
                }
            }
            ServerLine::Closing { code } => return Err(Error::Closed(code)),
            // What is no reply to a request of ours is told with `closing`, or not for us.
            ServerLine::Reply { id: None, .. } | ServerLine::Hello { .. } | ServerLine::Unknown => {
            }
        }
        Ok(())
    }

    /// Tells everybody who waits.
    fn end(&self, error: &Error) {
        let mut state = self.lock();
        if state.ended.is_none() {
            state.ended = Some(error.clone());
        }
        let waiting = std::mem::take(&mut state.waiting);
        let subscriptions = std::mem::take(&mut state.subscriptions);
        drop(state);
        self.queued.notify_one();
        waiting.into_values().for_each(|waiting| waiting.fail(error.clone()));
        for sender in subscriptions.into_values() {
            let _ = sender.send(Err(error.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer(&mut self, waiting: Waiting, result: Result<String, Error>) {
        // Whoever asked may have stopped waiting.
        match waiting {
            Waiting::Reply(sender, _permit) => {
                let _ = sender.send(result);
            }
            Waiting::Subscribe(sender) => {
                let subscription = result.and_then(|reply| self.subscription(&reply));
                let _ = sender.send(subscription);
            }
        }
    }

    /// Made here, before the next line is read, so that no delivery comes too early.
    fn subscription(&mut self, reply: &str) -> Result<(SubscriptionId, Deliveries), Error> {
        #[derive(serde::Deserialize)]
        struct Fields {
            sub: u64,
        }
        let Fields { sub } = reply::fields(reply)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscriptions.insert(SubscriptionId(sub), sender);
        Ok((SubscriptionId(sub), receiver))
    }
}

impl Waiting {
    fn fail(self, error: Error) {
        match self {
            Waiting::Reply(sender, _) => drop(sender.send(Err(error))),
            Waiting::Subscribe(sender) => drop(sender.send(Err(error))),
        }
    }
}

async fn write<S: AsyncWrite>(connection: Arc<Connection>, mut stream: WriteHalf<S>) {
    loop {
        let (out, closing, ended) = {
            let mut state = connection.lock();
            (std::mem::take(&mut state.out), state.closing, state.ended.is_some())
        };
        if ended {
            return;
        }
        if out.is_empty() {
            if closing {
                let _ = stream.shutdown().await;
                return;
            }
            connection.queued.notified().await;
            continue;
        }
        let written = async {
            stream.write_all(&out).await?;
            stream.flush().await
        };
        if let Err(error) = written.await {
            // The reader may still find out why, from the server's last words.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            return connection.end(&error.into());
        }
    }
}

async fn read<S: AsyncRead>(
    connection: Arc<Connection>,
    mut stream: ReadHalf<S>,
    mut frames: FrameReader,
) {
    frames.set_limit(LINE_BYTES_MAX);
    let mut bytes = vec![0; READ_BYTES];
    let error = 'ended: loop {
        loop {
            match frames.next_frame() {
                Ok(Some(line)) => {
                    if let Err(error) = connection.take_line(line) {
                        break 'ended error;
                    }
                }
                Ok(None) => break,
                Err(error) => break 'ended Error::Lost(error.to_string()),
            }
        }
        match stream.read(&mut bytes).await {
            Ok(0) => break Error::Lost("the server ended it".to_owned()),
            Ok(read) => frames.extend(&bytes[..read]),
            Err(error) => break error.into(),
        }
    };
    connection.end(&error);
}
