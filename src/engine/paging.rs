//! Reading messages back: asks the store for what a queue needs next, and takes its answers. What
//! a purge or a delete made meaningless is recognised by its ticket and dropped. Called by the
//! tenant and by delivery.

use std::collections::BTreeSet;
use std::time::Duration;

use super::inspect::{Ageing, Peeking};
use super::lane::Missing;
use super::tenant::Tenant;
use super::timer::Timer;
use super::{Effect, Load, LoadTicket, Refusal, StoredMessage};
use crate::types::{Lsn, Priority, QueueId, Seq};

/// How long after a failed load it is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// What a load is for.
#[derive(Debug)]
pub(super) enum Loading {
    /// Deliveries to come.
    Window { queue: QueueId, priority: Priority, asked: Missing },
    /// Dead messages that are to be moved.
    Dead { queue: QueueId, asked: Missing },
    /// A peek that waits.
    Peek(Box<Peeking>),
    /// An info that waits for an age.
    Age(Box<Ageing>),
}

impl Loading {
    fn queue(&self) -> QueueId {
        match self {
            Loading::Window { queue, .. } | Loading::Dead { queue, .. } => *queue,
            Loading::Peek(peeking) => peeking.queue,
            Loading::Age(ageing) => ageing.queue,
        }
    }
}

impl Tenant {
    /// Asks for what the queue will need next.
    pub(super) fn replenish(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let unwanted = queue.consumers.is_empty() && !queue.needs_front();
        let waits = queue.load.is_some() || queue.reload_at.is_some() || self.ledger.failed();
        if !queue.is_durable() || unwanted || waits {
            return;
        }
        let Some((priority, asked)) = queue.contents.missing() else { return };
        queue.forget_gone(&self.ledger);
        let loading = Loading::Window { queue: id, priority, asked };
        let ticket = self.ask(loading, Some(priority), asked);
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.load = Some(ticket);
        }
    }

    /// Asks the store.
    pub(super) fn ask(
        &mut self,
        loading: Loading,
        priority: Option<Priority>,
        missing: Missing,
    ) -> LoadTicket {
        self.last_ticket = LoadTicket(self.last_ticket.0 + 1);
        let ticket = self.last_ticket;
        self.ledger.effects.push(Effect::Load(Load {
            ticket,
            queue: loading.queue(),
            priority,
            from_seq: missing.from,
            to_seq: missing.to,
            messages_max: missing.messages_max,
            bytes_max: missing.bytes_max,
        }));
        self.loads.insert(ticket, loading);
        ticket
    }

    /// The store has answered.
    pub(super) fn loaded(&mut self, ticket: LoadTicket, messages: Option<Vec<StoredMessage>>) {
        match (self.loads.remove(&ticket), messages) {
            (None, _) => {}
            (Some(Loading::Window { queue, priority, asked }), Some(messages)) => {
                self.window_loaded(queue, priority, asked, messages);
            }
            (Some(Loading::Window { queue, .. } | Loading::Dead { queue, .. }), None) => {
                self.load_failed(queue);
            }
            (Some(Loading::Dead { queue, asked }), Some(messages)) => {
                self.dead_loaded(queue, asked, messages);
            }
            (Some(Loading::Peek(peeking)), Some(messages)) => self.peek_loaded(peeking, messages),
            (Some(Loading::Peek(peeking)), None) => {
                self.end_peek(*peeking, Lsn(0), Refusal::StorageUnavailable);
            }
            (Some(Loading::Age(ageing)), messages) => {
                self.end_info(*ageing, messages.unwrap_or_default().first());
            }
        }
    }

    fn window_loaded(
        &mut self,
        id: QueueId,
        priority: Priority,
        asked: Missing,
        messages: Vec<StoredMessage>,
    ) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        (queue.load, queue.wanted) = (None, false);
        let gone: BTreeSet<Seq> = queue.gone.iter().map(|(_, seq)| *seq).collect();
        let lost = queue.contents.loaded(priority, asked, messages, &gone);
        queue.forget_many(&mut self.usage, lost, 0);
        self.stir(id);
        self.resume(id);
    }

    fn load_failed(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        for ticket in [queue.load.take(), queue.dead_load.take()].into_iter().flatten() {
            self.loads.remove(&ticket);
        }
        if queue.reload_at.is_none() {
            let at = self.now.monotonic + RETRY;
            queue.reload_at = Some(at);
            self.timers.start(at, Timer::Reload(id));
        }
        self.end_impatient(id, Err(Refusal::StorageUnavailable));
        self.refuse_stalled(id);
    }

    /// The loads under way for the queue's messages are of no use any more.
    pub(super) fn cancel_loads(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        for ticket in [queue.load.take(), queue.dead_load.take()].into_iter().flatten() {
            self.loads.remove(&ticket);
        }
    }

    /// The queue is deleted: peeks that wait are told so once `after` is durable.
    pub(super) fn drop_loads(&mut self, id: QueueId, after: Lsn) {
        self.end_loads(|loading| loading.queue() == id, after, &Refusal::NoSuchQueue);
    }

    /// The store is latched: nothing that was asked for is of use.
    pub(super) fn fail_loads(&mut self) {
        self.end_loads(|_| true, Lsn(0), &Refusal::StorageUnavailable);
        for queue in self.queues.values_mut() {
            (queue.load, queue.dead_load) = (None, None);
        }
    }

    fn end_loads(&mut self, which: impl Fn(&Loading) -> bool, after: Lsn, refusal: &Refusal) {
        let ended: Vec<LoadTicket> = self
            .loads
            .iter()
            .filter(|(_, loading)| which(loading))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in ended {
            match self.loads.remove(&ticket) {
                Some(Loading::Peek(peeking)) => self.end_peek(*peeking, after, refusal.clone()),
                Some(Loading::Age(ageing)) => self.end_info(*ageing, None),
                Some(Loading::Window { .. } | Loading::Dead { .. }) | None => {}
            }
        }
    }
}
