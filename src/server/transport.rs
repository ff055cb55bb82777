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
    pub out: WriteBuffer,
    flushed: bool,
}

/// Text that waits to be written. It is added at the end while the front is being written.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    /// For what is added.
    pub bytes: Vec<u8>,
    written: usize,
}

impl WriteBuffer {
    /// What is not written yet.
    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// So many more bytes are written. Their room is given back also where the peer is so slow that
    /// there is always something left.
    fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        if self.rest().is_empty() {
            self.bytes.clear();
            self.written = 0;
            self.bytes.shrink_to(KEPT_BYTES_MAX);
        } else if self.written >= KEPT_BYTES_MAX && self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
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
        Self { stream, frames, out: WriteBuffer::default(), flushed: true }
    }

    pub fn stream(&self) -> &TlsStream<TcpStream> {
        &self.stream
    }

    /// Bytes that wait to be written.
    pub fn unwritten(&self) -> usize {
        self.out.rest().len()
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
        let mut progress = 0;
        while !self.out.rest().is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, self.out.rest()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    self.out.advance(bytes);
                    self.flushed = false;
                    progress += bytes;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if progress > 0 => return Poll::Ready(Ok(progress)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.flushed {
            return Poll::Ready(Ok(progress));
        }
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(Ok(())) => self.flushed = true,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending if progress == 0 => return Poll::Pending,
            Poll::Pending => {}
        }
        Poll::Ready(Ok(progress.max(1)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_never_empty_does_not_grow() {
        let mut buffer = WriteBuffer::default();
        let mut expected = 0_u32;
        let mut added = 0_u32;
        for _ in 0..10_000 {
            while buffer.rest().len() < 64 * 1024 {
                buffer.bytes.extend_from_slice(&added.to_be_bytes());
                added += 1;
            }
            for word in buffer.rest()[..4 * 1024].chunks_exact(4) {
                assert_eq!(word, expected.to_be_bytes(), "nothing is lost or moved");
                expected += 1;
            }
            buffer.advance(4 * 1024);
        }
        assert!(buffer.bytes.capacity() <= 512 * 1024, "{} bytes", buffer.bytes.capacity());
        buffer.advance(buffer.rest().len());
        assert!(buffer.bytes.capacity() <= KEPT_BYTES_MAX);
    }
}
