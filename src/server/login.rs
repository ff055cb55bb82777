//! From accept to a session: handshake, greeting, and the one request that is allowed, `auth`.
//! Whatever goes wrong here closes the connection, and all of it stands under absolute deadlines.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::gate::Pass;
use super::session::{Live, Session};
use super::transport::Transport;
use super::{Context, connection};
use crate::broker::Outbox;
use crate::protocol::frame::FrameReader;
use crate::protocol::{CloseCode, ErrorCode, request, response};
use crate::telemetry::Clipped;

/// Longest frame before authentication. Unit: bytes.
const FRAME_BYTES_MAX: usize = 8 * 1024;

/// Why a connection ends before it is a session.
enum Refused {
    /// With an error reply, which is written already, and this code.
    Close(CloseCode),
    /// Nothing can be said any more.
    Silently,
}

/// Takes one connection from accept to its end.
pub(super) async fn serve(tcp: TcpStream, peer: SocketAddr, pass: Pass, context: Arc<Context>) {
    let accepted = Instant::now();
    let Some(stream) = handshake(tcp, peer, &pass, accepted, &context).await else { return };
    let mut transport = Transport::new(stream, FrameReader::new(FRAME_BYTES_MAX));
    let deadline = accepted + context.limits.auth_timeout;
    let login = async {
        if pass.over_limit {
            return Err(Refused::Close(ErrorCode::TooManyConnections.into()));
        }
        tokio::select! {
            session = timeout_at(deadline, log_in(&mut transport, peer, &context)) => {
                session.unwrap_or(Err(Refused::Close(CloseCode::AuthTimeout)))
            }
            () = pass.evicted.cancelled() => {
                Err(Refused::Close(ErrorCode::TooManyConnections.into()))
            }
        }
    };
    match login.await {
        Ok(session) => {
            pass.authenticated();
            connection::serve(transport, session, context).await;
        }
        Err(Refused::Close(code)) => {
            tracing::info!(%peer, code = code.as_str(), "connection closed before login");
            response::closing(&mut transport.out, code);
            transport.close(CLOSE_PATIENCE).await;
        }
        Err(Refused::Silently) => {}
    }
}
