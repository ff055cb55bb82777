//! What each request does to the model, and the answer that it must get.

use std::collections::BTreeMap;

use super::driver::{Driver, Tagged};
use super::op::{QUEUES, Spec};
use super::plain::{Place, PlainMessage, PlainQueue, buried, moved};
use crate::engine::tests::bench::{Answer, name, pull};
use crate::engine::*;
use crate::types::*;

/// Requests.
impl Driver {
    pub(super) fn message(&mut self, spec: &Spec) -> Message {
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

    pub(super) fn publish(&mut self, at: u8, to: Destination, specs: &[Spec]) {
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
        // Doubles are looked for in all of the queues before room is made in any.
        let places: Vec<_> =
            queues.iter().map(|queue| self.places(&self.queues[queue], &then)).collect();
        let copies = || queues.iter().zip(&places);
        let room = |(queue, places): (_, &Vec<_>)| self.plain_room(queue, &then, places);
        let reply = if copies().try_for_each(room).is_err() {
            self.queues = before;
            Err(Refusal::QueueFull)
        } else {
            let mut reply = None;
            for (queue, places) in copies() {
                let (seqs, duplicates) = self.store(queue, &then, places);
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

    pub(super) fn default_settings(&self) -> PlainQueue {
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
    pub(super) fn bound_to(&self, topic: &QueueName) -> Vec<QueueName> {
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
    pub(super) fn places(&self, queue: &PlainQueue, messages: &[Message]) -> Vec<Option<u64>> {
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
    fn plain_room(
        &mut self,
        name: &QueueName,
        messages: &[Message],
        places: &[Option<u64>],
    ) -> Result<(), ()> {
        let new = messages.iter().zip(places).filter(|(_, place)| place.is_none());
        let sizes: Vec<u64> = new.map(|(message, _)| message.size()).collect();
        let (count, bytes) = (sizes.len() as u64, sizes.iter().sum());
        self.make_room(name, count, bytes)?;
        self.coming.insert(name.clone(), (count, bytes));
        Ok(())
    }

    pub(super) fn begin(&mut self) {
        self.coming.clear();
        let next = self.queues.iter().map(|(name, queue)| (name.clone(), queue.next_seq));
        self.visible_to = next.collect();
    }

    /// Room for so much more, besides what is to come.
    pub(super) fn make_room(&mut self, name: &QueueName, count: u64, bytes: u64) -> Result<(), ()> {
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
    pub(super) fn add(&mut self, name: &QueueName, message: Message) -> u64 {
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
        let dated = not_before > 0 && queue.settings.ttl_ms.is_some();
        let message = PlainMessage { message, attempt, not_before, place, stored, dated, blind };
        queue.messages.insert(seq, message);
        seq
    }

    fn store(
        &mut self,
        name: &QueueName,
        messages: &[Message],
        places: &[Option<u64>],
    ) -> (Vec<Seq>, Vec<u32>) {
        let (mut seqs, mut duplicates) = (Vec::new(), Vec::new());
        for (index, (message, place)) in messages.iter().zip(places).enumerate() {
            match place {
                Some(seq) => {
                    seqs.push(Seq(*seq));
                    duplicates.push(index as u32);
                    self.queues.get_mut(name).unwrap().counters.duplicates += 1;
                }
                None => seqs.push(Seq(self.add(name, message.clone()))),
            }
        }
        (seqs, duplicates)
    }

    /// The queue of that number, or what is told where the connection may not use it.
    pub(super) fn usable(&self, at: u8, queue: usize) -> Result<QueueName, Refusal> {
        let name = name(QUEUES[queue]);
        let queue = self.queues.get(&name).ok_or(Refusal::NoSuchQueue)?;
        let owner = queue.owner.unwrap_or(self.current[usize::from(at)]);
        if owner == self.current[usize::from(at)] { Ok(name) } else { Err(Refusal::Exclusive) }
    }

    pub(super) fn consume(&mut self, at: u8, queue: usize, prefetch: u32) {
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

    pub(super) fn cancel(&mut self, at: u8, subscription: u64) {
        let id = self.current[usize::from(at)];
        let reply = match self.end_subscription(id, subscription) {
            true => Ok(Reply::Done),
            false => Err(Refusal::UnknownSubscription),
        };
        let subscription = SubscriptionId(subscription);
        self.request(at, Request::Cancel { subscription }, reply);
    }

    pub(super) fn end_subscription(&mut self, id: ConnectionId, subscription: u64) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        connection.ghosts.retain(|_, of| *of != subscription);
        let Some((queue, _)) = connection.subscriptions.remove(&subscription) else { return false };
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.last_used = self.now.monotonic;
        }
        true
    }

    pub(super) fn pull(&mut self, at: u8, queue: usize, max: u32) {
        // A store answers late, and a pull is answered with what has come by then.
        let max = if self.durable { 1 } else { max };
        let request = pull(QUEUES[queue], max, 0);
        match self.usable(at, queue) {
            Err(refusal) => self.request(at, request, Err(refusal)),
            Ok(name) => {
                self.queues.get_mut(&name).unwrap().last_used = self.now.monotonic;
                self.step(at, request, None, Some((name, max)));
            }
        }
    }

    /// The tags of the connection that are in hand, or ghosts.
    pub(super) fn tags(&self, id: ConnectionId) -> BTreeMap<u64, Option<Tagged>> {
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

    pub(super) fn settle(
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

    pub(super) fn declare(&mut self, at: u8, queue: usize, patch: &SettingsPatch, update: bool) {
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

    pub(super) fn declare_new(
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

    pub(super) fn redeclare(
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
            message.blind |= before.ttl_ms.is_none() && delayed && !marked && !message.dated;
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
    pub(super) fn check(&self, name: &QueueName, settings: &QueueSettings) -> Result<(), Refusal> {
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

    pub(super) fn delete(&mut self, at: u8, queue: usize) {
        let reply = self.usable(at, queue).map(|name| {
            self.remove_queue(&name);
            Reply::Done
        });
        let queue = name(QUEUES[queue]);
        self.request(at, Request::Delete { queue, if_empty: false }, reply);
    }

    pub(super) fn remove_queue(&mut self, name: &QueueName) {
        self.queues.remove(name);
        for connection in self.connections.values_mut() {
            let ended = connection.subscriptions.extract_if(.., |_, (queue, _)| queue == name);
            let ended: Vec<u64> = ended.map(|(id, _)| id).collect();
            connection.ghosts.retain(|_, of| !ended.contains(of));
        }
    }

    pub(super) fn purge(&mut self, at: u8, queue: usize) {
        let reply = self.usable(at, queue).map(|name| {
            let queue = self.queues.get_mut(&name).unwrap();
            let before = queue.messages.len();
            queue.messages.retain(|_, message| matches!(message.place, Place::InHand { .. }));
            Reply::Purged((before - queue.messages.len()) as u64)
        });
        self.request(at, Request::Purge { queue: name(QUEUES[queue]) }, reply);
    }

    pub(super) fn transfer(&mut self, at: u8, from: usize, to: usize, max: u32) {
        let names = self.usable(at, from).and_then(|a| Ok((a, self.usable(at, to)?)));
        let reply = match names {
            Err(refusal) => Err(refusal),
            Ok((from, to)) if from == to => Err(Refusal::MoveToItself),
            Ok((from, to)) => self.transfer_all(&from, &to, max),
        };
        let (from, to) = (name(QUEUES[from]), name(QUEUES[to]));
        self.request(at, Request::Move { from, to, max, moved: 0 }, reply);
    }

    pub(super) fn transfer_all(&mut self, from: &QueueName, to: &QueueName, max: u32) -> Answer {
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
            let there = self.add(to, copy);
            self.arrived.insert((to.clone(), there));
            count += 1;
        }
        let before = self.visible_to[from];
        let more = self.queues[from].ready(now).iter().any(|seq| *seq < before);
        Ok(Reply::Moved { moved: count, more })
    }

    pub(super) fn bind(&mut self, at: u8, queue: usize, pattern: &str, there: bool) {
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
