//! What stands in a certificate: for checks at start, and for people (`gmq certs show`). Refuses
//! what is not X.509. Texts of a certificate are made harmless before anyone sees them. Called by
//! the rest of `tls`, and by the commands.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName};
use x509_parser::x509::X509Name;

use super::authority::QUICKSTART_AUTHORITY_NAME;
use super::{TlsError, pem};

/// Bytes that are not a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an X.509 certificate")]
pub struct MalformedCertificate;

/// A certificate that was parsed; nothing of it is verified.
pub(super) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, MalformedCertificate> {
        match x509_parser::parse_x509_certificate(der) {
            Ok(([], certificate)) => Ok(Self(certificate)),
            _ => Err(MalformedCertificate),
        }
    }

    /// Whether it may sign others.
    pub(super) fn is_authority(&self) -> bool {
        self.0.is_ca()
    }

    /// Whether clients take it from a server: usages are not limited, or serverAuth is among them.
    pub(super) fn is_for_servers(&self) -> bool {
        match self.0.extended_key_usage() {
            Ok(None) => true,
            Ok(Some(usage)) => usage.value.server_auth,
            Err(_) => false,
        }
    }

    /// Whether it names clientAuth among its usages.
    pub(super) fn is_for_clients(&self) -> bool {
        matches!(self.0.extended_key_usage(), Ok(Some(usage)) if usage.value.client_auth)
    }

    /// The subject alternative names; none is an empty list.
    pub(super) fn names(&self) -> Result<&[GeneralName<'a>], MalformedCertificate> {
        match self.0.subject_alternative_name() {
            Ok(extension) => Ok(extension.map_or(&[], |names| &names.value.general_names)),
            Err(_) => Err(MalformedCertificate),
        }
    }

    /// The subject, harmless.
    pub(super) fn subject(&self) -> String {
        harmless(&self.0.subject().to_string())
    }

    /// When it ends.
    pub(super) fn end(&self) -> OffsetDateTime {
        self.0.validity().not_after.to_datetime()
    }

    /// The public key's bits, as a key pair has them too.
    pub(super) fn public_key(&self) -> &[u8] {
        &self.0.public_key().subject_public_key.data
    }

    /// Refuses a certificate of `file` that ended or begins later; `mend` follows the advice to
    /// replace it.
    pub(super) fn refuse_outside_its_time(
        &self,
        file: &Path,
        mend: &'static str,
    ) -> Result<(), TlsError> {
        let now = OffsetDateTime::now_utc();
        let validity = self.0.validity();
        let start = validity.not_before.to_datetime();
        if self.end() < now {
            let end = rfc3339(self.end());
            return Err(TlsError::Expired { file: file.to_owned(), end, mend });
        }
        if start > now {
            return Err(TlsError::NotYetValid { file: file.to_owned(), start: rfc3339(start) });
        }
        Ok(())
    }
}

/// What a certificate says, for people; every text is harmless to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Subject alternative names with their kind: `dns:localhost`, `ip:127.0.0.1`.
    pub names: Vec<String>,
    /// Extended key usages: `serverAuth`, `clientAuth`, or an object identifier.
    pub usages: Vec<String>,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// When it begins, RFC 3339.
    pub not_before: String,
    /// When it ends, RFC 3339.
    pub not_after: String,
    /// Its number, hexadecimal with colons.
    pub serial: String,
    /// SHA-256 of its DER, hexadecimal with colons.
    pub sha256: String,
}

/// Describes one certificate.
pub fn describe(der: &[u8]) -> Result<Description, MalformedCertificate> {
    let certificate = Certificate::parse(der)?;
    let names = certificate.names()?.iter().map(name_text).collect();
    let x509 = &certificate.0;
    let usage = x509.extended_key_usage().map_err(|_| MalformedCertificate)?;
    Ok(Description {
        subject: certificate.subject(),
        issuer: harmless(&x509.issuer().to_string()),
        names,
        usages: usage.map_or_else(Vec::new, |usage| usage_texts(usage.value)),
        is_authority: certificate.is_authority(),
        not_before: rfc3339(x509.validity().not_before.to_datetime()),
        not_after: rfc3339(certificate.end()),
        serial: hexadecimal(x509.raw_serial()),
        sha256: hexadecimal(&Sha256::digest(der)),
    })
}

/// Describes every certificate of a PEM file, at least one.
pub fn describe_file(file: &Path) -> Result<Vec<Description>, TlsError> {
    let describe =
        |der: &CertificateDer<'_>| describe(der).map_err(|_| TlsError::BadCertificate(file.into()));
    pem::certificates(file)?.iter().map(describe).collect()
}

/// Whether this certificate is the quickstart's authority, or is from one: good for a try on one
/// machine, not for a network.
pub fn is_quickstart(der: &[u8]) -> bool {
    let is_ours = |name: &X509Name<'_>| {
        name.iter_common_name().any(|name| name.as_str() == Ok(QUICKSTART_AUTHORITY_NAME))
    };
    Certificate::parse(der).is_ok_and(|certificate| {
        is_ours(certificate.0.issuer()) || is_ours(certificate.0.subject())
    })
}

fn name_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("dns:{}", harmless(name)),
        GeneralName::URI(name) => format!("uri:{}", harmless(name)),
        GeneralName::RFC822Name(name) => format!("email:{}", harmless(name)),
        GeneralName::IPAddress(bytes) => format!("ip:{}", address_text(bytes)),
        other => harmless(&other.to_string()),
    }
}

fn address_text(bytes: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        std::net::Ipv4Addr::from(v4).to_string()
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        std::net::Ipv6Addr::from(v6).to_string()
    } else {
        hexadecimal(bytes)
    }
}

fn usage_texts(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
        (usage.any, "anyExtendedKeyUsage"),
    ];
    let known = known.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned());
    known.chain(usage.other.iter().map(|oid| oid.to_id_string())).collect()
}

/// Control characters, line ends and what redirects a terminal, escaped.
fn harmless(text: &str) -> String {
    text.escape_debug().to_string()
}

fn rfc3339(at: OffsetDateTime) -> String {
    // The format has four digits for the year; what does not fit is shown as the library does.
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}
