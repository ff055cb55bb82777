//! Names of queues, topics, tenants and users. Refuses what the protocol's section "Names" refuses.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest queue or topic name, in bytes.
pub(super) const QUEUE_NAME_BYTES_MAX: usize = 200;
/// Longest tenant or user name, in bytes.
const OWNER_NAME_BYTES_MAX: usize = 64;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Queue and topic names.
    #[error(
        "must have 1 to 200 bytes of A-Z a-z 0-9 . _ -, in words separated by single dots, \
         and not begin with _"
    )]
    Queue,
    /// Tenant and user names.
    #[error("must have 1 to 64 bytes of a-z 0-9 . _ -")]
    Owner,
}

/// The name of a queue or of a topic: 1 to 200 bytes of `A-Z a-z 0-9 . _ -`, words separated by
/// `.`, not beginning with `_`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// Takes a text that follows the rule.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.starts_with('_') || !words_are_valid(text, |_| false) {
            return Err(NameError::Queue);
        }
        Ok(Self(text.into()))
    }
}

/// Whether `text` is 1 to 200 bytes of non-empty words separated by dots, where each word consists
/// of the bytes of names or is accepted by `wildcard`.
pub(super) fn words_are_valid(text: &str, wildcard: impl Fn(&str) -> bool) -> bool {
    text.len() <= QUEUE_NAME_BYTES_MAX
        && text.split('.').all(|word| {
            wildcard(word)
                || !word.is_empty()
                    && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        })
}

fn owner_name_is_valid(text: &str) -> bool {
    (1..=OWNER_NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// The name of a tenant: 1 to 64 bytes of `a-z 0-9 . _ -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(Arc<str>);

impl TenantName {
    /// Takes a text that follows the rule.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if owner_name_is_valid(text) { Ok(Self(text.into())) } else { Err(NameError::Owner) }
    }
}

impl Default for TenantName {
    /// `default`, the tenant where a request or a command names none.
    fn default() -> Self {
        Self("default".into())
    }
}

/// The name of a user within its tenant: 1 to 64 bytes of `a-z 0-9 . _ -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

impl UserName {
    /// Takes a text that follows the rule.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if owner_name_is_valid(text) { Ok(Self(text.into())) } else { Err(NameError::Owner) }
    }
}

macro_rules! name_traits {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
name_traits!(QueueName);
name_traits!(TenantName);
name_traits!(UserName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_names() {
        for good in ["a", "A.b-c_d.9", "a._b", "-", &"x".repeat(200)] {
            assert!(QueueName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "_a", "a b", "ä", "a/b", "a*", "#", "a\n"] {
            assert!(QueueName::new(bad).is_err(), "{bad:?}");
        }
        assert!(QueueName::new(&"x".repeat(201)).is_err());
    }

    #[test]
    fn owner_names() {
        for good in ["a", "acme", "a.b_c-9", "_", ".", &"x".repeat(64)] {
            assert!(TenantName::new(good).is_ok() && UserName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(TenantName::new(bad).is_err() && UserName::new(bad).is_err(), "{bad:?}");
        }
    }
}
