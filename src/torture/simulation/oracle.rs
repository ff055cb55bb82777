//! What clients were told, and what must therefore be true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::{Delivery, Recovered};
use crate::types::{ConnectionId, Content, Level, Monotonic, Now, QueueName, Seq, Tag, WallMs};

/// A message, by the number that is its content.
pub(super) type Id = u64;

/// What becomes of something that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// It was not asked for.
    No,
    /// It was, and no answer has come, or one that leaves it open.
    Maybe,
    /// It was confirmed.
    Yes,
}

/// One message.
#[derive(Debug)]
struct Known {
    queue: QueueName,
    /// How often the queue had been deleted when it was published.
    life: u64,
    published: Told,
    /// The level at which it was confirmed.
    level: Level,
    gone: Told,
    gone_level: Level,
    seq: Option<Seq>,
    /// Whether it was ever delivered.
    delivered: bool,
    /// Confirmed not to be delivered before.
    not_before: WallMs,
}

/// A message in hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    connection: ConnectionId,
    tag: Tag,
    /// The end of its lease.
    until: Monotonic,
}

/// The lease of every queue.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(super) struct Oracle {
    /// The level of the store.
    level: Level,
    messages: BTreeMap<Id, Known>,
    /// Whether a queue is there.
    queues: BTreeMap<QueueName, Told>,
    in_hand: BTreeMap<Id, Held>,
    fence: u64,
    /// The last `seq` of each queue that was delivered for the first time in this run.
    first_delivered: BTreeMap<QueueName, Seq>,
    /// Every `seq` that a queue gave to a message.
    seqs: BTreeMap<(QueueName, u64), BTreeMap<Seq, Id>>,
    /// How often each queue was to be deleted.
    lives: BTreeMap<QueueName, u64>,
    /// How often each was asked for, or to go.
    wishes: BTreeMap<QueueName, u64>,
    pub(super) confirmed: u64,
    pub(super) acked: u64,
    pub(super) delivered: u64,
}

type Checked = Result<(), String>;

/// Queues whose messages end with the process.
pub(super) fn is_in_memory(queue: &QueueName) -> bool {
    queue.as_str().starts_with("memory")
}

impl Oracle {
    pub(super) fn new(level: Level) -> Self {
        Self {
            level,
            messages: BTreeMap::new(),
            queues: BTreeMap::new(),
            in_hand: BTreeMap::new(),
            fence: 0,
            first_delivered: BTreeMap::new(),
            seqs: BTreeMap::new(),
            lives: BTreeMap::new(),
            wishes: BTreeMap::new(),
            confirmed: 0,
            acked: 0,
            delivered: 0,
        }
    }

    /// A publish was asked for.
    pub(super) fn publishing(&mut self, id: Id, queue: &QueueName) {
        let known = Known {
            queue: queue.clone(),
            life: self.lives.get(queue).copied().unwrap_or_default(),
            published: Told::Maybe,
            level: Level::Memory,
            gone: Told::No,
            gone_level: Level::Memory,
            seq: None,
            delivered: false,
            not_before: 0,
        };
        self.messages.insert(id, known);
    }

    /// It was confirmed.
    pub(super) fn published(&mut self, id: Id, seq: Seq, level: Level) -> Checked {
        self.confirmed += 1;
        self.note_seq(id, seq)?;
        let Some(known) = self.messages.get_mut(&id) else { return Ok(()) };
        known.published = Told::Yes;
        known.level = level;
        Ok(())
    }

    /// It was refused: nothing was stored. A store that failed leaves it open.
    pub(super) fn refused(&mut self, id: Id, open: bool) {
        if !open {
            self.messages.remove(&id);
        }
    }

    fn note_seq(&mut self, id: Id, seq: Seq) -> Checked {
        let Some(known) = self.messages.get_mut(&id) else {
            return Err(format!("message {id} was refused and is there"));
        };
        if known.seq.is_some_and(|before| before != seq) {
            return Err(format!("message {id} has seq {seq} and had {:?}", known.seq));
        }
        known.seq = Some(seq);
        let seqs = self.seqs.entry((known.queue.clone(), known.life)).or_default();
        match seqs.insert(seq, id) {
            Some(other) if other != id => {
                Err(format!("messages {other} and {id} of {} both have seq {seq}", known.queue))
            }
            _ => Ok(()),
        }
    }

    /// A message is delivered.
    pub(super) fn delivered(&mut self, to: ConnectionId, delivery: &Delivery, now: Now) -> Checked {
        self.delivered += 1;
        let id = id_of(&delivery.message.content)?;
        self.note_seq(id, delivery.seq)?;
        let fence = delivery.fence.0;
        if fence <= self.fence {
            return Err(format!("fence {fence} after {}", self.fence));
        }
        self.fence = fence;
        let held = Held { connection: to, tag: delivery.tag, until: now.monotonic + LEASE };
        if let Some(holder) = self.in_hand.insert(id, held) {
            return Err(format!("message {id} is delivered while it is in hand of {holder:?}"));
        }
        let Some(known) = self.messages.get_mut(&id) else {
            return Err(format!("message {id} was never published"));
        };
        if known.queue != delivery.queue {
            return Err(format!("message {id} of {} comes from {}", known.queue, delivery.queue));
        }
        if known.gone == Told::Yes {
            return Err(format!("message {id} was removed, which was confirmed, and came back"));
        }
        if known.not_before > now.wall_ms {
            let early = known.not_before - now.wall_ms;
            return Err(format!("message {id} comes {early} ms early"));
        }
        if !known.delivered {
            known.delivered = true;
            let last = self.first_delivered.insert(known.queue.clone(), delivery.seq);
            if last.is_some_and(|last| last > delivery.seq) {
                return Err(format!("message {id}, seq {}, comes after {last:?}", delivery.seq));
            }
        }
        Ok(())
    }

    /// The deliveries that a connection has in hand.
    pub(super) fn in_hand_of(&self, connection: ConnectionId) -> Vec<(Id, Tag)> {
        let theirs = self.in_hand.iter().filter(|(_, held)| held.connection == connection);
        theirs.map(|(id, held)| (*id, held.tag)).collect()
    }

    /// It was let go of: by an ack, a return, or the end of its connection.
    pub(super) fn let_go(&mut self, id: Id) -> Option<Held> {
        self.in_hand.remove(&id)
    }

    /// The ack or the return was refused: it is in hand still.
    pub(super) fn kept(&mut self, held: impl IntoIterator<Item = (Id, Held)>) {
        self.in_hand.extend(held);
    }

    /// All that a connection has goes back.
    pub(super) fn disconnected(&mut self, connection: ConnectionId) {
        self.in_hand.retain(|_, held| held.connection != connection);
    }

    /// Leases that have run out give their messages back.
    pub(super) fn expire(&mut self, now: Now) {
        self.in_hand.retain(|_, held| held.until > now.monotonic);
    }

    /// An ack was asked for.
    pub(super) fn acking(&mut self, id: Id) {
        if let Some(known) = self.messages.get_mut(&id) {
            known.gone = known.gone.max(Told::Maybe);
        }
    }

    /// It was confirmed.
    pub(super) fn acked(&mut self, id: Id) {
        self.acked += 1;
        if let Some(known) = self.messages.get_mut(&id) {
            known.gone = Told::Yes;
            known.gone_level = self.level;
        }
    }

    /// A return with a delay was confirmed.
    pub(super) fn delayed(&mut self, id: Id, until: WallMs) {
        if let Some(known) = self.messages.get_mut(&id) {
            known.not_before = until;
        }
    }

    /// A purge or a delete was asked for: everything in the queue may go, but what is in hand if
    /// it is a purge. Answers what that is.
    pub(super) fn clearing(&mut self, queue: &QueueName, purge: bool) -> Vec<Id> {
        let mut cleared = Vec::new();
        for (id, known) in &mut self.messages {
            let stays = purge && self.in_hand.contains_key(id);
            if known.queue == *queue && known.published >= Told::Maybe && !stays {
                known.gone = known.gone.max(Told::Maybe);
                cleared.push(*id);
            }
        }
        cleared
    }

    /// It was confirmed.
    pub(super) fn cleared(&mut self, ids: &[Id]) {
        for id in ids {
            if let Some(known) = self.messages.get_mut(id) {
                known.gone = Told::Yes;
                known.gone_level = self.level;
            }
        }
    }

    /// A queue was asked for. Answers which wish about it this was.
    pub(super) fn declaring(&mut self, queue: &QueueName) -> u64 {
        let told = self.queues.entry(queue.clone()).or_insert(Told::No);
        *told = (*told).max(Told::Maybe);
        self.wish(queue)
    }

    /// What is in hand of these is not any more. Answers it.
    pub(super) fn take_from_hands(&mut self, ids: &[Id]) -> Vec<(Id, Held)> {
        self.in_hand.extract_if(.., |id, _| ids.contains(id)).collect()
    }

    /// A queue was asked to go. Answers which wish about it this was.
    pub(super) fn deleting(&mut self, queue: &QueueName) -> u64 {
        self.queues.insert(queue.clone(), Told::Maybe);
        self.first_delivered.remove(queue);
        *self.lives.entry(queue.clone()).or_default() += 1;
        self.wish(queue)
    }

    fn wish(&mut self, queue: &QueueName) -> u64 {
        let wishes = self.wishes.entry(queue.clone()).or_default();
        *wishes += 1;
        *wishes
    }

    /// Whether the queue is there was told, in answer to a wish; a later one leaves it open.
    pub(super) fn is_there(&mut self, queue: &QueueName, wish: u64, there: bool) {
        if self.wishes.get(queue) == Some(&wish) {
            self.queues.insert(queue.clone(), if there { Told::Yes } else { Told::No });
        }
    }

    /// The process ended, with the power or without. What was confirmed at a level that does not
    /// outlive that is open again.
    pub(super) fn crashed(&mut self, outlives: Level) {
        self.in_hand.clear();
        self.first_delivered.clear();
        // Numbers are used again where the message that had one may be lost.
        let survives = |id: &Id| self.messages.get(id).is_some_and(|known| known.level >= outlives);
        self.seqs.values_mut().for_each(|seqs| seqs.retain(|_, id| survives(id)));
        for known in self.messages.values_mut() {
            if known.published == Told::Yes && known.level < outlives {
                known.published = Told::Maybe;
            }
            if is_in_memory(&known.queue) {
                known.gone = Told::Yes;
                known.gone_level = Level::Replicated;
            }
            if known.gone == Told::Yes && known.gone_level < outlives {
                known.gone = Told::Maybe;
            }
            if self.level < outlives {
                known.not_before = 0;
            }
        }
    }

    /// The queues that a start found, against those that must be there.
    pub(super) fn recovered(&self, recovered: &Recovered, certain: bool) -> Checked {
        let there: BTreeSet<&QueueName> = recovered.queues.iter().map(|q| &q.name).collect();
        for (queue, told) in &self.queues {
            match (told, there.contains(queue)) {
                (Told::Yes, false) if certain => return Err(format!("queue {queue} is lost")),
                (Told::No, true) if certain => {
                    return Err(format!("queue {queue} was deleted, and is there"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Everything has been consumed and acked: what was confirmed must have come.
    pub(super) fn drained(&self) -> Checked {
        let lost: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, known)| known.published == Told::Yes && known.gone == Told::No)
            .map(|(id, known)| (*id, known.queue.clone(), known.seq))
            .take(5)
            .collect();
        if lost.is_empty() { Ok(()) } else { Err(format!("confirmed messages are lost: {lost:?}")) }
    }
}

/// The content of a message: its number, and as many bytes that follow from it.
pub(super) fn content(id: Id, padding: usize) -> Content {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((0..padding).map(|at| (id as usize).wrapping_mul(31).wrapping_add(at * 7) as u8));
    Content::Payload(bytes.into())
}

/// The number of a message, if its content is what was published.
pub(super) fn id_of(found: &Content) -> Result<Id, String> {
    let Content::Payload(bytes) = found else { return Err("a body was never published".into()) };
    let (number, padding) = bytes.split_first_chunk::<8>().ok_or("a message was cut")?;
    let id = u64::from_le_bytes(*number);
    if content(id, padding.len()) == *found {
        Ok(id)
    } else {
        Err(format!("message {id} has another content than was published"))
    }
}
