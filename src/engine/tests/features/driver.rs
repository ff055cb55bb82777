//! Runs an engine and the model side by side. Requests are told by the model beforehand; what the
//! engine does of its own accord (who gets a message, when the dead are moved) is followed, and
//! judged by what must then be true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::op::{Op, QUEUES};
use super::plain::{Place, PlainQueue};
use crate::engine::image::Image;
use crate::engine::tests::bench::{Answer, nack_of, name, open};
use crate::engine::*;
use crate::types::*;

/// Looks at everything and is never given anything.
pub(super) const WATCHER: ConnectionId = ConnectionId(1);

#[derive(Default)]
pub(super) struct PlainConnection {
    pub(super) subscriptions: BTreeMap<u64, (QueueName, u32)>,
    /// Tags whose lease ran out, with their subscription.
    pub(super) ghosts: BTreeMap<u64, u64>,
    pub(super) last_subscription: u64,
    pub(super) last_tag: u64,
}

pub(super) struct Driver {
    pub(super) config: Config,
    pub(super) tenant: Tenant,
    pub(super) image: Image,
    pub(super) now: Now,
    pub(super) queues: BTreeMap<QueueName, PlainQueue>,
    pub(super) connections: BTreeMap<ConnectionId, PlainConnection>,
    pub(super) current: [ConnectionId; 3],
    pub(super) next_connection: u64,
    pub(super) next_text: u64,
    /// What a request brings into queues that it was admitted to: messages, and their bytes.
    pub(super) coming: BTreeMap<QueueName, (u64, u64)>,
    /// What came into queues in several steps of one request.
    pub(super) arrived: BTreeSet<Tagged>,
    /// The next `seq` of each queue before the request.
    pub(super) visible_to: BTreeMap<QueueName, u64>,
    pub(super) last_fence: Fence,
    pub(super) durable: bool,
}

pub(super) type Tagged = (QueueName, u64);

impl Driver {
    pub(super) fn new(config: Config) -> Self {
        let now = Now { monotonic: Monotonic::from_nanos(1), wall_ms: 1_800_000_000_000 };
        let durable = config.level != Level::Memory;
        let mut driver = Self {
            tenant: Tenant::new(config.clone(), open(), Recovered::default(), now),
            config,
            image: Image::default(),
            now,
            queues: BTreeMap::new(),
            connections: BTreeMap::new(),
            current: [ConnectionId(0); 3],
            next_connection: 10,
            next_text: 0,
            coming: BTreeMap::new(),
            arrived: BTreeSet::new(),
            visible_to: BTreeMap::new(),
            last_fence: Fence(0),
            durable,
        };
        (0..3).for_each(|at| driver.connect(at));
        driver
    }

    pub(super) fn connect(&mut self, at: usize) {
        self.next_connection += 1;
        self.current[at] = ConnectionId(self.next_connection);
        self.connections.insert(self.current[at], PlainConnection::default());
    }

    pub(super) fn run(&mut self, op: &Op) {
        match op {
            Op::Publish { at, queue, messages } => {
                let to = Destination::Queue { name: name(QUEUES[*queue]), may_create: true };
                self.publish(*at, to, messages);
            }
            Op::Topic { at, topic, messages } => {
                self.publish(*at, Destination::Topic(name(topic)), messages);
            }
            Op::Consume { at, queue, prefetch } => self.consume(*at, *queue, *prefetch),
            Op::Cancel { at, subscription } => self.cancel(*at, *subscription),
            Op::Pull { at, queue, max } => self.pull(*at, *queue, *max),
            Op::Ack { at, back } => self.settle(*at, back, Request::Ack, |driver, (queue, seq)| {
                let queue = driver.queues.get_mut(&queue).unwrap();
                queue.messages.remove(&seq);
                queue.counters.acked += 1;
            }),
            Op::Nack { at, back, delay_ms } => {
                let (delay_ms, now) = (*delay_ms, self.now.wall_ms);
                let request = |tags| nack_of(tags, delay_ms);
                let until = if delay_ms > 0 { now + delay_ms } else { 0 };
                self.settle(*at, back, request, |driver, (queue, seq)| {
                    driver.queues.get_mut(&queue).unwrap().give_back(seq, until, now);
                });
            }
            Op::Reject { at, back, reason } => {
                let request = |tags| Request::Nack {
                    tags,
                    delay_ms: 0,
                    dead_letter: true,
                    reason: (*reason).into(),
                };
                self.settle(*at, back, request, |driver, (queue, seq)| {
                    let queue = driver.queues.get_mut(&queue).unwrap();
                    queue.kill(seq, DeadReason::Rejected, reason);
                    let message = queue.messages.get_mut(&seq).unwrap();
                    message.stored = (message.attempt, 0, Some((*reason).into()));
                });
            }
            Op::Extend { at, back, lease_ms } => {
                let lease_ms = *lease_ms;
                let request = |tags| Request::Extend { tags, lease_ms: Some(lease_ms) };
                let then = self.now.monotonic + Duration::from_millis(lease_ms);
                self.settle(*at, back, request, |driver, (queue, seq)| {
                    let queue = driver.queues.get_mut(&queue).unwrap();
                    let message = queue.messages.get_mut(&seq).unwrap();
                    if let Place::InHand { deadline, .. } = &mut message.place {
                        *deadline = then;
                    }
                });
            }
            Op::Declare { at, queue, settings, update } => {
                self.declare(*at, *queue, settings, *update);
            }
            Op::Delete { at, queue } => self.delete(*at, *queue),
            Op::Purge { at, queue } => self.purge(*at, *queue),
            Op::Move { at, from, to, max } => self.transfer(*at, *from, *to, *max),
            Op::Bind { at, queue, pattern } => self.bind(*at, *queue, pattern, true),
            Op::Unbind { at, queue, pattern } => self.bind(*at, *queue, pattern, false),
            Op::Disconnect { at, unsent } => self.disconnect(*at, *unsent),
            Op::Pass { ms } => self.pass(*ms),
            Op::Crash => self.crash(),
        }
    }
}

/// What happens besides requests.
impl Driver {
    pub(super) fn disconnect(&mut self, at: u8, unsent: u64) {
        let id = self.current[usize::from(at)];
        let sent_up_to = self.connections[&id].last_tag.saturating_sub(unsent);
        let now = self.now.wall_ms;
        let subscriptions: Vec<u64> = self.connections[&id].subscriptions.keys().copied().collect();
        for subscription in subscriptions {
            self.end_subscription(id, subscription);
        }
        for (tag, tagged) in self.tags(id) {
            let Some((name, seq)) = tagged else { continue };
            let queue = self.queues.get_mut(&name).unwrap();
            if tag > sent_up_to {
                queue.messages.get_mut(&seq).unwrap().attempt -= 1;
            }
            queue.give_back(seq, 0, now);
        }
        self.connections.remove(&id);
        let owned = self.queues.iter().filter(|(_, queue)| queue.owner == Some(id));
        let owned: Vec<QueueName> = owned.map(|(name, _)| name.clone()).collect();
        owned.iter().for_each(|name| self.remove_queue(name));
        self.connect(usize::from(at));
        let sent_up_to = Tag(sent_up_to);
        self.input(Input::Disconnected { connection: id, sent_up_to }, None);
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.monotonic = self.now.monotonic + Duration::from_millis(ms);
        self.now.wall_ms += ms;
        let unused: Vec<QueueName> = self.queues.keys().cloned().collect();
        for name in unused {
            let queue = &self.queues[&name];
            let over = queue.settings.expires_ms.is_some_and(|ms| {
                queue.last_used + Duration::from_millis(ms) <= self.now.monotonic
            });
            if over && self.consumers(&name) == 0 {
                self.remove_queue(&name);
            }
        }
        for (name, queue) in &mut self.queues {
            let held = queue.messages.iter().filter_map(|(seq, message)| match message.place {
                Place::InHand { connection, tag, deadline, subscription }
                    if deadline <= self.now.monotonic =>
                {
                    Some((*seq, connection, tag, subscription))
                }
                _ => None,
            });
            let over: Vec<_> = held.collect();
            for (seq, connection, tag, subscription) in over {
                queue.give_back(seq, 0, self.now.wall_ms);
                let connection = self.connections.get_mut(&connection).unwrap();
                if let Some(id) =
                    subscription.filter(|id| connection.subscriptions.contains_key(id))
                {
                    assert_eq!(connection.subscriptions[&id].0, *name);
                    connection.ghosts.insert(tag, id);
                }
            }
        }
        self.input(Input::Tick, None);
    }

    /// The server stops hard, and starts again.
    pub(super) fn crash(&mut self) {
        self.tenant = Tenant::new(self.config.clone(), open(), self.image.recovered(), self.now);
        self.tenant.check_invariants();
        self.connections.clear();
        (0..3).for_each(|at| self.connect(at));
        self.queues.retain(|_, queue| queue.owner.is_none());
        for (name, queue) in &mut self.queues {
            queue.counters = QueueCounters::default();
            queue.last_used = self.now.monotonic;
            let stored = self.image.queues.values().find(|q| q.name == *name).unwrap();
            queue.next_seq = stored.next_seq.0;
            if queue.settings.storage == Storage::Memory {
                queue.messages.clear();
                queue.keys.clear();
            }
            for message in queue.messages.values_mut() {
                let (attempt, not_before, rejected) = message.stored.clone();
                (message.attempt, message.not_before) = (attempt, not_before);
                message.blind = false;
                // The store names one by one what was delayed or returned, and no other.
                let named = message.stored.0 > 0 || message.message.not_before() > 0;
                message.dated = named && queue.settings.ttl_ms.is_some();
                message.place = match rejected {
                    Some(detail) => Place::Dead(DeadReason::Rejected, detail),
                    None => Place::Idle,
                };
            }
        }
        self.input(Input::Tick, None);
    }

    pub(super) fn consumers(&self, name: &QueueName) -> u64 {
        let connections = self.connections.values();
        let of = connections.map(|connection| {
            connection.subscriptions.values().filter(|(queue, _)| queue == name).count() as u64
        });
        of.sum()
    }

    /// A request with the answer that it must get.
    pub(super) fn request(&mut self, at: u8, request: Request, reply: Answer) {
        self.step(at, request, Some(reply), None);
    }

    pub(super) fn step(
        &mut self,
        at: u8,
        request: Request,
        reply: Option<Answer>,
        pull: Option<(QueueName, u32)>,
    ) {
        let connection = self.current[usize::from(at)];
        let token = RequestToken { id: None, op: "test", frame_bytes: 0 };
        let input = Input::Request { connection, token, request };
        let answer = self.input(input, pull);
        if let Some(reply) = reply {
            assert_eq!(answer, Some(reply));
        }
    }
}
