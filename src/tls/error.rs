//! Why a TLS configuration cannot be made. All of it is the operator's to mend: each text names the
//! files and says how. None holds anything of a key.

use std::path::PathBuf;

/// What is wrong with the files of a TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file does not exist.
    #[error(
        "{} does not exist; name an existing file, or make certificates with `gmq init DIR`",
        .0.display()
    )]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("{} cannot be read: {reason}; name a file that this user may read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The file is longer than any certificate chain.
    #[error("{} is longer than 1 MiB, as no PEM file of certificates or keys is; name another", .0.display())]
    TooLong(PathBuf),
    /// The file's PEM is damaged.
    #[error("{} is not PEM: {reason}; make it anew, or convert it with openssl", file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
        /// What the PEM reader says; never contents.
        reason: &'static str,
    },
    /// No certificate in the file.
    #[error(
        "{} has no certificate; it must hold PEM, -----BEGIN CERTIFICATE-----: convert DER with \
         `openssl x509 -inform DER -in FILE.der -out FILE.pem`",
        .0.display()
    )]
    NoCertificate(PathBuf),
    /// A certificate that is not X.509.
    #[error("{} has a certificate that cannot be read as X.509; make it anew", .0.display())]
    BadCertificate(PathBuf),
    /// No private key in the file.
    #[error(
        "{} has no private key; it must hold PEM, -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or \
         EC PRIVATE KEY",
        .0.display()
    )]
    NoKey(PathBuf),
    /// More than one private key in the file.
    #[error("{} has several private keys; leave only the one of the certificate", .0.display())]
    SeveralKeys(PathBuf),
    /// A private key behind a passphrase.
    #[error(
        "{file} is encrypted, and gmq asks nobody for a passphrase; decrypt it with `(umask 077; \
         openssl pkey -in {file} -out {file}.plain)` and name {file}.plain",
        file = .0.display()
    )]
    EncryptedKey(PathBuf),
    /// A private key of a kind that TLS does not take.
    #[error(
        "{} has a private key that cannot be used; it must be ECDSA P-256 or P-384, Ed25519, or \
         RSA of at least 2048 bits",
        .0.display()
    )]
    UnusableKey(PathBuf),
    /// A private key that others can read.
    #[error(
        "{path} can be read by others than its owner (mode {mode:o}); run `chmod 600 {path}`",
        path = file.display()
    )]
    OpenKey {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key is not the certificate's.
    #[error(
        "the key {} does not fit the certificate {}; name the key that the certificate was made \
         for, and let the first certificate of the file be the one of the key",
        key.display(),
        certificate.display()
    )]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A certificate whose time is over.
    #[error("{} holds a certificate that ended at {end}; replace it{mend}", file.display())]
    Expired {
        /// The file.
        file: PathBuf,
        /// notAfter, RFC 3339.
        end: String,
        /// What else can be done, with what leads there.
        mend: &'static str,
    },
    /// A certificate whose time is to come.
    #[error(
        "{} holds a certificate that begins only at {start}; check this machine's clock, or make \
         the certificate anew",
        file.display()
    )]
    NotYetValid {
        /// The file.
        file: PathBuf,
        /// notBefore, RFC 3339.
        start: String,
    },
    /// A certificate that clients would not accept from a server.
    #[error(
        "{} holds a certificate that is not for servers; make one with the extended key usage \
         serverAuth, for example by `gmq certs server`",
        .0.display()
    )]
    NotForServers(PathBuf),
    /// A certificate in the list of authorities that is none.
    #[error(
        "{} holds a certificate that is no authority's ({subject}); leave only certificates with \
         basicConstraints CA:TRUE in it",
        file.display()
    )]
    NotAuthority {
        /// The file.
        file: PathBuf,
        /// The subject of the certificate, made harmless.
        subject: String,
    },
}
