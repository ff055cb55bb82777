//! One message of a `publish`.

use base64_simd::STANDARD;

use super::fields::{Field, Fields};
use super::json;
use super::request::{Limits, ParseError};
use super::settings::TIME_MS_MAX;
use crate::types::{Content, Headers, Message, Priority, Properties, QueueName};

/// Fields of a message.
pub(super) const FIELDS: &[&str] = &[
    "payload",
    "body",
    "headers",
    "reply_to",
    "correlation_id",
    "priority",
    "delay_ms",
    "ttl_ms",
    "key",
    "group",
];

const HEADERS_MAX: usize = 64;
const HEADERS_BYTES_MAX: usize = 8 * 1024;
const CORRELATION_ID_BYTES_MAX: usize = 128;
const KEY_BYTES_MAX: usize = 128;

/// Takes the fields of one message out of `fields`.
pub(super) fn parse(fields: &mut Fields<'_>, limits: &Limits) -> Result<Message, ParseError> {
    let content = match (fields.optional("payload"), fields.optional("body")) {
        (Some(payload), None) => Some(Content::Payload(decode(&payload)?)),
        (None, Some(body)) => Some(Content::Body(body.text.into())),
        (Some(payload), Some(_)) => {
            return Err(payload.refuse("stands beside body; give one of the two"));
        }
        (None, None) => None,
    };
    let priority = fields.optional("priority").map(|field| field.integer(0..=9)).transpose()?;
    let properties = properties(fields)?;
    // Behind all values: what is missing is told after what is wrong.
    let content =
        content.ok_or_else(|| fields.missing("payload", "is missing; give it or body"))?;
    let priority = priority.and_then(Priority::new);
    let message = Message { content, properties, priority, published_at: 0 };
    if message.size() > limits.max_message_bytes {
        return Err(ParseError::too_large(limits.max_message_bytes));
    }
    Ok(message)
}

/// Standard base64 with padding, nothing else: no white space, no bits behind the end.
fn decode(payload: &Field<'_, '_>) -> Result<Box<[u8]>, ParseError> {
    let text = payload.string()?;
    match STANDARD.decode_to_vec(text.as_bytes()) {
        Ok(bytes) => Ok(bytes.into_boxed_slice()),
        Err(_) => Err(payload.refuse("must be standard base64 with padding")),
    }
}

fn properties(fields: &mut Fields<'_>) -> Result<Option<Box<Properties>>, ParseError> {
    let mut properties: Option<Box<Properties>> = None;
    if let Some(field) = fields.optional("headers") {
        properties.get_or_insert_default().headers = parse_headers(&field)?;
    }
    if let Some(field) = fields.optional("reply_to") {
        properties.get_or_insert_default().reply_to = Some(field.parsed(QueueName::new)?);
    }
    if let Some(field) = fields.optional("correlation_id") {
        let text = field.string_of(0..=CORRELATION_ID_BYTES_MAX)?;
        properties.get_or_insert_default().correlation_id = Some(text.into());
    }
    if let Some(field) = fields.optional("delay_ms") {
        properties.get_or_insert_default().delay_ms = field.integer(0..=TIME_MS_MAX)?;
    }
    if let Some(field) = fields.optional("ttl_ms") {
        properties.get_or_insert_default().ttl_ms = Some(field.integer(1..=TIME_MS_MAX)?);
    }
    if let Some(field) = fields.optional("key") {
        let text = field.string_of(1..=KEY_BYTES_MAX)?;
        properties.get_or_insert_default().key = Some(text.into());
    }
    if let Some(field) = fields.optional("group") {
        let text = field.string_of(1..=KEY_BYTES_MAX)?;
        properties.get_or_insert_default().group = Some(text.into());
    }
    Ok(properties)
}

fn parse_headers(field: &Field<'_, '_>) -> Result<Headers, ParseError> {
    let entries = field.object()?;
    if entries.len() > HEADERS_MAX {
        return Err(field.refuse("must have at most 64 entries"));
    }
    let mut headers = Headers::with_capacity(entries.len());
    let mut bytes = 0;
    for entry in &entries {
        if headers.iter().any(|(name, _)| **name == *entry.name) {
            return Err(field.refuse("must have each name once"));
        }
        if entry.name.starts_with("gmq-") {
            return Err(
                field.refuse("must have no name that begins with gmq-: those are the server's")
            );
        }
        let value = json::string(entry.value)
            .ok_or_else(|| field.refuse("must have strings alone as values"))?;
        bytes += entry.name.len() + value.len();
        headers.push((entry.name.as_ref().into(), value.into()));
    }
    if bytes > HEADERS_BYTES_MAX {
        return Err(field.refuse("must have at most 8 KiB of names and values"));
    }
    Ok(headers)
}
