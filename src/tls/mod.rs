//! TLS: configurations of server and client, certificates and keys from files, the identity in a
//! client certificate, and a small authority for those who have none. Refuses what would only fail
//! later: keys that do not fit, certificates out of their time, key files that others can read.
//! Called by `server` and `client`, and by the commands that make and show certificates.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

mod client;
mod error;
mod pem;

#[cfg(feature = "server")]
mod authority;
#[cfg(feature = "server")]
mod certificate;
#[cfg(feature = "server")]
mod client_verifier;
#[cfg(feature = "server")]
mod identity;
#[cfg(feature = "server")]
mod server;

#[cfg(all(test, feature = "server"))]
mod tests;

#[cfg(feature = "server")]
pub use authority::{
    AUTHORITY_NAME, Authority, AuthorityError, Issued, LOCAL_HOSTS, QUICKSTART_AUTHORITY_NAME,
};
#[cfg(feature = "server")]
pub use certificate::{Description, MalformedCertificate, describe, describe_file, is_quickstart};
pub use client::client_config;
pub use error::TlsError;
#[cfg(feature = "server")]
pub use identity::{IdentityError, identity};
#[cfg(feature = "server")]
pub use server::{ServerTls, server_tls};

/// The protocol's name in ALPN. A client that offers none is accepted, one that offers only others
/// is refused in the handshake (rustls does both by itself).
pub const ALPN: &[u8] = b"gmq/1";

/// The cryptography of every TLS connection.
///
/// Measured through rustls 0.23 on one core, in memory, TLS 1.3 with AES-256-GCM, against
/// `aws_lc_rs`: `ring` seals and opens 256-byte records about 10 % faster, which is what a message
/// bus mostly sends; it is 10 % slower in mutual handshakes with P-256 and 10 to 15 % with 16 KiB
/// records; and a cold build takes half the time.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
