//! A small certificate authority for those who have none: makes its own certificate, and those of
//! servers and clients, ECDSA P-256 all of them. Refuses to overwrite anything, and names that are
//! not good file names. Called by `init`, `quickstart` and `certs`.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::types::{San, SanKind};

use super::certificate::Certificate;
use super::{TlsError, pem};

/// The name of an authority that `init` or `certs ca` makes.
pub const AUTHORITY_NAME: &str = "gmq authority";

/// The name of an authority that `quickstart` makes; [`super::is_quickstart`] knows it.
pub const QUICKSTART_AUTHORITY_NAME: &str = "gmq quickstart authority";

/// The hosts that a server on this machine is reached by.
pub const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long an authority's certificate holds: longer than any server that it will serve, so that
/// nobody is locked out by surprise.
const AUTHORITY_LIFE: Duration = Duration::days(3650);

/// How long a server's or client's certificate holds: people plan by the year.
const LEAF_LIFE: Duration = Duration::days(365);

/// How far clocks may differ: certificates begin so much earlier.
const CLOCK_SKEW: Duration = Duration::hours(1);

/// Longest name of a certificate, in bytes; X.509 allows no longer common name.
const NAME_BYTES_MAX: usize = 64;

/// Why the authority cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file is there already.
    #[error(
        "{} is there already and is never overwritten; move it away, or choose another name or \
         folder",
        .0.display()
    )]
    Exists(PathBuf),
    /// A file or folder cannot be written.
    #[error("{} cannot be written: {reason}; name a folder that this user may write to", file.display())]
    Unwritable {
        /// The file or folder.
        file: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The authority's own files are not good.
    #[error(transparent)]
    Files(#[from] TlsError),
    /// The authority's key is of another kind than it makes itself.
    #[error(
        "{file} cannot sign here; an authority's key must be PKCS#8: convert it with `(umask 077; \
         openssl pkcs8 -topk8 -nocrypt -in {file} -out {file}.pkcs8)` and name {file}.pkcs8",
        file = .0.display()
    )]
    Key(PathBuf),
    /// Not a host.
    #[error("\"{0}\" is no host; give a DNS name without wildcard, or an IP address")]
    Host(String),
    /// Not a name for files.
    #[error("a name must have 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or a digit")]
    Name,
    /// The library cannot make the certificate, or there is no randomness.
    #[error("the certificate cannot be made: {0}")]
    Failed(String),
}

/// An authority that is ready to sign. `Debug` does not show its key.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    end: OffsetDateTime,
}

/// A certificate that was just made, with its key. `Debug` shows neither.
pub struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority in memory: itself, and its certificate with its key.
    pub fn generate(name: &str) -> Result<(Self, Issued), AuthorityError> {
        let key = generate_key()?;
        let end = OffsetDateTime::now_utc() + AUTHORITY_LIFE;
        let mut params = params(name, end)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(failed)?;
        let signer = KeyPair::try_from(key.serialized_der()).map_err(failed)?;
        Ok((Self { issuer: Issuer::new(params, signer), end }, Issued { certificate, key }))
    }

    /// Makes a new authority and writes its `ca.pem` and `ca.key` to the folder, which is made
    /// (0700) where it is not there.
    pub fn create(folder: &Path, name: &str) -> Result<Self, AuthorityError> {
        let (authority, issued) = Self::generate(name)?;
        issued.write(folder, "ca")?;
        Ok(authority)
    }

    /// Takes up an authority from its two files. Refuses one that is no authority, whose time is
    /// over, or whose key does not fit.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, AuthorityError> {
        let chain = pem::certificates(certificate)?;
        let unreadable = || TlsError::BadCertificate(certificate.to_owned());
        let der = chain.first().ok_or_else(unreadable)?;
        let parsed = Certificate::parse(der).map_err(|_| unreadable())?;
        if !parsed.is_authority() {
            let (file, subject) = (certificate.to_owned(), parsed.subject());
            return Err(TlsError::NotAuthority { file, subject }.into());
        }
        parsed.refuse_outside_its_time(certificate, ": make a new authority with gmq certs ca")?;
        let signer = match pem::private_key(key)? {
            PrivateKeyDer::Pkcs8(der) => KeyPair::try_from(der.secret_pkcs8_der()),
            _ => return Err(AuthorityError::Key(key.to_owned())),
        };
        let signer = signer.map_err(|_| TlsError::UnusableKey(key.to_owned()))?;
        if signer.der_bytes() != parsed.public_key() {
            let (certificate, key) = (certificate.to_owned(), key.to_owned());
            return Err(TlsError::KeyMismatch { certificate, key }.into());
        }
        let issuer = Issuer::from_ca_cert_der(der, signer).map_err(failed)?;
        Ok(Self { issuer, end: parsed.end() })
    }

    /// A certificate for a server that is reached by these hosts: DNS names and IP addresses, at
    /// least one.
    pub fn issue_server(&self, hosts: &[&str]) -> Result<Issued, AuthorityError> {
        let names: Vec<_> = hosts.iter().map(|host| host_name(host)).collect::<Result<_, _>>()?;
        if names.is_empty() {
            return Err(AuthorityError::Host("nothing".to_owned()));
        }
        self.issue("gmq server", names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client that is `san`; `name` is for people.
    pub fn issue_client(&self, name: &str, san: &San) -> Result<Issued, AuthorityError> {
        refuse_odd_name(name)?;
        let text = san.name().try_into().map_err(failed)?;
        let san = match san.kind() {
            SanKind::Dns => SanType::DnsName(text),
            SanKind::Uri => SanType::URI(text),
            SanKind::Email => SanType::Rfc822Name(text),
        };
        self.issue(name, vec![san], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(
        &self,
        name: &str,
        subject_alt_names: Vec<SanType>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Issued, AuthorityError> {
        let key = generate_key()?;
        let mut params = params(name, self.end.min(OffsetDateTime::now_utc() + LEAF_LIFE))?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.subject_alt_names = subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Issued { certificate, key })
    }
}

impl Issued {
    /// The certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    /// Writes `NAME.pem` and `NAME.key` (0600) to the folder, both on the disk when it returns.
    /// Nothing is overwritten, and neither file stays when one cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), AuthorityError> {
        refuse_odd_name(name)?;
        make_folder(folder)?;
        let certificate = folder.join(format!("{name}.pem"));
        let key = folder.join(format!("{name}.key"));
        let key_pem = Zeroizing::new(self.key.serialize_pem());
        write_new(&key, key_pem.as_bytes(), 0o600)?;
        write_new(&certificate, self.certificate.pem().as_bytes(), 0o644).inspect_err(|_| {
            // The key was made by this call alone; that it cannot be removed is no second error.
            let _ = std::fs::remove_file(&key);
        })?;
        flush_folder(folder)
    }
}

fn generate_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)
}

/// What all certificates have: a subject, a random number, a time.
fn params(name: &str, end: OffsetDateTime) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "gmq");
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial_number()?);
    params.not_before = OffsetDateTime::now_utc() - CLOCK_SKEW;
    params.not_after = end;
    Ok(params)
}

/// A positive number of 127 random bits (RFC 5280 4.1.2.2 allows 20 bytes and asks for uniqueness).
fn serial_number() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(failed)?;
    // The first byte stays between 0x40 and 0x7f: positive, and always of the same length.
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn host_name(host: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refused = || AuthorityError::Host(host.escape_debug().to_string());
    match ServerName::try_from(host) {
        Ok(ServerName::DnsName(name)) => {
            Ok(SanType::DnsName(name.as_ref().try_into().map_err(|_| refused())?))
        }
        _ => Err(refused()),
    }
}

fn refuse_odd_name(name: &str) -> Result<(), AuthorityError> {
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    let is_plain =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if begins_well && is_plain && name.len() <= NAME_BYTES_MAX {
        Ok(())
    } else {
        Err(AuthorityError::Name)
    }
}

fn failed(error: impl fmt::Display) -> AuthorityError {
    AuthorityError::Failed(error.to_string())
}

fn unwritable(file: &Path, reason: std::io::Error) -> AuthorityError {
    match reason.kind() {
        ErrorKind::AlreadyExists => AuthorityError::Exists(file.to_owned()),
        _ => AuthorityError::Unwritable { file: file.to_owned(), reason },
    }
}

/// Makes the folder and those above it; new ones are for the owner alone.
fn make_folder(folder: &Path) -> Result<(), AuthorityError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|reason| unwritable(folder, reason))
}

/// Writes a file that must not be there; it is on the disk or gone when this returns.
fn write_new(file: &Path, text: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut opened = options.open(file).map_err(|reason| unwritable(file, reason))?;
    opened.write_all(text).and_then(|()| opened.sync_all()).map_err(|reason| {
        let _ = std::fs::remove_file(file);
        unwritable(file, reason)
    })
}

fn flush_folder(folder: &Path) -> Result<(), AuthorityError> {
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(|reason| unwritable(folder, reason))
}
