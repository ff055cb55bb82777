//! What clients were told, and what must therefore be true.

mod delivery;
mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::Recovered;
use crate::types::{
    ConnectionId, Content, Level, Message, Monotonic, Now, Priority, QueueName, Seq, Tag, WallMs,
};

/// A message, by the number that is its content.
pub(super) type Number = u64;

/// A message in one queue: a topic brings it into several, a death into another.
pub(super) type Id = (Number, QueueName);

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

/// One message in one queue.
#[derive(Debug)]
struct Known {
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
    /// By its own delay.
    delayed_until: WallMs,
    expires_at: Option<WallMs>,
    published_at: WallMs,
    priority: Priority,
    group: Option<Box<str>>,
    key: Option<Box<str>>,
    /// Deliveries that were seen.
    attempts: u64,
    /// Whether a consumer refused it for good.
    rejected: Told,
    /// Whether its going was an ack's.
    acked: bool,
    /// The publish that it stands or falls with, and whether it was seen since then.
    step: Option<Number>,
    seen: bool,
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

/// The queue that has dead letters, and where they go, in lives with features.
pub(super) const MORTAL: &str = "orders";
pub(super) const DEAD: &str = "dead";

/// Deliveries after which its messages are dead.
pub(super) const ATTEMPTS: u64 = 3;

/// The queue that knows doubles, and for how long. Unit: ms.
pub(super) const DEDUPLICATED: &str = "mail";
pub(super) const DEDUP_WINDOW_MS: u64 = 60_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Oracle {
    /// The level of the store.
    level: Level,
    /// Whether more is asked of queues than to keep messages.
    features: bool,
    messages: BTreeMap<Id, Known>,
    /// Whether a queue is there.
    queues: BTreeMap<QueueName, Told>,
    in_hand: BTreeMap<Id, Held>,
    fence: u64,
    /// The last `seq` of each queue and priority that was delivered for the first time in this
    /// run, of messages without a group or a delay.
    first_delivered: BTreeMap<(QueueName, Priority), Seq>,
    /// Queues that get what is published to the topic, and in which life that was told.
    bound: BTreeMap<QueueName, u64>,
    /// Every `seq` that a queue gave to a message.
    seqs: BTreeMap<(QueueName, u64), BTreeMap<Seq, Number>>,
    /// How often each queue was to be deleted.
    lives: BTreeMap<QueueName, u64>,
    /// How often each was asked for, or to go.
    wishes: BTreeMap<QueueName, u64>,
    pub(super) confirmed: u64,
    pub(super) acked: u64,
    pub(super) delivered: u64,
    pub(super) dead: u64,
}

type Checked = Result<(), String>;

/// Queues whose messages end with the process.
pub(super) fn is_in_memory(queue: &QueueName) -> bool {
    queue.as_str().starts_with("memory")
}

impl Oracle {
    pub(super) fn new(level: Level, features: bool) -> Self {
        Self {
            level,
            features,
            messages: BTreeMap::new(),
            queues: BTreeMap::new(),
            in_hand: BTreeMap::new(),
            fence: 0,
            first_delivered: BTreeMap::new(),
            bound: BTreeMap::new(),
            seqs: BTreeMap::new(),
            lives: BTreeMap::new(),
            wishes: BTreeMap::new(),
            confirmed: 0,
            acked: 0,
            delivered: 0,
            dead: 0,
        }
    }

    /// A publish was asked for. What has the same `step` stands or falls together.
    pub(super) fn publishing(&mut self, id: &Id, message: &Message, step: Option<Number>) {
        let (delay, ttl) =
            message.properties.as_ref().map_or((0, None), |p| (p.delay_ms, p.ttl_ms));
        let known = Known {
            life: self.lives.get(&id.1).copied().unwrap_or_default(),
            published: Told::Maybe,
            level: Level::Memory,
            gone: Told::No,
            gone_level: Level::Memory,
            seq: None,
            delivered: false,
            not_before: 0,
            delayed_until: if delay == 0 { 0 } else { message.published_at + delay },
            expires_at: ttl.map(|ttl| message.published_at + ttl),
            published_at: message.published_at,
            priority: message.priority(),
            group: message.group().map(Into::into),
            key: message.key().map(Into::into),
            attempts: 0,
            rejected: Told::No,
            acked: false,
            step,
            seen: false,
        };
        self.messages.insert(id.clone(), known);
    }

    /// It was confirmed.
    pub(super) fn published(&mut self, id: &Id, seq: Option<Seq>, level: Level) -> Checked {
        self.confirmed += 1;
        if let Some(seq) = seq {
            self.note_seq(id, seq)?;
        }
        let Some(known) = self.messages.get_mut(id) else { return Ok(()) };
        known.published = Told::Yes;
        known.level = level;
        Ok(())
    }

    /// It was refused: nothing was stored. A store that failed leaves it open.
    pub(super) fn refused(&mut self, id: &Id, open: bool) {
        if !open {
            self.messages.remove(id);
        }
    }

    fn note_seq(&mut self, id: &Id, seq: Seq) -> Checked {
        let Some(known) = self.messages.get_mut(id) else {
            return Err(format!("message {id:?} was refused and is there"));
        };
        if known.seq.is_some_and(|before| before != seq) {
            return Err(format!("message {id:?} has seq {seq} and had {:?}", known.seq));
        }
        known.seq = Some(seq);
        let seqs = self.seqs.entry((id.1.clone(), known.life)).or_default();
        match seqs.insert(seq, id.0) {
            Some(other) if other != id.0 => {
                Err(format!("messages {other} and {id:?} both have seq {seq}"))
            }
            _ => Ok(()),
        }
    }

    /// The deliveries that a connection has in hand.
    pub(super) fn in_hand_of(&self, connection: ConnectionId) -> Vec<(Id, Tag)> {
        let theirs = self.in_hand.iter().filter(|(_, held)| held.connection == connection);
        theirs.map(|(id, held)| (id.clone(), held.tag)).collect()
    }

    /// It was let go of: by an ack, a return, or the end of its connection.
    pub(super) fn let_go(&mut self, id: &Id) -> Option<Held> {
        self.in_hand.remove(id)
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
    pub(super) fn acking(&mut self, id: &Id) {
        if let Some(known) = self.messages.get_mut(id) {
            known.gone = known.gone.max(Told::Maybe);
        }
    }

    /// It was confirmed.
    pub(super) fn acked(&mut self, id: &Id) {
        self.acked += 1;
        if let Some(known) = self.messages.get_mut(id) {
            known.acked = true;
            known.gone = Told::Yes;
            known.gone_level = self.level;
        }
    }

    /// A return with a delay was confirmed.
    pub(super) fn delayed(&mut self, id: &Id, until: WallMs) {
        if let Some(known) = self.messages.get_mut(id) {
            known.not_before = until;
        }
    }

    /// It was refused for good, or that was asked for.
    pub(super) fn rejected(&mut self, id: &Id, told: Told) {
        if let Some(known) = self.messages.get_mut(id) {
            known.rejected = known.rejected.max(told);
        }
    }

    /// A binding was confirmed that was asked for in this life of the queue.
    pub(super) fn bound(&mut self, queue: &QueueName, life: u64) {
        self.bound.insert(queue.clone(), life);
    }

    /// How often the queue was to be deleted.
    pub(super) fn life(&self, queue: &QueueName) -> u64 {
        self.lives.get(queue).copied().unwrap_or_default()
    }

    /// Whether the queue gets what is published to the topic, for sure.
    pub(super) fn is_bound(&self, queue: &QueueName) -> bool {
        self.bound.get(queue) == Some(&self.life(queue))
    }

    /// A purge or a delete was asked for: everything in the queue may go, but what is in hand if
    /// it is a purge. Answers what that is.
    pub(super) fn clearing(&mut self, queue: &QueueName, purge: bool) -> Vec<Id> {
        let mut cleared = Vec::new();
        for (id, known) in &mut self.messages {
            let stays = purge && self.in_hand.contains_key(id);
            if id.1 == *queue && known.published >= Told::Maybe && !stays {
                known.gone = known.gone.max(Told::Maybe);
                cleared.push(id.clone());
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
        self.first_delivered.retain(|(of, _), _| of != queue);
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
        for ((queue, _), seqs) in &mut self.seqs {
            let survives = |number: &Number| {
                let known = self.messages.get(&(*number, queue.clone()));
                known.is_some_and(|known| known.level >= outlives)
            };
            seqs.retain(|_, number| survives(number));
        }
        if self.level < outlives {
            self.bound.clear();
        }
        for (id, known) in &mut self.messages {
            if known.published == Told::Yes && known.level < outlives {
                known.published = Told::Maybe;
            }
            if is_in_memory(&id.1) {
                known.gone = Told::Yes;
                known.gone_level = Level::Replicated;
            }
            if known.gone == Told::Yes && known.gone_level < outlives {
                (known.gone, known.acked) = (Told::Maybe, false);
            }
            if self.level < outlives {
                known.not_before = 0;
                known.seen = false;
                known.rejected = known.rejected.min(Told::Maybe);
                if id.1.as_str() == DEAD {
                    known.seq = None;
                }
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
    pub(super) fn drained(&self, now: Now) -> Checked {
        let ended = |id: &Id, known: &Known| known.is_expired(now) && !self.is_mortal(id);
        let missing = |(id, known): &(&Id, &Known)| known.gone == Told::No && !ended(id, known);
        let lost: Vec<_> = (self.messages.iter())
            .filter(|(_, known)| known.published == Told::Yes)
            .filter(missing)
            .map(|(id, known)| (id, known.seq))
            .take(5)
            .collect();
        if !lost.is_empty() {
            return Err(format!("confirmed messages are lost: {lost:?}"));
        }
        let there: BTreeSet<_> = self
            .messages
            .values()
            .filter(|known| known.seen)
            .filter_map(|known| known.step)
            .collect();
        let torn = self.messages.iter().filter(missing).find(|(_, known)| {
            // A double of another message was perhaps never there.
            let alone = known.seen || known.key.is_some();
            !alone && known.step.is_some_and(|step| there.contains(&step))
        });
        match torn {
            Some((id, _)) => Err(format!("{id:?} is not there, and others of its publish are")),
            None => Ok(()),
        }
    }

    /// Whether the queue has a dead-letter queue.
    fn is_mortal(&self, id: &Id) -> bool {
        self.features && id.1.as_str() == MORTAL
    }
}

impl Known {
    fn is_expired(&self, now: Now) -> bool {
        self.expires_at.is_some_and(|at| at <= now.wall_ms)
    }
}

/// The content of a message: its number, and as many bytes that follow from it.
pub(super) fn content(id: Number, padding: usize) -> Content {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((0..padding).map(|at| (id as usize).wrapping_mul(31).wrapping_add(at * 7) as u8));
    Content::Payload(bytes.into())
}

/// The number of a message, if its content is what was published.
fn number_of(found: &Content) -> Result<Number, String> {
    let Content::Payload(bytes) = found else { return Err("a body was never published".into()) };
    let (number, padding) = bytes.split_first_chunk::<8>().ok_or("a message was cut")?;
    let id = u64::from_le_bytes(*number);
    if content(id, padding.len()) == *found {
        Ok(id)
    } else {
        Err(format!("message {id} has another content than was published"))
    }
}
