//! One stream of a connection, from its login to its end: one task writes what is queued, as one
//! write, the other reads lines and hands each to whoever waits for it. A server that says nothing
//! for long is asked for a sign of life, and given up where it gives none.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::Error;
use super::connection::{Connection, Next};
use crate::protocol::frame::FrameReader;
use crate::protocol::request_text;

/// Longest line that is taken from a server. Unit: bytes.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Read at a time. Unit: bytes.
const READ_BYTES: usize = 64 * 1024;
/// After a write failed, the server's last words may still say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a server may say nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence {
    /// Then it is asked for a sign of life.
    pub ask_after: Duration,
    /// So long after that it is given up.
    pub lost_after: Duration,
}

impl Default for Silence {
    /// A server that waits for its disk or database may be silent for longer than a lease of it.
    fn default() -> Self {
        Self { ask_after: Duration::from_secs(10), lost_after: Duration::from_secs(20) }
    }
}

/// Serves the connection on this stream until the stream ends; why it did.
pub(super) async fn run<S>(
    connection: &Arc<Connection>,
    stream: S,
    frames: FrameReader,
    silence: Silence,
) -> Error
where
    S: AsyncRead + AsyncWrite,
{
    let (reading, writing) = tokio::io::split(stream);
    let reading = read(connection, reading, frames, silence);
    let writing = async {
        let error = write(connection, writing).await;
        tokio::time::sleep(LAST_WORDS).await;
        error
    };
    tokio::select! {
        error = reading => error,
        error = writing => error,
    }
}

/// Ends only with an error: after an orderly end of its side it leaves the rest to the reader.
async fn write<S: AsyncWrite>(connection: &Connection, mut stream: WriteHalf<S>) -> Error {
    loop {
        let written = match connection.next_write().await {
            Next::Bytes(bytes) => {
                async {
                    stream.write_all(&bytes).await?;
                    stream.flush().await
                }
                .await
            }
            Next::End => match stream.shutdown().await {
                Ok(()) => return std::future::pending().await,
                failed => failed,
            },
        };
        if let Err(error) = written {
            return error.into();
        }
    }
}

async fn read<S: AsyncRead>(
    connection: &Connection,
    mut stream: ReadHalf<S>,
    mut frames: FrameReader,
    silence: Silence,
) -> Error {
    frames.set_limit(LINE_BYTES_MAX);
    let mut bytes = vec![0; READ_BYTES];
    loop {
        loop {
            match frames.next_frame() {
                Ok(Some(line)) => {
                    if let Err(error) = connection.take_line(line) {
                        return error;
                    }
                }
                Ok(None) => break,
                Err(error) => return Error::Lost(error.to_string()),
            }
        }
        let mut reading = std::pin::pin!(stream.read(&mut bytes));
        let read = match tokio::time::timeout(silence.ask_after, &mut reading).await {
            Ok(read) => read,
            Err(_) => {
                // Its answer is a sign of life as any other line is.
                drop(connection.request(None, false, request_text::ping));
                match tokio::time::timeout(silence.lost_after, reading).await {
                    Ok(read) => read,
                    Err(_) => return Error::Lost("the server gives no sign of life".to_owned()),
                }
            }
        };
        match read {
            Ok(0) => return Error::Lost("the server ended it".to_owned()),
            Ok(read) => frames.extend(&bytes[..read]),
            Err(error) => return error.into(),
        }
    }
}
