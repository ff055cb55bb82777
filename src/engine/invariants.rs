//! What must hold between any two inputs. Called by tests and simulations after each input.

use std::collections::{BTreeMap, BTreeSet};

use super::connection::{Connection, Consumer, Seat};
use super::lane::Head;
use super::queue::Queue;
use super::tenant::Tenant;
use super::timer::Timer;
use super::waiting::Waiting;
use crate::types::{ConnectionId, QueueId, SubscriptionId};

impl Tenant {
    /// Compares everything that is kept in two places.
    ///
    /// # Panics
    ///
    /// If something does not agree: an error of the engine. Costs as much as there is.
    pub fn check_invariants(&self) {
        let queues: Vec<&Queue> = self.queues.values().map(|queue| &**queue).collect();
        assert_eq!(self.usage.queues, queues.len() as u64);
        assert_eq!(self.names.len(), queues.len());
        assert_eq!(self.usage.messages, queues.iter().map(|q| q.messages).sum::<u64>());
        assert_eq!(self.usage.bytes, queues.iter().map(|q| q.bytes).sum::<u64>());
        for queue in queues {
            assert_eq!(self.names.get(&queue.name), Some(&queue.id));
            self.check_queue(queue);
        }
        for (id, connection) in &self.connections {
            self.check_connection(*id, connection);
        }
        self.check_timers();
        for (id, queue) in &self.queues {
            let waits = queue.contents.dead.values().any(|dead| dead.message.is_some());
            let failed = queue.is_durable() && self.ledger.failed();
            let known = self.grieving.contains(id) || queue.dead_load.is_some();
            let known = known || queue.reload_at.is_some() || self.draining;
            assert!(!waits || failed || known, "{}: the dead are not forgotten", queue.name);
        }
        let promised: usize = self.ledger.waiting().map(entries).sum();
        assert_eq!(self.fences.promised(), promised as u64, "fences set aside are waited for");
        assert!(self.stirred.is_empty(), "every input delivers what it can");
    }

    fn check_queue(&self, queue: &Queue) {
        queue.contents.check();
        assert_eq!(queue.messages, queue.contents.len(), "{}: messages", queue.name);
        if queue.messages == 0 {
            assert_eq!(queue.bytes, 0, "{}: bytes without messages", queue.name);
        }
        for (seq, held) in &queue.contents.in_hand {
            let connection = self.connections.get(&held.connection);
            let grip = connection.and_then(|connection| connection.tags.get(&held.tag));
            let grip = grip.expect("a message in hand has a tag");
            assert!((grip.queue, grip.seq, grip.ghost) == (queue.id, *seq, false));
        }
        for (turn, consumer) in queue.turns() {
            assert!(queue.consumers.contains(consumer));
            assert_eq!(self.turn_of(*consumer), Some(*turn));
        }
        assert!(queue.impatient.is_subset(&queue.consumers));
        let stopped = self.draining || queue.is_durable() && self.ledger.failed();
        if !stopped && queue.contents.head() == Head::Ready {
            let first = queue.contents.peek();
            let over = first.is_some_and(|first| queue.fate(first, self.now.wall_ms).is_some());
            let waits = over || self.fences.left() == 0;
            assert!(!queue.has_turns() || waits, "{}: stands still", queue.name);
        }
        if !stopped && queue.contents.head() == Head::Empty {
            assert!(queue.impatient.is_empty(), "{}: a pull waits in vain", queue.name);
        }
        let wanted = queue.contents.head() == Head::Unloaded && !queue.consumers.is_empty();
        if !stopped && wanted {
            assert!(queue.load.is_some() || queue.reload_at.is_some(), "{}: no load", queue.name);
        }
    }

    fn check_connection(&self, id: ConnectionId, connection: &Connection) {
        let mut filled: BTreeMap<SubscriptionId, (u32, u32)> = BTreeMap::new();
        for (tag, grip) in &connection.tags {
            if let Some(subscription) = grip.subscription {
                let (all, ghosts) = filled.entry(subscription).or_default();
                *all += 1;
                *ghosts += u32::from(grip.ghost);
            }
            if !grip.ghost {
                let held =
                    self.queues.get(&grip.queue).and_then(|q| q.contents.in_hand.get(&grip.seq));
                assert!(held.is_some_and(|held| (held.connection, held.tag) == (id, *tag)));
            }
        }
        for (subscription_id, subscription) in &connection.subscriptions {
            let counted = filled.remove(subscription_id).unwrap_or_default();
            assert_eq!((subscription.filled, subscription.ghosts), counted, "prefetch adds up");
            let seat = Seat::Subscription(*subscription_id);
            self.check_seat(id, connection, seat, subscription.queue, subscription.has_credit());
        }
        assert!(filled.values().all(|(_, ghosts)| *ghosts == 0), "ghosts have a subscription");
        for (pull_id, pull) in &connection.pulls {
            assert!(pull.taken.is_empty(), "a pull that took something is answered");
            self.check_seat(id, connection, Seat::Pull(*pull_id), pull.queue, true);
        }
        let seats: BTreeSet<Seat> = connection.parked.iter().copied().collect();
        assert!(seats.iter().all(|seat| connection.queue_of(*seat).is_some()));
    }

    fn check_seat(
        &self,
        id: ConnectionId,
        connection: &Connection,
        seat: Seat,
        queue: QueueId,
        has_credit: bool,
    ) {
        let consumer = Consumer { connection: id, seat };
        let queue = self.queues.get(&queue).expect("a consumer has a queue");
        assert!(queue.consumers.contains(&consumer));
        let (has_turn, parked) =
            (self.turn_of(consumer).is_some(), connection.parked.contains(&seat));
        assert_eq!(has_turn || parked, has_credit, "{consumer:?}: turn, or parked, by credit");
        if has_turn {
            assert!(queue.turns().any(|(_, other)| *other == consumer));
        }
    }

    fn turn_of(&self, consumer: Consumer) -> Option<super::connection::Turn> {
        let connection = self.connections.get(&consumer.connection)?;
        match consumer.seat {
            Seat::Subscription(id) => connection.subscriptions.get(&id)?.turn,
            Seat::Pull(id) => connection.pulls.get(&id)?.turn,
        }
    }

    fn check_timers(&self) {
        let mut leases = 0;
        for (at, timer) in self.timers.monotonic() {
            match timer {
                Timer::Lease(id, tag) => {
                    leases += 1;
                    let grip = self.connections.get(id).and_then(|c| c.tags.get(tag));
                    let grip = grip.expect("a lease has a tag");
                    let held = self
                        .queues
                        .get(&grip.queue)
                        .and_then(|q| q.contents.in_hand.get(&grip.seq));
                    assert_eq!(held.map(|held| held.deadline), Some(*at));
                }
                Timer::Pull(id, pull) => {
                    let pull = self.connections.get(id).and_then(|c| c.pulls.get(pull));
                    assert_eq!(pull.and_then(|pull| pull.deadline), Some(*at));
                }
                Timer::Unused(id) => {
                    assert_eq!(self.queues.get(id).and_then(|q| q.unused_at), Some(*at));
                }
                Timer::Grief => assert_eq!(self.grief_at, Some(*at)),
                Timer::Reload(id) => {
                    assert_eq!(self.queues.get(id).and_then(|q| q.reload_at), Some(*at));
                }
            }
        }
        let in_hand: usize = self.queues.values().map(|queue| queue.contents.in_hand.len()).sum();
        assert_eq!(leases, in_hand, "each message in hand has one lease");
        for (at, id) in self.timers.wall() {
            assert_eq!(self.queues.get(id).and_then(|queue| queue.armed), Some(*at));
        }
        let armed = self.queues.values().filter(|queue| queue.armed.is_some()).count();
        assert_eq!(self.timers.wall().count(), armed, "each queue has one time");
        for queue in self.queues.values() {
            let next = queue.contents.next_alarm();
            let known = queue.armed.is_some_and(|armed| next.is_none_or(|next| armed <= next));
            assert!(known || next.is_none(), "{}: nothing due is forgotten", queue.name);
        }
    }
}

/// Messages that wait to be sent.
fn entries(waiting: &Waiting) -> usize {
    match waiting {
        Waiting::Deliver { .. } => 1,
        Waiting::Pulled { entries, .. } => entries.len(),
        _ => 0,
    }
}
