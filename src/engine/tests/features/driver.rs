//! Runs an engine and the model side by side. Requests are told by the model beforehand; what the
//! engine does of its own accord (who gets a message, when the dead are moved) is followed, and
//! judged by what must then be true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::op::{Op, QUEUES, Spec};
use super::plain::{Dead, Place, PlainMessage, PlainQueue, buried, moved};
use crate::engine::image::Image;
use crate::engine::tests::bench::{Answer, all_visible, name, open, text};
use crate::engine::*;
use crate::types::*;

/// Looks at everything and is never given anything.
const WATCHER: ConnectionId = ConnectionId(1);

#[derive(Default)]
pub(super) struct PlainConnection {
    subscriptions: BTreeMap<u64, (QueueName, u32)>,
    /// Tags whose lease ran out, with their subscription.
    ghosts: BTreeMap<u64, u64>,
    last_subscription: u64,
    last_tag: u64,
}

pub(super) struct Driver {
    config: Config,
    tenant: Tenant,
    image: Image,
    now: Now,
    pub(super) queues: BTreeMap<QueueName, PlainQueue>,
    connections: BTreeMap<ConnectionId, PlainConnection>,
    current: [ConnectionId; 3],
    next_connection: u64,
    next_text: u64,
    /// What a request brings into queues that it was admitted to: messages, and their bytes.
    coming: BTreeMap<QueueName, (u64, u64)>,
    /// The next `seq` of each queue before the request.
    visible_to: BTreeMap<QueueName, u64>,
    last_fence: Fence,
    durable: bool,
}

type Tagged = (QueueName, u64);

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
            visible_to: BTreeMap::new(),
            last_fence: Fence(0),
            durable,
        };
        (0..3).for_each(|at| driver.connect(at));
        driver
    }

    fn connect(&mut self, at: usize) {
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
                let request = |tags| super::super::bench::nack_of(tags, delay_ms);
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

/// Requests.
impl Driver {
    fn message(&mut self, spec: &Spec) -> Message {
        self.next_text += 1;
        let width = if spec.long { 30 } else { 5 };
        let text = format!("{:.<width$}", format!("m{}.", self.next_text));
        let plain = spec.delay_ms == 0
            && spec.ttl_ms.is_none()
            && spec.key.is_none()
            && spec.group.is_none();
        let properties = (!plain).then(|| {
            Box::new(Properties {
                delay_ms: spec.delay_ms,
                ttl_ms: spec.ttl_ms,
                key: spec.key.map(|key| format!("k{key}").into()),
                group: spec.group.map(|group| format!("g{group}").into()),
                ..Properties::default()
            })
        });
        let content = Content::Payload(text.as_bytes().into());
        let priority = spec.priority.and_then(Priority::new);
        Message { content, properties, priority, published_at: 0 }
    }

    fn publish(&mut self, at: u8, to: Destination, specs: &[Spec]) {
        let messages: Vec<Message> = specs.iter().map(|spec| self.message(spec)).collect();
        let batch = messages.len() > 1;
        let before = self.queues.clone();
        let (queues, topic) = match &to {
            Destination::Queue { name, .. } => {
                let settings = self.default_settings();
                self.queues.entry(name.clone()).or_insert(settings);
                (vec![name.clone()], None)
            }
            Destination::Topic(topic) => (self.bound_to(topic), Some(topic.clone())),
        };
        let mut then: Vec<Message> = messages.clone();
        for message in &mut then {
            message.published_at = self.now.wall_ms;
            if let Some(topic) = &topic {
                message.properties.get_or_insert_default().topic = Some(topic.clone());
            }
        }
        self.begin();
        let new = |driver: &mut Self, queue: &QueueName| driver.plain_room(queue, &then);
        let reply = if queues.iter().try_for_each(|queue| new(self, queue)).is_err() {
            self.queues = before;
            Err(Refusal::QueueFull)
        } else {
            let mut reply = None;
            for queue in &queues {
                let (seqs, duplicates) = self.store(queue, &then);
                let level = None;
                reply = Some(Reply::Published { seqs, duplicates, batch, level });
            }
            if topic.is_none() {
                self.queues.get_mut(&queues[0]).unwrap().last_used = self.now.monotonic;
            }
            let routed = vec![queues.len() as u64; then.len()];
            let to_topic = Reply::Routed { routed, batch, level: None };
            Ok(reply.filter(|_| topic.is_none()).unwrap_or(to_topic))
        };
        let request = Request::Publish { to, messages, batch, require: None };
        self.request(at, request, reply);
    }

    fn default_settings(&self) -> PlainQueue {
        PlainQueue {
            settings: QueueSettings::default(),
            owner: None,
            next_seq: 1,
            messages: BTreeMap::new(),
            keys: Vec::new(),
            bindings: Vec::new(),
            counters: QueueCounters::default(),
            last_used: self.now.monotonic,
        }
    }

    /// The queues that a topic reaches, in the order in which they were made.
    fn bound_to(&self, topic: &QueueName) -> Vec<QueueName> {
        let mut bound: Vec<(QueueId, QueueName)> = Vec::new();
        for (name, queue) in &self.queues {
            if queue.bindings.iter().any(|pattern| pattern.matches(topic.as_str())) {
                bound.push((self.tenant.names[name], name.clone()));
            }
        }
        bound.sort();
        bound.into_iter().map(|(_, name)| name).collect()
    }

    /// Which messages of a request are new to a queue.
    fn places(&self, queue: &PlainQueue, messages: &[Message]) -> Vec<Option<u64>> {
        let (now, window) = (self.now.wall_ms, queue.settings.dedup_window_ms);
        let mut keys: Vec<(String, u64, WallMs)> = queue.keys.clone();
        let mut next = queue.next_seq;
        let mut places = Vec::new();
        for message in messages {
            let key = message.key().filter(|_| window > 0);
            let known = key.and_then(|key| {
                keys.iter().rev().find(|(of, _, at)| of == key && now - at < window)
            });
            places.push(known.map(|(_, seq, _)| *seq));
            if places.last() == Some(&None) {
                keys.extend(key.map(|key| (key.to_owned(), next, now)));
                next += 1;
            }
        }
        places
    }

    /// Takes out what makes room for the new ones of these messages.
    fn plain_room(&mut self, name: &QueueName, messages: &[Message]) -> Result<(), ()> {
        let places = self.places(&self.queues[name], messages);
        let new = messages.iter().zip(&places).filter(|(_, place)| place.is_none());
        let sizes: Vec<u64> = new.map(|(message, _)| message.size()).collect();
        let (count, bytes) = (sizes.len() as u64, sizes.iter().sum());
        self.make_room(name, count, bytes)?;
        self.coming.insert(name.clone(), (count, bytes));
        Ok(())
    }

    fn begin(&mut self) {
        self.coming.clear();
        let next = self.queues.iter().map(|(name, queue)| (name.clone(), queue.next_seq));
        self.visible_to = next.collect();
    }

    /// Room for so much more, besides what is to come.
    fn make_room(&mut self, name: &QueueName, count: u64, bytes: u64) -> Result<(), ()> {
        let now = self.now.wall_ms;
        let (most, most_bytes) = self.queues[name].limits();
        // What a request brings does not make room for more of it.
        let end = self.visible_to[name];
        let ready = self.queues[name].ready(now);
        let mut victims = ready.into_iter().filter(|seq| *seq < end);
        loop {
            let queue = &self.queues[name];
            let (coming, coming_bytes) = self.coming.get(name).copied().unwrap_or_default();
            let has = queue.messages.len() as u64 + coming;
            let has_bytes = queue.bytes() + coming_bytes;
            if has + count <= most && has_bytes + bytes <= most_bytes {
                return Ok(());
            }
            let can_fit = count <= most && bytes <= most_bytes;
            if queue.settings.overflow == Overflow::Reject || !can_fit {
                return Err(());
            }
            let seq = victims.next().ok_or(())?;
            let victim = queue.messages[&seq].message.clone();
            if let Some(target) = queue.settings.dead_letter.clone() {
                if !self.queues.contains_key(&target) {
                    return Err(());
                }
                let dead = (DeadReason::Overflow, String::new());
                let copy = buried(&victim, name, seq, &dead, now);
                self.make_room(&target, 1, copy.size())?;
                self.add(&target, copy);
                self.queues.get_mut(name).unwrap().counters.dead_lettered += 1;
            }
            self.queues.get_mut(name).unwrap().messages.remove(&seq);
        }
    }

    /// Puts a message into a queue.
    fn add(&mut self, name: &QueueName, message: Message) -> u64 {
        let queue = self.queues.get_mut(name).unwrap();
        let seq = queue.next_seq;
        queue.next_seq += 1;
        queue.counters.published += 1;
        if queue.settings.dedup_window_ms > 0
            && let Some(key) = message.key()
        {
            queue.keys.push((key.to_owned(), seq, message.published_at));
        }
        let not_before = message.not_before();
        let stored = (0, not_before, None);
        let (attempt, place, blind) = (0, Place::Idle, false);
        let message = PlainMessage { message, attempt, not_before, place, stored, blind };
        queue.messages.insert(seq, message);
        seq
    }

    fn store(&mut self, name: &QueueName, messages: &[Message]) -> (Vec<Seq>, Vec<u32>) {
        let places = self.places(&self.queues[name], messages);
        let (mut seqs, mut duplicates) = (Vec::new(), Vec::new());
        for (index, (message, place)) in messages.iter().zip(places).enumerate() {
            match place {
                Some(seq) => {
                    seqs.push(Seq(seq));
                    duplicates.push(index as u32);
                    self.queues.get_mut(name).unwrap().counters.duplicates += 1;
                }
                None => seqs.push(Seq(self.add(name, message.clone()))),
            }
        }
        (seqs, duplicates)
    }

    /// The queue of that number, or what is told where the connection may not use it.
    fn usable(&self, at: u8, queue: usize) -> Result<QueueName, Refusal> {
        let name = name(QUEUES[queue]);
        let queue = self.queues.get(&name).ok_or(Refusal::NoSuchQueue)?;
        let owner = queue.owner.unwrap_or(self.current[usize::from(at)]);
        if owner == self.current[usize::from(at)] { Ok(name) } else { Err(Refusal::Exclusive) }
    }

    fn consume(&mut self, at: u8, queue: usize, prefetch: u32) {
        let reply = self.usable(at, queue).map(|name| {
            self.queues.get_mut(&name).unwrap().last_used = self.now.monotonic;
            let connection = self.connections.get_mut(&self.current[usize::from(at)]).unwrap();
            connection.last_subscription += 1;
            let id = connection.last_subscription;
            connection.subscriptions.insert(id, (name, prefetch));
            Reply::Subscribed(SubscriptionId(id))
        });
        let queue = name(QUEUES[queue]);
        self.request(at, Request::Consume { queue, prefetch, auto_ack: false }, reply);
    }

    fn cancel(&mut self, at: u8, subscription: u64) {
        let id = self.current[usize::from(at)];
        let reply = match self.end_subscription(id, subscription) {
            true => Ok(Reply::Done),
            false => Err(Refusal::UnknownSubscription),
        };
        let subscription = SubscriptionId(subscription);
        self.request(at, Request::Cancel { subscription }, reply);
    }

    fn end_subscription(&mut self, id: ConnectionId, subscription: u64) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        connection.ghosts.retain(|_, of| *of != subscription);
        let Some((queue, _)) = connection.subscriptions.remove(&subscription) else { return false };
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.last_used = self.now.monotonic;
        }
        true
    }

    fn pull(&mut self, at: u8, queue: usize, max: u32) {
        // A store answers late, and a pull is answered with what has come by then.
        let max = if self.durable { 1 } else { max };
        let request = super::super::bench::pull(QUEUES[queue], max, 0);
        match self.usable(at, queue) {
            Err(refusal) => self.request(at, request, Err(refusal)),
            Ok(name) => {
                self.queues.get_mut(&name).unwrap().last_used = self.now.monotonic;
                self.step(at, request, None, Some((name, max)));
            }
        }
    }

    /// The tags of the connection that are in hand, or ghosts.
    fn tags(&self, id: ConnectionId) -> BTreeMap<u64, Option<Tagged>> {
        let mut tags = BTreeMap::new();
        for (name, queue) in &self.queues {
            for (seq, message) in &queue.messages {
                if let Place::InHand { connection, tag, .. } = message.place
                    && connection == id
                {
                    tags.insert(tag, Some((name.clone(), *seq)));
                }
            }
        }
        tags.extend(self.connections[&id].ghosts.keys().map(|tag| (*tag, None)));
        tags
    }

    fn settle(
        &mut self,
        at: u8,
        back: &[u8],
        request: impl FnOnce(Tags) -> Request,
        act: impl Fn(&mut Self, Tagged),
    ) {
        let id = self.current[usize::from(at)];
        let last = self.connections[&id].last_tag;
        let named: Vec<u64> = back.iter().map(|n| last.saturating_sub(u64::from(*n))).collect();
        let (mut done, mut unknown) = (0, Vec::new());
        for tag in &named {
            match self.tags(id).get(tag).cloned() {
                Some(Some(tagged)) => {
                    act(self, tagged);
                    done += 1;
                }
                _ => {
                    self.connections.get_mut(&id).unwrap().ghosts.remove(tag);
                    unknown.push(Tag(*tag));
                }
            }
        }
        let request = request(Tags::List(named.into_iter().map(Tag).collect()));
        let reply = match &request {
            _ if !unknown.is_empty() => Err(Refusal::UnknownTag { tags: unknown }),
            Request::Ack(_) => Ok(Reply::Acked(done)),
            Request::Extend { .. } => Ok(Reply::Extended(done)),
            _ => Ok(Reply::Nacked(done)),
        };
        self.request(at, request, reply);
    }

    fn declare(&mut self, at: u8, queue: usize, patch: &SettingsPatch, update: bool) {
        let mut patch = patch.clone();
        if queue >= 3 {
            // Which dead letter comes first is open; so none may be dropped for another.
            patch.overflow = None;
        }
        let id = self.current[usize::from(at)];
        let name = name(QUEUES[queue]);
        let reply = match self.queues.get(&name) {
            None => self.declare_new(id, &name, &patch),
            Some(_) => {
                self.usable(at, queue).and_then(|name| self.redeclare(&name, &patch, update))
            }
        };
        self.request(at, Request::Declare { queue: name, settings: patch, update }, reply);
    }

    fn declare_new(
        &mut self,
        id: ConnectionId,
        name: &QueueName,
        patch: &SettingsPatch,
    ) -> Result<Reply, Refusal> {
        let mut queue = self.default_settings();
        queue.settings = patch.apply(&queue.settings);
        if queue.settings.exclusive {
            if patch.storage.is_some() {
                return Err(Refusal::SettingInvalid(SettingError::ExclusiveWithStorage));
            }
            queue.settings.storage = Storage::Memory;
            queue.owner = Some(id);
        }
        self.check(name, &queue.settings)?;
        self.queues.insert(name.clone(), queue);
        Ok(Reply::Declared { created: true })
    }

    fn redeclare(
        &mut self,
        name: &QueueName,
        patch: &SettingsPatch,
        update: bool,
    ) -> Result<Reply, Refusal> {
        let before = self.queues[name].settings.clone();
        let differences = patch.differences(&before);
        if differences.is_empty() {
            return Ok(Reply::Declared { created: false });
        }
        if !update {
            return Err(Refusal::QueueExists { differences });
        }
        for setting in ["storage", "exclusive"] {
            if differences.contains(&setting) {
                return Err(Refusal::SettingFixed { setting });
            }
        }
        let settings = patch.apply(&before);
        self.check(name, &settings)?;
        let now = self.now.wall_ms;
        let queue = self.queues.get_mut(name).unwrap();
        for message in queue.messages.values_mut() {
            let traits = &message.message;
            let marked = traits.group().is_some() || traits.expires_at().is_some();
            let delayed = message.place == Place::Idle && message.not_before > now;
            // It is looked at when its delay ends.
            message.blind |= before.ttl_ms.is_none() && delayed && !marked;
        }
        if settings.dedup_window_ms == 0 {
            queue.keys.clear();
        }
        if differences.contains(&"expires_ms") {
            queue.last_used = self.now.monotonic;
        }
        queue.settings = settings;
        Ok(Reply::Declared { created: false })
    }

    /// Whether the settings go together, and with those of the other queues.
    fn check(&self, name: &QueueName, settings: &QueueSettings) -> Result<(), Refusal> {
        let invalid = |error| Err(Refusal::SettingInvalid(error));
        if settings.max_attempts.is_some() && settings.dead_letter.is_none() {
            return invalid(SettingError::AttemptsWithoutDeadLetter);
        }
        // Two dead-letter queues make no chain of five; what is left are circles.
        let mut next = settings.dead_letter.clone();
        while let Some(target) = next {
            if target == *name {
                return invalid(SettingError::DeadLetterCircle);
            }
            next = self.queues.get(&target).and_then(|queue| queue.settings.dead_letter.clone());
        }
        Ok(())
    }

    fn delete(&mut self, at: u8, queue: usize) {
        let reply = self.usable(at, queue).map(|name| {
            self.remove_queue(&name);
            Reply::Done
        });
        let queue = name(QUEUES[queue]);
        self.request(at, Request::Delete { queue, if_empty: false }, reply);
    }

    fn remove_queue(&mut self, name: &QueueName) {
        self.queues.remove(name);
        for connection in self.connections.values_mut() {
            let ended = connection.subscriptions.extract_if(.., |_, (queue, _)| queue == name);
            let ended: Vec<u64> = ended.map(|(id, _)| id).collect();
            connection.ghosts.retain(|_, of| !ended.contains(of));
        }
    }

    fn purge(&mut self, at: u8, queue: usize) {
        let reply = self.usable(at, queue).map(|name| {
            let queue = self.queues.get_mut(&name).unwrap();
            let before = queue.messages.len();
            queue.messages.retain(|_, message| matches!(message.place, Place::InHand { .. }));
            Reply::Purged((before - queue.messages.len()) as u64)
        });
        self.request(at, Request::Purge { queue: name(QUEUES[queue]) }, reply);
    }

    fn transfer(&mut self, at: u8, from: usize, to: usize, max: u32) {
        let names = self.usable(at, from).and_then(|a| Ok((a, self.usable(at, to)?)));
        let reply = match names {
            Err(refusal) => Err(refusal),
            Ok((from, to)) if from == to => Err(Refusal::MoveToItself),
            Ok((from, to)) => self.transfer_all(&from, &to, max),
        };
        let (from, to) = (name(QUEUES[from]), name(QUEUES[to]));
        self.request(at, Request::Move { from, to, max, moved: 0 }, reply);
    }

    fn transfer_all(&mut self, from: &QueueName, to: &QueueName, max: u32) -> Answer {
        let now = self.now.wall_ms;
        let mut count = 0;
        self.begin();
        while count < u64::from(max) {
            let ready = self.queues[from].ready(now);
            let Some(seq) = ready.first().copied() else { break };
            if seq >= self.visible_to[from] {
                break;
            }
            let copy = moved(&self.queues[from].messages[&seq].message, now);
            if !self.fits(to, copy.size()) {
                if count == 0 {
                    return Err(Refusal::QueueFull);
                }
                break;
            }
            self.queues.get_mut(from).unwrap().messages.remove(&seq);
            self.add(to, copy);
            count += 1;
        }
        let before = self.visible_to[from];
        let more = self.queues[from].ready(now).iter().any(|seq| *seq < before);
        Ok(Reply::Moved { moved: count, more })
    }

    fn bind(&mut self, at: u8, queue: usize, pattern: &str, there: bool) {
        let pattern: Pattern = pattern.parse().unwrap();
        let reply = self.usable(at, queue).map(|name| {
            let bindings = &mut self.queues.get_mut(&name).unwrap().bindings;
            let before = bindings.contains(&pattern);
            bindings.retain(|other| *other != pattern);
            if there {
                bindings.push(pattern.clone());
                return Reply::Bound { created: !before };
            }
            Reply::Unbound { removed: before }
        });
        let queue = name(QUEUES[queue]);
        let request = match there {
            true => Request::Bind { pattern, queue },
            false => Request::Unbind { pattern, queue },
        };
        self.request(at, request, reply);
    }
}

/// What happens besides requests.
impl Driver {
    fn disconnect(&mut self, at: u8, unsent: u64) {
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

    fn pass(&mut self, ms: u64) {
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
    fn crash(&mut self) {
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
                message.place = match rejected {
                    Some(detail) => Place::Dead(DeadReason::Rejected, detail),
                    None => Place::Idle,
                };
            }
        }
        self.input(Input::Tick, None);
    }

    fn consumers(&self, name: &QueueName) -> u64 {
        let connections = self.connections.values();
        let of = connections.map(|connection| {
            connection.subscriptions.values().filter(|(queue, _)| queue == name).count() as u64
        });
        of.sum()
    }

    /// A request with the answer that it must get.
    fn request(&mut self, at: u8, request: Request, reply: Answer) {
        self.step(at, request, Some(reply), None);
    }

    fn step(
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

/// What the engine does with it.
impl Driver {
    /// Hands in one input, and whatever the store and the clock say of it. Answers the reply.
    fn input(&mut self, input: Input, pull: Option<(QueueName, u32)>) -> Option<Answer> {
        let mut delivered = Vec::new();
        let mut answer = None;
        let mut inputs = VecDeque::from([input]);
        loop {
            while let Some(input) = inputs.pop_front() {
                for effect in self.handle(input) {
                    self.take(effect, &mut inputs, &mut delivered, &mut answer);
                }
            }
            let due = self.tenant.next_deadline().is_some_and(|at| at <= self.now.monotonic);
            if !due {
                break;
            }
            inputs.push_back(Input::Tick);
        }
        self.follow(delivered, pull);
        answer
    }

    fn handle(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.tenant.handle(self.now, input, &mut effects);
        self.tenant.check_invariants();
        effects
    }

    fn take(
        &mut self,
        effect: Effect,
        inputs: &mut VecDeque<Input>,
        delivered: &mut Vec<(ConnectionId, Option<u64>, Delivery)>,
        answer: &mut Option<Answer>,
    ) {
        match effect {
            Effect::Append(batch) => {
                assert!(self.durable);
                self.image.apply(&batch);
                inputs.push_back(Input::Durable(batch.lsn));
            }
            Effect::Load(load) => {
                let (ticket, messages) = (load.ticket, Some(self.image.load(&load)));
                inputs.push_back(Input::Loaded { ticket, messages });
            }
            Effect::Deliver { connection, subscription, delivery } => {
                inputs.push_back(Input::Sent { connection, bytes: delivery.wire_bytes() });
                delivered.push((connection, Some(subscription.0), delivery));
            }
            Effect::Reply { connection, result, .. } => {
                if let Ok(Reply::Pulled { deliveries }) = &result {
                    for delivery in deliveries {
                        let bytes = delivery.wire_bytes();
                        inputs.push_back(Input::Sent { connection, bytes });
                        delivered.push((connection, None, delivery.clone()));
                    }
                }
                assert!(answer.replace(result).is_none(), "one answer");
            }
            Effect::Cancelled { connection, subscription, .. } => {
                let connection = &self.connections[&connection];
                assert!(!connection.subscriptions.contains_key(&subscription.0));
            }
        }
    }

    /// Goes on with the model as the engine did, and judges.
    fn follow(
        &mut self,
        mut delivered: Vec<(ConnectionId, Option<u64>, Delivery)>,
        mut pull: Option<(QueueName, u32)>,
    ) {
        let asked = pull.clone();
        let now = self.now.wall_ms;
        let seen = self.look();
        let mut arrived = BTreeSet::new();
        for round in 0.. {
            assert!(round < 200, "the model does not come to rest");
            let mut changed = false;
            for queue in self.queues.values_mut() {
                changed |= queue.expire(now);
            }
            let names: Vec<QueueName> = self.queues.keys().cloned().collect();
            for name in &names {
                changed |= self.follow_deliveries(name, &mut delivered, &mut pull, &arrived);
            }
            for name in &names {
                changed |= self.follow_burials(name, &seen, &mut arrived);
            }
            if !changed {
                break;
            }
        }
        assert!(delivered.is_empty(), "delivered, and should not be: {delivered:?}");
        if let Some((name, _)) = asked.filter(|asked| pull.as_ref() == Some(asked)) {
            // It is answered as soon as it has something, however little.
            assert_eq!(self.queues[&name].first(now), None, "a pull gets what there is");
        }
        for (name, queue) in &self.queues {
            self.judge_burials(name);
            let there: Vec<u64> = seen[name].keys().copied().collect();
            let then: Vec<u64> = queue.messages.keys().copied().collect();
            assert_eq!(there, then, "{name}: the dead are moved as far as they fit");
            let first = queue.first(now);
            assert!(first.is_none() || !self.has_credit(name), "{name} {first:?} is not delivered");
        }
        self.compare(&seen);
    }

    /// The messages of the queue that go out next, to whomever the engine chose.
    fn follow_deliveries(
        &mut self,
        name: &QueueName,
        delivered: &mut Vec<(ConnectionId, Option<u64>, Delivery)>,
        pull: &mut Option<(QueueName, u32)>,
        arrived: &BTreeSet<Tagged>,
    ) -> bool {
        let now = self.now.wall_ms;
        let mut changed = false;
        loop {
            let pulled = pull.as_ref().is_some_and(|(of, left)| of == name && *left > 0);
            if !self.has_credit(name) && !pulled {
                return changed;
            }
            let queue = self.queues.get_mut(name).unwrap();
            let Some(mut seq) = queue.first(now) else { return changed };
            let given =
                |seq: u64| delivered.iter().any(|(_, _, d)| d.queue == *name && d.seq.0 == seq);
            if !given(seq) && arrived.contains(&(name.clone(), seq)) {
                // What was there before may have gone out before it came.
                let there = queue.ready(now).into_iter().find(|seq| given(*seq));
                let Some(there) = there else { return changed };
                seq = there;
            }
            let message = queue.messages.get_mut(&seq).unwrap();
            let attempts = u64::from(message.attempt);
            if queue.settings.max_attempts.is_some_and(|most| attempts >= most) {
                queue.kill(seq, DeadReason::MaxAttempts, "");
                changed = true;
                continue;
            }
            let of = |(_, _, d): &(_, _, Delivery)| d.queue == *name && d.seq.0 == seq;
            let at = delivered.iter().position(of);
            let Some(at) = at else { return changed };
            changed = true;
            let (connection, subscription, delivery) = delivered.remove(at);
            if let Some((_, left)) = pull {
                *left -= u32::from(subscription.is_none());
            }
            self.give(connection, subscription, &delivery);
        }
    }

    fn has_credit(&self, name: &QueueName) -> bool {
        self.connections.iter().any(|(id, connection)| {
            connection.subscriptions.iter().any(|(subscription, (queue, prefetch))| {
                queue == name && self.filled(*id, *subscription) < *prefetch
            })
        })
    }

    /// What fills the prefetch of a subscription.
    fn filled(&self, id: ConnectionId, of: u64) -> u32 {
        let ghosts = self.connections[&id].ghosts.values().filter(|sub| **sub == of).count();
        let messages = self.queues.values().flat_map(|queue| queue.messages.values());
        let held = messages.filter(|message| match message.place {
            Place::InHand { connection, subscription, .. } => {
                connection == id && subscription == Some(of)
            }
            _ => false,
        });
        (ghosts + held.count()) as u32
    }

    fn give(&mut self, id: ConnectionId, subscription: Option<u64>, delivery: &Delivery) {
        if let Some(subscription) = subscription {
            let (queue, prefetch) = &self.connections[&id].subscriptions[&subscription];
            assert_eq!(*queue, delivery.queue);
            assert!(self.filled(id, subscription) < *prefetch, "no more than the prefetch");
        }
        let connection = self.connections.get_mut(&id).unwrap();
        connection.last_tag = connection.last_tag.max(delivery.tag.0);
        self.last_fence = self.last_fence.max(delivery.fence);
        let queue = self.queues.get_mut(&delivery.queue).unwrap();
        let lease = Duration::from_millis(queue.settings.ack_timeout_ms);
        let message = queue.messages.get_mut(&delivery.seq.0).unwrap();
        queue.counters.delivered += 1;
        queue.counters.redelivered += u64::from(message.attempt > 0);
        message.attempt += 1;
        assert_eq!(delivery.attempt, message.attempt);
        assert_eq!(*delivery.message, message.message);
        message.place = Place::InHand {
            connection: id,
            tag: delivery.tag.0,
            deadline: self.now.monotonic + lease,
            subscription,
        };
    }

    /// The dead of a queue that the engine has moved, dropped, or brought back to life.
    fn follow_burials(
        &mut self,
        name: &QueueName,
        seen: &Seen,
        arrived: &mut BTreeSet<Tagged>,
    ) -> bool {
        let now = self.now.wall_ms;
        let queue = &self.queues[name];
        let dead: Vec<(u64, Dead)> = queue
            .messages
            .iter()
            .filter_map(|(seq, message)| match &message.place {
                Place::Dead(reason, detail) => Some((*seq, (*reason, detail.clone()))),
                _ => None,
            })
            .collect();
        let mut changed = false;
        for (seq, dead) in dead {
            let queue = self.queues.get_mut(name).unwrap();
            let Some(target) = queue.settings.dead_letter.clone() else {
                // An attempt limit loses no messages.
                if dead.0 != DeadReason::MaxAttempts {
                    queue.messages.remove(&seq);
                    changed = true;
                }
                continue;
            };
            if seen[name].contains_key(&seq) || !self.queues.contains_key(&target) {
                continue;
            }
            let message = self.queues[name].messages[&seq].message.clone();
            let copy = buried(&message, name, seq, &dead, now);
            let next = self.queues[&target].next_seq;
            let there = seen[&target].range(next..).find(|(_, (_, m))| *m == copy);
            let Some((there, _)) = there else { panic!("{name} {seq} is neither here nor there") };
            self.coming.clear();
            if !self.fits(&target, copy.size()) {
                // Something left the target first.
                continue;
            }
            let there = *there;
            let count = self.queues[&target].counters.published;
            let at = self.add(&target, copy);
            let queue = self.queues.get_mut(&target).unwrap();
            assert_eq!(queue.counters.published, count + 1);
            // Their order among the dead that moved at once is the engine's.
            let message = queue.messages.remove(&at).unwrap();
            for key in queue.keys.iter_mut().filter(|(_, seq, _)| *seq == at) {
                key.1 = there;
            }
            queue.keys.sort_by_key(|(_, seq, _)| *seq);
            queue.messages.insert(there, message);
            arrived.insert((target.clone(), there));
            queue.next_seq = next.min(there);
            while queue.messages.contains_key(&queue.next_seq) {
                queue.next_seq += 1;
            }
            let queue = self.queues.get_mut(name).unwrap();
            queue.messages.remove(&seq);
            queue.counters.dead_lettered += 1;
            changed = true;
        }
        changed
    }

    fn fits(&self, name: &QueueName, bytes: u64) -> bool {
        let queue = &self.queues[name];
        let (most, most_bytes) = queue.limits();
        (queue.messages.len() as u64) < most && queue.bytes() + bytes <= most_bytes
    }

    /// What is left of the dead waits for a reason.
    fn judge_burials(&self, name: &QueueName) {
        let queue = &self.queues[name];
        let first = queue.messages.iter().find_map(|(seq, message)| match &message.place {
            Place::Dead(reason, detail) => Some((*seq, message, (*reason, detail.clone()))),
            _ => None,
        });
        let Some((seq, message, dead)) = first else { return };
        let Some(target) = &queue.settings.dead_letter else { return };
        if self.queues.contains_key(target) {
            let copy = buried(&message.message, name, seq, &dead, self.now.wall_ms);
            assert!(!self.fits(target, copy.size()), "{name} {seq} could be moved");
        }
    }
}

/// Every queue's messages: deliveries so far, and the message.
type Seen = BTreeMap<QueueName, BTreeMap<u64, (u32, Message)>>;

impl Driver {
    /// Everything that can be seen.
    fn look(&mut self) -> Seen {
        let mut seen = Seen::new();
        for name in self.queues.keys().cloned().collect::<Vec<_>>() {
            let owner = self.queues[&name].owner.unwrap_or(WATCHER);
            let (from_seq, max, bytes_max) = (Seq(0), 1_000, 1 << 20);
            let request = Request::Peek { queue: name.clone(), from_seq, max, bytes_max };
            let Some(Ok(Reply::Peeked { messages, .. })) = self.ask(owner, request) else {
                panic!("a queue can be looked at")
            };
            let messages = messages.into_iter();
            let all = messages.map(|p| (p.seq.0, (p.attempt, (*p.message).clone())));
            seen.insert(name, all.collect());
        }
        seen
    }

    fn ask(&mut self, connection: ConnectionId, request: Request) -> Option<Answer> {
        let token = RequestToken { id: None, op: "test", frame_bytes: 0 };
        let mut inputs = VecDeque::from([Input::Request { connection, token, request }]);
        let mut answer = None;
        while let Some(input) = inputs.pop_front() {
            for effect in self.handle(input) {
                match effect {
                    Effect::Reply { result, .. } => answer = Some(result),
                    Effect::Load(load) => {
                        let (ticket, messages) = (load.ticket, Some(self.image.load(&load)));
                        inputs.push_back(Input::Loaded { ticket, messages });
                    }
                    other => panic!("looking changes nothing: {other:?}"),
                }
            }
        }
        if let Some(Ok(Reply::Peeked { messages, .. })) = &answer {
            let bytes = messages.iter().map(|p| p.message.wire_bytes() as u64).sum();
            assert!(self.handle(Input::Sent { connection, bytes }).is_empty());
        }
        answer
    }

    /// All that is seen against all that should be.
    fn compare(&mut self, seen: &Seen) {
        let listing = Request::List {
            pattern: None,
            after: None,
            limit: 1_000,
            visible: all_visible(),
            bytes_max: 1 << 20,
        };
        let listed = self.ask(WATCHER, listing);
        let Some(Ok(Reply::List { queues, .. })) = listed else { panic!("{listed:?}") };
        let open = self.queues.iter().filter(|(_, queue)| queue.owner.is_none());
        assert!(queues.iter().map(|q| &q.queue).eq(open.map(|(name, _)| name)), "queues");
        for (name, queue) in &self.queues {
            let there: Vec<_> = seen[name].iter().map(|(seq, (n, m))| (*seq, *n, m)).collect();
            let then = queue.messages.iter();
            let then: Vec<_> = then.map(|(seq, m)| (*seq, m.attempt, &m.message)).collect();
            assert_eq!(there, then, "{name}");
        }
        let names: Vec<QueueName> = self.queues.keys().cloned().collect();
        for name in names {
            let owner = self.queues[&name].owner.unwrap_or(WATCHER);
            let info = self.ask(owner, Request::Info { queue: name.clone() });
            let consumers = self.consumers(&name);
            let then = self.queues[&name].info(&name, consumers, self.now.wall_ms);
            assert_eq!(info, Some(Ok(Reply::Info(Box::new(then)))), "{}", text_of(seen, &name));
        }
        let used = self.queues.values().map(|queue| queue.messages.len() as u64).sum::<u64>();
        assert_eq!(self.tenant.usage().messages, used);
    }
}

fn text_of(seen: &Seen, name: &QueueName) -> String {
    let messages = seen[name].iter();
    messages.map(|(seq, (_, message))| format!("{seq}: {} ", text(message))).collect()
}
