//! The `settings` of a `queue.declare`.

use super::fields::{Field, Fields, Names, Place};
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
            "drop_oldest" => Overflow::DropOldest,
            _ => return Err(field.refuse("must be \"reject\" or \"drop_oldest\"")),
        });
    }
    if let Some(field) = fields.optional("ack_timeout_ms") {
        settings.ack_timeout_ms = Some(field.integer(1..=LEASE_MS_MAX)?);
    }
    parse_ends(&mut fields, &mut settings)?;
    fields.finish()?;
    Ok(settings)
}

/// How messages, keys and the queue itself end.
fn parse_ends(fields: &mut Fields<'_>, settings: &mut SettingsPatch) -> Result<(), ParseError> {
    if let Some(field) = fields.optional("max_attempts") {
        settings.max_attempts = Some(count(&field)?);
    }
    if let Some(field) = fields.optional("dead_letter") {
        let named = (!field.is_null()).then(|| field.parsed(QueueName::new)).transpose()?;
        settings.dead_letter = Some(named);
    }
    if let Some(field) = fields.optional("ttl_ms") {
        settings.ttl_ms = Some(time(&field)?);
    }
    if let Some(field) = fields.optional("dedup_window_ms") {
        settings.dedup_window_ms = Some(field.integer(0..=DEDUP_WINDOW_MS_MAX)?);
    }
    if let Some(field) = fields.optional("expires_ms") {
        settings.expires_ms = Some(time(&field)?);
    }
    if let Some(field) = fields.optional("exclusive") {
        settings.exclusive = Some(field.boolean()?);
    }
    Ok(())
}

fn time(field: &Field<'_, '_>) -> Result<Option<u64>, ParseError> {
    if field.is_null() { Ok(None) } else { field.integer(1..=TIME_MS_MAX).map(Some) }
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
