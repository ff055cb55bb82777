//! Connecting again: with a pause that doubles and differs from client to client, so that a server
//! that comes back is not met by all of them at once.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::link::Silence;
use super::{Error, Profile, link, open};
use crate::protocol::frame::FrameReader;

/// What becomes of publishes that were sent and not confirmed when the connection was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InFlight {
    /// Their confirms fail with [`Error::Lost`]: they may or may not have been taken.
    #[default]
    Report,
    /// They are sent again, in order: each is taken at least once, maybe twice.
    Resend,
}

/// How a client connects again.
#[derive(Debug, Clone, Copy)]
pub struct Reconnect {
    /// For publishes in flight. Other requests in flight are reported.
    pub in_flight: InFlight,
    /// The first pause; each further one is twice as long.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            in_flight: InFlight::default(),
            pause_min: Duration::from_millis(100),
            pause_max: Duration::from_secs(10),
        }
    }
}

/// Keeps a connection until the program closes it or the server says that it may not go on.
pub(super) async fn keep<S>(
    connection: Arc<Connection>,
    profile: Profile,
    reconnect: Reconnect,
    stream: S,
    frames: FrameReader,
) where
    S: AsyncRead + AsyncWrite,
{
    let mut error = link::run(&connection, stream, frames, Silence::default()).await;
    loop {
        if connection.is_closing() || error.is_final() {
            return connection.end(&error);
        }
        connection.lost(&error);
        error = match again(&connection, &profile, reconnect).await {
            Ok((stream, frames)) => {
                link::run(&connection, stream, frames, Silence::default()).await
            }
            Err(error) => error,
        };
    }
}

async fn again(
    connection: &Connection,
    profile: &Profile,
    reconnect: Reconnect,
) -> Result<open::Opened, Error> {
    let mut pause = reconnect.pause_min;
    loop {
        tokio::time::sleep(jittered(pause)).await;
        match open::open(profile).await {
            Err(error) if error.is_final() || connection.is_closing() => return Err(error),
            Err(_) => pause = (pause * 2).min(reconnect.pause_max),
            opened => return opened,
        }
    }
}

/// Between a half and the whole of it.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(());
    pause.mul_f64(0.5 + (random >> 11) as f64 / (1_u64 << 54) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_within_their_bounds() {
        let pause = Duration::from_secs(1);
        let pauses: Vec<_> = (0..50).map(|_| jittered(pause)).collect();
        assert!(pauses.iter().all(|jittered| *jittered >= pause / 2 && *jittered <= pause));
        assert!(pauses.iter().any(|jittered| *jittered != pauses[0]));
    }
}
