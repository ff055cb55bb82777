//! Runs an engine and the plain model side by side, and compares whatever can be seen.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::op::{Choice, Op};
use super::plain::{Place, Plain, PlainMessage};
use super::store::LateStore;
use super::{all_visible, stored};
use crate::engine::tests::bench::{Answer, name, text};
use crate::engine::*;
use crate::types::*;

/// An answer that is to come.
struct Expected {
    connection: ConnectionId,
    /// `None`: judged when it comes (pulls, peeks of durable queues).
    answer: Option<Answer>,
    /// Not before this is durable.
    after: Lsn,
    /// The queue whose replies keep their order.
    ordered: Option<QueueName>,
}

/// A message that was removed under `auto_ack` and is to be sent.
struct Taken {
    queue: QueueName,
    seq: u64,
    attempt: u32,
    text: String,
    after: Lsn,
}

pub(super) struct Driver {
    tenant: Tenant,
    plain: Plain,
    store: LateStore,
    connections: u64,
    current: [ConnectionId; 4],
    next_request: u64,
    next_text: u64,
    expected: BTreeMap<u64, Expected>,
    taken: Vec<Taken>,
    /// Whether what was taken may be gone with its connection.
    losses: bool,
    last_fence: Fence,
    /// The last `seq` told of each queue of a durable store.
    told: BTreeMap<QueueId, u64>,
    deleted: BTreeMap<QueueName, Lsn>,
    settled_at: BTreeMap<(ConnectionId, u64), Lsn>,
    failed_loads: bool,
    durable_store: bool,
}

/// What one input led to, gathered for the comparison.
#[derive(Default)]
struct Round {
    /// What was ready before the deliveries, and what was delivered, by queue.
    ready: BTreeMap<QueueName, Vec<u64>>,
    given: BTreeMap<QueueName, Vec<u64>>,
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
    fn connection(&self, at: u8) -> ConnectionId {
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

    fn is_waiting_pull(&self, connection: ConnectionId, id: u64) -> bool {
        let connection = self.plain.connections.get(&connection);
        let pull = connection.and_then(|connection| connection.pulls.get(&id));
        pull.is_some_and(|pull| pull.ending.is_none())
    }

    fn flush(&mut self, batches: usize) {
        if let Some(lsn) = self.store.flush(batches) {
            self.plain.durable = lsn;
            self.step(Input::Durable(lsn));
        }
    }

    fn answer(&mut self, load: usize, fails: bool) {
        if let Some(input) = self.store.answer(load, fails) {
            self.failed_loads |= fails;
            self.step(input);
        }
    }

    fn disconnect(&mut self, at: u8, unsent: u8) {
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

    fn forbid(&mut self, at: u8, queue: u8) {
        let connection = self.connection(at);
        let queue = queue_name(queue);
        self.plain.forbid(connection, &queue);
        self.losses = true;
        self.step(Input::Forbid { connection, queues: vec![queue] });
    }

    /// Time passes, and the engine is called at each deadline that it names.
    fn pass(&mut self, ms: u64) {
        let end = self.plain.now.monotonic + Duration::from_millis(ms);
        while let Some(at) = self.tenant.next_deadline().filter(|at| *at <= end) {
            self.go_to(at.max(self.plain.now.monotonic));
            self.step(Input::Tick);
        }
        self.go_to(end);
        self.step(Input::Tick);
    }

    fn go_to(&mut self, at: Monotonic) {
        let now = &mut self.plain.now;
        now.wall_ms += at.as_nanos() / 1_000_000 - now.monotonic.as_nanos() / 1_000_000;
        now.monotonic = at;
    }

    /// The server stops hard and starts anew from what stands.
    fn crash(&mut self, kept: usize) {
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

    fn send(&mut self, op: &Op) {
        let (at, request, ordered) = self.request(op);
        let connection = self.connection(at);
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
    fn known_after(&self, name: &QueueName, request: &Request) -> Lsn {
        let consumes = matches!(request, Request::Consume { .. } | Request::Pull { .. });
        match self.plain.queues.get(name) {
            Some(queue) if consumes => queue.created,
            Some(queue) => queue.shaped,
            None => self.deleted.get(name).copied().unwrap_or_default(),
        }
    }

    /// What must be durable before it is told that a tag of the request is unknown.
    fn unknown_after(&self, connection: ConnectionId, request: &Request) -> Lsn {
        let tags = match request {
            Request::Ack(Tags::List(tags))
            | Request::Nack { tags: Tags::List(tags), .. }
            | Request::Extend { tags: Tags::List(tags), .. } => tags,
            _ => return Lsn(0),
        };
        let settled = tags.iter().filter_map(|tag| self.settled_at.get(&(connection, tag.0)));
        settled.max().copied().unwrap_or_default()
    }

    fn tags(&self, at: u8, choice: &Choice) -> Tags {
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
    fn request(&mut self, op: &Op) -> (u8, Request, bool) {
        match op.clone() {
            Op::Publish { at, queue, messages, may_create, require } => {
                let batch = messages.len() > 1;
                let messages = messages.into_iter().map(|size| self.message(size)).collect();
                let queue = queue_name(queue);
                (at, Request::Publish { queue, may_create, messages, batch, require }, true)
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
                (at, Request::Nack { tags: self.tags(at, &tags), delay_ms }, false)
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

    fn message(&mut self, size: u16) -> Message {
        self.next_text += 1;
        let text = format!("{:.<width$}", format!("m{}.", self.next_text), width = size as usize);
        stored(&text, 0)
    }

    /// Hands in one input whose effect on the model is made, and judges what comes of it.
    fn step(&mut self, input: Input) {
        self.plain.expire();
        let mut effects = Vec::new();
        self.tenant.handle(self.plain.now, input, &mut effects);
        self.tenant.check_invariants();
        let mut round = Round::default();
        let own = self.note_batches(&effects, &mut round);
        if let Some(expected) = self.expected.get_mut(&self.next_request) {
            expected.after = expected.after.max(own);
        }
        for effect in effects {
            self.judge(effect, &mut round);
        }
        for (queue, mut given) in round.given {
            given.sort_unstable();
            assert_eq!(given, round.ready[&queue][..given.len()], "the lowest seq goes first");
        }
        self.plain.settled.clear();
        self.compare_state();
    }

    /// Hands the batches to the store. Answers the LSN that the reply to the request at hand, if
    /// there is one, has to wait for.
    fn note_batches(&mut self, effects: &[Effect], round: &mut Round) -> Lsn {
        let mut own = Lsn(0);
        let mut removed = Vec::new();
        for effect in effects {
            let Effect::Append(batch) = effect else { continue };
            self.store.append(batch);
            for record in &batch.records {
                match self.note_record(record, batch.lsn) {
                    Some((queue, seq)) => removed.push((queue, seq, batch.lsn)),
                    None if is_own(record) => own = batch.lsn,
                    None => {}
                }
            }
        }
        let named: Vec<_> = self.plain.queues.iter_mut().collect();
        for (_, queue) in named {
            let (shaped, blocks) = (queue.shaped, &queue.blocks);
            for (seq, message) in queue.messages.iter_mut().filter(|(_, m)| m.after.is_none()) {
                assert!(!queue.durable, "messages of durable queues are recorded");
                let block = blocks.iter().find(|(up_to, _)| up_to >= seq);
                assert!(!self.durable_store || block.is_some(), "a seq is reserved");
                let after = block.map_or(shaped, |(_, lsn)| shaped.max(*lsn));
                message.after = Some(after);
                own = own.max(after);
            }
        }
        for (name, queue) in &self.plain.queues {
            round.ready.insert(name.clone(), queue.ready(self.plain.durable));
        }
        for (queue, seq, lsn) in removed {
            let message = self.take(&queue, seq, round);
            let attempt = message.attempt + 1;
            let text = message.text;
            self.taken.push(Taken { queue, seq, attempt, text, after: lsn });
        }
        own
    }

    /// Answers the message that a record removes although no request settled it.
    fn note_record(&mut self, record: &Record, lsn: Lsn) -> Option<(QueueName, u64)> {
        let find = |plain: &Plain, id: QueueId| {
            plain.queues.iter().find(|(_, q)| q.id == Some(id)).map(|(name, _)| name.clone())
        };
        match record {
            Record::Created { queue, name, .. } => {
                let plain = self.plain.queues.get_mut(name).expect("a queue is made");
                (plain.id, plain.created, plain.shaped) = (Some(*queue), lsn, lsn);
            }
            Record::Changed { queue, .. } => {
                let name = find(&self.plain, *queue).expect("a queue is changed");
                self.plain.queues.get_mut(&name).unwrap().shaped = lsn;
            }
            Record::Deleted { queue } => {
                let name = self.store.durable.queues.get(queue).map(|q| q.name.clone());
                // A queue whose making is not durable either is told of by no one.
                for name in name.into_iter().chain(self.deleted_names()) {
                    self.deleted.insert(name, lsn);
                }
            }
            Record::Published { queue, seq, message } => {
                let name = find(&self.plain, *queue).expect("a queue is published to");
                let plain = self.plain.queues.get_mut(&name).unwrap();
                let plain = plain.messages.get_mut(&seq.0).expect("a message is published");
                assert_eq!(plain.text, text(message));
                plain.after = Some(lsn);
            }
            Record::Removed { queue, seq } => {
                let name = find(&self.plain, *queue).expect("a message of a queue is removed");
                let key = (name, seq.0);
                return (!self.plain.settled.contains(&key)).then_some(key);
            }
            Record::SeqReserved { queue, up_to } => {
                let name = find(&self.plain, *queue).expect("a queue's numbers are reserved");
                self.plain.queues.get_mut(&name).unwrap().blocks.push((up_to.0, lsn));
            }
            Record::Delayed { .. } | Record::Purged { .. } | Record::FenceReserved { .. } => {}
        }
        None
    }

    /// Names that the model does not have and of which a record tells that they went.
    fn deleted_names(&self) -> Vec<QueueName> {
        (0..3).map(queue_name).filter(|name| !self.plain.queues.contains_key(name)).collect()
    }

    fn judge(&mut self, effect: Effect, round: &mut Round) {
        match effect {
            Effect::Append(_) => {}
            Effect::Load(load) => {
                let queue = self.plain.queues.values().find(|q| q.id == Some(load.queue));
                let queue = queue.expect("a load is of a queue");
                let asked = queue.messages.range(load.from_seq.0..=load.to_seq.0);
                let durable = |m: &PlainMessage| m.after.is_some_and(|a| a <= self.plain.durable);
                assert!(asked.map(|(_, m)| m).all(durable), "only what is durable is loaded");
                assert!(load.messages_max > 0 && load.bytes_max > 0);
                self.store.ask(load);
            }
            Effect::Deliver { connection, subscription, delivery } => {
                self.judge_delivery(connection, subscription, delivery, round);
            }
            Effect::Cancelled { connection, subscription, .. } => {
                let plain = &self.plain.connections[&connection];
                assert!(!plain.subscriptions.contains_key(&subscription.0));
            }
            Effect::Reply { connection, token, result } => {
                let Some(RequestId::Number(id)) = token.id else { panic!("{token:?}") };
                self.judge_reply(connection, id, result, round);
            }
        }
    }

    /// The model's message is given away.
    fn take(&mut self, queue: &QueueName, seq: u64, round: &mut Round) -> PlainMessage {
        let ready = &round.ready[queue];
        assert!(ready.contains(&seq), "{queue} {seq} is not among the ready {ready:?}");
        round.given.entry(queue.clone()).or_default().push(seq);
        let queue = self.plain.queues.get_mut(queue).unwrap();
        let message = queue.messages.remove(&seq).expect("no message is given twice");
        queue.counters.delivered += 1;
        queue.counters.redelivered += u64::from(message.attempt > 0);
        queue.counters.acked += 1;
        message
    }

    /// A delivery that the client has to settle, if `settled` does not say that it is done.
    fn give(
        &mut self,
        at: ConnectionId,
        subscription: Option<u64>,
        settled: bool,
        delivery: &Delivery,
        round: &mut Round,
    ) {
        let (name, seq) = (&delivery.queue, delivery.seq.0);
        let held = self.taken.iter().position(|taken| {
            (&taken.queue, taken.seq, &taken.text) == (name, seq, &text(&delivery.message))
        });
        let tag = delivery.tag.0;
        let connection = self.plain.connections.get_mut(&at).expect("a connection");
        assert_eq!(tag, connection.last_tag + 1, "tags are given one after the other");
        connection.last_tag = tag;
        connection.outbox_bytes += delivery.wire_bytes();
        assert!(delivery.fence > self.last_fence, "fences grow");
        self.last_fence = delivery.fence;
        assert!(delivery.fence.0 < 1 << 53 && seq < 1 << 53);
        assert!(!self.durable_store || delivery.fence <= self.store.durable.fence);
        if let Some(index) = held {
            let taken = self.taken.remove(index);
            assert_eq!(delivery.attempt, taken.attempt);
            assert!(taken.after <= self.plain.durable, "done before it is sent");
            return;
        }
        let mut message = self.take(name, seq, round);
        message.attempt += 1;
        assert_eq!(text(&delivery.message), message.text);
        assert_eq!(delivery.attempt, message.attempt);
        assert_eq!(delivery.message.published_at, message.published_at);
        let queue = self.plain.queues.get_mut(name).unwrap();
        if !settled {
            queue.counters.acked -= 1;
            let lease = Duration::from_millis(queue.settings.ack_timeout_ms);
            let deadline = self.plain.now.monotonic + lease;
            message.place = Place::InHand { connection: at, tag, deadline };
            queue.messages.insert(seq, message);
            let hand = (name.clone(), seq, subscription);
            self.plain.connections.get_mut(&at).unwrap().hands.insert(tag, hand);
        } else {
            assert!(!queue.durable, "a durable message is removed before it is sent");
        }
    }

    fn judge_delivery(
        &mut self,
        at: ConnectionId,
        subscription: SubscriptionId,
        delivery: Delivery,
        round: &mut Round,
    ) {
        let connection = &self.plain.connections[&at];
        let held = self.taken.iter().any(|taken| taken.text == text(&delivery.message));
        let mut settled = true;
        if !held {
            let plain = &connection.subscriptions[&subscription.0];
            assert_eq!(plain.queue, delivery.queue);
            assert!(connection.filled(subscription.0) < plain.prefetch, "prefetch bounds");
            let outbox_bytes_max = self.plain.config.outbox_bytes_max;
            assert!(connection.outbox_bytes < outbox_bytes_max, "the outbox bounds");
            settled = plain.auto_ack;
        }
        self.give(at, Some(subscription.0), settled, &delivery, round);
    }

    fn judge_reply(&mut self, at: ConnectionId, id: u64, answer: Answer, round: &mut Round) {
        let expected = self.expected.remove(&id).expect("exactly one reply");
        assert_eq!(expected.connection, at);
        assert!(
            expected.after <= self.plain.durable || answer == Err(Refusal::StorageUnavailable),
            "{answer:?} is told before it is durable"
        );
        if let Some(queue) = &expected.ordered {
            let earlier =
                self.expected.range(..id).find(|(_, e)| e.ordered.as_ref() == Some(queue));
            assert!(earlier.is_none(), "replies about a queue keep their order");
        }
        let connection = self.plain.connections.get_mut(&at).unwrap();
        let waits = connection.pulls.contains_key(&id);
        if let Ok(Reply::Peeked { messages, .. }) = &answer {
            let bytes = messages.iter().map(|peeked| peeked.message.wire_bytes() as u64);
            connection.outbox_bytes += bytes.sum::<u64>();
        }
        match (expected.answer, answer) {
            (None, Ok(Reply::Peeked { queue, messages })) => self.judge_peek(&queue, &messages),
            (None, answer) if waits => self.judge_pull(at, id, answer, round),
            (None, Err(refusal)) => {
                let gone = [Refusal::NoSuchQueue, Refusal::StorageUnavailable];
                assert!(gone.contains(&refusal), "{refusal:?}");
            }
            (Some(Ok(Reply::Info(then))), Ok(Reply::Info(now))) if self.durable_store => {
                // Which pulls were answered is not known before their answers are told, and what
                // is in the store only has no age.
                let (mut then, mut now) = (then, now);
                (then.consumers, now.consumers) = (0, 0);
                (then.oldest_age_ms, now.oldest_age_ms) = (0, 0);
                assert_eq!(then, now);
            }
            (Some(Ok(Reply::List { .. })), Ok(Reply::List { .. })) if self.durable_store => {}
            (Some(expected), answer) => {
                if let Ok(Reply::Published { .. }) = &answer {
                    self.check_told();
                }
                assert_eq!(expected, answer);
            }
            (None, answer) => panic!("{answer:?}"),
        }
    }

    /// What was told of sequence numbers stands in the store.
    fn check_told(&mut self) {
        for queue in self.plain.queues.values().filter(|_| self.durable_store) {
            let (Some(id), durable) = (queue.id, self.plain.durable) else { continue };
            let told = queue.messages.iter().filter(|(_, m)| m.after.is_some_and(|a| a <= durable));
            let Some((last, _)) = told.last() else { continue };
            let image = &self.store.durable.queues[&id];
            assert!(image.next_seq.0 > *last, "a seq that is told stands");
            self.told.insert(id, *last);
        }
    }

    fn judge_peek(&self, queue: &QueueName, messages: &[Peeked]) {
        assert!(messages.is_sorted_by_key(|peeked| peeked.seq));
        let Some(plain) = self.plain.queues.get(queue) else { return };
        for peeked in messages {
            if let Some(message) = plain.messages.get(&peeked.seq.0) {
                assert_eq!(message.text, text(&peeked.message));
                // Its attempts may have changed since it was looked at.
                assert!(message.after.is_some_and(|after| after <= self.plain.durable));
            }
        }
    }

    fn judge_pull(&mut self, at: ConnectionId, id: u64, answer: Answer, round: &mut Round) {
        let connection = self.plain.connections.get_mut(&at).unwrap();
        let waiting = connection.pulls.len();
        let pull = connection.pulls.remove(&id).unwrap();
        let deliveries = match answer {
            Ok(Reply::Pulled { deliveries }) if !deliveries.is_empty() => deliveries,
            answer => {
                if let Some(ending) = pull.ending {
                    let early = pull.told_late && answer.is_ok();
                    return assert!(early || answer == ending, "{answer:?}");
                }
                match answer {
                    Ok(_) => {
                        assert!(pull.deadline <= self.plain.now.monotonic, "it may wait");
                        let given = round.given.get(&pull.queue).map_or(0, Vec::len);
                        let ready = round.ready[&pull.queue].len();
                        assert!(ready == given || pull.told_late, "nothing is left");
                    }
                    Err(Refusal::StorageUnavailable) => assert!(self.failed_loads),
                    Err(Refusal::QuotaExceeded(Quota::Pulls)) => {
                        assert!(waiting > self.plain.config.pulls_max);
                    }
                    Err(refusal) => panic!("{refusal:?}"),
                }
                return;
            }
        };
        assert!(deliveries.len() <= pull.max);
        let bytes: u64 = deliveries.iter().map(Delivery::wire_bytes).sum();
        assert!(deliveries.len() == 1 || bytes <= pull.bytes_max);
        assert!(deliveries.is_sorted_by_key(|delivery| delivery.seq));
        for delivery in deliveries {
            assert_eq!(delivery.queue, pull.queue);
            self.give(at, None, pull.auto_ack, &delivery, round);
        }
    }

    /// What can be compared at any time.
    fn compare_state(&mut self) {
        assert_eq!(self.tenant.usage(), self.plain.usage());
        if !self.durable_store {
            self.compare_quiet();
            return;
        }
        let newest = &self.store.newest;
        assert_eq!(newest.queues.len(), self.plain.queues.len());
        for (name, queue) in &self.plain.queues {
            let image = &newest.queues[&queue.id.expect("a queue is recorded")];
            assert_eq!((&image.name, &image.settings), (name, &queue.settings));
            if !queue.durable {
                assert!(image.messages.is_empty());
                continue;
            }
            let seqs: Vec<u64> = image.messages.keys().map(|seq| seq.0).collect();
            assert!(seqs.iter().eq(queue.messages.keys()), "{name}: the store has what is there");
            for (seq, message) in &queue.messages {
                let stored = &image.messages[&Seq(*seq)];
                assert_eq!(message.text, text(&stored.message));
                if let Place::Delayed(until) = message.place {
                    assert_eq!(stored.not_before, until);
                    assert_eq!(stored.attempt, message.attempt);
                }
            }
        }
    }

    /// What can be compared when nothing is under way.
    fn compare_quiet(&self) {
        for (id, connection) in &self.plain.connections {
            assert_eq!(self.tenant.watched(*id), self.plain.watched(*id));
            assert!(connection.pulls.values().all(|pull| pull.ending.is_none()));
            assert!(connection.pulls.len() <= self.plain.config.pulls_max);
            if self.plain.draining || connection.outbox_bytes >= self.plain.config.outbox_bytes_max
            {
                continue;
            }
            for (id, subscription) in &connection.subscriptions {
                let ready = self.plain.queues[&subscription.queue].ready(self.plain.durable);
                let has_credit = connection.filled(*id) < subscription.prefetch;
                assert!(ready.is_empty() || !has_credit, "who can take gets what there is");
            }
            for pull in connection.pulls.values() {
                let ready = self.plain.queues[&pull.queue].ready(self.plain.durable);
                assert!(ready.is_empty(), "who waits gets what there is");
                assert!(pull.deadline > self.plain.now.monotonic, "and is answered in time");
            }
        }
        assert!(self.durable_store || self.taken.is_empty());
    }

    /// Everything, message by message.
    fn compare_all(&mut self) {
        self.compare_quiet();
        if self.plain.draining {
            return;
        }
        for queue in 0..3 {
            let name = queue_name(queue);
            if !self.plain.queues.contains_key(&name) {
                continue;
            }
            let mut then = self.plain.info(&name);
            let Some(Ok(Reply::Info(mut now))) = self.ask(Request::Info { queue: name.clone() })
            else {
                panic!("no info");
            };
            if self.durable_store {
                (then.oldest_age_ms, now.oldest_age_ms) = (0, 0);
            }
            assert_eq!(then, *now);
            let (from_seq, max, bytes_max) = (Seq(0), 1_000, 1 << 20);
            let request = Request::Peek { queue: name.clone(), from_seq, max, bytes_max };
            let seen = self.ask(request).expect("a peek is answered");
            assert_eq!(seen, self.plain.peek(&name, 0, max));
        }
    }

    /// Asks on a connection of its own that takes everything at once.
    fn ask(&mut self, request: Request) -> Option<Answer> {
        let connection = ConnectionId(99);
        let token = RequestToken { id: None, op: "test", frame_bytes: 0 };
        let mut inputs = VecDeque::from([Input::Request { connection, token, request }]);
        let mut answer = None;
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.tenant.handle(self.plain.now, input, &mut effects);
            self.tenant.check_invariants();
            for effect in effects {
                match effect {
                    Effect::Reply { connection: ConnectionId(99), result, .. } => {
                        answer = Some(result);
                    }
                    Effect::Load(load) => {
                        self.store.ask(load);
                        inputs.extend(self.store.answer(1, false));
                    }
                    other => panic!("looking changes nothing: {other:?}"),
                }
            }
        }
        let sent_up_to = Tag(0);
        let mut effects = Vec::new();
        self.tenant.handle(
            self.plain.now,
            Input::Disconnected { connection, sent_up_to },
            &mut effects,
        );
        assert!(effects.is_empty());
        answer
    }
}

fn queue_name(queue: u8) -> QueueName {
    name(&format!("q{queue}"))
}

/// The queue that a request names.
fn ordered_name(request: &Request) -> Option<&QueueName> {
    match request {
        Request::Publish { queue, .. }
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

/// Whether the record is of what a request asked for.
fn is_own(record: &Record) -> bool {
    !matches!(record, Record::FenceReserved { .. } | Record::SeqReserved { .. })
}
