//! One tenant: its queues, its connections and its history. Takes inputs one at a time and leaves
//! effects; the rules themselves are in the files beside this one, each of which adds its requests
//! to [`Tenant`]. Called by the broker and by tests and simulations; refuses what the protocol says
//! and never panics on an input, however odd.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::connection::{Connection, Consumer, Seat};
use super::number_map::NumberMap;
use super::paging::Loading;
use super::queue::{Queue, Recording};
use super::reservation::Fences;
use super::room::CHAIN_MAX;
use super::stall::Stalled;
use super::timer::Timers;
use super::trie::Trie;
use super::waiting::{Ledger, Waiting};
use super::{
    Config, Effect, Input, LoadTicket, Recovered, RecoveredQueue, Refusal, Reply, Request,
    TenantLimits, Usage,
};
use crate::types::{
    ConnectionId, Level, Lsn, Monotonic, Now, QueueId, QueueName, QueueSettings, RequestToken, Seq,
    Storage,
};

/// The state machine of one tenant.
#[derive(Debug)]
pub struct Tenant {
    pub(super) config: Config,
    pub(super) limits: TenantLimits,
    pub(super) now: Now,
    pub(super) ledger: Ledger,
    pub(super) fences: Fences,
    pub(super) timers: Timers,
    pub(super) usage: Usage,
    pub(super) names: BTreeMap<QueueName, QueueId>,
    pub(super) queues: NumberMap<QueueId, Box<Queue>>,
    pub(super) queue_id_max: QueueId,
    /// The last batch that deleted a queue: what a `no_such_queue` may report.
    pub(super) last_delete: Lsn,
    pub(super) connections: NumberMap<ConnectionId, Connection>,
    pub(super) loads: BTreeMap<LoadTicket, Loading>,
    pub(super) last_ticket: LoadTicket,
    pub(super) draining: bool,
    /// The store has no room for more messages.
    pub(super) full: bool,
    /// Queues to look at for deliveries at the end of the input.
    pub(super) stirred: VecDeque<QueueId>,
    /// The bindings.
    pub(super) trie: Trie,
    /// Of each name of a dead-letter queue, the queues that name it.
    pub(super) dead_letter_sources: BTreeMap<QueueName, BTreeSet<QueueId>>,
    /// Queues whose dead letters wait, the one looked at last, and when all are looked at.
    pub(super) grieving: BTreeSet<QueueId>,
    pub(super) last_visited: QueueId,
    /// Delays and TTLs that may still be looked at with this input.
    pub(super) alarms_left: usize,
    /// Dead letters moved so far.
    pub(super) burials: u64,
    pub(super) grief_at: Option<Monotonic>,
}

impl Tenant {
    /// The engine of a tenant as its store remembers it.
    pub fn new(config: Config, limits: TenantLimits, recovered: Recovered, now: Now) -> Self {
        let fences = Fences::new(config.level, recovered.fence, config.reservation, now);
        let mut tenant = Self {
            ledger: Ledger::new(recovered.lsn, config.level),
            fences,
            limits,
            now,
            timers: Timers::default(),
            usage: Usage::default(),
            names: BTreeMap::new(),
            queues: NumberMap::default(),
            queue_id_max: recovered.queue_id_max,
            last_delete: Lsn(0),
            connections: NumberMap::default(),
            loads: BTreeMap::new(),
            last_ticket: LoadTicket(0),
            draining: false,
            full: false,
            stirred: VecDeque::new(),
            trie: Trie::default(),
            dead_letter_sources: BTreeMap::new(),
            grieving: BTreeSet::new(),
            last_visited: QueueId(0),
            alarms_left: 0,
            burials: 0,
            grief_at: None,
            config,
        };
        for queue in recovered.queues {
            tenant.recover(queue);
        }
        tenant
    }

    /// Carries out one input at the time `now`, and appends what comes of it to `effects`.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        std::mem::swap(&mut self.ledger.effects, effects);
        self.now = now;
        self.expire();
        self.take(input);
        self.deliver();
        for _ in 0..CHAIN_MAX {
            let moved = self.visit_graves();
            self.deliver();
            if !moved {
                break;
            }
        }
        self.arm_grief();
        self.reserve_fences();
        std::mem::swap(&mut self.ledger.effects, effects);
    }

    /// When [`Input::Tick`] is wanted at the latest; `None`: not until another input came.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.timers.next_deadline(self.now)
    }

    /// What the tenant uses of its quotas.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The queues, by name, on which the connection has subscriptions or waiting pulls.
    pub fn watched(&self, connection: ConnectionId) -> Vec<QueueName> {
        let Some(connection) = self.connections.get(&connection) else { return Vec::new() };
        let subscriptions = connection.subscriptions.values().map(|s| s.queue);
        let pulls = connection.pulls.values().map(|pull| pull.queue);
        let queues = subscriptions.chain(pulls).filter_map(|id| self.queues.get(&id));
        let mut names: Vec<_> = queues.map(|queue| queue.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Request { connection, token, request } => {
                self.request(connection, token, request);
            }
            Input::Sent { connection, bytes } => self.sent(connection, bytes),
            Input::HalfClosed { connection } => self.half_closed(connection),
            Input::Disconnected { connection, sent_up_to } => {
                self.disconnected(connection, sent_up_to);
            }
            Input::Forbid { connection, queues } => self.forbid(connection, &queues),
            Input::Limits(limits) => self.limits = limits,
            Input::Durable(lsn) => self.durable_up_to(lsn),
            Input::Loaded { ticket, messages } => self.loaded(ticket, messages),
            Input::StoreFailed => self.store_failed(),
            Input::StoreFull(full) => self.full = full,
            Input::Drain => self.drain(),
            Input::Tick => {}
        }
    }

    /// Carries out a request, if nothing has to be loaded first.
    pub(super) fn carry_out(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        request: Request,
    ) -> Result<(), Stalled> {
        if self.draining && takes_or_waits(&request) {
            self.refuse(Lsn(0), connection, token, Refusal::ShuttingDown);
            return Ok(());
        }
        match request {
            Request::Publish { to, messages, batch, require } => {
                let terms = super::publish::Terms { batch, require };
                return self.publish(connection, token, to, terms, messages);
            }
            Request::Move { from, to, max, moved } => {
                return self.transfer(connection, token, (from, to), max, moved);
            }
            Request::Consume { queue, prefetch, auto_ack } => {
                self.consume(connection, token, &queue, prefetch, auto_ack);
            }
            Request::Cancel { subscription } => self.cancel(connection, token, subscription),
            Request::Pull { queue, max, wait_ms, auto_ack, bytes_max } => {
                let terms = super::consume::PullTerms { max, wait_ms, auto_ack, bytes_max };
                self.pull(connection, token, &queue, terms);
            }
            Request::Ack(tags) => self.ack(connection, token, tags),
            Request::Nack { tags, dead_letter: true, reason, .. } => {
                self.reject(connection, token, tags, reason);
            }
            Request::Nack { tags, delay_ms, reason, .. } => {
                self.nack(connection, token, tags, delay_ms, reason);
            }
            Request::Extend { tags, lease_ms } => self.extend(connection, token, tags, lease_ms),
            request => self.carry_out_on_queues(connection, token, request),
        }
        Ok(())
    }

    /// The same for requests that look at queues or change them.
    fn carry_out_on_queues(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        request: Request,
    ) {
        match request {
            Request::Declare { queue, settings, update } => {
                self.declare(connection, token, queue, &settings, update);
            }
            Request::Delete { queue, if_empty } => self.delete(connection, token, &queue, if_empty),
            Request::Purge { queue } => self.purge(connection, token, &queue),
            Request::Bind { pattern, queue } => self.bind(connection, token, pattern, &queue),
            Request::Unbind { pattern, queue } => self.unbind(connection, token, pattern, &queue),
            Request::Bindings { after, limit, visible, bytes_max } => {
                let listing = super::topic::Listing { after, limit, visible, bytes_max };
                self.list_bindings(connection, token, &listing);
            }
            Request::Doctor { queue } => self.doctor(connection, token, &queue),
            Request::Info { queue } => self.info(connection, token, &queue),
            Request::List { pattern, after, limit, visible, bytes_max } => {
                let listing = super::inspect::Listing { pattern, after, limit, visible, bytes_max };
                self.list(connection, token, &listing);
            }
            Request::Peek { queue, from_seq, max, bytes_max } => {
                self.peek(connection, token, &queue, from_seq, max, bytes_max);
            }
            _ => debug_assert!(false, "it is carried out before"),
        }
    }

    fn durable_up_to(&mut self, lsn: Lsn) {
        self.ledger.durable_up_to(lsn);
        while let Some(waiting) = self.ledger.pop_durable() {
            self.tell(waiting);
        }
        if self.ledger.failed() {
            return;
        }
        for queue in self.fences.durable_up_to(lsn) {
            self.stir(queue);
        }
    }

    /// Tells, or does, what waited until now.
    fn tell(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Reply { connection, token, result } => {
                if self.connections.contains_key(&connection) {
                    self.ledger.reply(Lsn(0), connection, token, result);
                }
            }
            Waiting::Cancelled { connection, subscription, reason } => {
                if self.connections.contains_key(&connection) {
                    self.ledger.cancelled(Lsn(0), connection, subscription, reason);
                }
            }
            Waiting::Deliver { connection, subscription, queue, entry } => {
                self.deliver_settled(connection, subscription, queue, entry);
            }
            Waiting::Pulled { connection, token, queue, entries } => {
                self.answer_settled_pull(connection, token, queue, entries);
            }
            Waiting::Visible { queues } => {
                for (id, seq) in queues {
                    if let Some(queue) = self.queues.get_mut(&id) {
                        queue.contents.show(seq);
                    }
                    self.stir(id);
                }
            }
        }
    }

    fn store_failed(&mut self) {
        if self.ledger.failed() {
            return;
        }
        for waiting in self.ledger.fail() {
            match waiting {
                Waiting::Reply { connection, token, .. } => {
                    self.tell_unavailable(connection, token);
                }
                Waiting::Pulled { connection, token, entries, .. } => {
                    self.withdraw(connection, &entries);
                    self.tell_unavailable(connection, token);
                }
                Waiting::Deliver { connection, entry, .. } => self.withdraw(connection, &[entry]),
                Waiting::Cancelled { .. } => self.tell(waiting),
                Waiting::Visible { queues } => self.show_in_memory(queues),
            }
        }
        self.fail_loads();
        let pulls: Vec<Consumer> = self.all_pulls(Queue::is_durable);
        for consumer in pulls {
            self.end_pull(consumer, Err(Refusal::StorageUnavailable));
        }
        let stalled: Vec<QueueId> = self.names.values().copied().collect();
        stalled.into_iter().for_each(|id| self.resume(id));
    }

    /// The store failed before these messages were visible. What of them is kept in memory may be
    /// seen: whether its publish was done is open, and the queue goes on.
    fn show_in_memory(&mut self, queues: Vec<(QueueId, Seq)>) {
        for (id, seq) in queues {
            let Some(queue) = self.queues.get_mut(&id) else { continue };
            if !queue.is_durable() && self.ledger.is_durable(queue.created) {
                queue.last_lsn = queue.created;
                queue.contents.show(seq);
                self.stir(id);
            }
        }
    }

    fn tell_unavailable(&mut self, connection: ConnectionId, token: RequestToken) {
        if self.connections.contains_key(&connection) {
            self.refuse(Lsn(0), connection, token, Refusal::StorageUnavailable);
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        for consumer in self.all_pulls(|_| true) {
            self.end_pull(consumer, Ok(()));
        }
    }

    /// The waiting pulls of the queues that `wanted` says, in a fixed order.
    fn all_pulls(&self, wanted: impl Fn(&Queue) -> bool) -> Vec<Consumer> {
        let ids = self.names.values().filter_map(|id| self.queues.get(id));
        ids.filter(|queue| wanted(queue))
            .flat_map(|queue| queue.consumers.iter())
            .filter(|consumer| matches!(consumer.seat, Seat::Pull(_)))
            .copied()
            .collect()
    }

    /// Writes the next block of fences ahead of its need.
    fn reserve_fences(&mut self) {
        if self.ledger.failed() {
            return;
        }
        if let Some(record) = self.fences.reservation_due() {
            // At the highest level, so that fences never go back, whatever the level of messages.
            let lsn = self.ledger.append_at(self.config.level_max, vec![record]);
            self.fences.reserving(lsn);
        }
    }

    fn recover(&mut self, recovered: RecoveredQueue) {
        let RecoveredQueue { id, name, settings, next_seq, .. } = recovered;
        let recording = self.recording(&settings);
        let mut queue = Queue::new(id, name.clone(), settings, recording, &self.config);
        queue.next_seq = next_seq.max(Seq(1));
        let last = queue.last_seq();
        queue.contents.show(last);
        if queue.is_durable() {
            let now = self.now.wall_ms;
            queue.messages = recovered.messages;
            queue.bytes = recovered.bytes;
            for (priority, messages) in recovered.plain {
                queue.contents.recover(last, priority, messages);
            }
            for known in &recovered.known {
                queue.contents.recover_known(known, now);
            }
            for (key, seq, at) in recovered.keys {
                queue.keys.remember(&key, seq, at);
            }
        }
        self.usage.messages += queue.messages;
        self.usage.bytes += queue.bytes;
        self.queue_id_max = self.queue_id_max.max(id);
        self.take_in(queue);
        for pattern in recovered.bindings {
            self.trie.insert(&pattern, id, &name);
        }
        // The first input finds it due.
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.age_alarm = queue.settings.ttl_ms.map(|_| 0);
            if !queue.contents.dead.is_empty() {
                self.grieving.insert(id);
            }
        }
        self.rearm(id);
    }

    /// What the store is told of a queue with those settings.
    pub(super) fn recording(&self, settings: &QueueSettings) -> Recording {
        if self.config.level == Level::Memory || settings.exclusive {
            Recording::Nothing
        } else if settings.storage == Storage::Memory {
            Recording::Shell
        } else {
            Recording::All
        }
    }

    /// Whether messages of a queue with those settings go to the store.
    pub(super) fn makes_records(&self, settings: &QueueSettings) -> bool {
        self.recording(settings) == Recording::All
    }

    /// Notes a queue for delivery at the end of the input.
    pub(super) fn stir(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get_mut(&id)
            && !queue.stirred
        {
            queue.stirred = true;
            self.stirred.push_back(id);
        }
    }

    /// The queue of that name, if the connection may use it; else answers.
    pub(super) fn find(
        &mut self,
        connection: ConnectionId,
        token: &RequestToken,
        name: &QueueName,
    ) -> Option<QueueId> {
        let Some(id) = self.names.get(name).copied() else {
            self.refuse(self.last_delete, connection, token.clone(), Refusal::NoSuchQueue);
            return None;
        };
        let owner = self.queues.get(&id).and_then(|queue| queue.owner);
        if owner.is_some_and(|owner| owner != connection) {
            self.refuse(Lsn(0), connection, token.clone(), Refusal::Exclusive);
            return None;
        }
        Some(id)
    }

    /// Answers once `after` is durable.
    pub(super) fn answer(
        &mut self,
        after: Lsn,
        connection: ConnectionId,
        token: RequestToken,
        reply: Reply,
    ) {
        self.ledger.reply(after, connection, token, Ok(reply));
    }

    /// Refuses once `after` is durable.
    pub(super) fn refuse(
        &mut self,
        after: Lsn,
        connection: ConnectionId,
        token: RequestToken,
        refusal: Refusal,
    ) {
        self.ledger.reply(after, connection, token, Err(refusal));
    }
}

/// Whether a server that is stopping refuses the request.
fn takes_or_waits(request: &Request) -> bool {
    match request {
        Request::Publish { .. }
        | Request::Consume { .. }
        | Request::Pull { .. }
        | Request::Declare { .. }
        | Request::Delete { .. }
        | Request::Purge { .. }
        | Request::Move { .. }
        | Request::Bind { .. }
        | Request::Unbind { .. }
        | Request::Peek { .. } => true,
        Request::Cancel { .. }
        | Request::Ack(_)
        | Request::Nack { .. }
        | Request::Extend { .. }
        | Request::Info { .. }
        | Request::Bindings { .. }
        | Request::Doctor { .. }
        | Request::List { .. } => false,
    }
}
