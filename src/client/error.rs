//! What can go wrong for a client; each sentence says what to do next.

use std::io;
use std::time::Duration;

use crate::protocol::reply::{BadLine, ServerError};
use crate::tls::TlsError;
use crate::types::Seq;

/// See the module. Cheap to clone: one lost connection is told to everybody who waits on it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Nobody answers.
    #[error("{address} does not answer: {reason}; is `gmq serve` running there?")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// No address.
    #[error(
        "the server's address \"{0}\" is not written HOST:PORT, such as bus.acme.example:4884; mend it in \
         the client profile"
    )]
    Address(String),
    /// The certificate files.
    #[error("{0}")]
    Tls(String),
    /// The TLS handshake, or the stream after it.
    #[error(
        "the TLS connection to {address} failed: {reason}; check that `ca` is the server's \
         authority and that `certificate` comes from the authority that the server trusts"
    )]
    Handshake {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// The login.
    #[error("{0}")]
    Login(Box<ServerError>),
    /// The server refused a request.
    #[error("{0}")]
    Refused(Box<ServerError>),
    /// The server ended the connection.
    #[error("the server closed the connection ({code}): {}", meaning(.0), code = .0)]
    Closed(String),
    /// The connection is gone.
    #[error(
        "the connection is lost: {0}; what was not confirmed may or may not have happened; look \
         before you repeat it"
    )]
    Lost(String),
    /// A delivery of a connection that is gone.
    #[error("the message has returned to its queue with its connection; wait until it comes again")]
    Returned,
    /// A request without an answer.
    #[error(
        "nobody answered the request to \"{to}\" within {timeout:?}; check that a worker consumes \
         from it and may publish to reply.#, or wait longer"
    )]
    NoAnswer {
        /// The queue or topic.
        to: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// A request that no queue has taken.
    #[error(
        "no queue has a binding that matches the topic \"{topic}\", so nobody can answer; bind \
         one with `gmq topic bind`"
    )]
    NotRouted {
        /// The topic.
        topic: String,
    },
    /// An answer to what asks for none.
    #[error(
        "the message {seq} of \"{queue}\" has no reply_to that is the name of a queue, so it \
         cannot be answered; acknowledge it, or send it to the dead letters"
    )]
    NoReplyTo {
        /// The queue that it came from.
        queue: String,
        /// Its place there.
        seq: Seq,
    },
    /// Not a gmq server, or a broken one.
    #[error(transparent)]
    BadLine(#[from] BadLine),
}

impl Error {
    /// Whether trying again, or at another server, cannot help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Error::Login(refused) => refused.code == "auth_failed",
            Error::Refused(refused) => !PASSING.contains(&&*refused.code),
            Error::Closed(code) => code == "revoked",
            Error::Tls(_) => true,
            _ => false,
        }
    }
}

/// Codes of refusals that may be over at the next try.
const PASSING: [&str; 4] = ["shutting_down", "slow_down", "standby", "storage_unavailable"];

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Error::Tls(error.to_string())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Lost(match error.kind() {
            // What rustls says of it is for programmers.
            io::ErrorKind::UnexpectedEof => "the server went without closing it".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// What a `closing` means for who reads it, and what to do.
fn meaning(code: &str) -> &'static str {
    match code {
        "too_many_connections" => "it has as many as it may; close some, or try again later",
        "auth_timeout" => "the login took too long; try again",
        "revoked" => "the user may no longer log in as it did; ask who administers the server",
        "idle" => "nothing was sent or received for limits.idle_timeout; connect again",
        "too_slow" => "nothing was read for limits.write_timeout; read faster, and connect again",
        "shutting_down" => "it stops; connect again once it runs",
        "frame_too_large" => {
            "a request was longer than its limits.max_frame_bytes; send less in one"
        }
        _ => "the server's log says why",
    }
}
