//! A server in one piece, its clients and its disk, driven step by step by a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Tally;
use super::clients::{Asked, PREFETCH, dead_letters, names};
use super::oracle::{LEASE, Number, Oracle};
use crate::engine::{
    Config, Effect, HashKey, Input, Load, Request, Tags, Tenant, TenantLimits, Window,
};
use crate::store::file::JournalOptions;
use crate::store::file::disk::SimulatedDisk;
use crate::store::file::stepped::{Stepped, Written};
use crate::torture::random::Random;
use crate::types::{ConnectionId, Level, Monotonic, Now, QueueName, RequestId, Seq, TenantId};

const TENANT: TenantId = TenantId(7);
const CONNECTIONS: u64 = 3;
const DRAIN_ROUNDS_MAX: u32 = 20_000;

/// What runs between two crashes.
pub(super) struct Server {
    pub(super) store: Stepped,
    pub(super) engine: Tenant,
    /// Reads that are under way.
    pub(super) loads: Vec<Load>,
    pub(super) asked: BTreeMap<u64, Asked>,
    /// Connections that have subscribed, and to what.
    pub(super) subscribed: Vec<(ConnectionId, QueueName)>,
    pub(super) latched: bool,
}

/// See the module.
pub(super) struct World {
    pub(super) random: Random,
    pub(super) disk: SimulatedDisk,
    pub(super) level: Level,
    pub(super) file_bytes: u32,
    pub(super) now: Now,
    pub(super) oracle: Oracle,
    /// Whether messages have priorities, groups, delays and the like in this life.
    pub(super) features: bool,
    pub(super) next_number: Number,
    pub(super) next_request: u64,
    pub(super) next_connection: u64,
    pub(super) connections: Vec<ConnectionId>,
    pub(super) tally: Tally,
    /// Whether a fault of the disk was asked for in this run.
    pub(super) faulty: bool,
}

pub(super) type Outcome<T = ()> = Result<T, String>;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let features = seed.is_multiple_of(2);
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
            oracle: Oracle::new(level, features),
            features,
            next_number: 0,
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
        let Oracle { confirmed, acked, delivered, dead, .. } = self.oracle;
        Ok(Tally { confirmed, acked, delivered, dead, ..self.tally })
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
            hash_key: HashKey([1, 2]),
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
        if self.features {
            self.declare(&mut server, &dead_letters())?;
        }
        Ok(server)
    }

    fn step(&mut self, server: &mut Server) -> Outcome {
        if self.features && self.random.one_in(30) {
            return self.bind(server);
        }
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

    pub(super) fn input(&mut self, server: &mut Server, input: Input) -> Outcome {
        let (mut effects, mut sent) = (Vec::new(), Vec::new());
        // What was under way when the store failed is neither done nor undone.
        let at_once = !matches!(input, Input::StoreFailed);
        server.engine.handle(self.now, input, &mut effects);
        server.engine.check_invariants();
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
                    sent.push(Input::Sent { connection, bytes: delivery.wire_bytes() });
                }
                Effect::Cancelled { .. } => {}
            }
        }
        sent.into_iter().try_for_each(|sent| self.input(server, sent))
    }

    /// What has expired goes by itself; everything else that is there is consumed and acked.
    fn drain(&mut self) -> Outcome {
        let mut server = self.start()?;
        // Longer than any TTL, and the time within which what has expired goes.
        self.let_pass(Duration::from_secs(120));
        self.settle(&mut server)?;
        for queue in names() {
            let connection = self.connection();
            let (from_seq, max, bytes_max) = (Seq(0), 10_000, usize::MAX);
            let request = Request::Peek { queue, from_seq, max, bytes_max };
            self.ask_as(&mut server, connection, request, Asked::Peek)?;
        }
        self.settle(&mut server)?;
        for queue in names().into_iter().chain(self.features.then(dead_letters)) {
            let connection = self.connection();
            let request =
                Request::Consume { queue: queue.clone(), prefetch: PREFETCH, auto_ack: false };
            self.ask_as(&mut server, connection, request, Asked::Consume)?;
        }
        self.settle(&mut server)?;
        self.oracle.drained(self.now)
    }

    /// Goes on until nothing happens any more; what is delivered is acked.
    fn settle(&mut self, server: &mut Server) -> Outcome {
        let (mut quiet, mut rounds) = (0, 0);
        while quiet < 3 {
            rounds += 1;
            if rounds > DRAIN_ROUNDS_MAX {
                return Err("the server does not come to rest".into());
            }
            let before = self.oracle.delivered;
            self.input(server, Input::Tick)?;
            self.write(server)?;
            self.maintain(server)?;
            while !server.loads.is_empty() {
                self.read(server)?;
            }
            for connection in self.connections.clone() {
                for (id, tag) in self.oracle.in_hand_of(connection) {
                    self.oracle.acking(&id);
                    let held = self.oracle.let_go(&id);
                    let request = Request::Ack(Tags::List(vec![tag]));
                    self.ask_as(server, connection, request, Asked::Ack { id, held })?;
                }
            }
            if server.latched {
                return Err("the store latched although nothing failed".into());
            }
            let busy = server.store.has_gathered() || self.oracle.delivered > before;
            quiet = if busy { 0 } else { quiet + 1 };
        }
        Ok(())
    }
}
