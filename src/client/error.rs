//! What can go wrong for a client; each sentence says what to do next.

use std::io;

use crate::protocol::reply::{BadLine, ServerError};
use crate::tls::TlsError;

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
    #[error("{0}; check tenant, user, password and certificate in the client profile")]
    Login(Box<ServerError>),
    /// The server refused a request.
    #[error("{0}")]
    Refused(Box<ServerError>),
    /// The server ended the connection.
    #[error("the server closed the connection: {0}")]
    Closed(String),
    /// The connection is gone.
    #[error("the connection is lost: {0}; what was not confirmed may or may not have happened")]
    Lost(String),
    /// A delivery of a connection that is gone.
    #[error("the message has returned to its queue with the connection over which it came")]
    Returned,
    /// Not a gmq server, or a broken one.
    #[error(transparent)]
    BadLine(#[from] BadLine),
}

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Error::Tls(error.to_string())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Lost(error.to_string())
    }
}
