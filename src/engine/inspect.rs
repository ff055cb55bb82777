//! `queue.info`, `queue.list` and `queue.peek`: they change nothing. Called by the tenant.

use std::ops::Bound;
use std::sync::Arc;

use super::lane::Missing;
use super::paging::Loading;
use super::queue::Oldest;
use super::tenant::Tenant;
use super::{Peeked, QueueInfo, Refusal, Reply, StoredMessage};
use crate::types::{
    ConnectionId, Grants, Lsn, Pattern, QueueId, QueueName, RequestToken, Seq, SharedMessage,
};

/// What a list asks for.
pub(super) struct Listing {
    pub(super) pattern: Option<Pattern>,
    pub(super) after: Option<String>,
    pub(super) limit: u32,
    pub(super) visible: Arc<Grants>,
    pub(super) bytes_max: usize,
}

/// An upper bound of what one queue takes in a list, beyond its name. Unit: bytes.
const INFO_BYTES: usize = 1024;

/// A peek under way.
#[derive(Debug)]
pub(super) struct Peeking {
    pub(super) queue: QueueId,
    connection: ConnectionId,
    token: RequestToken,
    from: Seq,
    to: Seq,
    max: usize,
    bytes_left: u64,
    messages: Vec<Peeked>,
}

/// An info that waits for the age of a message in the store.
#[derive(Debug)]
pub(super) struct Ageing {
    pub(super) queue: QueueId,
    connection: ConnectionId,
    token: RequestToken,
    after: Lsn,
    from: Seq,
    info: Box<QueueInfo>,
}

impl Peeking {
    /// Takes one message; `false` if the reply is full.
    fn take(&mut self, seq: Seq, attempt: u32, message: SharedMessage) -> bool {
        let bytes = message.wire_bytes() as u64;
        let full =
            self.messages.len() >= self.max || bytes > self.bytes_left && !self.messages.is_empty();
        if !full {
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            self.messages.push(Peeked { seq, attempt, message });
            self.from = seq.next();
        }
        !full
    }
}

impl Tenant {
    pub(super) fn info(&mut self, connection: ConnectionId, token: RequestToken, name: &QueueName) {
        let Some(id) = self.find(connection, &token, name) else { return };
        let Some(queue) = self.queues.get(&id) else { return };
        let (after, info) = (queue.shaped, Box::new(queue.info(self.now.wall_ms)));
        match queue.oldest() {
            Some(Oldest::Unread(from))
                if from <= queue.contents.visible_to() && !self.ledger.failed() =>
            {
                let (to, messages_max, bytes_max) = (queue.contents.visible_to(), 1, 1);
                let missing = Missing { from, to, messages_max, bytes_max };
                let ageing = Ageing { queue: id, connection, token, after, from, info };
                self.ask(Loading::Age(Box::new(ageing)), None, missing);
            }
            _ => self.answer(after, connection, token, Reply::Info(info)),
        }
    }

    /// Completes an info by the age of the message that the store gave; where it gave none, the age
    /// stays 0.
    pub(super) fn end_info(&mut self, ageing: Ageing, first: Option<&StoredMessage>) {
        let Ageing { queue, connection, token, after, from, mut info } = ageing;
        if let Some(first) = first {
            let at = first.message.published_at;
            info.oldest_age_ms = self.now.wall_ms.saturating_sub(at);
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.read_oldest = Some((from, at));
            }
        }
        if self.connections.contains_key(&connection) {
            self.answer(after, connection, token, Reply::Info(info));
        }
    }

    pub(super) fn list(&mut self, connection: ConnectionId, token: RequestToken, ask: &Listing) {
        let start = ask.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut after = self.last_delete;
        let mut bytes = 0;
        let mut more = false;
        let mut queues: Vec<QueueInfo> = Vec::new();
        for (name, id) in self.names.range::<str, _>((start, Bound::Unbounded)) {
            let matches = ask.pattern.as_ref().is_none_or(|p| p.matches(name.as_str()));
            if !matches || !ask.visible.mention(name.as_str()) {
                continue;
            }
            let Some(queue) = self.queues.get(id) else { continue };
            if queue.owner.is_some_and(|owner| owner != connection) {
                continue;
            }
            bytes += INFO_BYTES + name.as_str().len();
            let full = bytes > ask.bytes_max && !queues.is_empty();
            if full || queues.len() >= ask.limit as usize {
                more = true;
                break;
            }
            after = after.max(queue.shaped);
            queues.push(queue.info(self.now.wall_ms));
        }
        self.answer(after, connection, token, Reply::List { queues, more });
    }

    pub(super) fn peek(
        &mut self,
        connection: ConnectionId,
        token: RequestToken,
        name: &QueueName,
        from: Seq,
        max: u32,
        bytes_max: usize,
    ) {
        let Some(id) = self.find(connection, &token, name) else { return };
        let Some(queue) = self.queues.get(&id) else { return };
        if queue.is_durable() && self.ledger.failed() {
            return self.refuse(Lsn(0), connection, token, Refusal::StorageUnavailable);
        }
        self.continue_peek(Box::new(Peeking {
            queue: id,
            connection,
            token,
            from,
            to: queue.contents.visible_to(),
            max: max as usize,
            bytes_left: bytes_max as u64,
            messages: Vec::new(),
        }));
    }

    /// Goes on with what is in memory, and asks the store for what is not.
    fn continue_peek(&mut self, mut peeking: Box<Peeking>) {
        let Some(queue) = self.queues.get(&peeking.queue) else { return };
        while peeking.messages.len() < peeking.max {
            match queue.contents.next_from(peeking.from) {
                Some((seq, _)) if seq > peeking.to => break,
                None => break,
                Some((seq, Some((attempt, message)))) => {
                    if !peeking.take(seq, attempt, message.clone()) {
                        break;
                    }
                }
                Some((from, None)) => {
                    let messages_max = peeking.max - peeking.messages.len();
                    let (to, bytes_max) = (peeking.to, peeking.bytes_left);
                    peeking.from = from;
                    let missing = Missing { from, to, messages_max, bytes_max };
                    self.ask(Loading::Peek(peeking), None, missing);
                    return;
                }
            }
        }
        let after = queue.shaped;
        let name = queue.name.clone();
        let Peeking { connection, token, messages, .. } = *peeking;
        let bytes: u64 = messages.iter().map(|peeked| peeked.message.wire_bytes() as u64).sum();
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.outbox_bytes += bytes;
        } else {
            return;
        }
        self.answer(after, connection, token, Reply::Peeked { queue: name, messages });
    }

    /// Goes on with what the store gave, as far as it is still in the queue.
    pub(super) fn peek_loaded(&mut self, mut peeking: Box<Peeking>, messages: Vec<StoredMessage>) {
        let Some(queue) = self.queues.get(&peeking.queue) else { return };
        let asked_from = peeking.from;
        for stored in messages {
            if stored.seq < peeking.from || stored.seq > peeking.to {
                continue;
            }
            let Some(attempt) = queue.contents.attempt_of(&stored) else {
                peeking.from = stored.seq.next();
                continue;
            };
            if !peeking.take(stored.seq, attempt.unwrap_or(stored.attempt), stored.message) {
                peeking.max = peeking.messages.len();
                break;
            }
        }
        if peeking.from == asked_from {
            // The store has none of those: there is nothing more to see.
            peeking.max = peeking.messages.len();
        }
        self.continue_peek(peeking);
    }

    /// Refuses a peek that waits.
    pub(super) fn end_peek(&mut self, peeking: Peeking, after: Lsn, refusal: Refusal) {
        if self.connections.contains_key(&peeking.connection) {
            self.refuse(after, peeking.connection, peeking.token, refusal);
        }
    }
}
