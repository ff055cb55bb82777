//! A tenant on a workbench: a fake clock, short words for requests, and what came of them.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::*;
use crate::types::*;

/// What a tenant did with one input.
pub(super) type Effects = Vec<Effect>;
pub(super) type Answer = Result<Reply, Refusal>;

pub(super) const A: ConnectionId = ConnectionId(1);
pub(super) const B: ConnectionId = ConnectionId(2);

/// See the module.
pub(super) struct Bench {
    pub(super) tenant: Tenant,
    pub(super) now: Now,
    next_id: u64,
}

pub(super) fn name(text: &str) -> QueueName {
    QueueName::new(text).unwrap()
}

pub(super) fn message(text: &str) -> Message {
    let content = Content::Payload(text.as_bytes().into());
    Message { content, properties: None, priority: None, published_at: 0 }
}

pub(super) fn text(message: &Message) -> String {
    match &message.content {
        Content::Payload(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Content::Body(text) => text.to_string(),
    }
}

/// A configuration of the memory store.
pub(super) fn memory() -> Config {
    Config {
        level: Level::Memory,
        level_max: Level::Memory,
        window: Window { messages: usize::MAX, bytes: u64::MAX },
        outbox_bytes_max: 1 << 20,
        subscriptions_max: 10,
        pulls_max: 10,
        reservation: 100,
        hash_key: HashKey([1, 2]),
    }
}

/// A configuration of a durable store.
pub(super) fn durable() -> Config {
    Config {
        level: Level::Os,
        level_max: Level::Disk,
        window: Window { messages: 4, bytes: 1 << 20 },
        ..memory()
    }
}

pub(super) fn open() -> TenantLimits {
    TenantLimits { auto_create: true, ..TenantLimits::default() }
}

impl Bench {
    pub(super) fn new(config: Config, limits: TenantLimits) -> Self {
        Self::recovered(config, limits, Recovered::default())
    }

    pub(super) fn recovered(config: Config, limits: TenantLimits, recovered: Recovered) -> Self {
        let now = Now { monotonic: Monotonic::from_nanos(1), wall_ms: 1_800_000_000_000 };
        Self { tenant: Tenant::new(config, limits, recovered, now), now, next_id: 0 }
    }

    /// Hands in one input.
    pub(super) fn input(&mut self, input: Input) -> Effects {
        let mut effects = Vec::new();
        self.tenant.handle(self.now, input, &mut effects);
        self.tenant.check_invariants();
        effects
    }

    /// Hands in a request; what came of it, all of it.
    pub(super) fn send(&mut self, connection: ConnectionId, request: Request) -> Effects {
        self.next_id += 1;
        let id = Some(RequestId::Number(self.next_id));
        let token = RequestToken { id, op: "test", frame_bytes: 0 };
        self.input(Input::Request { connection, token, request })
    }

    /// Hands in a request that is answered at once.
    pub(super) fn ask(&mut self, connection: ConnectionId, request: Request) -> Answer {
        let effects = self.send(connection, request);
        let id = Some(RequestId::Number(self.next_id));
        let mut answers = effects.into_iter().filter_map(|effect| match effect {
            Effect::Reply { token, result, .. } if token.id == id => Some(result),
            _ => None,
        });
        answers.next().expect("an answer at once")
    }

    /// Both clocks go on, and the tenant is called at each of its deadlines.
    pub(super) fn pass(&mut self, ms: u64) -> Effects {
        let end = self.now.monotonic + Duration::from_millis(ms);
        let mut effects = Vec::new();
        while let Some(at) = self.tenant.next_deadline().filter(|at| *at <= end) {
            self.go_to(at.max(self.now.monotonic));
            effects.extend(self.input(Input::Tick));
        }
        self.go_to(end);
        effects.extend(self.input(Input::Tick));
        effects
    }

    fn go_to(&mut self, at: Monotonic) {
        let nanos = self.now.monotonic.as_nanos();
        self.now.wall_ms += at.as_nanos() / 1_000_000 - nanos / 1_000_000;
        self.now.monotonic = at;
    }

    pub(super) fn publish(&mut self, queue: &str, texts: &[&str]) -> Effects {
        self.send(A, publish(queue, texts))
    }

    pub(super) fn info(&mut self, queue: &str) -> QueueInfo {
        match self.ask(A, Request::Info { queue: name(queue) }) {
            Ok(Reply::Info(info)) => *info,
            other => panic!("{other:?}"),
        }
    }

    /// `(ready, delayed, in_hand)` of a queue, by a list: it never asks the store.
    pub(super) fn counts(&mut self, queue: &str) -> (u64, u64, u64) {
        let (pattern, after, visible) = (Some(queue.parse().unwrap()), None, all_visible());
        let request = Request::List { pattern, after, limit: 1, visible, bytes_max: 1 };
        match self.ask(A, request) {
            Ok(Reply::List { queues, .. }) => {
                (queues[0].ready, queues[0].delayed, queues[0].in_hand)
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn publish(queue: &str, texts: &[&str]) -> Request {
    Request::Publish {
        to: to(queue),
        messages: texts.iter().map(|text| message(text)).collect(),
        batch: texts.len() != 1,
        require: None,
    }
}

/// A queue that may be made.
pub(super) fn to(queue: &str) -> Destination {
    Destination::Queue { name: name(queue), may_create: true }
}

pub(super) fn consume(queue: &str, prefetch: u32) -> Request {
    Request::Consume { queue: name(queue), prefetch, auto_ack: false }
}

pub(super) fn consume_auto(queue: &str) -> Request {
    Request::Consume { queue: name(queue), prefetch: 100, auto_ack: true }
}

pub(super) fn pull(queue: &str, max: u32, wait_ms: u64) -> Request {
    let bytes_max = 1 << 20;
    Request::Pull { queue: name(queue), max, wait_ms, auto_ack: false, bytes_max }
}

pub(super) fn ack(tags: &[u64]) -> Request {
    Request::Ack(list(tags))
}

pub(super) fn nack(tags: &[u64], delay_ms: u64) -> Request {
    nack_of(list(tags), delay_ms)
}

pub(super) fn nack_of(tags: Tags, delay_ms: u64) -> Request {
    Request::Nack { tags, delay_ms, dead_letter: false, reason: "".into() }
}

pub(super) fn list(tags: &[u64]) -> Tags {
    Tags::List(tags.iter().map(|tag| Tag(*tag)).collect())
}

pub(super) fn declare(queue: &str) -> Request {
    Request::Declare { queue: name(queue), settings: SettingsPatch::default(), update: false }
}

pub(super) fn declare_with(queue: &str, settings: SettingsPatch) -> Request {
    Request::Declare { queue: name(queue), settings, update: false }
}

pub(super) fn delete(queue: &str) -> Request {
    Request::Delete { queue: name(queue), if_empty: false }
}

pub(super) fn purge(queue: &str) -> Request {
    Request::Purge { queue: name(queue) }
}

pub(super) fn peek(queue: &str, from_seq: u64, max: u32) -> Request {
    Request::Peek { queue: name(queue), from_seq: Seq(from_seq), max, bytes_max: 1 << 20 }
}

/// The deliveries to subscriptions among effects.
pub(super) fn deliveries(effects: &[Effect]) -> Vec<(ConnectionId, Delivery)> {
    let delivery = |effect: &Effect| match effect {
        Effect::Deliver { connection, delivery, .. } => Some((*connection, delivery.clone())),
        _ => None,
    };
    effects.iter().filter_map(delivery).collect()
}

/// The texts of the deliveries to subscriptions.
pub(super) fn texts(effects: &[Effect]) -> Vec<String> {
    deliveries(effects).iter().map(|(_, delivery)| text(&delivery.message)).collect()
}

/// The answers among effects.
pub(super) fn answers(effects: &[Effect]) -> Vec<Answer> {
    let answer = |effect: &Effect| match effect {
        Effect::Reply { result, .. } => Some(result.clone()),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

/// The texts of a pull's answer.
pub(super) fn pulled(answer: &Answer) -> Vec<String> {
    match answer {
        Ok(Reply::Pulled { deliveries }) => deliveries.iter().map(|d| text(&d.message)).collect(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn all_visible() -> Arc<Grants> {
    Arc::new(Grants::new(vec!["all:#".parse().unwrap()]))
}
