//! One tenant in this server: its engine behind a lock, the connections of its users, and the
//! timer of its deadlines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::clock::Clock;
use super::outbox::{Outbox, Outgoing, Signal};
use crate::engine::{Batch, Config, Effect, Input, Load, Tenant, TenantLimits, Usage};
use crate::store::{Appended, Listener, Store, StoreError};
use crate::types::{ConnectionId, Lsn, Monotonic, QueueName, Quota, Quotas, Tag, TenantId};

/// The tenant has as many connections as its quota allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", Quota::Connections.used_up())]
pub struct TenantFull;

/// See the module.
pub struct HostedTenant {
    id: TenantId,
    store: Arc<dyn Store>,
    clock: Clock,
    /// Where reads of the store run; the store tells its news from threads of its own.
    runtime: Handle,
    state: Mutex<State>,
    /// Told when the engine's next deadline came nearer.
    deadline_moved: Notify,
}

struct State {
    engine: Tenant,
    limits: TenantLimits,
    outboxes: HashMap<ConnectionId, Arc<Outbox>>,
    /// Kept between calls for its memory.
    effects: Vec<Effect>,
    /// What the timer waits for.
    armed: Option<Monotonic>,
    /// The store does not hold the tenant for this server any more.
    lost: bool,
}

impl HostedTenant {
    /// Reads the tenant's state from the store and starts its timer.
    pub(super) async fn open(
        id: TenantId,
        store: Arc<dyn Store>,
        config: Config,
        limits: TenantLimits,
        clock: Clock,
    ) -> Result<Arc<Self>, StoreError> {
        let listener = Arc::new(StoreListener::default());
        let recovered = store.open(id, Arc::clone(&listener) as Arc<dyn Listener>).await?;
        let engine = Tenant::new(config, limits.clone(), recovered, clock.now());
        let tenant = Arc::new(Self {
            id,
            store,
            clock,
            runtime: Handle::current(),
            state: Mutex::new(State {
                engine,
                limits,
                outboxes: HashMap::new(),
                effects: Vec::new(),
                armed: None,
                lost: false,
            }),
            deadline_moved: Notify::new(),
        });
        listener.attach(&tenant);
        tokio::spawn(keep_time(Arc::clone(&tenant)));
        tenant.submit(None, [Input::Tick]);
        Ok(tenant)
    }

    /// The tenant's identity.
    pub fn id(&self) -> TenantId {
        self.id
    }

    /// Takes in a connection; refuses it beyond the tenant's quota.
    pub fn attach(&self, connection: ConnectionId, outbox: Arc<Outbox>) -> Result<(), TenantFull> {
        let mut state = self.lock();
        let limit = state.limits.quotas.connections.unwrap_or(u64::MAX);
        if state.outboxes.len() as u64 >= limit {
            return Err(TenantFull);
        }
        state.outboxes.insert(connection, outbox);
        Ok(())
    }

    /// Lets a connection go: what it had in hand returns.
    pub fn detach(self: &Arc<Self>, connection: ConnectionId, sent_up_to: Tag) {
        self.submit(None, [Input::Disconnected { connection, sent_up_to }]);
        self.lock().outboxes.remove(&connection);
    }

    /// Carries inputs into the engine, in order, and their effects out. The task of connection
    /// `caller` is not woken for what this puts into its outbox.
    pub fn submit(
        self: &Arc<Self>,
        caller: Option<ConnectionId>,
        inputs: impl IntoIterator<Item = Input>,
    ) {
        let mut state = self.lock();
        let state = &mut *state;
        let now = self.clock.now();
        let mut effects = std::mem::take(&mut state.effects);
        // An owner that was paused learns of it before it does anything.
        if !state.lost && !self.store.holds(self.id) {
            state.lost = true;
            state.engine.handle(now, Input::StoreFailed, &mut effects);
            tracing::warn!(tenant = %self.id, "this server does not serve the tenant any more");
        }
        let lost = state.lost;
        for input in inputs {
            state.engine.handle(now, input, &mut effects);
        }
        self.append(state, &mut effects);
        self.route(state, &mut effects, caller);
        state.effects = effects;
        if lost {
            state.outboxes.values().for_each(|outbox| outbox.signal(Signal::Lost));
        }
        let deadline = state.engine.next_deadline();
        if deadline.is_some_and(|deadline| state.armed.is_none_or(|armed| deadline < armed)) {
            state.armed = deadline;
            self.deadline_moved.notify_one();
        }
    }

    /// Puts the new limits in force if they differ.
    pub fn set_limits(self: &Arc<Self>, limits: TenantLimits) {
        let mut state = self.lock();
        if state.limits != limits {
            state.limits = limits.clone();
            drop(state);
            self.submit(None, [Input::Limits(limits)]);
        }
    }

    /// Queues on which the connection has subscriptions or waiting pulls.
    pub fn watched(&self, connection: ConnectionId) -> Vec<QueueName> {
        self.lock().engine.watched(connection)
    }

    /// What the tenant uses, and its connections.
    pub fn usage(&self) -> (Usage, u64) {
        let state = self.lock();
        (state.engine.usage(), state.outboxes.len() as u64)
    }

    /// Whether another `open` of the store is needed before anybody is served.
    pub(super) fn is_lost(&self) -> bool {
        self.lock().lost
    }

    /// The tenant's quotas in force.
    pub fn quotas(&self) -> Quotas {
        self.lock().limits.quotas
    }

    /// Stops taking: see [`Input::Drain`].
    pub(super) fn drain(self: &Arc<Self>) {
        self.submit(None, [Input::Drain]);
    }

    /// Hands the records of `effects` to the store. What is durable at once may release replies
    /// and deliveries, and these again records, until there are none.
    fn append(&self, state: &mut State, effects: &mut Vec<Effect>) {
        let mut at = 0;
        while at < effects.len() {
            if let Effect::Append(batch) = &mut effects[at] {
                let lsn = batch.lsn;
                let records = std::mem::take(&mut batch.records);
                if self.store.append(self.id, Batch { records, ..*batch }) == Appended::Durable {
                    state.engine.handle(self.clock.now(), Input::Durable(lsn), effects);
                }
            }
            at += 1;
        }
    }

    /// Carries out everything but records; runs of effects for one connection share one lock of
    /// its outbox.
    fn route(
        self: &Arc<Self>,
        state: &mut State,
        effects: &mut Vec<Effect>,
        caller: Option<ConnectionId>,
    ) {
        let mut effects = effects.drain(..).peekable();
        while let Some(effect) = effects.next() {
            let (connection, first) = match outgoing(effect) {
                Routed::To(connection, first) => (connection, first),
                Routed::Load(load) => {
                    self.load(load);
                    continue;
                }
                Routed::Nowhere => continue,
            };
            let run = std::iter::from_fn(|| {
                let same = |effect: &Effect| destination(effect) == Some(connection);
                match effects.next_if(same).map(outgoing) {
                    Some(Routed::To(_, item)) => Some(item),
                    _ => None,
                }
            });
            let run = std::iter::once(first).chain(run);
            match state.outboxes.get(&connection) {
                Some(outbox) => outbox.push_all(run, caller != Some(connection)),
                None => run.for_each(drop),
            }
        }
    }

    fn load(self: &Arc<Self>, load: Load) {
        let tenant = Arc::clone(self);
        self.runtime.spawn(async move {
            let ticket = load.ticket;
            let messages = match tenant.store.load(tenant.id, load).await {
                Ok(messages) => Some(messages),
                Err(error) => {
                    tracing::error!(tenant = %tenant.id, %error, "messages cannot be read");
                    None
                }
            };
            tenant.submit(None, [Input::Loaded { ticket, messages }]);
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside the engine may have left it half changed: nobody may go on with it.
        self.state.lock().expect("a tenant's engine panicked before; the server must be restarted")
    }
}

enum Routed {
    To(ConnectionId, Outgoing),
    Load(Load),
    Nowhere,
}

fn outgoing(effect: Effect) -> Routed {
    match effect {
        Effect::Reply { connection, token, result } => {
            Routed::To(connection, Outgoing::Reply { token, result })
        }
        Effect::Deliver { connection, subscription, delivery } => {
            Routed::To(connection, Outgoing::Deliver { subscription, delivery })
        }
        Effect::Cancelled { connection, subscription, reason } => {
            Routed::To(connection, Outgoing::Cancelled { subscription, reason })
        }
        Effect::Load(load) => Routed::Load(load),
        Effect::Append(_) => Routed::Nowhere,
    }
}

fn destination(effect: &Effect) -> Option<ConnectionId> {
    match effect {
        Effect::Reply { connection, .. }
        | Effect::Deliver { connection, .. }
        | Effect::Cancelled { connection, .. } => Some(*connection),
        Effect::Load(_) | Effect::Append(_) => None,
    }
}

/// Calls the engine at its deadlines, for as long as the server runs.
async fn keep_time(tenant: Arc<HostedTenant>) {
    loop {
        let deadline = {
            let mut state = tenant.lock();
            if state.lost {
                return;
            }
            state.armed = state.engine.next_deadline();
            state.armed
        };
        let Some(deadline) = deadline else {
            tenant.deadline_moved.notified().await;
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep_until(tenant.clock.instant(deadline).into()) => {
                tenant.submit(None, [Input::Tick]);
            }
            () = tenant.deadline_moved.notified() => {}
        }
    }
}

/// Carries the store's news into the engine. It is made before the tenant, which needs the
/// store's state, so it is tied to it afterwards.
#[derive(Default)]
struct StoreListener {
    state: Mutex<Early>,
}

#[derive(Default)]
struct Early {
    tenant: Weak<HostedTenant>,
    /// What came before there was a tenant.
    missed: Vec<Input>,
}

impl StoreListener {
    fn attach(&self, tenant: &Arc<HostedTenant>) {
        let missed = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.tenant = Arc::downgrade(tenant);
            std::mem::take(&mut state.missed)
        };
        tenant.submit(None, missed);
    }

    fn tell(&self, input: Input) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tenant) = state.tenant.upgrade() else {
            state.missed.push(input);
            return;
        };
        drop(state);
        tenant.submit(None, [input]);
    }
}

impl Listener for StoreListener {
    fn durable(&self, _tenant: TenantId, lsn: Lsn) {
        self.tell(Input::Durable(lsn));
    }

    fn failed(&self, tenant: TenantId, error: &StoreError) {
        tracing::error!(%tenant, %error, "the tenant's changes cannot be stored any more");
        self.tell(Input::StoreFailed);
    }

    fn full(&self, tenant: TenantId, full: bool) {
        if full {
            tracing::error!(%tenant, "the disk is full: publishes are refused until there is room");
        } else {
            tracing::info!(%tenant, "there is room on the disk again");
        }
        self.tell(Input::StoreFull(full));
    }
}
