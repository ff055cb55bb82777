//! The server: sockets, TLS, logins and sessions, and how all of it stops. Everything that waits
//! for a peer stands under a deadline and a limit. `cli` starts it with a socket that listens
//! already and a future that says when to stop.

mod connection;
mod gate;
mod listener;
mod login;
mod session;
mod transport;
mod watch;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::{Accounts, AccountsError};
use crate::auth::{Authenticator, Cost, CostError, PoolError};
use crate::broker::{Broker, BrokerLimits, Signal};
use crate::config::{Config, Limits};
use crate::engine::TenantLimits;
use crate::protocol::request;
use crate::store::{Store, StoreError};
use crate::tls::ServerTls;
use crate::types::{Quotas, SanKind};

/// Subscriptions, and waiting pulls, of one connection.
const WAITING_MAX: usize = 1_000;

/// Why a server cannot start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The accounts.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The configured cost of a password.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// The pool that hashes.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The store, at the end.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket.
    #[error("the listening socket cannot be used: {0}")]
    Socket(#[from] io::Error),
    /// Beyond loopback without anybody who could log in.
    #[error(
        "nobody could log in: there is no user yet; make one with \
         `gmq admin user add NAME --generate`, or listen on a loopback address"
    )]
    NoUser,
    /// Beyond loopback with certificates that everybody's quickstart could have made.
    #[error(
        "the certificates were made by quickstart, which is for trying out on this machine; make \
         others with `gmq init`, or listen on a loopback address"
    )]
    QuickstartCertificates,
}

/// What every connection needs.
struct Context {
    limits: Limits,
    parse_limits: request::Limits,
    acceptor: TlsAcceptor,
    identity: SanKind,
    /// TLS handshakes under way.
    handshakes: Semaphore,
    gate: Arc<gate::Gate>,
    registry: Arc<session::Registry>,
    broker: Broker,
    accounts: Arc<dyn Accounts>,
    authenticator: Arc<Authenticator>,
    /// Cancelled when the server begins to stop.
    stopping: CancellationToken,
}

/// A server that is about to run.
pub struct Server {
    listener: TcpListener,
    context: Arc<Context>,
}

impl Server {
    /// Puts the parts together, and refuses what must not be served.
    pub async fn new(
        listener: TcpListener,
        config: &Config,
        tls: ServerTls,
        accounts: Arc<dyn Accounts>,
        store: Arc<dyn Store>,
    ) -> Result<Self, ServeError> {
        if !listener.local_addr()?.ip().is_loopback() {
            if tls.is_quickstart {
                return Err(ServeError::QuickstartCertificates);
            }
            if !accounts.any_user().await? {
                return Err(ServeError::NoUser);
            }
        }
        let context = Arc::new(Context::new(config, tls, accounts, store)?);
        Ok(Self { listener, context })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr, ServeError> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves until `stop`, then answers what it took, for `limits.drain_timeout` at most.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { listener, context } = self;
        let connections = TaskTracker::new();
        let stopping = context.stopping.clone();
        let accepting = tokio::spawn(listener::accept(
            listener,
            Arc::clone(&context),
            connections.clone(),
            stopping.clone(),
        ));
        let watching = tokio::spawn(watch::watch(Arc::clone(&context), stopping.clone()));
        stop.await;
        tracing::info!("draining: no new connections, answering what was taken");
        stopping.cancel();
        // Nothing may be accepted, nor logged in, once the engines were told to stop.
        let _ = tokio::join!(accepting, watching);
        context.broker.drain();
        context.registry.signal_all(Signal::Drain);
        connections.close();
        let limit = context.limits.drain_timeout;
        if tokio::time::timeout(limit, connections.wait()).await.is_err() {
            tracing::warn!("connections that were not done in limits.drain_timeout are cut");
        }
        Ok(context.broker.close().await?)
    }
}

impl Context {
    fn new(
        config: &Config,
        tls: ServerTls,
        accounts: Arc<dyn Accounts>,
        store: Arc<dyn Store>,
    ) -> Result<Self, ServeError> {
        let limits = config.limits.clone();
        let argon2 = &config.auth.argon2;
        let cost = Cost::new(argon2.memory_kib, argon2.iterations, argon2.parallelism)?;
        let authenticator = Authenticator::new(
            cost,
            argon2.workers.count(),
            config.auth.failures_per_minute_user,
            config.auth.failures_per_minute_address,
        )?;
        let broker_limits = BrokerLimits {
            outbox_bytes_max: limits.max_outbox_bytes.as_u64(),
            subscriptions_max: WAITING_MAX,
            pulls_max: WAITING_MAX,
        };
        Ok(Self {
            parse_limits: request::Limits { max_message_bytes: limits.max_message_bytes.as_u64() },
            acceptor: TlsAcceptor::from(tls.config),
            identity: config.tls.client_identity,
            handshakes: Semaphore::new(limits.max_handshakes),
            gate: gate::Gate::new(gate::GateLimits {
                connections: limits.max_connections,
                unauthenticated: limits.max_unauthenticated_connections,
                unauthenticated_per_address: limits.max_unauthenticated_per_address,
            }),
            registry: Arc::default(),
            broker: Broker::new(store, broker_limits),
            accounts,
            authenticator: Arc::new(authenticator),
            stopping: CancellationToken::new(),
            limits,
        })
    }

    /// A tenant's limits with the server's in place of those it has not.
    fn tenant_limits(&self, tenant: &crate::accounts::TenantRecord) -> TenantLimits {
        let defaults = Quotas {
            queues: self.limits.max_queues,
            messages: self.limits.max_tenant_messages,
            bytes: self.limits.max_tenant_bytes.map(|size| size.as_u64()),
            connections: self.limits.max_tenant_connections,
        };
        TenantLimits {
            quotas: tenant.quotas.or(defaults),
            queue_messages_max: self.limits.max_queue_messages,
            auto_create: tenant.auto_create,
            defaults: tenant.defaults.clone(),
        }
    }

    fn max_frame_bytes(&self) -> usize {
        usize::try_from(self.limits.max_frame_bytes.as_u64()).unwrap_or(usize::MAX)
    }
}
