//! Who a client certificate says it is: its one subject alternative name of the configured kind.
//! Refuses none, several and odd ones; the common name never counts. The certificate's chain was
//! verified in the handshake; this only reads it. Called by `server` for each connection.

use x509_parser::extensions::GeneralName;

use crate::types::{San, SanError, SanKind};

use super::certificate::{Certificate, MalformedCertificate};

/// Why a certificate is nobody's. For the log; clients only learn `auth_failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not X.509, or its names are damaged.
    #[error("the client certificate's names cannot be read")]
    Malformed,
    /// No name of the configured kind.
    #[error("the client certificate has no subject alternative name of the kind {0}")]
    None(SanKind),
    /// More than one: which one is meant cannot be told.
    #[error("the client certificate has several subject alternative names of the kind {0}")]
    Several(SanKind),
    /// A name that no user can have.
    #[error("the client certificate's subject alternative name is refused: {0}")]
    Odd(#[from] SanError),
}

impl From<MalformedCertificate> for IdentityError {
    fn from(_: MalformedCertificate) -> Self {
        IdentityError::Malformed
    }
}

/// The one name of this kind in the certificate, to the byte.
pub fn identity(der: &[u8], kind: SanKind) -> Result<San, IdentityError> {
    let certificate = Certificate::parse(der)?;
    let names = certificate.names()?;
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(IdentityError::Malformed);
    }
    let mut candidates = names.iter().filter_map(|name| match (kind, name) {
        (SanKind::Dns, GeneralName::DNSName(name))
        | (SanKind::Uri, GeneralName::URI(name))
        | (SanKind::Email, GeneralName::RFC822Name(name)) => Some(*name),
        _ => None,
    });
    let name = candidates.next().ok_or(IdentityError::None(kind))?;
    match candidates.next() {
        None => Ok(San::new(kind, name)?),
        Some(_) => Err(IdentityError::Several(kind)),
    }
}
