//! The kinds of values that settings have: how each is written, read and printed. Refuses what is
//! not exactly of its kind; its refusals say what is expected and never repeat what was found,
//! which may be a secret in the wrong place. Called by `section` and `layers`.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// A value that a setting can have. Everything is readable from text, because text is all that the
/// environment has; numbers and lists are what TOML has besides.
pub(super) trait Value: Sized {
    /// What is expected, to follow "must be ".
    fn expected() -> String;

    /// Reads the text; the error is what was expected.
    fn parse(text: &str) -> Result<Self, String>;

    /// Reads a TOML integer, where one makes sense.
    fn from_number(_number: u64) -> Option<Self> {
        None
    }

    /// Reads a TOML array of strings, where one makes sense.
    fn from_list(_list: &[String]) -> Option<Result<Self, String>> {
        None
    }

    /// The value as TOML.
    fn to_toml(&self) -> String;

    /// What the setting's range is checked against; nothing where the value has no size.
    fn magnitude(&self) -> Option<u64> {
        None
    }
}

/// Deserializes any [`Value`]; for `#[serde(deserialize_with)]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>, T: Value>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(ValueVisitor(PhantomData))
}

/// Where a database is, and as whom; never with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUrl(pub String);

/// What other servers call this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName(pub String);

/// Most characters of a [`NodeName`].
const NODE_NAME_MAX: usize = 32;

struct ValueVisitor<T>(PhantomData<T>);

impl<'de, T: Value> Visitor<'de> for ValueVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&T::expected())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        u64::try_from(number).map_or_else(|_| Err(refusal::<T, E>()), |n| self.visit_u64(n))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::from_number(number).ok_or_else(refusal::<T, E>)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<String>().map_err(|_| refusal::<T, _>())? {
            list.push(item);
        }
        T::from_list(&list).ok_or_else(refusal::<T, _>)?.map_err(A::Error::custom)
    }
}

fn refusal<T: Value, E: Error>() -> E {
    E::custom(expected::<T>())
}

pub(super) fn expected<T: Value>() -> String {
    format!("must be {}", T::expected())
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

macro_rules! whole_numbers {
    ($($number:ty),+) => { $(
        impl Value for $number {
            fn expected() -> String {
                "a whole number".to_owned()
            }
            fn parse(text: &str) -> Result<Self, String> {
                let digits = text.replace('_', "");
                digits.parse().map_err(|_| expected::<Self>())
            }
            fn from_number(number: u64) -> Option<Self> {
                Self::try_from(number).ok()
            }
            fn to_toml(&self) -> String {
                self.to_string()
            }
            fn magnitude(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }
        }
    )+ };
}
whole_numbers!(u32, u64, usize);

impl Value for ByteSize {
    fn expected() -> String {
        "a size such as \"1 MiB\", or a number of bytes".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| expected::<Self>())
    }
    fn from_number(number: u64) -> Option<Self> {
        Some(ByteSize(number))
    }
    fn to_toml(&self) -> String {
        const UNITS: [(u64, &str); 3] =
            [(bytesize::GIB, "GiB"), (bytesize::MIB, "MiB"), (bytesize::KIB, "KiB")];
        let bytes = self.as_u64();
        UNITS.iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit)).map_or_else(
            || bytes.to_string(),
            |(unit, name)| format!("\"{} {name}\"", bytes / unit),
        )
    }
    fn magnitude(&self) -> Option<u64> {
        Some(self.as_u64())
    }
}

impl Value for Duration {
    fn expected() -> String {
        "a time such as \"10s\", \"500ms\" or \"2h\"".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text.trim()).map_err(|_| expected::<Self>())
    }
    fn to_toml(&self) -> String {
        quoted(&humantime::format_duration(*self).to_string())
    }
    fn magnitude(&self) -> Option<u64> {
        Some(u64::try_from(self.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A limit that can be switched off: written `"off"`, then `None`.
impl<T: Value> Value for Option<T> {
    fn expected() -> String {
        format!("{}, or \"off\"", T::expected())
    }
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(None),
            other => T::parse(other).map(Some).map_err(|_| expected::<Self>()),
        }
    }
    fn from_number(number: u64) -> Option<Self> {
        T::from_number(number).map(Some)
    }
    fn to_toml(&self) -> String {
        self.as_ref().map_or_else(|| quoted("off"), T::to_toml)
    }
    fn magnitude(&self) -> Option<u64> {
        self.as_ref().and_then(T::magnitude)
    }
}

impl Value for SocketAddr {
    fn expected() -> String {
        "an address and a port such as \"127.0.0.1:4884\" or \"[::]:4884\"".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| expected::<Self>())
    }
    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for DatabaseUrl {
    fn expected() -> String {
        "the address of a database, mysql://USER@HOST:PORT/DATABASE".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        // A password in it is refused where it is used; here nothing is repeated.
        if !text.starts_with("mysql://") || text.contains('\0') {
            return Err(expected::<Self>());
        }
        match text.split_once("://").and_then(|(_, rest)| rest.split_once('@')) {
            Some((user, _)) if user.contains(':') => {
                Err("must hold no password: put that into database.password_file".to_owned())
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

impl Value for NodeName {
    fn expected() -> String {
        "1 to 32 letters, digits, \".\", \"_\" or \"-\"".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > NODE_NAME_MAX || !text.chars().all(allowed) {
            return Err(expected::<Self>());
        }
        Ok(Self(text.to_owned()))
    }
    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

impl Value for PathBuf {
    fn expected() -> String {
        "the path of a file or folder".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err(expected::<Self>());
        }
        Ok(text.into())
    }
    fn to_toml(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Value for Vec<IpNet> {
    fn expected() -> String {
        "networks such as [\"10.0.0.0/8\", \"192.0.2.7\"], in the environment separated by commas"
            .to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(network).collect()
    }
    fn from_list(list: &[String]) -> Option<Result<Self, String>> {
        Some(list.iter().map(|item| network(item)).collect())
    }
    fn to_toml(&self) -> String {
        let items: Vec<_> = self.iter().map(|net| quoted(&net.to_string())).collect();
        format!("[{}]", items.join(", "))
    }
}

/// A network, or one address as the network that is only it.
fn network(text: &str) -> Result<IpNet, String> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| expected::<Vec<IpNet>>())?;
    if net.addr() != net.network() {
        return Err("has a network with address bits beyond its prefix; write 10.0.0.0/8, not \
                    10.0.0.1/8"
            .to_owned());
    }
    Ok(net)
}

/// How many threads do something: half of the cores, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// Half of the cores, at least one.
    Auto,
    /// So many.
    Fixed(usize),
}

impl Workers {
    /// The number of threads on this machine, at least one.
    pub fn count(self) -> usize {
        match self {
            Workers::Auto => {
                std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
            }
            Workers::Fixed(n) => n,
        }
    }
}

impl Value for Workers {
    fn expected() -> String {
        "a whole number, or \"auto\" (half of the cores)".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Workers::Auto),
            other => usize::parse(other).map(Workers::Fixed).map_err(|_| expected::<Self>()),
        }
    }
    fn from_number(number: u64) -> Option<Self> {
        usize::from_number(number).map(Workers::Fixed)
    }
    fn to_toml(&self) -> String {
        match self {
            Workers::Auto => quoted("auto"),
            Workers::Fixed(n) => n.to_toml(),
        }
    }
    fn magnitude(&self) -> Option<u64> {
        match self {
            Workers::Auto => None,
            Workers::Fixed(n) => n.magnitude(),
        }
    }
}
