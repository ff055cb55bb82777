//! Runs an engine and the plain model side by side, and compares whatever can be seen.

use std::collections::BTreeMap;
use std::time::Duration;

use super::op::{Choice, Op};
use super::plain::Plain;
use super::store::LateStore;
use super::{all_visible, stored};
use crate::engine::tests::bench::{Answer, name};
use crate::engine::*;
use crate::types::*;

/// An answer that is to come.
pub(super) struct Expected {
    pub(super) connection: ConnectionId,
    /// `None`: judged when it comes (pulls, peeks of durable queues).
    pub(super) answer: Option<Answer>,
    /// Not before this is durable.
    pub(super) after: Lsn,
    /// The queue whose replies keep their order.
    pub(super) ordered: Option<QueueName>,
}

/// A message that was removed under `auto_ack` and is to be sent.
pub(super) struct Taken {
    pub(super) queue: QueueName,
    pub(super) seq: u64,
    pub(super) attempt: u32,
    pub(super) text: String,
    pub(super) after: Lsn,
}

pub(super) struct Driver {
    pub(super) tenant: Tenant,
    pub(super) plain: Plain,
    pub(super) store: LateStore,
    pub(super) connections: u64,
    pub(super) current: [ConnectionId; 4],
    /// The connection of the last request, and its number.
    pub(super) asking: ConnectionId,
    pub(super) next_request: u64,
    pub(super) next_text: u64,
    pub(super) expected: BTreeMap<u64, Expected>,
    pub(super) taken: Vec<Taken>,
    /// Whether what was taken may be gone with its connection.
    pub(super) losses: bool,
    pub(super) last_fence: Fence,
    /// The last `seq` told of each queue of a durable store.
    pub(super) told: BTreeMap<QueueId, u64>,
    pub(super) deleted: BTreeMap<QueueName, Lsn>,
    pub(super) settled_at: BTreeMap<(ConnectionId, u64), Lsn>,
    pub(super) failed_loads: bool,
    pub(super) durable_store: bool,
}

impl Driver {
    pub(super) fn new(config: Config, limits: TenantLimits) -> Self {
        let now = Now { monotonic: Monotonic::from_nanos(1), wall_ms: 1_800_000_000_000 };
        let durable_store = config.level != Level::Memory;
        let recovered = Recovered::default();
        Self {
            tenant: Tenant::new(config.clone(), limits.clone(), recovered, now),
            plain: Plain::new(config, limits, now),
            store: LateStore::default(),
            connections: 103,
            current: [100, 101, 102, 103].map(ConnectionId),
            asking: ConnectionId(0),
            next_request: 0,
            next_text: 0,
            expected: BTreeMap::new(),
            taken: Vec::new(),
            losses: false,
            last_fence: Fence(0),
            told: BTreeMap::new(),
            deleted: BTreeMap::new(),
            settled_at: BTreeMap::new(),
            failed_loads: false,
            durable_store,
        }
    }

    /// The connection that an operation means: a new one after the last one's end.
    pub(super) fn connection(&self, at: u8) -> ConnectionId {
        self.current[usize::from(at)]
    }

    /// Carries out one operation.
    pub(super) fn run(&mut self, op: &Op) {
        match op {
            Op::Sent { at, quarters } => {
                let connection = self.connection(*at);
                let Some(plain) = self.plain.connections.get_mut(&connection) else { return };
                let bytes = (plain.outbox_bytes * quarters).div_ceil(4);
                plain.outbox_bytes -= bytes;
                self.step(Input::Sent { connection, bytes });
            }
            Op::HalfClosed { at } => {
                let connection = self.connection(*at);
                self.plain.half_closed(connection);
                self.step(Input::HalfClosed { connection });
            }
            Op::Disconnected { at, unsent } => self.disconnect(*at, *unsent),
            Op::Forbid { at, queue } => self.forbid(*at, *queue),
            Op::Quotas { messages, bytes, queues, auto_create } => {
                self.plain.limits.quotas.messages = *messages;
                self.plain.limits.quotas.bytes = *bytes;
                self.plain.limits.quotas.queues = *queues;
                self.plain.limits.auto_create = *auto_create;
                self.step(Input::Limits(self.plain.limits.clone()));
            }
            Op::Pass { ms } => self.pass(*ms),
            Op::Drain => {
                self.plain.drain();
                self.step(Input::Drain);
            }
            Op::Flush { batches } => self.flush(usize::from(*batches)),
            Op::Answer { load, fails } => self.answer(usize::from(*load), *fails),
            Op::Settle => self.settle(),
            Op::Crash { kept } => self.crash(usize::from(*kept)),
            _ => self.send(op),
        }
    }

    /// Everything becomes durable and every load is answered; then engine, model and store agree.
    pub(super) fn settle(&mut self) {
        loop {
            self.flush(usize::MAX);
            while !self.store.is_quiet() {
                self.flush(usize::MAX);
                self.answer(1, false);
            }
            if !std::mem::take(&mut self.failed_loads) {
                break;
            }
            self.pass(1_000);
        }
        assert!(self.expected.iter().all(|(id, e)| self.is_waiting_pull(e.connection, *id)));
        if !self.losses {
            assert!(self.taken.is_empty(), "what was taken was sent");
        }
        self.taken.clear();
        self.compare_all();
    }

    pub(super) fn is_waiting_pull(&self, connection: ConnectionId, id: u64) -> bool {
        let connection = self.plain.connections.get(&connection);
        let pull = connection.and_then(|connection| connection.pulls.get(&id));
        pull.is_some_and(|pull| pull.ending.is_none())
    }

    pub(super) fn flush(&mut self, batches: usize) {
        if let Some(lsn) = self.store.flush(batches) {
            self.plain.durable = lsn;
            self.step(Input::Durable(lsn));
        }
    }

    pub(super) fn answer(&mut self, load: usize, fails: bool) {
        if let Some(input) = self.store.answer(load, fails) {
            self.failed_loads |= fails;
            self.step(input);
        }
    }

    pub(super) fn disconnect(&mut self, at: u8, unsent: u8) {
        let connection = self.connection(at);
        let last = self.plain.connections.get(&connection).map_or(0, |c| c.last_tag);
        let sent_up_to = Tag(last.saturating_sub(u64::from(unsent)));
        self.plain.disconnected(connection, sent_up_to.0);
        self.expected.retain(|_, expected| expected.connection != connection);
        self.settled_at.retain(|(id, _), _| *id != connection);
        self.losses = true;
        self.connections += 1;
        self.current[usize::from(at)] = ConnectionId(self.connections);
        self.step(Input::Disconnected { connection, sent_up_to });
    }

    pub(super) fn forbid(&mut self, at: u8, queue: u8) {
        let connection = self.connection(at);
        let queue = queue_name(queue);
        self.plain.forbid(connection, &queue);
        self.losses = true;
        self.step(Input::Forbid { connection, queues: vec![queue] });
    }

    /// Time passes, and the engine is called at each deadline that it names.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.plain.now.monotonic + Duration::from_millis(ms);
        while let Some(at) = self.tenant.next_deadline().filter(|at| *at <= end) {
            self.go_to(at.max(self.plain.now.monotonic));
            self.step(Input::Tick);
        }
        self.go_to(end);
        self.step(Input::Tick);
    }

    pub(super) fn go_to(&mut self, at: Monotonic) {
        let now = &mut self.plain.now;
        now.wall_ms += at.as_nanos() / 1_000_000 - now.monotonic.as_nanos() / 1_000_000;
        now.monotonic = at;
    }

    /// The server stops hard and starts anew from what stands.
    pub(super) fn crash(&mut self, kept: usize) {
        self.store.crash(kept);
        let image = &self.store.durable;
        for (id, told) in &self.told {
            if let Some(queue) = image.queues.get(id) {
                assert!(queue.next_seq.0 > *told, "a seq that was told is never given again");
            }
        }
        assert!(image.fence >= self.last_fence, "a fence that was told is never given again");
        let (config, limits) = (self.plain.config.clone(), self.plain.limits.clone());
        let now = self.plain.now;
        self.tenant = Tenant::new(config.clone(), limits.clone(), image.recovered(), now);
        self.tenant.check_invariants();
        self.plain = Plain::new(config, limits, now);
        self.plain.restore(image);
        self.expected.clear();
        self.taken.clear();
        self.deleted.clear();
        self.settled_at.clear();
        self.failed_loads = false;
        self.compare_state();
    }

    pub(super) fn send(&mut self, op: &Op) {
        let (at, request, ordered) = self.request(op);
        let connection = self.connection(at);
        self.asking = connection;
        self.next_request += 1;
        let id = self.next_request;
        let token = RequestToken { id: Some(RequestId::Number(id)), op: "test", frame_bytes: 0 };
        self.plain.expire();
        let named = ordered_name(&request).cloned();
        let before = named.as_ref().map(|name| self.known_after(name, &request));
        let unknown_after = self.unknown_after(connection, &request);
        let mut answer = self.plain.request(connection, id, &request);
        if self.durable_store && matches!(answer, Some(Ok(Reply::Peeked { .. }))) {
            answer = None;
        }
        let after = before.unwrap_or_default().max(match &answer {
            Some(Err(Refusal::UnknownTag { .. })) => unknown_after,
            _ => Lsn(0),
        });
        if let Some(pull) = self.plain.connections.get_mut(&connection).unwrap().pulls.get_mut(&id)
        {
            pull.told_late = after > self.plain.durable;
        }
        let ordered = named.filter(|_| ordered);
        self.expected.insert(id, Expected { connection, answer, after, ordered });
        self.step(Input::Request { connection, token, request });
    }

    /// What must be durable before anything is told of that name.
    pub(super) fn known_after(&self, name: &QueueName, request: &Request) -> Lsn {
        let consumes = matches!(request, Request::Consume { .. } | Request::Pull { .. });
        match self.plain.queues.get(name) {
            Some(queue) if consumes => queue.created,
            Some(queue) => queue.shaped,
            None => self.deleted.get(name).copied().unwrap_or_default(),
        }
    }

    /// What must be durable before it is told that a tag of the request is unknown.
    pub(super) fn unknown_after(&self, connection: ConnectionId, request: &Request) -> Lsn {
        let tags = match request {
            Request::Ack(Tags::List(tags))
            | Request::Nack { tags: Tags::List(tags), .. }
            | Request::Extend { tags: Tags::List(tags), .. } => tags,
            _ => return Lsn(0),
        };
        let settled = tags.iter().filter_map(|tag| self.settled_at.get(&(connection, tag.0)));
        settled.max().copied().unwrap_or_default()
    }

    pub(super) fn tags(&self, at: u8, choice: &Choice) -> Tags {
        let connection = self.plain.connections.get(&self.connection(at));
        let last = connection.map_or(0, |connection| connection.last_tag);
        match choice {
            Choice::Back(back) => {
                let tag = |back: &u8| Tag((last + 1).saturating_sub(u64::from(*back)));
                Tags::List(back.iter().map(tag).collect())
            }
            Choice::UpTo(back) => Tags::UpTo(Tag(last.saturating_sub(u64::from(*back)))),
        }
    }

    /// The request of an operation, and whether its replies keep the order of its queue.
    pub(super) fn request(&mut self, op: &Op) -> (u8, Request, bool) {
        match op.clone() {
            Op::Publish { at, queue, messages, may_create, require } => {
                let batch = messages.len() > 1;
                let messages = messages.into_iter().map(|size| self.message(size)).collect();
                let queue = queue_name(queue);
                let to = Destination::Queue { name: queue, may_create };
                (at, Request::Publish { to, messages, batch, require }, true)
            }
            Op::Consume { at, queue, prefetch, auto_ack } => {
                (at, Request::Consume { queue: queue_name(queue), prefetch, auto_ack }, false)
            }
            Op::Cancel { at, subscription } => {
                (at, Request::Cancel { subscription: SubscriptionId(subscription) }, false)
            }
            Op::Pull { at, queue, max, wait_ms, auto_ack, bytes_max } => {
                let queue = queue_name(queue);
                (at, Request::Pull { queue, max, wait_ms, auto_ack, bytes_max }, false)
            }
            Op::Ack { at, tags } => (at, Request::Ack(self.tags(at, &tags)), false),
            Op::Nack { at, tags, delay_ms } => {
                let (tags, reason) = (self.tags(at, &tags), "".into());
                (at, Request::Nack { tags, delay_ms, dead_letter: false, reason }, false)
            }
            Op::Extend { at, tags, lease_ms } => {
                (at, Request::Extend { tags: self.tags(at, &tags), lease_ms }, false)
            }
            Op::Declare { at, queue, settings, update } => {
                (at, Request::Declare { queue: queue_name(queue), settings, update }, true)
            }
            Op::Delete { at, queue, if_empty } => {
                (at, Request::Delete { queue: queue_name(queue), if_empty }, true)
            }
            Op::Purge { at, queue } => (at, Request::Purge { queue: queue_name(queue) }, true),
            Op::Info { at, queue } => (at, Request::Info { queue: queue_name(queue) }, false),
            Op::List { at, limit } => {
                let (pattern, after, visible) = (None, None, all_visible());
                let bytes_max = 1 << 20;
                (at, Request::List { pattern, after, limit, visible, bytes_max }, false)
            }
            Op::Peek { at, queue, from_seq, max } => {
                let (queue, from_seq, bytes_max) = (queue_name(queue), Seq(from_seq), 1 << 20);
                (at, Request::Peek { queue, from_seq, max, bytes_max }, false)
            }
            other => unreachable!("not a request: {other:?}"),
        }
    }

    pub(super) fn message(&mut self, size: u16) -> Message {
        self.next_text += 1;
        let text = format!("{:.<width$}", format!("m{}.", self.next_text), width = size as usize);
        stored(&text, 0)
    }
}

pub(super) fn queue_name(queue: u8) -> QueueName {
    name(&format!("q{queue}"))
}

/// The queue that a request names.
pub(super) fn ordered_name(request: &Request) -> Option<&QueueName> {
    match request {
        Request::Publish { to: Destination::Queue { name: queue, .. }, .. }
        | Request::Consume { queue, .. }
        | Request::Pull { queue, .. }
        | Request::Declare { queue, .. }
        | Request::Delete { queue, .. }
        | Request::Purge { queue }
        | Request::Info { queue }
        | Request::Peek { queue, .. } => Some(queue),
        _ => None,
    }
}
