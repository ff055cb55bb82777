//! Takes connections in: address list, gate, and a task for each. One silent peer holds up nobody,
//! because nothing is awaited here but the next connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Context, login};

/// Pause after an accept that failed for want of descriptors or memory, so that the server does
/// not spin until some are given back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A peer that vanished is asked for after so long without traffic.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// Takes connections in until `stop`.
pub(super) async fn accept(
    listener: TcpListener,
    context: Arc<Context>,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, &context, &connections),
            Err(error) if is_peers_fault(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(stream: TcpStream, peer: SocketAddr, context: &Arc<Context>, connections: &TaskTracker) {
    let allowed = &context.limits.allow_cidrs;
    let address = peer.ip().to_canonical();
    if !allowed.is_empty() && !allowed.iter().any(|network| network.contains(&address)) {
        tracing::warn!(%peer, "refused: the address is not in limits.allow_cidrs");
        return;
    }
    if let Err(error) = set_options(&stream, context.limits.write_timeout) {
        tracing::debug!(%peer, %error, "the connection ended before it began");
        return;
    }
    let pass = context.gate.enter(address);
    let context = Arc::clone(context);
    connections.spawn(login::serve(stream, peer, pass, context));
}

fn set_options(stream: &TcpStream, write_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_AFTER / 6),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(write_timeout))?;
    Ok(())
}

/// Errors of one connection that was given up before it was taken in.
fn is_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
