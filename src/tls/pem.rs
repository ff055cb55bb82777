//! Certificates and keys from PEM files. Refuses files that are missing, damaged or too long, and
//! keys that are encrypted or that others can read. Called by the rest of `tls`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls_pemfile::Item;

use super::{TlsError, provider};

/// Longest PEM file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The certificates of a file, at least one, in their order.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = items(file, &read(&open(file)?, file)?)?
        .into_iter()
        .filter_map(|item| match item {
            Item::X509Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if chain.is_empty() { Err(TlsError::NoCertificate(file.to_owned())) } else { Ok(chain) }
}

/// The one private key of a file that only its owner can read: PKCS#8, PKCS#1 or SEC1.
pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let opened = open(file)?;
    refuse_open_key(&opened, file)?;
    let text = read(&opened, file)?;
    // PKCS#8 has a label of its own for it, the older kinds a header line.
    let is_encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| memchr::memmem::find(&text, mark).is_some());
    if is_encrypted {
        return Err(TlsError::EncryptedKey(file.to_owned()));
    }
    let mut keys = items(file, &text)?.into_iter().filter_map(|item| match item {
        Item::Pkcs8Key(key) => Some(PrivateKeyDer::from(key)),
        Item::Pkcs1Key(key) => Some(PrivateKeyDer::from(key)),
        Item::Sec1Key(key) => Some(PrivateKeyDer::from(key)),
        _ => None,
    });
    let key = keys.next().ok_or_else(|| TlsError::NoKey(file.to_owned()))?;
    match keys.next() {
        None => Ok(key),
        Some(_) => Err(TlsError::SeveralKeys(file.to_owned())),
    }
}

/// A chain with its key, which fits its first certificate.
pub(super) fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    let signer = provider()
        .key_provider
        .load_private_key(private_key(key)?)
        .map_err(|_| TlsError::UnusableKey(key.to_owned()))?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::KeyMismatch { certificate: certificate.to_owned(), key: key.to_owned() })
        }
        Err(_) => Err(TlsError::BadCertificate(certificate.to_owned())),
    }
}

/// The one place of rustls-pemfile. It is archived (RUSTSEC-2025-0134: unmaintained, no
/// vulnerability) and a thin layer over rustls-pki-types, which can replace it here.
fn items(file: &Path, text: &[u8]) -> Result<Vec<Item>, TlsError> {
    rustls_pemfile::read_all(&mut &*text).collect::<Result<_, _>>().map_err(|error| {
        // The library's own text may quote the damaged line, which can be a part of a key.
        let reason = match error.kind() {
            ErrorKind::InvalidData => "a section is damaged or has no end",
            _ => "it cannot be read",
        };
        TlsError::NotPem { file: file.to_owned(), reason }
    })
}

fn open(file: &Path) -> Result<File, TlsError> {
    File::open(file).map_err(|reason| match reason.kind() {
        ErrorKind::NotFound => TlsError::Missing(file.to_owned()),
        _ => TlsError::Unreadable { file: file.to_owned(), reason },
    })
}

fn read(opened: &File, file: &Path) -> Result<Vec<u8>, TlsError> {
    let mut text = Vec::new();
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|reason| TlsError::Unreadable { file: file.to_owned(), reason })?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsError::TooLong(file.to_owned()));
    }
    Ok(text)
}

#[cfg(unix)]
fn refuse_open_key(opened: &File, file: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = opened
        .metadata()
        .map_err(|reason| TlsError::Unreadable { file: file.to_owned(), reason })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(TlsError::OpenKey { file: file.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_open_key(_opened: &File, _file: &Path) -> Result<(), TlsError> {
    Ok(())
}
