//! Follows what the engine does of its own accord, and judges it by what must then be true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::driver::{Driver, Tagged, WATCHER};
use super::plain::{Dead, Place, buried};
use crate::engine::tests::bench::{Answer, all_visible, text};
use crate::engine::*;
use crate::types::*;

/// What the engine does with it.
impl Driver {
    /// Hands in one input, and whatever the store and the clock say of it. Answers the reply.
    pub(super) fn input(&mut self, input: Input, pull: Option<(QueueName, u32)>) -> Option<Answer> {
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

    pub(super) fn handle(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.tenant.handle(self.now, input, &mut effects);
        self.tenant.check_invariants();
        effects
    }

    pub(super) fn take(
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
    pub(super) fn follow(
        &mut self,
        mut delivered: Vec<(ConnectionId, Option<u64>, Delivery)>,
        mut pull: Option<(QueueName, u32)>,
    ) {
        let asked = pull.clone();
        let now = self.now.wall_ms;
        let seen = self.look();
        let mut arrived = std::mem::take(&mut self.arrived);
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
    pub(super) fn follow_deliveries(
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

    pub(super) fn has_credit(&self, name: &QueueName) -> bool {
        self.connections.iter().any(|(id, connection)| {
            connection.subscriptions.iter().any(|(subscription, (queue, prefetch))| {
                queue == name && self.filled(*id, *subscription) < *prefetch
            })
        })
    }

    /// What fills the prefetch of a subscription.
    pub(super) fn filled(&self, id: ConnectionId, of: u64) -> u32 {
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

    pub(super) fn give(
        &mut self,
        id: ConnectionId,
        subscription: Option<u64>,
        delivery: &Delivery,
    ) {
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
    pub(super) fn follow_burials(
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

    pub(super) fn fits(&self, name: &QueueName, bytes: u64) -> bool {
        let queue = &self.queues[name];
        let (most, most_bytes) = queue.limits();
        (queue.messages.len() as u64) < most && queue.bytes() + bytes <= most_bytes
    }

    /// What is left of the dead waits for a reason.
    pub(super) fn judge_burials(&self, name: &QueueName) {
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
    pub(super) fn look(&mut self) -> Seen {
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

    pub(super) fn ask(&mut self, connection: ConnectionId, request: Request) -> Option<Answer> {
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
    pub(super) fn compare(&mut self, seen: &Seen) {
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
