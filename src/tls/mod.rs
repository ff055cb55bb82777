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
/// `ring`, not `aws_lc_rs`. Measured through rustls 0.23 on one core of a small virtual machine, in
/// memory, both ends together, X25519 and AES-256-GCM, twelve rounds each in turn (medians):
///
/// | | `ring` | `aws_lc_rs` |
/// | --- | --- | --- |
/// | mutual TLS 1.3 handshakes with P-256, a second | 2,280 | 2,480 |
/// | records of 256 bytes, a second | 2.11 M | 1.95 M |
/// | records of 16 KiB, a second (two modes, see below) | 177 k or 98 k | 197 k or 105 k |
///
/// Either would do: `ring` is 8 % ahead where a message bus spends most, `aws_lc_rs` 9 % in
/// handshakes and about 10 % in long records. What decides is the build: 29 s against 54 s cold
/// (once each) and half the binary. Long records ran in one of two modes with both; why is not
/// known, so only like modes were compared. `ring` has no post-quantum key exchange.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
