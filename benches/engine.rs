//! What the engine costs by itself: one tenant, one thread, no store, no sockets. Prints
//! nanoseconds a message for each case; run it with `cargo bench --bench engine`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use gmq::engine::{
    Config, Destination, Effect, HashKey, Input, Recovered, Request, Tags, Tenant, TenantLimits,
    Window,
};
use gmq::types::{
    ConnectionId, Content, Level, Lsn, Message, Monotonic, Now, QueueName, RequestToken, Tag,
};

const PUBLISHER: ConnectionId = ConnectionId(1);
const CONSUMER: ConnectionId = ConnectionId(2);

fn main() {
    let count = 300_000;
    // The first case warms up and is not told.
    one_by_one(Level::Memory, 1, 0, count / 10);
    tell("publish, deliver, ack", one_by_one(Level::Memory, 1, 0, count));
    tell("… with 100 consumers", one_by_one(Level::Memory, 100, 0, count));
    tell("… and 10,000 without credit", one_by_one(Level::Memory, 1, 10_000, count));
    tell("… on a durable store", one_by_one(Level::Disk, 1, 0, count));
    tell("publish 100, pull 100, ack up to", batches(Level::Memory, 100, count));
    tell("… on a durable store", batches(Level::Disk, 100, count));
    tell("publish alone", publish_alone(count));
}

fn tell(case: &str, (spent, messages): (Duration, u64)) {
    println!("{case:40} {:8.0} ns a message", spent.as_nanos() as f64 / messages as f64);
}

struct Bench {
    tenant: Tenant,
    effects: Vec<Effect>,
    now: Now,
    durable: bool,
}

impl Bench {
    fn new(level: Level) -> Self {
        let config = Config {
            level,
            level_max: level,
            window: Window { messages: 100_000, bytes: 1 << 30 },
            outbox_bytes_max: 1 << 24,
            subscriptions_max: 1_000,
            pulls_max: 1_000,
            reservation: 1 << 20,
            hash_key: HashKey([1, 2]),
        };
        let limits = TenantLimits { auto_create: true, ..TenantLimits::default() };
        let now = Now { monotonic: Monotonic::from_nanos(1), wall_ms: 1_800_000_000_000 };
        let tenant = Tenant::new(config, limits, Recovered::default(), now);
        Self { tenant, effects: Vec::new(), now, durable: level > Level::Memory }
    }

    fn request(&mut self, connection: ConnectionId, request: Request) {
        let token = RequestToken { id: None, op: "bench", frame_bytes: 100 };
        self.input(Input::Request { connection, token, request });
    }

    /// Hands in an input; a store as fast as can be makes its batches durable.
    fn input(&mut self, input: Input) {
        self.now.monotonic = self.now.monotonic + Duration::from_nanos(100);
        self.tenant.handle(self.now, input, &mut self.effects);
        let mut told = 0;
        while self.durable {
            let batch = self.effects[told..].iter().rev().find_map(|effect| match effect {
                Effect::Append(batch) => Some(batch.lsn),
                _ => None,
            });
            let Some(Lsn(lsn)) = batch else { break };
            told = self.effects.len();
            self.tenant.handle(self.now, Input::Durable(Lsn(lsn)), &mut self.effects);
        }
    }

    /// The deliveries among the effects, which are forgotten.
    fn deliveries(&mut self) -> Vec<(ConnectionId, Tag, u64)> {
        let mut all = Vec::new();
        for effect in self.effects.drain(..) {
            match black_box(effect) {
                Effect::Deliver { connection, delivery, .. } => {
                    all.push((connection, delivery.tag, delivery.wire_bytes()));
                }
                Effect::Reply {
                    connection,
                    result: Ok(gmq::engine::Reply::Pulled { deliveries }),
                    ..
                } => {
                    let given = deliveries.iter();
                    all.extend(given.map(|d| (connection, d.tag, d.wire_bytes())));
                }
                _ => {}
            }
        }
        all
    }
}

fn queue() -> QueueName {
    QueueName::new("orders.eu").expect("a name")
}

fn publish(messages: usize) -> Request {
    let content = Content::Payload(vec![7; 128].into());
    let message = Message { content, properties: None, priority: None, published_at: 0 };
    let (may_create, batch, require) = (true, messages > 1, None);
    Request::Publish {
        to: Destination::Queue { name: queue(), may_create },
        messages: vec![message; messages],
        batch,
        require,
    }
}

fn one_by_one(level: Level, consumers: u64, without_credit: u64, count: u64) -> (Duration, u64) {
    let mut bench = Bench::new(level);
    for consumer in 0..without_credit {
        let request = Request::Consume { queue: queue(), prefetch: 1, auto_ack: false };
        bench.request(PUBLISHER, publish(1));
        bench.request(ConnectionId(1_000_000 + consumer), request);
    }
    bench.effects.clear();
    bench.request(PUBLISHER, publish(1));
    for consumer in 0..consumers {
        let request = Request::Consume { queue: queue(), prefetch: 100, auto_ack: false };
        bench.request(ConnectionId(CONSUMER.0 + consumer), request);
    }
    let start = Instant::now();
    for _ in 0..count {
        bench.request(PUBLISHER, publish(1));
        for (connection, tag, bytes) in bench.deliveries() {
            bench.input(Input::Sent { connection, bytes });
            bench.request(connection, Request::Ack(Tags::List(vec![tag])));
        }
    }
    (start.elapsed(), count)
}

fn batches(level: Level, size: usize, count: u64) -> (Duration, u64) {
    let mut bench = Bench::new(level);
    let rounds = count / size as u64;
    let start = Instant::now();
    for _ in 0..rounds {
        bench.request(PUBLISHER, publish(size));
        let (max, wait_ms, auto_ack, bytes_max) = (size as u32, 0, false, 1 << 30);
        bench
            .request(CONSUMER, Request::Pull { queue: queue(), max, wait_ms, auto_ack, bytes_max });
        let given = bench.deliveries();
        let bytes = given.iter().map(|(_, _, bytes)| bytes).sum();
        let last = given.last().expect("a pull takes what was published").1;
        bench.input(Input::Sent { connection: CONSUMER, bytes });
        bench.request(CONSUMER, Request::Ack(Tags::UpTo(last)));
    }
    (start.elapsed(), rounds * size as u64)
}

fn publish_alone(count: u64) -> (Duration, u64) {
    let mut bench = Bench::new(Level::Memory);
    let start = Instant::now();
    for _ in 0..count {
        bench.request(PUBLISHER, publish(1));
        bench.effects.clear();
    }
    (start.elapsed(), count)
}
