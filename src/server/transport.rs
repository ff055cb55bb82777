//! The bytes of one connection: a TLS stream with a buffer each way. One task both reads and
//! writes, so that a peer that sends much before it reads anything cannot lock both sides up.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::protocol::frame::FrameReader;

/// Most that is read from the peer at a time. Unit: bytes (a TLS record).
const READ_BYTES_MAX: usize = 16 * 1024;
/// A write buffer above this is given back once it is empty. Unit: bytes.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// After the last byte was written, the peer has so long to close its side.
const LINGER: Duration = Duration::from_secs(2);
/// What a peer may go on sending meanwhile. Unit: bytes.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// See the module.
pub(super) struct Transport {
    stream: TlsStream<TcpStream>,
    /// What was read and is not yet taken.
    pub frames: FrameReader,
    /// What is to be written.
    pub out: Vec<u8>,
    written: usize,
    flushed: bool,
}

/// What a turn brought.
#[derive(Debug)]
pub(super) enum Turn {
    /// Something was read.
    Read,
    /// Something was written.
    Wrote,
    /// There is something to be written.
    Outbox,
    /// The peer closed its side in order.
    HalfClosed,
    /// The connection is lost.
    Lost(io::Error),
}

impl Transport {
    pub fn new(stream: TlsStream<TcpStream>, frames: FrameReader) -> Self {
        Self { stream, frames, out: Vec::new(), written: 0, flushed: true }
    }

    pub fn stream(&self) -> &TlsStream<TcpStream> {
        &self.stream
    }

    /// Bytes that wait to be written.
    pub fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Whether all that was put into `out` has been handed to the operating system.
    pub fn is_flushed(&self) -> bool {
        self.unwritten() == 0 && self.flushed
    }

    /// Writes what waits, and reads if `read`. `Pending` only if the task will be woken.
    pub fn poll_turn(&mut self, context: &mut Context<'_>, read: bool) -> Poll<Turn> {
        match self.poll_write_out(context) {
            Poll::Ready(Ok(0)) | Poll::Pending => {}
            Poll::Ready(Ok(_)) => return Poll::Ready(Turn::Wrote),
            Poll::Ready(Err(error)) => return Poll::Ready(Turn::Lost(error)),
        }
        if !read {
            return Poll::Pending;
        }
        match ready!(self.poll_read_in(context)) {
            Ok(0) => Poll::Ready(Turn::HalfClosed),
            Ok(_) => Poll::Ready(Turn::Read),
            Err(error) => Poll::Ready(Turn::Lost(error)),
        }
    }

    /// Bytes written; `Ready(0)` where nothing waits.
    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let before = self.written;
        while self.written < self.out.len() {
            let stream = Pin::new(&mut self.stream);
            match stream.poll_write(context, &self.out[self.written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    self.written += bytes;
                    self.flushed = false;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.written > before => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        let progress = self.written - before;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            if self.out.capacity() > KEPT_BYTES_MAX {
                self.out.shrink_to(KEPT_BYTES_MAX);
            }
            if !self.flushed {
                match Pin::new(&mut self.stream).poll_flush(context) {
                    Poll::Ready(Ok(())) => self.flushed = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if progress == 0 => return Poll::Pending,
                    Poll::Pending => {}
                }
                return Poll::Ready(Ok(progress.max(1)));
            }
        }
        Poll::Ready(Ok(progress))
    }

    fn poll_read_in(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; READ_BYTES_MAX];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        self.frames.extend(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Writes all that waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.is_flushed() {
            std::future::poll_fn(|context| self.poll_write_out(context)).await?;
        }
        Ok(())
    }

    /// Reads once; 0 is the orderly end.
    pub async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|context| self.poll_read_in(context)).await
    }

    /// Writes what waits, then close_notify, within `limit`; then waits a little for the peer to
    /// close too, so that a reset for what it still sent does not overtake the last words.
    pub async fn close(mut self, limit: Duration) {
        let ending = async {
            self.flush().await?;
            self.stream.shutdown().await
        };
        if !matches!(tokio::time::timeout(limit, ending).await, Ok(Ok(()))) {
            return;
        }
        let (mut tcp, _) = self.stream.into_inner();
        let rest = pin!(async move {
            let mut bytes = [0; READ_BYTES_MAX];
            let mut total = 0;
            while total < LINGER_BYTES_MAX {
                match tcp.read(&mut bytes).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => total += read,
                }
            }
        });
        let _ = tokio::time::timeout(LINGER, rest).await;
    }
}
