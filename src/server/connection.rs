//! An authenticated connection: frames in, requests in batches to the tenant's engine, replies and
//! deliveries out. Refuses to read while the peer leaves too much unread or unanswered.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Context;
use super::session::Session;
use super::transport::{Transport, Turn};
use crate::broker::{Outgoing, Signal};
use crate::command::{self, Outcome};
use crate::config::Limits;
use crate::engine::Input;
use crate::protocol::{CloseCode, ErrorCode, Parsed, frame, request, response};

/// Replies and deliveries are turned into text up to about so much at a time, then written.
/// Unit: bytes.
const OUT_BYTES: usize = 64 * 1024;
/// Requests that reach the engine under one lock.
const BATCH_MAX: usize = 256;
/// What may wait for replies on one connection. Unit: bytes of frames.
const PENDING_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// So many bad frames in a row are answered; the next one closes.
const BAD_FRAMES_MAX: u32 = 100;

/// Serves until either side ends it.
pub(super) async fn serve(transport: Transport, session: Session, context: Arc<Context>) {
    let connection = Connection {
        transport,
        session,
        context,
        batch: Vec::new(),
        pending: 0,
        pending_bytes: 0,
        bad_frames: 0,
        taken_bytes: 0,
        half_closed: false,
        fatal: None,
        clock: Deadlines::new(),
    };
    connection.run().await;
}

struct Connection {
    transport: Transport,
    session: Session,
    context: Arc<Context>,
    /// For the engine, not yet handed over.
    batch: Vec<Input>,
    /// Requests that wait for their reply, and the bytes of their frames.
    pending: usize,
    pending_bytes: u64,
    /// In a row.
    bad_frames: u32,
    /// Deliveries taken since the engine was told last. Unit: bytes.
    taken_bytes: u64,
    half_closed: bool,
    /// What ends it, once what was asked before is answered.
    fatal: Option<Fatal>,
    clock: Deadlines,
}

/// A fault of the client after which nothing more is read.
#[derive(Clone, Copy)]
enum Fatal {
    FrameTooLarge { limit: usize },
    TooManyErrors,
}

/// How a connection ends.
enum End {
    /// With a `closing` event.
    Closing(CloseCode),
    /// All was answered after the client had closed its side.
    Answered,
    /// The stream is gone.
    Lost(io::Error),
}

/// How much of what was read has been taken.
#[derive(PartialEq, Eq)]
enum Taken {
    /// All complete frames.
    All,
    /// There may be more, for when less waits.
    Blocked,
}

impl Connection {
    async fn run(mut self) {
        let end = loop {
            if let Some(end) = self.step() {
                break end;
            }
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        self.end(end).await;
    }

    /// Everything that can be done without waiting.
    fn step(&mut self) -> Option<End> {
        let signal = self.session.outbox.signalled();
        if signal == Some(Signal::Revoked) {
            return Some(End::Closing(CloseCode::Revoked));
        }
        if signal == Some(Signal::Lost) {
            self.encode();
            return Some(End::Closing(ErrorCode::Standby.into()));
        }
        loop {
            let takes = signal.is_none() && self.fatal.is_none();
            let taken = if takes { self.take_requests() } else { Taken::All };
            self.encode();
            // Requests without `id` are answered by silence: no write will come round for those
            // that are still in the buffer.
            if taken == Taken::All || self.is_blocked() {
                break;
            }
        }
        if self.is_answered() {
            if let Some(fatal) = self.fatal {
                return Some(End::Closing(self.write_fatal(fatal)));
            }
            if self.half_closed {
                return Some(End::Answered);
            }
            if signal == Some(Signal::Drain) {
                return Some(End::Closing(CloseCode::ShuttingDown));
            }
        }
        None
    }

    fn is_answered(&self) -> bool {
        self.pending == 0 && self.session.outbox.bytes() == 0 && self.transport.is_flushed()
    }

    /// Whether the peer leaves too much unanswered or unread.
    fn is_blocked(&self) -> bool {
        let limits = &self.context.limits;
        self.pending >= limits.max_pending_requests
            || self.pending_bytes >= PENDING_BYTES_MAX
            || self.session.outbox.bytes() + self.transport.unwritten() as u64
                >= limits.max_outbox_bytes.as_u64()
    }

    fn take_requests(&mut self) -> Taken {
        let mut taken = Taken::Blocked;
        while self.fatal.is_none() && !self.is_blocked() {
            match self.transport.frames.next_frame() {
                Ok(Some(frame)) => match request::parse(frame, &self.context.parse_limits) {
                    Ok(parsed) => self.take_request(parsed),
                    Err(error) => self.refuse(&error),
                },
                Ok(None) => {
                    taken = Taken::All;
                    break;
                }
                Err(frame::FrameTooLarge { limit }) => {
                    self.fatal = Some(Fatal::FrameTooLarge { limit });
                }
            }
        }
        self.submit();
        if self.fatal.is_none() {
            return taken;
        }
        self.take_no_more();
        Taken::All
    }

    /// From now on it only answers: subscriptions end, waiting pulls are answered empty.
    fn take_no_more(&mut self) {
        self.half_closed = true;
        let connection = self.session.connection;
        self.session.tenant.submit(Some(connection), [Input::HalfClosed { connection }]);
    }

    fn take_request(&mut self, Parsed { token, request }: Parsed) {
        self.bad_frames = 0;
        match command::prepare(&self.session.caller(), request) {
            Ok(Outcome::Submit(request)) => {
                self.pending += 1;
                self.pending_bytes += u64::from(token.frame_bytes);
                let last = command::may_answer_at_length(&request);
                let connection = self.session.connection;
                self.batch.push(Input::Request { connection, token, request });
                if last || self.batch.len() >= BATCH_MAX {
                    self.submit();
                }
            }
            Ok(Outcome::Answer(answer)) => answer.write(&mut self.transport.out.bytes, &token),
            Err(denial) => denial.write(&mut self.transport.out.bytes, &token),
        }
    }

    fn refuse(&mut self, error: &request::ParseError) {
        if error.code != ErrorCode::BadFrame {
            self.bad_frames = 0;
        } else {
            self.bad_frames += 1;
            if self.bad_frames > BAD_FRAMES_MAX {
                self.fatal = Some(Fatal::TooManyErrors);
                return;
            }
        }
        response::parse_error(&mut self.transport.out.bytes, error);
    }

    fn write_fatal(&mut self, fatal: Fatal) -> CloseCode {
        let out = &mut self.transport.out.bytes;
        match fatal {
            Fatal::FrameTooLarge { limit } => {
                response::frame_too_large(out, limit);
                ErrorCode::FrameTooLarge.into()
            }
            Fatal::TooManyErrors => {
                response::too_many_errors(out);
                ErrorCode::TooManyErrors.into()
            }
        }
    }

    /// Hands the batch to the engine.
    fn submit(&mut self) {
        if !self.batch.is_empty() {
            self.session.tenant.submit(Some(self.session.connection), self.batch.drain(..));
        }
    }

    /// Turns what waits in the outbox into text, a bounded piece at a time.
    fn encode(&mut self) {
        while self.transport.unwritten() < OUT_BYTES {
            let Some(item) = self.session.outbox.pop() else { break };
            self.encode_item(&item);
        }
        if self.taken_bytes >= self.context.limits.max_outbox_bytes.as_u64() / 4 {
            let bytes = std::mem::take(&mut self.taken_bytes);
            let connection = self.session.connection;
            self.session.tenant.submit(Some(connection), [Input::Sent { connection, bytes }]);
        }
    }

    fn encode_item(&mut self, item: &Outgoing) {
        let written = command::write(&mut self.transport.out.bytes, item);
        self.taken_bytes += written.delivery_bytes;
        self.session.sent_up_to = self.session.sent_up_to.max(written.last_tag);
        if let Outgoing::Reply { token, .. } = item {
            self.pending -= 1;
            self.pending_bytes -= u64::from(token.frame_bytes);
        }
    }
}

impl Connection {
    /// Waits for the peer, the outbox or a deadline.
    async fn turn(&mut self) -> Result<(), End> {
        let reads = !self.half_closed && self.session.outbox.signalled().is_none();
        let read = reads && !self.is_blocked();
        let has_room = self.transport.unwritten() < OUT_BYTES;
        let seen = self.session.outbox.signalled();
        let clock = &mut self.clock;
        clock.arm(&self.context.limits, self.transport.unwritten() > 0);
        let (transport, outbox) = (&mut self.transport, &self.session.outbox);
        let turn = std::future::poll_fn(|context| {
            if let Poll::Ready(turn) = transport.poll_turn(context, read) {
                return Poll::Ready(Ok(turn));
            }
            if has_room && outbox.poll_ready(context, seen) {
                return Poll::Ready(Ok(Turn::Outbox));
            }
            clock.poll_passed(context).map(Err)
        });
        match turn.await {
            Ok(Turn::Read) => self.clock.read(),
            Ok(Turn::Wrote) => self.clock.wrote(),
            Ok(Turn::Outbox) => {}
            Ok(Turn::HalfClosed) => self.take_no_more(),
            Ok(Turn::Lost(error)) => return Err(End::Lost(error)),
            Err(code) => return Err(End::Closing(code)),
        }
        Ok(())
    }

    /// What was in hand returns first; then the last words are said.
    async fn end(mut self, end: End) {
        self.session.detach();
        match &end {
            End::Closing(code) => {
                tracing::info!(session = %self.session, code = code.as_str(), "connection closed");
                response::closing(&mut self.transport.out.bytes, *code);
            }
            End::Answered => tracing::info!(session = %self.session, "connection ended"),
            End::Lost(error) => {
                tracing::info!(session = %self.session, %error, "connection lost");
                return;
            }
        }
        let patience = match end {
            End::Closing(CloseCode::TooSlow) => CLOSE_HURRIED,
            _ => CLOSE_PATIENCE,
        };
        self.transport.close(patience).await;
    }
}

/// The peer has so long to take the last words.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// The same for one that has not been reading.
const CLOSE_HURRIED: Duration = Duration::from_millis(100);

/// When the connection ends for its peer's silence. The timer behind it is moved as seldom as
/// possible: it exists only once something is to be waited for.
struct Deadlines {
    /// When something was last received or sent.
    last_moved: Instant,
    /// Since when the peer has taken nothing of what waits for it.
    stuck_since: Option<Instant>,
    next: Option<(Instant, CloseCode)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadlines {
    fn new() -> Self {
        Self { last_moved: Instant::now(), stuck_since: None, next: None, timer: None }
    }

    fn read(&mut self) {
        self.last_moved = Instant::now();
    }

    fn wrote(&mut self) {
        self.last_moved = Instant::now();
        self.stuck_since = None;
    }

    fn arm(&mut self, limits: &Limits, waits_to_write: bool) {
        self.stuck_since = match self.stuck_since {
            _ if !waits_to_write => None,
            None => Some(Instant::now()),
            since => since,
        };
        let slow = self.stuck_since.map(|at| (at + limits.write_timeout, CloseCode::TooSlow));
        let idle = limits.idle_timeout.map(|limit| (self.last_moved + limit, CloseCode::Idle));
        self.next = match (slow, idle) {
            (Some(slow), Some(idle)) => Some(if slow.0 < idle.0 { slow } else { idle }),
            (slow, idle) => slow.or(idle),
        };
    }

    /// Ready with the reason once the deadline that was armed has passed.
    fn poll_passed(&mut self, context: &mut TaskContext<'_>) -> Poll<CloseCode> {
        let Some((at, code)) = self.next else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() > at || timer.is_elapsed() {
            timer.as_mut().reset(at);
        }
        loop {
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= at {
                return Poll::Ready(code);
            }
            timer.as_mut().reset(at);
        }
    }
}
