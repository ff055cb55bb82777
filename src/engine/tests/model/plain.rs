//! The protocol's rules as plainly as they can be written: everything is a sorted map, everything
//! is looked for by going through all of it. Says what a request is answered and what it changes;
//! who gets which message is the engine's choice, and is judged by the driver.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::bench::{Answer, text};
use crate::engine::*;
use crate::types::*;

/// Where a message is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Ready,
    Delayed(WallMs),
    InHand { connection: ConnectionId, tag: u64, deadline: Monotonic },
}

#[derive(Debug, Clone)]
pub(super) struct PlainMessage {
    pub(super) text: String,
    pub(super) size: u64,
    pub(super) published_at: WallMs,
    pub(super) attempt: u32,
    pub(super) place: Place,
    /// The batch that must be durable before it is delivered; `None`: not known yet.
    pub(super) after: Option<Lsn>,
}

#[derive(Debug)]
pub(super) struct PlainQueue {
    pub(super) id: Option<QueueId>,
    pub(super) settings: QueueSettings,
    pub(super) durable: bool,
    pub(super) next_seq: u64,
    pub(super) messages: BTreeMap<u64, PlainMessage>,
    pub(super) counters: QueueCounters,
    /// The batch that made it, the last that made or changed it, and blocks of numbers.
    pub(super) created: Lsn,
    pub(super) shaped: Lsn,
    pub(super) blocks: Vec<(u64, Lsn)>,
}

#[derive(Debug)]
pub(super) struct PlainSubscription {
    pub(super) queue: QueueName,
    pub(super) prefetch: usize,
    pub(super) auto_ack: bool,
}

#[derive(Debug)]
pub(super) struct PlainPull {
    pub(super) queue: QueueName,
    pub(super) max: usize,
    pub(super) bytes_max: u64,
    pub(super) auto_ack: bool,
    pub(super) deadline: Monotonic,
    /// The queue was not durable yet when it came: its answer may be older than what is seen.
    pub(super) told_late: bool,
    /// It must be answered so, unless it took messages before.
    pub(super) ending: Option<Answer>,
}

#[derive(Debug, Default)]
pub(super) struct PlainConnection {
    pub(super) last_tag: u64,
    pub(super) last_subscription: u64,
    pub(super) subscriptions: BTreeMap<u64, PlainSubscription>,
    /// By the number of the request.
    pub(super) pulls: BTreeMap<u64, PlainPull>,
    /// Tags in hand: queue, seq, subscription.
    pub(super) hands: BTreeMap<u64, (QueueName, u64, Option<u64>)>,
    /// Tags whose lease ran out, with their subscription.
    pub(super) ghosts: BTreeMap<u64, u64>,
    pub(super) outbox_bytes: u64,
}

impl PlainConnection {
    pub(super) fn filled(&self, subscription: u64) -> usize {
        self.hands.values().filter(|(_, _, sub)| *sub == Some(subscription)).count()
            + self.ghosts.values().filter(|sub| **sub == subscription).count()
    }
}

#[derive(Debug)]
pub(super) struct Plain {
    pub(super) config: Config,
    pub(super) limits: TenantLimits,
    pub(super) now: Now,
    pub(super) draining: bool,
    pub(super) durable: Lsn,
    pub(super) queues: BTreeMap<QueueName, PlainQueue>,
    pub(super) connections: BTreeMap<ConnectionId, PlainConnection>,
    /// Messages that the request at hand settled, with their tags.
    pub(super) settled: Vec<(QueueName, u64, u64)>,
}

impl PlainQueue {
    /// What could be delivered, by `seq`.
    pub(super) fn ready(&self, durable: Lsn) -> Vec<u64> {
        let ready = |m: &PlainMessage| {
            m.place == Place::Ready && m.after.is_some_and(|after| after <= durable)
        };
        self.messages.iter().filter(|(_, m)| ready(m)).map(|(seq, _)| *seq).collect()
    }

    fn bytes(&self) -> u64 {
        self.messages.values().map(|m| m.size).sum()
    }
}

impl Plain {
    pub(super) fn new(config: Config, limits: TenantLimits, now: Now) -> Self {
        Self {
            config,
            limits,
            now,
            draining: false,
            durable: Lsn(0),
            queues: BTreeMap::new(),
            connections: BTreeMap::new(),
            settled: Vec::new(),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            queues: self.queues.len() as u64,
            messages: self.queues.values().map(|q| q.messages.len() as u64).sum(),
            bytes: self.queues.values().map(PlainQueue::bytes).sum(),
        }
    }

    pub(super) fn watched(&self, connection: ConnectionId) -> Vec<QueueName> {
        let Some(connection) = self.connections.get(&connection) else { return Vec::new() };
        let mut names: Vec<_> = connection.subscriptions.values().map(|s| &s.queue).collect();
        names.extend(connection.pulls.values().map(|pull| &pull.queue));
        names.sort();
        names.dedup();
        names.into_iter().cloned().collect()
    }

    /// Leases and delays whose time has come.
    pub(super) fn expire(&mut self) {
        let now = self.now;
        for queue in self.queues.values_mut() {
            for message in queue.messages.values_mut() {
                match message.place {
                    Place::Delayed(until) if until <= now.wall_ms => message.place = Place::Ready,
                    Place::InHand { connection, tag, deadline } if deadline <= now.monotonic => {
                        message.place = Place::Ready;
                        let connection = self.connections.get_mut(&connection).unwrap();
                        let (_, _, subscription) = connection.hands.remove(&tag).unwrap();
                        let living =
                            subscription.filter(|sub| connection.subscriptions.contains_key(sub));
                        connection.ghosts.extend(living.map(|sub| (tag, sub)));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Carries out a request; `None`: a pull, whose answer the driver judges.
    pub(super) fn request(
        &mut self,
        at: ConnectionId,
        id: u64,
        request: &Request,
    ) -> Option<Answer> {
        self.connections.entry(at).or_default();
        let stopped = matches!(
            request,
            Request::Publish { .. }
                | Request::Consume { .. }
                | Request::Pull { .. }
                | Request::Declare { .. }
                | Request::Delete { .. }
                | Request::Purge { .. }
                | Request::Peek { .. }
        );
        if self.draining && stopped {
            return Some(Err(Refusal::ShuttingDown));
        }
        match request {
            Request::Publish {
                to: Destination::Queue { name: queue, may_create },
                messages,
                batch,
                require,
            } => Some(self.publish(queue, *may_create, messages, *batch, *require)),
            Request::Consume { queue, prefetch, auto_ack } => {
                Some(self.consume(at, queue, *prefetch as usize, *auto_ack))
            }
            Request::Cancel { subscription } => Some(self.cancel(at, subscription.0)),
            Request::Pull { queue, max, wait_ms, auto_ack, bytes_max } => {
                if !self.queues.contains_key(queue) {
                    return Some(Err(Refusal::NoSuchQueue));
                }
                let pull = PlainPull {
                    queue: queue.clone(),
                    max: *max as usize,
                    bytes_max: *bytes_max as u64,
                    auto_ack: *auto_ack,
                    deadline: self.now.monotonic + Duration::from_millis(*wait_ms),
                    told_late: false,
                    ending: None,
                };
                self.connections.get_mut(&at).unwrap().pulls.insert(id, pull);
                None
            }
            Request::Ack(tags) => Some(self.ack(at, tags)),
            Request::Nack { tags, delay_ms, .. } => Some(self.nack(at, tags, *delay_ms)),
            Request::Extend { tags, lease_ms } => Some(self.extend(at, tags, *lease_ms)),
            Request::Declare { queue, settings, update } => {
                Some(self.declare(queue, settings, *update))
            }
            Request::Delete { queue, if_empty } => Some(self.delete(queue, *if_empty)),
            Request::Purge { queue } => Some(self.purge(queue)),
            Request::Info { queue } => Some(match self.queues.contains_key(queue) {
                true => Ok(Reply::Info(Box::new(self.info(queue)))),
                false => Err(Refusal::NoSuchQueue),
            }),
            Request::List { limit, .. } => {
                let names: Vec<_> = self.queues.keys().take(*limit as usize).collect();
                let queues = names.iter().map(|name| self.info(name)).collect();
                Some(Ok(Reply::List { queues, more: self.queues.len() > *limit as usize }))
            }
            Request::Peek { queue, from_seq, max, .. } => Some(self.peek(queue, from_seq.0, *max)),
            other => unreachable!("not among the operations: {other:?}"),
        }
    }

    fn makes_records(&self, storage: Storage) -> bool {
        self.config.level != Level::Memory && storage == Storage::Default
    }

    fn defaults(&self) -> QueueSettings {
        self.limits.defaults.apply(&QueueSettings::default())
    }

    fn create(&mut self, name: &QueueName, settings: QueueSettings) -> Result<(), Refusal> {
        if self.limits.quotas.queues.is_some_and(|max| self.queues.len() as u64 >= max) {
            return Err(Refusal::QuotaExceeded(Quota::Queues));
        }
        let queue = PlainQueue {
            id: None,
            durable: self.makes_records(settings.storage),
            settings,
            next_seq: 1,
            messages: BTreeMap::new(),
            counters: QueueCounters::default(),
            created: Lsn(0),
            shaped: Lsn(0),
            blocks: Vec::new(),
        };
        self.queues.insert(name.clone(), queue);
        Ok(())
    }

    fn publish(
        &mut self,
        name: &QueueName,
        may_create: bool,
        messages: &[Message],
        batch: bool,
        require: Option<Level>,
    ) -> Answer {
        let is_new = !self.queues.contains_key(name);
        if is_new && !(may_create && self.limits.auto_create) {
            return Err(Refusal::NoSuchQueue);
        }
        let settings = match self.queues.get(name) {
            Some(queue) => queue.settings.clone(),
            None => self.defaults(),
        };
        let (level, best) = match self.makes_records(settings.storage) {
            true => (self.config.level, self.config.level_max),
            false => (Level::Memory, Level::Memory),
        };
        if let Some(asked) = require.filter(|asked| *asked > best) {
            return Err(Refusal::LevelNotOffered { asked, best });
        }
        if is_new {
            self.create(name, settings.clone())?;
        }
        let admitted = self.admit(name, messages);
        if let Err(refusal) = admitted {
            if is_new {
                self.queues.remove(name);
            }
            return Err(refusal);
        }
        let queue = self.queues.get_mut(name).unwrap();
        let mut seqs = Vec::new();
        for message in messages {
            let plain = PlainMessage {
                text: text(message),
                size: message.size(),
                published_at: self.now.wall_ms,
                attempt: 0,
                place: Place::Ready,
                after: None,
            };
            queue.messages.insert(queue.next_seq, plain);
            seqs.push(Seq(queue.next_seq));
            queue.next_seq += 1;
            queue.counters.published += 1;
        }
        let level = require.map(|asked| if asked > level { best } else { level });
        Ok(Reply::Published { seqs, duplicates: Vec::new(), batch, level })
    }

    fn admit(&self, name: &QueueName, messages: &[Message]) -> Result<(), Refusal> {
        let queue = &self.queues[name];
        let count = messages.len() as u64;
        let bytes: u64 = messages.iter().map(Message::size).sum();
        let messages_max = queue.settings.max_messages.or(self.limits.queue_messages_max);
        if messages_max.is_some_and(|max| queue.messages.len() as u64 + count > max)
            || queue.settings.max_bytes.is_some_and(|max| queue.bytes() + bytes > max)
        {
            return Err(Refusal::QueueFull);
        }
        let (usage, quotas) = (self.usage(), self.limits.quotas);
        if quotas.messages.is_some_and(|max| usage.messages + count > max) {
            return Err(Refusal::QuotaExceeded(Quota::Messages));
        }
        if quotas.bytes.is_some_and(|max| usage.bytes + bytes > max) {
            return Err(Refusal::QuotaExceeded(Quota::Bytes));
        }
        Ok(())
    }

    fn consume(
        &mut self,
        at: ConnectionId,
        queue: &QueueName,
        prefetch: usize,
        auto_ack: bool,
    ) -> Answer {
        if !self.queues.contains_key(queue) {
            return Err(Refusal::NoSuchQueue);
        }
        let connection = self.connections.get_mut(&at).unwrap();
        if connection.subscriptions.len() >= self.config.subscriptions_max {
            return Err(Refusal::QuotaExceeded(Quota::Subscriptions));
        }
        connection.last_subscription += 1;
        let id = connection.last_subscription;
        let queue = queue.clone();
        connection.subscriptions.insert(id, PlainSubscription { queue, prefetch, auto_ack });
        Ok(Reply::Subscribed(SubscriptionId(id)))
    }

    fn cancel(&mut self, at: ConnectionId, subscription: u64) -> Answer {
        match self.end_subscription(at, subscription) {
            true => Ok(Reply::Done),
            false => Err(Refusal::UnknownSubscription),
        }
    }

    pub(super) fn end_subscription(&mut self, at: ConnectionId, subscription: u64) -> bool {
        let Some(connection) = self.connections.get_mut(&at) else { return false };
        connection.ghosts.retain(|_, sub| *sub != subscription);
        connection.subscriptions.remove(&subscription).is_some()
    }

    /// The tags that a request means, and those of them that are not in hand.
    fn named(&mut self, at: ConnectionId, tags: &Tags) -> Vec<u64> {
        let connection = &self.connections[&at];
        match tags {
            Tags::List(tags) => tags.iter().map(|tag| tag.0).collect(),
            Tags::UpTo(last) => {
                let ghosts = connection.ghosts.keys();
                let all = connection.hands.keys().chain(ghosts).copied();
                all.filter(|tag| *tag <= last.0).collect()
            }
        }
    }

    /// Does `act` with each message in hand that is named.
    fn settle(
        &mut self,
        at: ConnectionId,
        tags: &Tags,
        mut act: impl FnMut(&mut Self, u64, (QueueName, u64, Option<u64>)),
    ) -> Result<u64, Refusal> {
        let mut done = 0;
        let mut unknown = Vec::new();
        for tag in self.named(at, tags) {
            let connection = self.connections.get_mut(&at).unwrap();
            match connection.hands.get(&tag).cloned() {
                Some(hand) => {
                    act(self, tag, hand);
                    done += 1;
                }
                None => {
                    connection.ghosts.remove(&tag);
                    unknown.push(Tag(tag));
                }
            }
        }
        match tags {
            Tags::List(_) if !unknown.is_empty() => Err(Refusal::UnknownTag { tags: unknown }),
            _ => Ok(done),
        }
    }

    fn ack(&mut self, at: ConnectionId, tags: &Tags) -> Answer {
        let acked = self.settle(at, tags, |plain, tag, (name, seq, _)| {
            plain.connections.get_mut(&at).unwrap().hands.remove(&tag);
            let queue = plain.queues.get_mut(&name).unwrap();
            queue.messages.remove(&seq).unwrap();
            queue.counters.acked += 1;
            plain.settled.push((name, seq, tag));
        });
        acked.map(Reply::Acked)
    }

    fn nack(&mut self, at: ConnectionId, tags: &Tags, delay_ms: u64) -> Answer {
        let nacked = self.settle(at, tags, |plain, tag, (name, seq, _)| {
            plain.connections.get_mut(&at).unwrap().hands.remove(&tag);
            let queue = plain.queues.get_mut(&name).unwrap();
            queue.messages.get_mut(&seq).unwrap().place = match delay_ms {
                0 => Place::Ready,
                _ => Place::Delayed(plain.now.wall_ms + delay_ms),
            };
        });
        nacked.map(Reply::Nacked)
    }

    fn extend(&mut self, at: ConnectionId, tags: &Tags, lease_ms: Option<u64>) -> Answer {
        let extended = self.settle(at, tags, |plain, tag, (name, seq, _)| {
            let queue = plain.queues.get_mut(&name).unwrap();
            let lease = Duration::from_millis(lease_ms.unwrap_or(queue.settings.ack_timeout_ms));
            let deadline = plain.now.monotonic + lease;
            queue.messages.get_mut(&seq).unwrap().place =
                Place::InHand { connection: at, tag, deadline };
        });
        extended.map(Reply::Extended)
    }

    fn declare(&mut self, name: &QueueName, patch: &SettingsPatch, update: bool) -> Answer {
        let defaults = self.defaults();
        let Some(queue) = self.queues.get_mut(name) else {
            self.create(name, patch.apply(&defaults))?;
            return Ok(Reply::Declared { created: true });
        };
        let differences = patch.differences(&queue.settings);
        if differences.is_empty() {
            return Ok(Reply::Declared { created: false });
        }
        if !update {
            return Err(Refusal::QueueExists { differences });
        }
        if differences.contains(&"storage") {
            return Err(Refusal::SettingFixed { setting: "storage" });
        }
        queue.settings = patch.apply(&queue.settings);
        Ok(Reply::Declared { created: false })
    }

    fn delete(&mut self, name: &QueueName, if_empty: bool) -> Answer {
        let Some(queue) = self.queues.get(name) else { return Err(Refusal::NoSuchQueue) };
        if if_empty && !queue.messages.is_empty() {
            return Err(Refusal::QueueNotEmpty);
        }
        self.queues.remove(name);
        for connection in self.connections.values_mut() {
            let ended: Vec<u64> = connection
                .subscriptions
                .iter()
                .filter(|(_, s)| s.queue == *name)
                .map(|(id, _)| *id)
                .collect();
            connection.subscriptions.retain(|_, s| s.queue != *name);
            connection.ghosts.retain(|_, sub| !ended.contains(sub));
            connection.hands.retain(|_, (queue, _, _)| queue != name);
            for pull in connection.pulls.values_mut().filter(|pull| pull.queue == *name) {
                pull.ending.get_or_insert(Err(Refusal::NoSuchQueue));
            }
        }
        Ok(Reply::Done)
    }

    fn purge(&mut self, name: &QueueName) -> Answer {
        let Some(queue) = self.queues.get_mut(name) else { return Err(Refusal::NoSuchQueue) };
        let before = queue.messages.len();
        queue.messages.retain(|_, m| matches!(m.place, Place::InHand { .. }));
        Ok(Reply::Purged((before - queue.messages.len()) as u64))
    }

    pub(super) fn info(&self, name: &QueueName) -> QueueInfo {
        let queue = &self.queues[name];
        let count = |wanted: fn(&Place) -> bool| {
            queue.messages.values().filter(|m| wanted(&m.place)).count() as u64
        };
        let consumers = self.connections.values().map(|connection| {
            connection.subscriptions.values().filter(|s| s.queue == *name).count()
                + connection.pulls.values().filter(|pull| pull.queue == *name).count()
        });
        let oldest = queue.messages.values().next().map(|m| m.published_at);
        QueueInfo {
            queue: name.clone(),
            settings: queue.settings.clone(),
            ready: queue.ready(self.durable).len() as u64,
            delayed: count(|place| matches!(place, Place::Delayed(_))),
            in_hand: count(|place| matches!(place, Place::InHand { .. })),
            dead_waiting: 0,
            bytes: queue.bytes(),
            consumers: consumers.sum::<usize>() as u64,
            oldest_age_ms: oldest.map_or(0, |at| self.now.wall_ms - at),
            counters: queue.counters,
        }
    }

    pub(super) fn peek(&self, name: &QueueName, from: u64, max: u32) -> Answer {
        let Some(queue) = self.queues.get(name) else { return Err(Refusal::NoSuchQueue) };
        let visible = |m: &&PlainMessage| m.after.is_some_and(|after| after <= self.durable);
        let messages = queue.messages.range(from..).filter(|(_, m)| visible(m)).map(|(seq, m)| {
            let message = super::stored(&m.text, m.published_at).into();
            Peeked { seq: Seq(*seq), attempt: m.attempt, message }
        });
        let messages = messages.take(max as usize).collect();
        Ok(Reply::Peeked { queue: name.clone(), messages })
    }

    /// The connection consumes no more.
    pub(super) fn half_closed(&mut self, at: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&at) else { return };
        connection.subscriptions.clear();
        connection.ghosts.clear();
        for pull in connection.pulls.values_mut() {
            pull.ending.get_or_insert(Ok(Reply::Pulled { deliveries: Vec::new() }));
        }
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self, at: ConnectionId, sent_up_to: u64) {
        let Some(connection) = self.connections.remove(&at) else { return };
        for (tag, (name, seq, _)) in connection.hands {
            let message = self.queues.get_mut(&name).unwrap().messages.get_mut(&seq).unwrap();
            message.place = Place::Ready;
            message.attempt -= u32::from(tag > sent_up_to);
        }
    }

    /// The connection may not consume from a queue any more. Answers the subscriptions that ended.
    pub(super) fn forbid(&mut self, at: ConnectionId, name: &QueueName) -> Vec<u64> {
        let (Some(connection), Some(queue)) =
            (self.connections.get_mut(&at), self.queues.get_mut(name))
        else {
            return Vec::new();
        };
        let theirs = |s: &PlainSubscription| s.queue == *name;
        let ended: Vec<u64> =
            connection.subscriptions.iter().filter(|(_, s)| theirs(s)).map(|(id, _)| *id).collect();
        connection.subscriptions.retain(|_, s| !theirs(s));
        connection.ghosts.retain(|_, sub| !ended.contains(sub));
        for pull in connection.pulls.values_mut().filter(|pull| pull.queue == *name) {
            pull.ending.get_or_insert(Err(Refusal::Forbidden));
        }
        for (queue_name, seq, _) in connection.hands.values() {
            if queue_name == name {
                queue.messages.get_mut(seq).unwrap().place = Place::Ready;
            }
        }
        connection.hands.retain(|_, (queue, _, _)| queue != name);
        ended
    }

    pub(super) fn drain(&mut self) {
        self.draining = true;
        for connection in self.connections.values_mut() {
            for pull in connection.pulls.values_mut() {
                pull.ending.get_or_insert(Ok(Reply::Pulled { deliveries: Vec::new() }));
            }
        }
    }
}

impl Plain {
    /// What stands after a restart.
    pub(super) fn restore(&mut self, image: &crate::engine::image::Image) {
        self.durable = image.lsn;
        for (id, queue) in &image.queues {
            let messages = queue.messages.iter().map(|(seq, stored)| {
                let delayed = stored.not_before > self.now.wall_ms;
                let message = PlainMessage {
                    text: text(&stored.message),
                    size: stored.message.size(),
                    published_at: stored.message.published_at,
                    attempt: stored.attempt,
                    place: if delayed { Place::Delayed(stored.not_before) } else { Place::Ready },
                    after: Some(Lsn(0)),
                };
                (seq.0, message)
            });
            let plain = PlainQueue {
                id: Some(*id),
                settings: queue.settings.clone(),
                durable: self.makes_records(queue.settings.storage),
                next_seq: queue.next_seq.0,
                messages: messages.collect(),
                counters: QueueCounters::default(),
                created: Lsn(0),
                shaped: Lsn(0),
                blocks: Vec::new(),
            };
            self.queues.insert(queue.name.clone(), plain);
        }
    }
}
