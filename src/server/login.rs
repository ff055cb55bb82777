//! From accept to a session: handshake, greeting, and the one request that is allowed, `auth`.
//! Whatever goes wrong here closes the connection, and all of it stands under absolute deadlines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::gate::{self, Pass};
use super::session::{Live, Session};
use super::transport::Transport;
use super::{Context, connection, watch};
use crate::accounts::UserRecord;
use crate::auth::{Accepted, Attempt, Candidate, Denied};
use crate::broker::{Outbox, Signal};
use crate::protocol::frame::FrameReader;
use crate::protocol::response::{self, Details};
use crate::protocol::{Auth, CloseCode, ErrorCode, Parsed, Request, request};
use crate::tls;
use crate::types::{RequestToken, San};

/// Longest frame before authentication. Unit: bytes.
const FRAME_BYTES_MAX: usize = 8 * 1024;
/// The peer has so long to take the last words.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// What a client is told when the accounts or the store are out of reach. Unit: ms.
const RETRY_AFTER_MS: u64 = 1_000;

/// Takes one connection from accept to its end.
pub(super) async fn serve(tcp: TcpStream, peer: SocketAddr, pass: Pass, context: Arc<Context>) {
    let accepted = Instant::now();
    let Some(stream) = handshake(tcp, peer, &pass, accepted, &context).await else { return };
    let mut transport = Transport::new(stream, FrameReader::new(FRAME_BYTES_MAX));
    let deadline = accepted + context.limits.auth_timeout;
    let login = async {
        if pass.over_limit {
            return Err(End::Close(ErrorCode::TooManyConnections.into()));
        }
        tokio::select! {
            session = timeout_at(deadline, log_in(&mut transport, peer, &context)) => {
                session.unwrap_or(Err(End::Close(CloseCode::AuthTimeout)))
            }
            () = pass.evicted.cancelled() => {
                Err(End::Close(ErrorCode::TooManyConnections.into()))
            }
            () = context.stopping.cancelled() => Err(End::Close(CloseCode::ShuttingDown)),
        }
    };
    match login.await {
        Ok(session) => {
            pass.authenticated();
            if context.stopping.is_cancelled() {
                // It may have come too late to be told with the others.
                session.outbox.signal(Signal::Drain);
            }
            transport.frames.set_limit(context.max_frame_bytes());
            connection::serve(transport, session, context).await;
        }
        Err(End::Close(code)) => {
            tracing::info!(%peer, code = code.as_str(), "connection closed before login");
            response::closing(&mut transport.out.bytes, code);
            transport.close(CLOSE_PATIENCE).await;
        }
        Err(End::Gone) => tracing::debug!(%peer, "the peer left before login"),
    }
}

/// How a connection ends before it is a session.
enum End {
    /// The error reply, where there is one, is written already.
    Close(CloseCode),
    /// Nobody is there to be told.
    Gone,
}

async fn handshake(
    tcp: TcpStream,
    peer: SocketAddr,
    pass: &Pass,
    accepted: Instant,
    context: &Context,
) -> Option<TlsStream<TcpStream>> {
    let handshake = async {
        let _permit = context.handshakes.acquire().await;
        context.acceptor.accept(tcp).await
    };
    let deadline = accepted + context.limits.handshake_timeout;
    tokio::select! {
        done = timeout_at(deadline, handshake) => match done {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::info!(%peer, %error, "the TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::info!(%peer, "the TLS handshake took too long");
                None
            }
        },
        () = pass.evicted.cancelled() => None,
        () = context.stopping.cancelled() => None,
    }
}

async fn log_in(
    transport: &mut Transport,
    peer: SocketAddr,
    context: &Arc<Context>,
) -> Result<Session, End> {
    // What is not supported yet is not offered: no tokens, no certificate alone, no resumption.
    let limit = context.limits.max_frame_bytes.as_u64();
    response::hello(&mut transport.out.bytes, &["password"], limit);
    transport.flush().await.map_err(|_| End::Gone)?;
    let Parsed { token, request } = first_request(transport, context).await?;
    let Request::Auth(auth) = request else {
        let code = ErrorCode::NotAuthenticated;
        let message = "the first request must be auth";
        return Err(refuse(transport, &token, code, message, &Details::default()));
    };
    let session = authenticate(transport, &token, auth, peer, context).await?;
    response::ok(&mut transport.out.bytes, &token, |out| {
        response::string_field(out, "tenant", session.principal.tenant_name().as_str());
        response::string_field(out, "user", session.principal.user_name().as_str());
    });
    tracing::info!(session = %session, "logged in");
    Ok(session)
}

async fn first_request(transport: &mut Transport, context: &Context) -> Result<Parsed, End> {
    loop {
        let out = &mut transport.out.bytes;
        match transport.frames.next_frame() {
            Ok(Some(frame)) => {
                return request::parse(frame, &context.parse_limits).map_err(|error| {
                    response::parse_error(out, &error);
                    End::Close(error.code.into())
                });
            }
            Ok(None) => {}
            Err(too_large) => {
                response::frame_too_large(out, too_large.limit);
                return Err(End::Close(ErrorCode::FrameTooLarge.into()));
            }
        }
        match transport.fill().await {
            Ok(0) | Err(_) => return Err(End::Gone),
            Ok(_) => {}
        }
    }
}

/// Verifies the credentials and opens the session, or writes the refusal.
async fn authenticate(
    transport: &mut Transport,
    token: &RequestToken,
    auth: Auth,
    peer: SocketAddr,
    context: &Arc<Context>,
) -> Result<Session, End> {
    let address = gate::network(peer.ip());
    let throttled = context.authenticator.throttled(&auth.tenant, &auth.user, address);
    if let Some(retry_after_ms) = throttled {
        let denied = Denied::Throttled { retry_after_ms };
        return Err(deny(transport, token, &auth, peer, &denied));
    }
    let version = match context.accounts.version().await {
        Ok(version) => version,
        Err(error) => return Err(unavailable(transport, token, &error)),
    };
    let record = match context.accounts.user(&auth.tenant, &auth.user).await {
        Ok(record) => record,
        Err(error) => return Err(unavailable(transport, token, &error)),
    };
    let certificate = presented(transport, context);
    let password = Zeroizing::new(auth.password.expose().to_owned());
    let attempt = Attempt {
        tenant: &auth.tenant,
        user: &auth.user,
        password: password.clone(),
        address,
        certificate: certificate.as_ref(),
    };
    let candidate = record.as_ref().map(candidate);
    let accepted = match context.authenticator.login(attempt, candidate).await {
        Ok(accepted) => accepted,
        Err(denied) => return Err(deny(transport, token, &auth, peer, &denied)),
    };
    let Some(record) = record else { return Err(End::Gone) };
    if accepted.weaker_hash {
        tokio::spawn(strengthen(Arc::clone(context), record.clone(), password));
    }
    open_session(transport, token, accepted, &record, version, peer, context).await
}

/// The identity in the client's verified certificate, if it has one of the configured kind.
fn presented(transport: &Transport, context: &Context) -> Option<San> {
    let certificates = transport.stream().get_ref().1.peer_certificates()?;
    match tls::identity(certificates.first()?, context.identity) {
        Ok(identity) => Some(identity),
        Err(error) => {
            tracing::info!(%error, "the client certificate names nobody");
            None
        }
    }
}

fn candidate(record: &UserRecord) -> Candidate {
    Candidate {
        tenant_id: record.tenant.id,
        tenant_name: record.tenant.name.clone(),
        user_id: record.id,
        user_name: record.name.clone(),
        password_hash: record.password_hash.clone(),
        disabled: record.disabled,
        certificate: record.certificate.clone(),
        require_certificate: record.require_certificate,
        credentials_version: record.credentials_version,
        grants: record.grants.clone(),
    }
}

/// Attaches the connection to its tenant. What the administration changed since `version`, while
/// the password was verified, is applied before anything is taken from the client.
async fn open_session(
    transport: &mut Transport,
    token: &RequestToken,
    accepted: Accepted,
    record: &UserRecord,
    version: u64,
    peer: SocketAddr,
    context: &Arc<Context>,
) -> Result<Session, End> {
    let limits = context.tenant_limits(&record.tenant);
    let tenant = match context.broker.tenant(record.tenant.id, &limits).await {
        Ok(tenant) => tenant,
        Err(error) if error.standby => {
            let message = "this server does not serve the tenant now; connect to another one";
            let details = Details { retry_after_ms: Some(RETRY_AFTER_MS), ..Details::default() };
            return Err(refuse(transport, token, ErrorCode::Standby, message, &details));
        }
        Err(error) => return Err(unavailable(transport, token, &error)),
    };
    let live = Live {
        connection: context.broker.next_connection(),
        principal: Arc::new(accepted.principal),
        tenant,
        outbox: Arc::new(Outbox::default()),
    };
    if let Err(full) = live.tenant.attach(live.connection, Arc::clone(&live.outbox)) {
        let code = ErrorCode::TooManyConnections;
        return Err(refuse(transport, token, code, &full.to_string(), &Details::default()));
    }
    let registry = Arc::clone(&context.registry);
    let session = Session::open(live.clone(), registry, peer, context.max_frame_bytes());
    match changed_since(context, version, record).await {
        Ok(None) => {}
        Ok(Some(now)) => watch::enforce(&live, now.as_ref()),
        Err(error) => return Err(unavailable(transport, token, &error)),
    }
    Ok(session)
}

/// The user as it is now, if anything changed since `version`.
async fn changed_since(
    context: &Context,
    version: u64,
    record: &UserRecord,
) -> Result<Option<Option<UserRecord>>, crate::accounts::AccountsError> {
    if context.accounts.version().await? == version {
        return Ok(None);
    }
    Ok(Some(context.accounts.user_by_id(record.id).await?))
}

/// Puts a hash of the configured cost in place of a cheaper one.
async fn strengthen(context: Arc<Context>, record: UserRecord, password: Zeroizing<String>) {
    let Ok(new) = context.authenticator.rehash(password).await else { return };
    let stored = context.accounts.rehash(record.id, &record.password_hash, &new).await;
    if let Err(error) = stored {
        tracing::warn!(user = %record.name, %error, "a stronger hash could not be stored");
    }
}

/// The same whatever the cause.
const LOGIN_FAILED: &str = "the login failed; check tenant, user, password and certificate";

fn deny(
    transport: &mut Transport,
    token: &RequestToken,
    auth: &Auth,
    peer: SocketAddr,
    denied: &Denied,
) -> End {
    let (code, message, retry_after_ms, cause) = match denied {
        Denied::Failed(cause) => (ErrorCode::AuthFailed, LOGIN_FAILED, None, cause.as_str()),
        Denied::Throttled { retry_after_ms } => (
            ErrorCode::AuthThrottled,
            "too many failed logins; wait and try again",
            Some(*retry_after_ms),
            "throttled",
        ),
        Denied::Busy { retry_after_ms } => (
            ErrorCode::SlowDown,
            "too many logins are waiting; wait and try again",
            Some(*retry_after_ms),
            "busy",
        ),
    };
    tracing::warn!(%peer, tenant = %auth.tenant, user = %auth.user, cause, "login refused");
    refuse(transport, token, code, message, &Details { retry_after_ms, ..Details::default() })
}

fn unavailable(
    transport: &mut Transport,
    token: &RequestToken,
    error: &dyn std::fmt::Display,
) -> End {
    tracing::error!(%error, "a login cannot be answered");
    let details = Details { retry_after_ms: Some(RETRY_AFTER_MS), ..Details::default() };
    let message = "logins cannot be verified just now; wait and try again";
    refuse(transport, token, ErrorCode::StorageUnavailable, message, &details)
}

fn refuse(
    transport: &mut Transport,
    token: &RequestToken,
    code: ErrorCode,
    message: &str,
    details: &Details<'_>,
) -> End {
    response::error(&mut transport.out.bytes, token, code, message, details);
    End::Close(code.into())
}
