//! What clients ask, and what the answers tell the oracle.

use super::oracle::{
    ATTEMPTS, DEAD, DEDUP_WINDOW_MS, DEDUPLICATED, Held, Id, LEASE, MORTAL, Number, Told, content,
    is_in_memory,
};
use super::world::{Outcome, Server, World};
use crate::engine::{Destination, Input, Peeked, Refusal, Reply, Request, Tags};
use crate::types::{
    ConnectionId, Level, Message, Pattern, Priority, Properties, QueueName, RequestId,
    RequestToken, SettingsPatch, Storage, Tag, WallMs,
};

const QUEUES: [&str; 4] = ["orders", "mail", "memory", "rare"];
const TOPIC: &str = "news";
const GROUPS: [&str; 3] = ["red", "green", "blue"];
pub(super) const PREFETCH: u32 = 4;

/// What a request was, for when its answer comes.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Publish { ids: Vec<Id>, doubles: Vec<Option<Number>>, level: Level },
    Route { ids: Vec<Id>, certain: bool, level: Level },
    Ack { id: Id, held: Option<Held> },
    Nack { id: Id, held: Option<Held>, until: Option<WallMs>, rejected: bool },
    Purge(Vec<Id>),
    Delete { queue: QueueName, ids: Vec<Id>, held: Vec<(Id, Held)>, wish: u64 },
    Declare { queue: QueueName, wish: u64 },
    Bind { queue: QueueName, life: u64 },
    Consume,
    Peek,
}

/// The queues that clients publish to.
pub(super) fn names() -> Vec<QueueName> {
    QUEUES.iter().filter_map(|name| QueueName::new(name).ok()).collect()
}

/// The queue of dead letters.
pub(super) fn dead_letters() -> QueueName {
    QueueName::new(DEAD).unwrap_or_else(|_| unreachable!("it is a name"))
}

/// The queues that are bound to the topic.
fn bindable() -> Vec<QueueName> {
    names().into_iter().filter(|name| [MORTAL, DEDUPLICATED].contains(&name.as_str())).collect()
}

impl World {
    pub(super) fn connect(&mut self) {
        self.next_connection += 1;
        self.connections.push(ConnectionId(self.next_connection));
    }

    pub(super) fn connection(&mut self) -> ConnectionId {
        *self.random.pick(&self.connections).unwrap_or(&ConnectionId(1))
    }

    pub(super) fn queue(&mut self) -> QueueName {
        let names = names();
        let last = names.len() as u64;
        // The rare one is used rarely, so that its messages outlive many files.
        let at = if self.random.one_in(8) { last - 1 } else { self.random.below(last - 1) };
        names[at as usize].clone()
    }

    pub(super) fn publish(&mut self, server: &mut Server) -> Outcome {
        if self.features && self.random.one_in(5) {
            return self.publish_to_topic(server);
        }
        let queue = self.queue();
        let batch = if self.random.one_in(6) { 1 + self.random.below(4) } else { 1 };
        let step = self.next_number + 1;
        let (mut messages, mut ids, mut doubles) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..batch {
            let (number, message) = self.message(queue.as_str() == DEDUPLICATED);
            let id = (number, queue.clone());
            self.oracle.publishing(&id, &message, Some(step));
            doubles.push(self.oracle.must_double(&id, self.now));
            messages.push(message);
            ids.push(id);
        }
        let disk = !is_in_memory(&queue) && self.random.one_in(4);
        let require = disk.then_some(Level::Disk);
        let level = match require {
            Some(level) => level,
            None if is_in_memory(&queue) => Level::Memory,
            None => self.level,
        };
        let to = Destination::Queue { name: queue, may_create: false };
        let request = Request::Publish { to, messages, batch: batch > 1, require };
        self.ask(server, request, Asked::Publish { ids, doubles, level })
    }

    /// Queues that are bound for sure get it all or none.
    fn publish_to_topic(&mut self, server: &mut Server) -> Outcome {
        let (number, message) = self.message(false);
        let mut ids = Vec::new();
        let certain = bindable().iter().all(|queue| self.oracle.is_bound(queue));
        for queue in bindable() {
            let id = (number, queue);
            self.oracle.publishing(&id, &message, certain.then_some(number));
            ids.push(id);
        }
        let Ok(topic) = QueueName::new(TOPIC) else { return Ok(()) };
        let (to, messages) = (Destination::Topic(topic), vec![message]);
        let request = Request::Publish { to, messages, batch: false, require: None };
        self.ask(server, request, Asked::Route { ids, certain, level: self.level })
    }

    /// The next message, plain or, in lives with features, with some of what a message can have.
    fn message(&mut self, keyed: bool) -> (Number, Message) {
        self.next_number += 1;
        let padding = if self.random.one_in(10) { 1_500 } else { self.random.below(120) };
        let content = content(self.next_number, padding as usize);
        let mut message =
            Message { content, properties: None, priority: None, published_at: self.now.wall_ms };
        if self.features && self.random.one_in(2) {
            let random = &mut self.random;
            message.priority = Priority::new(random.below(30));
            let group = random.one_in(2).then(|| GROUPS[random.below(3) as usize].into());
            let delay_ms = if random.one_in(6) { random.below(30_000) } else { 0 };
            let ttl_ms = random.one_in(6).then(|| 1 + random.below(60_000));
            let key = (keyed && random.one_in(2)).then(|| random.below(6).to_string().into());
            let properties = Properties { group, delay_ms, ttl_ms, key, ..Properties::default() };
            message.properties = Some(Box::new(properties));
        }
        (self.next_number, message)
    }

    pub(super) fn bind(&mut self, server: &mut Server) -> Outcome {
        let Some(queue) = self.random.pick(&bindable()).cloned() else { return Ok(()) };
        let Ok(pattern) = Pattern::new(TOPIC) else { return Ok(()) };
        let life = self.oracle.life(&queue);
        let asked = Asked::Bind { queue: queue.clone(), life };
        self.ask(server, Request::Bind { pattern, queue }, asked)
    }

    pub(super) fn ack(&mut self, server: &mut Server) -> Outcome {
        let Some((connection, id, tag)) = self.some_in_hand() else { return Ok(()) };
        self.oracle.acking(&id);
        let held = self.oracle.let_go(&id);
        let request = Request::Ack(Tags::List(vec![tag]));
        self.ask_as(server, connection, request, Asked::Ack { id, held })
    }

    pub(super) fn nack(&mut self, server: &mut Server) -> Outcome {
        let Some((connection, id, tag)) = self.some_in_hand() else { return Ok(()) };
        let held = self.oracle.let_go(&id);
        let delay_ms = if self.random.one_in(2) { self.random.below(60_000) } else { 0 };
        let until = (delay_ms > 0).then(|| self.now.wall_ms + delay_ms);
        let mut request = Request::Nack {
            tags: Tags::List(vec![tag]),
            delay_ms,
            dead_letter: false,
            reason: "".into(),
        };
        let mut asked = Asked::Nack { id: id.clone(), held, until, rejected: false };
        if self.features && id.1.as_str() == MORTAL && self.random.one_in(4) {
            self.oracle.rejected(&id, Told::Maybe);
            asked = Asked::Nack { id, held, until: None, rejected: true };
            let (tags, reason) = (Tags::List(vec![tag]), "it is broken".into());
            request = Request::Nack { tags, delay_ms: 0, dead_letter: true, reason };
        }
        self.ask_as(server, connection, request, asked)
    }

    fn some_in_hand(&mut self) -> Option<(ConnectionId, Id, Tag)> {
        let connection = self.connection();
        let theirs = self.oracle.in_hand_of(connection);
        let (id, tag) = self.random.pick(&theirs).cloned()?;
        Some((connection, id, tag))
    }

    pub(super) fn consume(&mut self, server: &mut Server) -> Outcome {
        let (connection, mut queue) = (self.connection(), self.queue());
        if self.features && self.random.one_in(4) {
            queue = dead_letters();
        }
        if server.subscribed.contains(&(connection, queue.clone())) {
            return Ok(());
        }
        server.subscribed.push((connection, queue.clone()));
        let request = Request::Consume { queue, prefetch: PREFETCH, auto_ack: false };
        self.ask_as(server, connection, request, Asked::Consume)
    }

    pub(super) fn clear(&mut self, server: &mut Server) -> Outcome {
        let (queue, purge) = (self.queue(), self.random.one_in(2));
        let ids = self.oracle.clearing(&queue, purge);
        if purge {
            return self.ask(server, Request::Purge { queue }, Asked::Purge(ids));
        }
        server.subscribed.retain(|(_, of)| *of != queue);
        let held = self.oracle.take_from_hands(&ids);
        let wish = self.oracle.deleting(&queue);
        let asked = Asked::Delete { queue: queue.clone(), ids, held, wish };
        self.ask(server, Request::Delete { queue, if_empty: false }, asked)
    }

    pub(super) fn declare(&mut self, server: &mut Server, queue: &QueueName) -> Outcome {
        let wish = self.oracle.declaring(queue);
        let storage = is_in_memory(queue).then_some(Storage::Memory);
        let ack_timeout_ms = Some(LEASE.as_millis() as u64);
        let mut settings = SettingsPatch { storage, ack_timeout_ms, ..SettingsPatch::default() };
        if self.features && queue.as_str() == MORTAL {
            settings.dead_letter = Some(Some(dead_letters()));
            settings.max_attempts = Some(Some(ATTEMPTS));
        } else if self.features && queue.as_str() == DEDUPLICATED {
            settings.dedup_window_ms = Some(DEDUP_WINDOW_MS);
        }
        let request = Request::Declare { queue: queue.clone(), settings, update: false };
        self.ask(server, request, Asked::Declare { queue: queue.clone(), wish })
    }

    pub(super) fn disconnect(&mut self, server: &mut Server) -> Outcome {
        let connection = self.connection();
        self.connections.retain(|there| *there != connection);
        server.subscribed.retain(|(of, _)| *of != connection);
        self.oracle.disconnected(connection);
        self.connect();
        let sent_up_to = Tag(self.random.below(1 << 20));
        self.input(server, Input::Disconnected { connection, sent_up_to })
    }

    pub(super) fn ask(&mut self, server: &mut Server, request: Request, asked: Asked) -> Outcome {
        let connection = self.connection();
        self.ask_as(server, connection, request, asked)
    }

    pub(super) fn ask_as(
        &mut self,
        server: &mut Server,
        connection: ConnectionId,
        request: Request,
        asked: Asked,
    ) -> Outcome {
        self.next_request += 1;
        let number = self.next_request;
        server.asked.insert(number, asked);
        let token = RequestToken { id: Some(RequestId::Number(number)), op: "", frame_bytes: 0 };
        self.input(server, Input::Request { connection, token, request })
    }

    /// What has expired goes by itself.
    fn nothing_has_expired(&self, messages: &[Peeked]) -> Outcome {
        let ended = |end: WallMs| end <= self.now.wall_ms;
        match messages.iter().find(|peeked| peeked.message.expires_at().is_some_and(ended)) {
            Some(late) => Err(format!("{late:?} has expired long ago, and is there still")),
            None => Ok(()),
        }
    }

    pub(super) fn answered(
        &mut self,
        asked: Asked,
        result: Result<Reply, Refusal>,
        at_once: bool,
    ) -> Outcome {
        let open = matches!(result, Err(Refusal::StorageUnavailable));
        match (asked, result) {
            (
                Asked::Publish { ids, doubles, level },
                Ok(Reply::Published { seqs, duplicates, .. }),
            ) => {
                for (at, (id, seq)) in ids.iter().zip(seqs).enumerate() {
                    let double = duplicates.contains(&(at as u32));
                    if let (false, Some(first)) = (double, doubles[at]) {
                        return Err(format!(
                            "{id:?} has the key of message {first}, and was taken"
                        ));
                    }
                    if double {
                        self.tally.doubles += 1;
                        self.oracle.doubled(id, seq)?;
                    } else {
                        self.oracle.published(id, Some(seq), level)?;
                    }
                }
            }
            (Asked::Peek, Ok(Reply::Peeked { messages, .. })) => {
                self.nothing_has_expired(&messages)?;
            }
            (Asked::Route { ids, certain, level }, Ok(Reply::Routed { routed, .. })) => {
                let count = routed.first().copied().unwrap_or_default() as usize;
                if certain && count != ids.len() {
                    return Err(format!("{ids:?} were routed to {count} queues"));
                }
                for id in &ids {
                    match count {
                        0 => self.oracle.refused(id, false),
                        count if count == ids.len() => self.oracle.published(id, None, level)?,
                        _ => {}
                    }
                }
            }
            (Asked::Publish { ids, .. } | Asked::Route { ids, .. }, Err(_)) => {
                ids.iter().for_each(|id| self.oracle.refused(id, open));
            }
            (Asked::Ack { id, .. }, Ok(_)) => self.oracle.acked(&id),
            (Asked::Nack { id, until: Some(until), .. }, Ok(_)) => self.oracle.delayed(&id, until),
            (Asked::Nack { id, rejected: true, .. }, Ok(_)) => {
                self.tally.rejected += 1;
                self.oracle.rejected(&id, Told::Yes);
            }
            (Asked::Bind { queue, life }, Ok(_)) => self.oracle.bound(&queue, life),
            (Asked::Ack { id, held } | Asked::Nack { id, held, .. }, Err(_)) if open && at_once => {
                self.oracle.kept(held.map(|held| (id, held)));
            }
            (Asked::Delete { held, .. }, Err(_)) if open && at_once => self.oracle.kept(held),
            (Asked::Purge(ids), Ok(_)) => self.oracle.cleared(&ids),
            (Asked::Delete { queue, ids, wish, .. }, Ok(_)) => {
                self.oracle.cleared(&ids);
                self.oracle.is_there(&queue, wish, false);
            }
            (Asked::Delete { queue, wish, .. }, Err(Refusal::NoSuchQueue)) => {
                self.oracle.is_there(&queue, wish, false);
            }
            (Asked::Declare { queue, wish }, Ok(_)) => self.oracle.is_there(&queue, wish, true),
            _ => {}
        }
        Ok(())
    }
}
