//! Judges each effect of the engine against the model, and goes on with the model as the engine
//! chose, where it had a choice: who gets which message.

use std::collections::BTreeMap;
use std::time::Duration;

use super::driver::{Driver, Taken, queue_name};
use super::plain::{Place, Plain, PlainMessage};
use crate::engine::tests::bench::{Answer, text};
use crate::engine::*;
use crate::types::*;

/// What one input led to, gathered for the comparison.
#[derive(Default)]
pub(super) struct Round {
    /// What was ready before the deliveries, and what was delivered, by queue.
    ready: BTreeMap<QueueName, Vec<u64>>,
    given: BTreeMap<QueueName, Vec<u64>>,
}

impl Driver {
    /// Hands in one input whose effect on the model is made, and judges what comes of it.
    pub(super) fn step(&mut self, input: Input) {
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
    pub(super) fn note_batches(&mut self, effects: &[Effect], round: &mut Round) -> Lsn {
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
    pub(super) fn note_record(&mut self, record: &Record, lsn: Lsn) -> Option<(QueueName, u64)> {
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
            Record::Removed { queue, seq, .. } => {
                let name = find(&self.plain, *queue).expect("a message of a queue is removed");
                let mut settled = self.plain.settled.iter();
                let Some((_, _, tag)) =
                    settled.find(|(queue, settled, _)| (queue, *settled) == (&name, seq.0))
                else {
                    return Some((name, seq.0));
                };
                self.settled_at.insert((self.asking, *tag), lsn);
            }
            Record::SeqReserved { queue, up_to } => {
                let name = find(&self.plain, *queue).expect("a queue's numbers are reserved");
                self.plain.queues.get_mut(&name).unwrap().blocks.push((up_to.0, lsn));
            }
            _ => {}
        }
        None
    }

    /// Names that the model does not have and of which a record tells that they went.
    pub(super) fn deleted_names(&self) -> Vec<QueueName> {
        (0..3).map(queue_name).filter(|name| !self.plain.queues.contains_key(name)).collect()
    }

    pub(super) fn judge(&mut self, effect: Effect, round: &mut Round) {
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
    pub(super) fn take(&mut self, queue: &QueueName, seq: u64, round: &mut Round) -> PlainMessage {
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
    pub(super) fn give(
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

    pub(super) fn judge_delivery(
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

    pub(super) fn judge_reply(
        &mut self,
        at: ConnectionId,
        id: u64,
        answer: Answer,
        round: &mut Round,
    ) {
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
    pub(super) fn check_told(&mut self) {
        for queue in self.plain.queues.values().filter(|_| self.durable_store) {
            let (Some(id), durable) = (queue.id, self.plain.durable) else { continue };
            let mut told =
                queue.messages.iter().filter(|(_, m)| m.after.is_some_and(|a| a <= durable));
            let Some((last, _)) = told.next_back() else { continue };
            let image = &self.store.durable.queues[&id];
            assert!(image.next_seq.0 > *last, "a seq that is told stands");
            self.told.insert(id, *last);
        }
    }

    pub(super) fn judge_peek(&self, queue: &QueueName, messages: &[Peeked]) {
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

    pub(super) fn judge_pull(
        &mut self,
        at: ConnectionId,
        id: u64,
        answer: Answer,
        round: &mut Round,
    ) {
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
}

/// Whether the record is of what a request asked for.
pub(super) fn is_own(record: &Record) -> bool {
    !matches!(record, Record::FenceReserved { .. } | Record::SeqReserved { .. })
}
