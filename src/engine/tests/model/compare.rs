//! Compares what is not told but can be seen: counts, usage, the store's records; and, when nothing
//! is under way, every message.

use std::collections::VecDeque;

use super::driver::{Driver, queue_name};
use super::plain::Place;
use crate::engine::tests::bench::{Answer, text};
use crate::engine::*;
use crate::types::*;

impl Driver {
    /// What can be compared at any time.
    pub(super) fn compare_state(&mut self) {
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
    pub(super) fn compare_quiet(&self) {
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
    pub(super) fn compare_all(&mut self) {
        self.compare_quiet();
        if self.plain.draining {
            return;
        }
        for queue in 0..3 {
            let name = queue_name(queue);
            if !self.plain.queues.contains_key(&name) {
                continue;
            }
            let then = self.plain.info(&name);
            let now = self.ask(Request::Info { queue: name.clone() });
            assert_eq!(now, Some(Ok(Reply::Info(Box::new(then)))));
            let (from_seq, max, bytes_max) = (Seq(0), 1_000, 1 << 20);
            let request = Request::Peek { queue: name.clone(), from_seq, max, bytes_max };
            let seen = self.ask(request).expect("a peek is answered");
            assert_eq!(seen, self.plain.peek(&name, 0, max));
        }
    }

    /// Asks on a connection of its own that takes everything at once.
    pub(super) fn ask(&mut self, request: Request) -> Option<Answer> {
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
