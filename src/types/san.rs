//! Who a client certificate is: one subject alternative name with its kind, as the administration
//! writes it (`dns:worker-7.acme.example`) and as a certificate carries it. Refuses what could be
//! read in two ways or could not be shown harmlessly. Called by `tls`, `accounts` and the commands.

use std::fmt;
use std::str::FromStr;

/// Longest name, in bytes; no DNS name is longer, and no index of a database overflows.
const NAME_BYTES_MAX: usize = 255;

/// The kind of a subject alternative name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SanKind {
    /// A DNS name: `dns:worker-7.acme.example`.
    Dns,
    /// A URI: `uri:spiffe://acme/worker`.
    Uri,
    /// An e-mail address: `email:alice@acme.example`.
    Email,
}

impl SanKind {
    /// The word before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            SanKind::Dns => "dns",
            SanKind::Uri => "uri",
            SanKind::Email => "email",
        }
    }
}

impl fmt::Display for SanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SanKind {
    type Err = SanError;

    fn from_str(text: &str) -> Result<Self, SanError> {
        match text {
            "dns" => Ok(SanKind::Dns),
            "uri" => Ok(SanKind::Uri),
            "email" => Ok(SanKind::Email),
            _ => Err(SanError::Kind),
        }
    }
}

/// Why a text is not a subject alternative name. The texts never repeat the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SanError {
    /// No known kind before a colon.
    #[error(
        "write the kind before the name: dns:worker-7.acme.example, uri:spiffe://acme/worker or \
         email:alice@acme.example"
    )]
    Kind,
    /// Nothing after the colon, or too much.
    #[error("the name must have 1 to 255 bytes")]
    Length,
    /// Something that cannot be shown harmlessly or compared exactly.
    #[error("the name may hold only printable ASCII without spaces")]
    Character,
    /// A DNS name that stands for many.
    #[error("a wildcard stands for many; name exactly one host")]
    Wildcard,
}

/// One subject alternative name; two are equal only if they are the same to the byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct San {
    kind: SanKind,
    name: String,
}

impl San {
    /// Takes a name of 1 to 255 printable ASCII bytes; a DNS name without `*`.
    pub fn new(kind: SanKind, name: &str) -> Result<Self, SanError> {
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
            return Err(SanError::Length);
        }
        if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SanError::Character);
        }
        if kind == SanKind::Dns && name.contains('*') {
            return Err(SanError::Wildcard);
        }
        Ok(Self { kind, name: name.to_owned() })
    }

    /// Its kind.
    pub fn kind(&self) -> SanKind {
        self.kind
    }

    /// The name without its kind.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl FromStr for San {
    type Err = SanError;

    fn from_str(text: &str) -> Result<Self, SanError> {
        let (kind, name) = text.split_once(':').ok_or(SanError::Kind)?;
        Self::new(kind.parse()?, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printed_as_it_is_read() {
        for text in [
            "dns:worker-7.acme.example",
            "uri:spiffe://acme/worker",
            "email:alice@acme.example",
            "uri:urn:a:*",
        ] {
            assert_eq!(text.parse::<San>().unwrap().to_string(), text);
        }
        let san: San = "uri:spiffe://acme/worker".parse().unwrap();
        assert_eq!((san.kind(), san.name()), (SanKind::Uri, "spiffe://acme/worker"));
    }

    #[test]
    fn odd_names_are_refused() {
        for (text, error) in [
            ("", SanError::Kind),
            ("worker", SanError::Kind),
            ("DNS:worker", SanError::Kind),
            ("ip:127.0.0.1", SanError::Kind),
            ("dns:", SanError::Length),
            ("dns: a", SanError::Character),
            ("dns:a\n", SanError::Character),
            ("dns:\u{1b}[31m", SanError::Character),
            ("dns:bücher.example", SanError::Character),
            ("dns:*.acme.example", SanError::Wildcard),
        ] {
            assert_eq!(text.parse::<San>(), Err(error), "{text:?}");
        }
        assert!(San::new(SanKind::Dns, &"x".repeat(255)).is_ok());
        assert_eq!(San::new(SanKind::Dns, &"x".repeat(256)), Err(SanError::Length));
    }

    #[test]
    fn names_are_compared_exactly() {
        let san = |text: &str| text.parse::<San>().unwrap();
        assert_ne!(san("dns:a.example"), san("dns:A.example"));
        assert_ne!(san("dns:a.example"), san("uri:a.example"));
    }
}
