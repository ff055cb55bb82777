//! A server in one piece, its clients and its disk, driven step by step by a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Tally;
use super::oracle::{Held, Id, LEASE, Oracle, content, is_in_memory};
use crate::engine::{
    Config, Destination, Effect, Input, Load, Refusal, Reply, Request, Tags, Tenant, TenantLimits,
    Window,
};
use crate::store::file::JournalOptions;
use crate::store::file::disk::SimulatedDisk;
use crate::store::file::stepped::{Stepped, Written};
use crate::torture::random::Random;
use crate::types::{
    ConnectionId, Level, Message, Monotonic, Now, QueueName, RequestId, RequestToken,
    SettingsPatch, Storage, Tag, TenantId, WallMs,
};

const TENANT: TenantId = TenantId(7);
const QUEUES: [&str; 4] = ["orders", "mail", "memory", "rare"];
const CONNECTIONS: u64 = 3;
const DRAIN_ROUNDS_MAX: u32 = 20_000;
const PREFETCH: u32 = 4;

/// What a request was, for when its answer comes.
#[derive(Debug, Clone)]
enum Asked {
    Publish { ids: Vec<Id>, level: Level },
    Ack { id: Id, held: Option<Held> },
    Nack { id: Id, held: Option<Held>, until: Option<WallMs> },
    Purge(Vec<Id>),
    Delete { queue: QueueName, ids: Vec<Id>, held: Vec<(Id, Held)>, wish: u64 },
    Declare { queue: QueueName, wish: u64 },
    Consume,
}

/// What runs between two crashes.
struct Server {
    store: Stepped,
    engine: Tenant,
    /// Reads that are under way.
    loads: Vec<Load>,
    asked: BTreeMap<u64, Asked>,
    /// Connections that have subscribed, and to what.
    subscribed: Vec<(ConnectionId, QueueName)>,
    latched: bool,
}

/// See the module.
pub(super) struct World {
    random: Random,
    disk: SimulatedDisk,
    level: Level,
    file_bytes: u32,
    now: Now,
    oracle: Oracle,
    next_id: Id,
    next_request: u64,
    next_connection: u64,
    connections: Vec<ConnectionId>,
    tally: Tally,
    /// Whether a fault of the disk was asked for in this run.
    faulty: bool,
}

type Outcome<T = ()> = Result<T, String>;

fn names() -> Vec<QueueName> {
    QUEUES.iter().filter_map(|name| QueueName::new(name).ok()).collect()
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let level = if random.one_in(5) { Level::Os } else { Level::Disk };
        let file_bytes = [8, 16, 64][random.below(3) as usize] * 1024;
        let disk = SimulatedDisk::new(seed ^ 0x5EED);
        let now = Now { monotonic: Monotonic::from_nanos(1), wall_ms: 1_800_000_000_000 };
        Self {
            random,
            disk,
            level,
            file_bytes,
            now,
            oracle: Oracle::new(level),
            next_id: 0,
            next_request: 0,
            next_connection: 0,
            connections: Vec::new(),
            tally: Tally::default(),
            faulty: false,
        }
    }

    /// Several runs of the process, and at the end everything is consumed.
    pub(super) fn live(mut self) -> Outcome<Tally> {
        let runs = 2 + self.random.below(5);
        for _ in 0..runs {
            let mut server = self.start()?;
            let steps = self.random.below(160);
            let mut dies_by_itself = false;
            if self.random.one_in(2) {
                self.disk.cut_after(1 + self.random.below(60));
                dies_by_itself = true;
            }
            for _ in 0..steps {
                self.step(&mut server)?;
                if server.latched && (dies_by_itself || self.random.one_in(20)) {
                    break;
                }
            }
            self.crash(server);
        }
        self.drain()?;
        let Oracle { confirmed, acked, delivered, .. } = self.oracle;
        Ok(Tally { confirmed, acked, delivered, ..self.tally })
    }

    /// The end of a run, one way or another.
    fn crash(&mut self, server: Server) {
        drop(server);
        self.disk.heal();
        self.disk.set_capacity(None);
        self.connections.clear();
        if self.random.one_in(3) {
            self.tally.kills += 1;
            self.disk.kill();
            self.oracle.crashed(Level::Os);
        } else {
            self.tally.power_cuts += 1;
            self.disk.power_cut();
            self.oracle.crashed(Level::Disk);
        }
    }

    /// A start, which may be cut off a few times.
    fn start(&mut self) -> Outcome<Server> {
        let options = JournalOptions { file_bytes: self.file_bytes };
        for attempt in 0.. {
            let cut = attempt < 3 && self.random.one_in(4);
            let mount = self.disk.mount();
            if cut {
                self.disk.cut_after(1 + self.random.below(25));
            }
            let started = Stepped::start(mount, options);
            let stands = started.is_ok() && self.disk.is_of_use();
            let survived = !cut || stands && self.random.one_in(2);
            self.disk.heal();
            match started {
                Ok(store) if survived => return self.serve(store),
                Err(error) if !cut => return Err(format!("it does not start: {error}")),
                _ => {
                    self.tally.cut_starts += 1;
                    if self.random.one_in(2) {
                        self.disk.kill();
                    } else {
                        self.disk.power_cut();
                        self.oracle.crashed(Level::Disk);
                    }
                }
            }
        }
        Err("it was never started".into())
    }

    fn serve(&mut self, store: Stepped) -> Outcome<Server> {
        if let Some(damage) = store.damage().first() {
            return Err(format!("damage that nobody did: {damage}"));
        }
        let recovered = store.recovered(TENANT).map_err(|error| error.to_string())?;
        self.oracle.recovered(&recovered, self.level == Level::Disk)?;
        let config = Config {
            level: self.level,
            level_max: Level::Disk,
            window: Window { messages: 5, bytes: 4_096 },
            outbox_bytes_max: 1 << 20,
            subscriptions_max: 8,
            pulls_max: 8,
            reservation: 16,
        };
        let engine = Tenant::new(config, TenantLimits::default(), recovered, self.now);
        let (loads, asked, subscribed) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut server = Server { store, engine, loads, asked, subscribed, latched: false };
        self.faulty = false;
        for _ in 0..CONNECTIONS {
            self.connect();
        }
        for queue in names() {
            if self.random.one_in(3) {
                self.declare(&mut server, &queue)?;
            }
        }
        Ok(server)
    }

    fn connect(&mut self) {
        self.next_connection += 1;
        self.connections.push(ConnectionId(self.next_connection));
    }

    fn connection(&mut self) -> ConnectionId {
        *self.random.pick(&self.connections).unwrap_or(&ConnectionId(1))
    }

    fn queue(&mut self) -> QueueName {
        let names = names();
        let last = names.len() as u64;
        // The rare one is used rarely, so that its messages outlive many files.
        let at = if self.random.one_in(8) { last - 1 } else { self.random.below(last - 1) };
        names[at as usize].clone()
    }

    fn step(&mut self, server: &mut Server) -> Outcome {
        match self.random.below(100) {
            0..30 => self.publish(server),
            30..52 => self.ack(server),
            52..58 => self.nack(server),
            58..64 => self.consume(server),
            64..80 => self.write(server),
            80..88 => self.read(server),
            88..92 => self.maintain(server),
            92 => self.clear(server),
            93 => self.disconnect(server),
            94..97 => self.pass_time(server),
            97 => {
                let queue = self.queue();
                self.declare(server, &queue)
            }
            98 => self.fail_something(),
            _ => self.fill_up(server),
        }
    }

    fn publish(&mut self, server: &mut Server) -> Outcome {
        let queue = self.queue();
        let batch = if self.random.one_in(6) { 1 + self.random.below(4) } else { 1 };
        let mut messages = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..batch {
            self.next_id += 1;
            let padding = if self.random.one_in(10) { 1_500 } else { self.random.below(120) };
            let content = content(self.next_id, padding as usize);
            messages.push(Message { content, properties: None, priority: None, published_at: 0 });
            ids.push(self.next_id);
            self.oracle.publishing(self.next_id, &queue);
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
        self.ask(server, request, Asked::Publish { ids, level })
    }

    fn ack(&mut self, server: &mut Server) -> Outcome {
        let Some((connection, id, tag)) = self.some_in_hand() else { return Ok(()) };
        self.oracle.acking(id);
        let held = self.oracle.let_go(id);
        let request = Request::Ack(Tags::List(vec![tag]));
        self.ask_as(server, connection, request, Asked::Ack { id, held })
    }

    fn nack(&mut self, server: &mut Server) -> Outcome {
        let Some((connection, id, tag)) = self.some_in_hand() else { return Ok(()) };
        let held = self.oracle.let_go(id);
        let delay_ms = if self.random.one_in(2) { self.random.below(60_000) } else { 0 };
        let until = (delay_ms > 0).then(|| self.now.wall_ms + delay_ms);
        let request = Request::Nack {
            tags: Tags::List(vec![tag]),
            delay_ms,
            dead_letter: false,
            reason: "".into(),
        };
        self.ask_as(server, connection, request, Asked::Nack { id, held, until })
    }

    fn some_in_hand(&mut self) -> Option<(ConnectionId, Id, Tag)> {
        let connection = self.connection();
        let theirs = self.oracle.in_hand_of(connection);
        let (id, tag) = self.random.pick(&theirs).copied()?;
        Some((connection, id, tag))
    }

    fn consume(&mut self, server: &mut Server) -> Outcome {
        let (connection, queue) = (self.connection(), self.queue());
        if server.subscribed.contains(&(connection, queue.clone())) {
            return Ok(());
        }
        server.subscribed.push((connection, queue.clone()));
        let request = Request::Consume { queue, prefetch: PREFETCH, auto_ack: false };
        self.ask_as(server, connection, request, Asked::Consume)
    }

    fn clear(&mut self, server: &mut Server) -> Outcome {
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

    fn declare(&mut self, server: &mut Server, queue: &QueueName) -> Outcome {
        let wish = self.oracle.declaring(queue);
        let storage = is_in_memory(queue).then_some(Storage::Memory);
        let ack_timeout_ms = Some(LEASE.as_millis() as u64);
        let settings = SettingsPatch { storage, ack_timeout_ms, ..SettingsPatch::default() };
        let request = Request::Declare { queue: queue.clone(), settings, update: false };
        self.ask(server, request, Asked::Declare { queue: queue.clone(), wish })
    }

    fn disconnect(&mut self, server: &mut Server) -> Outcome {
        let connection = self.connection();
        self.connections.retain(|there| *there != connection);
        server.subscribed.retain(|(of, _)| *of != connection);
        self.oracle.disconnected(connection);
        self.connect();
        let sent_up_to = Tag(self.random.below(1 << 20));
        self.input(server, Input::Disconnected { connection, sent_up_to })
    }

    fn pass_time(&mut self, server: &mut Server) -> Outcome {
        let passed = match self.random.below(4) {
            0 => LEASE + Duration::from_secs(1),
            _ => Duration::from_millis(self.random.below(20_000)),
        };
        self.let_pass(passed);
        self.input(server, Input::Tick)
    }

    fn let_pass(&mut self, passed: Duration) {
        self.now.monotonic = self.now.monotonic + passed;
        self.now.wall_ms += passed.as_millis() as u64;
        self.oracle.expire(self.now);
    }

    fn maintain(&mut self, server: &mut Server) -> Outcome {
        // What upkeep cannot do now, for a fault of the disk, it does later.
        let maintained = server.store.maintain();
        if let Err(error) = maintained
            && !self.faulty
            && !server.latched
            && self.disk.is_of_use()
        {
            return Err(format!("upkeep fails: {error}"));
        }
        let full = server.store.is_full();
        self.input(server, Input::StoreFull(full))
    }

    fn fail_something(&mut self) -> Outcome {
        self.tally.faults += 1;
        self.faulty = true;
        match self.random.below(3) {
            0 => self.disk.fail_sync(self.random.below(5)),
            1 => self.disk.fail_write(self.random.below(10)),
            _ => self.disk.fail_read(self.random.below(5)),
        }
        Ok(())
    }

    /// The disk is full, or has room again.
    fn fill_up(&mut self, server: &mut Server) -> Outcome {
        if self.random.one_in(2) {
            self.disk.set_capacity(None);
        } else {
            self.faulty = true;
            self.tally.full += 1;
            self.disk.set_capacity(Some(self.disk.used() + self.random.below(20_000)));
        }
        self.maintain(server)
    }

    /// The store writes what has gathered.
    fn write(&mut self, server: &mut Server) -> Outcome {
        match server.store.write() {
            Written::Durable(told) => {
                for (_, lsn) in told {
                    self.input(server, Input::Durable(lsn))?;
                }
            }
            Written::NoRoom => {}
            Written::Latched => {
                if !server.latched {
                    server.latched = true;
                    self.input(server, Input::StoreFailed)?;
                }
            }
        }
        if self.level == Level::Os && self.random.one_in(4) {
            server.store.flush();
        } else if self.random.one_in(4) {
            server.store.mark();
        }
        Ok(())
    }

    /// A read that was asked for comes back.
    fn read(&mut self, server: &mut Server) -> Outcome {
        if server.loads.is_empty() {
            return Ok(());
        }
        let load = server.loads.swap_remove(self.random.below(server.loads.len() as u64) as usize);
        let read = server.store.load(TENANT, &load);
        if let Err(error) = &read
            && !self.faulty
            && !server.latched
            && self.disk.is_of_use()
        {
            return Err(format!("messages cannot be read: {error}"));
        }
        let (ticket, messages) = (load.ticket, read.ok());
        self.input(server, Input::Loaded { ticket, messages })
    }

    fn ask(&mut self, server: &mut Server, request: Request, asked: Asked) -> Outcome {
        let connection = self.connection();
        self.ask_as(server, connection, request, asked)
    }

    fn ask_as(
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

    fn input(&mut self, server: &mut Server, input: Input) -> Outcome {
        let mut effects = Vec::new();
        // What was under way when the store failed is neither done nor undone.
        let at_once = !matches!(input, Input::StoreFailed);
        server.engine.handle(self.now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Append(batch) => server.store.append(TENANT, &batch),
                Effect::Load(load) => server.loads.push(load),
                Effect::Reply { token, result, .. } => {
                    let number = match token.id {
                        Some(RequestId::Number(number)) => number,
                        _ => continue,
                    };
                    if let Some(asked) = server.asked.remove(&number) {
                        self.answered(asked, result, at_once)?;
                    }
                }
                Effect::Deliver { connection, delivery, .. } => {
                    self.oracle.delivered(connection, &delivery, self.now)?;
                    let bytes = delivery.wire_bytes();
                    server.engine.handle(
                        self.now,
                        Input::Sent { connection, bytes },
                        &mut Vec::new(),
                    );
                }
                Effect::Cancelled { .. } => {}
            }
        }
        Ok(())
    }

    fn answered(&mut self, asked: Asked, result: Result<Reply, Refusal>, at_once: bool) -> Outcome {
        let open = matches!(result, Err(Refusal::StorageUnavailable));
        match (asked, result) {
            (Asked::Publish { ids, level }, Ok(Reply::Published { seqs, .. })) => {
                for (id, seq) in ids.into_iter().zip(seqs) {
                    self.oracle.published(id, seq, level)?;
                }
            }
            (Asked::Publish { ids, .. }, Err(_)) => {
                ids.into_iter().for_each(|id| self.oracle.refused(id, open));
            }
            (Asked::Ack { id, .. }, Ok(_)) => self.oracle.acked(id),
            (Asked::Nack { id, until: Some(until), .. }, Ok(_)) => self.oracle.delayed(id, until),
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

    /// Everything that is there is consumed and acked.
    fn drain(&mut self) -> Outcome {
        let mut server = self.start()?;
        self.let_pass(Duration::from_secs(120));
        for queue in names() {
            let connection = self.connection();
            let request =
                Request::Consume { queue: queue.clone(), prefetch: PREFETCH, auto_ack: false };
            self.ask_as(&mut server, connection, request, Asked::Consume)?;
        }
        let (mut quiet, mut rounds) = (0, 0);
        while quiet < 3 {
            rounds += 1;
            if rounds > DRAIN_ROUNDS_MAX {
                return Err("the server does not come to rest".into());
            }
            let before = self.oracle.delivered;
            self.input(&mut server, Input::Tick)?;
            self.write(&mut server)?;
            self.maintain(&mut server)?;
            while !server.loads.is_empty() {
                self.read(&mut server)?;
            }
            for connection in self.connections.clone() {
                for (id, tag) in self.oracle.in_hand_of(connection) {
                    self.oracle.acking(id);
                    let held = self.oracle.let_go(id);
                    let request = Request::Ack(Tags::List(vec![tag]));
                    self.ask_as(&mut server, connection, request, Asked::Ack { id, held })?;
                }
            }
            if server.latched {
                return Err("the store latched although nothing failed".into());
            }
            let busy = server.store.has_gathered() || self.oracle.delivered > before;
            quiet = if busy { 0 } else { quiet + 1 };
        }
        self.oracle.drained()
    }
}
