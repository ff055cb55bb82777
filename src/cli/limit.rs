//! Limits as they are written on the command line: a number or size, or a word for none of its own.

use std::time::Duration;

use bytesize::ByteSize;

/// A limit; `None` where the word stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(pub Option<u64>);

/// A whole number, or `none`.
pub(super) fn count(text: &str, none: &str) -> Result<Limit, String> {
    if text == none {
        return Ok(Limit(None));
    }
    let number = text.parse().map_err(|_| format!("must be a whole number, or {none}"))?;
    Ok(Limit(Some(number)))
}

/// A size, or `none`.
pub(super) fn size(text: &str, none: &str) -> Result<Limit, String> {
    if text == none {
        return Ok(Limit(None));
    }
    let size: Result<ByteSize, _> = text.parse();
    let size = size.map_err(|_| format!("must be a size such as 10 GiB, or {none}"))?;
    Ok(Limit(Some(size.as_u64())))
}

/// A time such as `30s`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "must be a time such as 30s or 5m".to_owned())
}

/// A time of at least a millisecond, the unit of the protocol.
pub(super) fn time_of_some_length(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time.as_millis() == 0 { Err("must be at least 1ms".to_owned()) } else { Ok(time) }
}

/// A time, or `none`; in milliseconds.
pub(super) fn milliseconds(text: &str, none: &str) -> Result<Limit, String> {
    if text == none {
        return Ok(Limit(None));
    }
    let time = humantime::parse_duration(text).ok().filter(|time| time.as_millis() > 0);
    let ms = time.and_then(|time| u64::try_from(time.as_millis()).ok());
    let ms = ms.ok_or_else(|| format!("must be a time such as 30s or 5m, or {none}"))?;
    Ok(Limit(Some(ms)))
}

/// A size such as `128` or `1 MiB`.
pub(super) fn bytes(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "must be a size such as 128 or \"1 MiB\"".to_owned())
}
