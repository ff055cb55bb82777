//! Limits as they are written on the command line: a number or size, or a word for none of its own.

use std::time::Duration;

use bytesize::ByteSize;

const DAY_SECS: u64 = 24 * 3600;
/// Ten years, the longest time of the protocol.
pub(super) const TIME_MAX: Duration = Duration::from_secs(3650 * DAY_SECS);

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

/// A time that a message can have: at most ten years.
pub(super) fn message_time(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time > TIME_MAX { Err("must be at most 3650d, ten years".to_owned()) } else { Ok(time) }
}

/// The same, of at least a millisecond, which is the unit of the protocol.
pub(super) fn message_time_above_zero(text: &str) -> Result<Duration, String> {
    let time = message_time(text)?;
    if time.as_millis() == 0 { Err("must be at least 1ms".to_owned()) } else { Ok(time) }
}

/// A time of at least a millisecond and at most `most`, or `none`. Unit: ms.
pub(super) fn milliseconds(text: &str, most: Duration, none: &str) -> Result<Limit, String> {
    if text == none {
        return Ok(Limit(None));
    }
    let time = humantime::parse_duration(text)
        .map_err(|_| format!("must be a time such as 30s or 5m, or {none}"))?;
    if time.as_millis() == 0 || time > most {
        let days = most.as_secs() / DAY_SECS;
        return Err(format!("must be between 1ms and {days}d, or {none}"));
    }
    Ok(Limit(u64::try_from(time.as_millis()).ok()))
}

/// A size such as `128` or `1 MiB`.
pub(super) fn bytes(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "must be a size such as 128 or \"1 MiB\"".to_owned())
}
