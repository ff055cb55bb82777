//! A session: an authenticated connection as the rest of the server sees it. The registry lists
//! the live ones, so that changes of the accounts reach them.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::Principal;
use crate::broker::{HostedTenant, Outbox, Signal};
use crate::command::Caller;
use crate::engine::Input;
use crate::types::{Action, ConnectionId, Tag};

/// See the module.
pub(super) struct Session {
    pub connection: ConnectionId,
    pub principal: Arc<Principal>,
    pub tenant: Arc<HostedTenant>,
    pub outbox: Arc<Outbox>,
    /// The last delivery that was handed to the transport.
    pub sent_up_to: Tag,
    registry: Arc<Registry>,
    peer: SocketAddr,
    reply_bytes_max: usize,
    attached: bool,
}

/// One live session in the registry.
#[derive(Clone)]
pub(super) struct Live {
    pub connection: ConnectionId,
    pub principal: Arc<Principal>,
    pub tenant: Arc<HostedTenant>,
    pub outbox: Arc<Outbox>,
}

/// The live sessions.
#[derive(Default)]
pub(super) struct Registry {
    sessions: Mutex<HashMap<ConnectionId, Live>>,
}

impl Session {
    /// Makes the session known; the connection must be attached to its tenant already.
    pub fn open(
        live: Live,
        registry: Arc<Registry>,
        peer: SocketAddr,
        reply_bytes_max: usize,
    ) -> Self {
        registry.lock().insert(live.connection, live.clone());
        let Live { connection, principal, tenant, outbox } = live;
        let sent_up_to = Tag(0);
        Self {
            connection,
            principal,
            tenant,
            outbox,
            sent_up_to,
            registry,
            peer,
            reply_bytes_max,
            attached: true,
        }
    }

    /// Who asks, for commands.
    pub fn caller(&self) -> Caller<'_> {
        let reply_bytes_max = self.reply_bytes_max;
        Caller { principal: &self.principal, tenant: &self.tenant, reply_bytes_max }
    }

    /// Ends it: what was in hand returns, nothing more is delivered.
    pub fn detach(&mut self) {
        if std::mem::take(&mut self.attached) {
            self.registry.lock().remove(&self.connection);
            self.tenant.detach(self.connection, self.sent_up_to);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.detach();
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{} from {}",
            self.principal.tenant_name(),
            self.principal.user_name(),
            self.peer
        )
    }
}

impl Registry {
    /// The live sessions just now.
    pub fn live(&self) -> Vec<Live> {
        self.lock().values().cloned().collect()
    }

    /// Tells every session.
    pub fn signal_all(&self, signal: Signal) {
        for live in self.live() {
            live.outbox.signal(signal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Live>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// Ends what the principal's grants no longer allow.
    pub fn enforce_grants(&self) {
        let grants = self.principal.grants();
        let mut queues = self.tenant.watched(self.connection);
        queues.retain(|queue| !grants.allow(Action::Consume, queue.as_str()));
        if !queues.is_empty() {
            let connection = self.connection;
            self.tenant.submit(None, [Input::Forbid { connection, queues }]);
        }
    }
}
