//! The `settings` of a `queue.declare`.

use super::fields::{Field, Fields, Names, Place, not_yet};
use super::json;
use super::request::ParseError;
use crate::types::{LEASE_MS_MAX, Overflow, QueueName, SettingsPatch, Storage};

/// Ten years. Unit: ms.
pub(super) const TIME_MS_MAX: u64 = 315_360_000_000;
/// Seven days. Unit: ms.
const DEDUP_WINDOW_MS_MAX: u64 = 7 * 24 * 3600 * 1000;

const NAMES: Names = Names {
    own: &[&[
        "storage",
        "max_messages",
        "max_bytes",
        "overflow",
        "ack_timeout_ms",
        "max_attempts",
        "dead_letter",
        "ttl_ms",
        "dedup_window_ms",
        "expires_ms",
        "exclusive",
    ]],
    later: &[],
};

/// Takes the value of `settings`.
pub(super) fn parse(field: &Field<'_, '_>) -> Result<SettingsPatch, ParseError> {
    let mut fields = Fields::new(field.object()?, Place::In("settings"), NAMES);
    let mut settings = SettingsPatch::default();
    if let Some(field) = fields.optional("storage") {
        settings.storage = Some(match &*field.string()? {
            "default" => Storage::Default,
            "memory" => Storage::Memory,
            _ => return Err(field.refuse("must be \"default\" or \"memory\"")),
        });
    }
    if let Some(field) = fields.optional("max_messages") {
        settings.max_messages = Some(count(&field)?);
    }
    if let Some(field) = fields.optional("max_bytes") {
        settings.max_bytes = Some(count(&field)?);
    }
    if let Some(field) = fields.optional("overflow") {
        settings.overflow = Some(match &*field.string()? {
            "reject" => Overflow::Reject,
            "drop_oldest" => return Err(not_yet(place(&field), "overflow \"drop_oldest\"")),
            _ => return Err(field.refuse("must be \"reject\"")),
        });
    }
    if let Some(field) = fields.optional("ack_timeout_ms") {
        settings.ack_timeout_ms = Some(field.integer(1..=LEASE_MS_MAX)?);
    }
    parse_later(&mut fields)?;
    fields.finish()?;
    Ok(settings)
}

/// Settings of later work: their defaults are what every queue has, so these can be named.
fn parse_later(fields: &mut Fields<'_>) -> Result<(), ParseError> {
    if let Some(field) = fields.optional("max_attempts") {
        refuse_unless_null(&field, |field| count(field).map(drop))?;
    }
    if let Some(field) = fields.optional("dead_letter") {
        refuse_unless_null(&field, |field| field.parsed(QueueName::new).map(drop))?;
    }
    for name in ["ttl_ms", "expires_ms"] {
        if let Some(field) = fields.optional(name) {
            refuse_unless_null(&field, |field| field.integer(1..=TIME_MS_MAX).map(drop))?;
        }
    }
    if let Some(field) = fields.optional("dedup_window_ms")
        && field.integer(0..=DEDUP_WINDOW_MS_MAX)? != 0
    {
        return Err(later(&field));
    }
    if let Some(field) = fields.optional("exclusive")
        && field.boolean()?
    {
        return Err(later(&field));
    }
    Ok(())
}

fn count(field: &Field<'_, '_>) -> Result<Option<u64>, ParseError> {
    if field.is_null() {
        return Ok(None);
    }
    json::integer(field.text)
        .filter(|number| *number >= 1)
        .map(Some)
        .ok_or_else(|| field.refuse("must be an integer of at least 1, or null"))
}

fn refuse_unless_null(
    field: &Field<'_, '_>,
    check: impl FnOnce(&Field<'_, '_>) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    if field.is_null() {
        return Ok(());
    }
    check(field)?;
    Err(later(field))
}

fn later(field: &Field<'_, '_>) -> ParseError {
    not_yet(place(field), field.name)
}

fn place(field: &Field<'_, '_>) -> Option<String> {
    Some(format!("settings.{}", field.name))
}
