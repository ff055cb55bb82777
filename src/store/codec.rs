//! How records are written: numbers of variable length, one self-checking record after the other.
//! Journal, checkpoint and database use the same primitives. Reading never panics and never trusts a
//! length; `docs/storage.md` has the format in words.
//!
//! A record is `kind u8 | length u32 | fields | crc32 of all before`; the checksum is salted
//! with the tenant, so that a record is never taken for one of another tenant.

use crate::engine::Record;
use crate::types::{
    Content, Fence, Message, Pattern, Priority, Properties, QueueId, QueueName, QueueSettings, Seq,
    TenantId, WallMs,
};

/// Bytes that are not what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged bytes")]
pub struct Damaged;

/// One record as the index needs it: a message's content stays where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry {
    Created { queue: QueueId, name: QueueName, settings: QueueSettings },
    Changed { queue: QueueId, settings: QueueSettings },
    Deleted { queue: QueueId },
    Published { queue: QueueId, seq: Seq, bytes: u64, published_at: WallMs, traits: Traits },
    Removed { queue: QueueId, seq: Seq, bytes: u64 },
    Delayed { queue: QueueId, seq: Seq, until: WallMs, attempt: u32, published_at: Option<WallMs> },
    Purged { queue: QueueId, except: Vec<(Seq, u64)> },
    SeqReserved { queue: QueueId, up_to: Seq },
    FenceReserved { up_to: Fence },
    Rejected { queue: QueueId, seq: Seq, attempt: u32, detail: Box<str> },
    Bound { queue: QueueId, pattern: Pattern },
    Unbound { queue: QueueId, pattern: Pattern },
}

/// What the index must know of a message besides its place and size.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Traits {
    pub(super) priority: Priority,
    pub(super) key: Option<Box<str>>,
    pub(super) mark: Mark,
}

/// What the engine must know of a message after a restart without reading it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Mark {
    pub(super) published_at: WallMs,
    /// Not delivered before; 0: at once.
    pub(super) not_before: WallMs,
    pub(super) expires_at: Option<WallMs>,
    pub(super) group: Option<Box<str>>,
}

impl Mark {
    /// Whether there is nothing to know.
    pub(super) fn is_empty(&self) -> bool {
        self.not_before == 0 && self.expires_at.is_none() && self.group.is_none()
    }
}

const CREATED: u8 = 1;
const CHANGED: u8 = 2;
const DELETED: u8 = 3;
const PUBLISHED: u8 = 4;
const REMOVED: u8 = 5;
const DELAYED: u8 = 6;
const PURGED: u8 = 7;
const SEQ_RESERVED: u8 = 8;
const FENCE_RESERVED: u8 = 9;
const REJECTED: u8 = 10;
const BOUND: u8 = 11;
const UNBOUND: u8 = 12;

const CRC_BYTES: usize = 4;

/// What a record takes beyond the bytes that [`Message::size`] counts, about. Unit: bytes.
pub(super) const RECORD_BYTES: u64 = 24;

/// What a message has, as flags. The last one says that there is a second byte of flags.
const IS_BODY: u8 = 1;
const HAS_PROPERTIES: u8 = 2;
const HAS_REPLY_TO: u8 = 4;
const HAS_CORRELATION_ID: u8 = 8;
const HAS_PRIORITY: u8 = 16;
const HAS_TOPIC: u8 = 32;
const HAS_MORE: u8 = 64;
/// The second byte of flags.
const HAS_DELAY: u8 = 1;
const HAS_TTL: u8 = 2;
const HAS_GROUP: u8 = 4;
const HAS_KEY: u8 = 8;

/// A checksum over `parts`, one after the other.
pub(super) fn checksum(salt: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// What the checksums of a tenant's records start from.
pub(super) fn salt(tenant: TenantId) -> u32 {
    crc32fast::hash(&tenant.0.to_le_bytes())
}

/// Appends one record.
pub(super) fn put_record(out: &mut Vec<u8>, salt: u32, record: &Record) {
    match record {
        Record::Created { queue, name, settings } => put(out, salt, CREATED, |out| {
            put_number(out, queue.0);
            put_bytes(out, name.as_str().as_bytes());
            put_settings(out, settings);
        }),
        Record::Changed { queue, settings } => put(out, salt, CHANGED, |out| {
            put_number(out, queue.0);
            put_settings(out, settings);
        }),
        Record::Deleted { queue } => put(out, salt, DELETED, |out| put_number(out, queue.0)),
        Record::Published { queue, seq, message } => {
            put_message(out, salt, *queue, *seq, message);
        }
        Record::Removed { queue, seq, bytes, .. } => put(out, salt, REMOVED, |out| {
            put_numbers(out, [queue.0, seq.0, *bytes]);
        }),
        Record::Delayed { queue, seq, until, attempt, published_at } => {
            put(out, salt, DELAYED, |out| {
                put_numbers(out, [queue.0, seq.0, *until, u64::from(*attempt), *published_at]);
            });
        }
        Record::Purged { queue, up_to, except } => put(out, salt, PURGED, |out| {
            put_numbers(out, [queue.0, up_to.0, except.len() as u64]);
            except.iter().for_each(|(seq, bytes)| put_numbers(out, [seq.0, *bytes]));
        }),
        Record::SeqReserved { queue, up_to } => put(out, salt, SEQ_RESERVED, |out| {
            put_numbers(out, [queue.0, up_to.0]);
        }),
        Record::FenceReserved { up_to } => put(out, salt, FENCE_RESERVED, |out| {
            put_number(out, up_to.0);
        }),
        Record::Rejected { queue, seq, attempt, detail } => put(out, salt, REJECTED, |out| {
            put_numbers(out, [queue.0, seq.0, u64::from(*attempt)]);
            put_bytes(out, detail.as_bytes());
        }),
        Record::Bound { queue, pattern } => put(out, salt, BOUND, |out| {
            put_number(out, queue.0);
            put_bytes(out, pattern.as_str().as_bytes());
        }),
        Record::Unbound { queue, pattern } => put(out, salt, UNBOUND, |out| {
            put_number(out, queue.0);
            put_bytes(out, pattern.as_str().as_bytes());
        }),
    }
}

fn put_message(out: &mut Vec<u8>, salt: u32, queue: QueueId, seq: Seq, message: &Message) {
    put(out, salt, PUBLISHED, |out| {
        put_numbers(out, [queue.0, seq.0, message.size(), message.published_at]);
        let (is_body, content) = match &message.content {
            Content::Payload(bytes) => (0, &bytes[..]),
            Content::Body(text) => (IS_BODY, text.as_bytes()),
        };
        let has_priority = message.priority.map_or(0, |_| HAS_PRIORITY);
        let Some(properties) = &message.properties else {
            out.push(is_body | has_priority);
            out.extend(message.priority.map(Priority::number));
            return put_bytes(out, content);
        };
        let reply_to = properties.reply_to.as_ref().map_or(0, |_| HAS_REPLY_TO);
        let correlation_id = properties.correlation_id.as_ref().map_or(0, |_| HAS_CORRELATION_ID);
        let topic = properties.topic.as_ref().map_or(0, |_| HAS_TOPIC);
        let more = if more_flags(properties) == 0 { 0 } else { HAS_MORE };
        let has = is_body | has_priority | reply_to | correlation_id | topic | more;
        out.push(has | HAS_PROPERTIES);
        out.extend(message.priority.map(Priority::number));
        put_more(out, properties);
        put_bytes(out, content);
        put_number(out, properties.headers.len() as u64);
        for (name, value) in &properties.headers {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
        let reply_to = properties.reply_to.as_ref().map(QueueName::as_str);
        let correlation_id = properties.correlation_id.as_deref();
        let topic = properties.topic.as_ref().map(QueueName::as_str);
        let texts = [reply_to, correlation_id, topic];
        texts.into_iter().flatten().for_each(|text| put_bytes(out, text.as_bytes()));
    });
}

fn more_flags(properties: &Properties) -> u8 {
    let flag = |there, flag| if there { flag } else { 0 };
    flag(properties.delay_ms > 0, HAS_DELAY)
        | flag(properties.ttl_ms.is_some(), HAS_TTL)
        | flag(properties.group.is_some(), HAS_GROUP)
        | flag(properties.key.is_some(), HAS_KEY)
}

/// What the index needs, so that it stands before the content.
fn put_more(out: &mut Vec<u8>, properties: &Properties) {
    let flags = more_flags(properties);
    if flags == 0 {
        return;
    }
    out.push(flags);
    let delay = (properties.delay_ms > 0).then_some(properties.delay_ms);
    delay.into_iter().chain(properties.ttl_ms).for_each(|number| put_number(out, number));
    let texts = [&properties.group, &properties.key];
    texts.into_iter().flatten().for_each(|text| put_bytes(out, text.as_bytes()));
}

/// Appends a mark, for [`Reader::mark`].
pub(super) fn put_mark(out: &mut Vec<u8>, mark: &Mark) {
    let Mark { published_at, not_before, expires_at, group } = mark;
    put_numbers(out, [*published_at, *not_before, expires_at.unwrap_or(0)]);
    put_bytes(out, group.as_deref().unwrap_or("").as_bytes());
}

/// Appends a record with these fields.
fn put(out: &mut Vec<u8>, salt: u32, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    let fields_at = out.len();
    fields(out);
    let length = (out.len() - fields_at) as u32;
    out[start + 1..fields_at].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(salt, &[&out[start..]]);
    out.extend_from_slice(&crc.to_le_bytes());
}

fn put_settings(out: &mut Vec<u8>, settings: &QueueSettings) {
    let text = serde_json::to_vec(settings).unwrap_or_default();
    put_bytes(out, &text);
}

/// Longest number. Unit: bytes.
const NUMBER_BYTES_MAX: usize = 10;

/// LEB128: seven bits a byte, the lowest first. Answers how many bytes it took.
fn number_bytes(mut number: u64, into: &mut [u8; NUMBER_BYTES_MAX]) -> usize {
    for (index, byte) in into.iter_mut().enumerate() {
        *byte = (number & 0x7F) as u8;
        number >>= 7;
        if number == 0 {
            return index + 1;
        }
        *byte |= 0x80;
    }
    NUMBER_BYTES_MAX
}

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    let mut text = [0; NUMBER_BYTES_MAX];
    let taken = number_bytes(number, &mut text);
    out.extend_from_slice(&text[..taken]);
}

/// Appends numbers.
pub(super) fn put_numbers<const N: usize>(out: &mut Vec<u8>, numbers: [u64; N]) {
    numbers.into_iter().for_each(|number| put_number(out, number));
}

/// Appends bytes with their length before them.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what was put, from the front.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Damaged)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        Ok(self.take(1)?[0])
    }

    /// Takes so many bytes as an array.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Damaged)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damaged> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, Damaged> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for (index, byte) in self.rest.iter().take(NUMBER_BYTES_MAX).enumerate() {
            let bits = u64::from(byte & 0x7F);
            let shift = 7 * index as u32;
            if bits << shift >> shift != bits {
                return Err(Damaged);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    pub(super) fn numbers<const N: usize>(&mut self) -> Result<[u64; N], Damaged> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.number()?;
        }
        Ok(numbers)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damaged)
    }

    pub(super) fn name(&mut self) -> Result<QueueName, Damaged> {
        QueueName::new(self.text()?).map_err(|_| Damaged)
    }

    pub(super) fn settings(&mut self) -> Result<QueueSettings, Damaged> {
        serde_json::from_slice(self.bytes()?).map_err(|_| Damaged)
    }

    /// Takes one whole record: its kind and its fields, checked.
    fn record(&mut self, salt: u32) -> Result<(u8, Reader<'a>), Damaged> {
        let start = self.rest;
        let kind = self.byte()?;
        let length = self.u32()?;
        let fields = self.take(length as usize)?;
        let whole = start.len() - self.rest.len();
        let crc = self.take(CRC_BYTES)?;
        let right = checksum(salt, &[&start[..whole]]).to_le_bytes();
        if crc == right { Ok((kind, Reader::new(fields))) } else { Err(Damaged) }
    }

    /// Passes over a record by the length that it gives itself.
    pub(super) fn skip_record(&mut self) -> Result<(), Damaged> {
        let mut rest = self.clone();
        rest.byte()?;
        let length = rest.u32()? as usize;
        rest.take(length.checked_add(CRC_BYTES).ok_or(Damaged)?)?;
        *self = rest;
        Ok(())
    }

    /// Takes one record, leaving a message's content aside; what is damaged stays.
    pub(super) fn entry(&mut self, salt: u32) -> Result<Entry, Damaged> {
        let mut rest = self.clone();
        let (kind, mut fields) = rest.record(salt)?;
        *self = rest;
        let entry = fields.fields(kind)?;
        let done = fields.left() == 0 || kind == PUBLISHED;
        if done { Ok(entry) } else { Err(Damaged) }
    }

    fn fields(&mut self, kind: u8) -> Result<Entry, Damaged> {
        if kind == FENCE_RESERVED {
            return Ok(Entry::FenceReserved { up_to: Fence(self.number()?) });
        }
        let queue = QueueId(self.number()?);
        Ok(match kind {
            CREATED => Entry::Created { queue, name: self.name()?, settings: self.settings()? },
            CHANGED => Entry::Changed { queue, settings: self.settings()? },
            DELETED => Entry::Deleted { queue },
            PUBLISHED => {
                let [seq, bytes, published_at] = self.numbers()?;
                let flags = self.byte()?;
                let (priority, more) = (self.priority(flags)?, self.more(flags)?);
                let traits = more.traits(priority, published_at);
                Entry::Published { queue, seq: Seq(seq), bytes, published_at, traits }
            }
            REMOVED => {
                let [seq, bytes] = self.numbers()?;
                Entry::Removed { queue, seq: Seq(seq), bytes }
            }
            DELAYED => {
                let [seq, until, attempt] = self.numbers()?;
                let attempt = u32::try_from(attempt).map_err(|_| Damaged)?;
                // Format 1 ends here.
                let published_at = if self.left() > 0 { Some(self.number()?) } else { None };
                Entry::Delayed { queue, seq: Seq(seq), until, attempt, published_at }
            }
            PURGED => {
                let [_up_to, count] = self.numbers()?;
                let mut except = Vec::new();
                for _ in 0..count {
                    let [seq, bytes] = self.numbers()?;
                    except.push((Seq(seq), bytes));
                }
                Entry::Purged { queue, except }
            }
            SEQ_RESERVED => Entry::SeqReserved { queue, up_to: Seq(self.number()?) },
            REJECTED => {
                let [seq, attempt] = self.numbers()?;
                let attempt = u32::try_from(attempt).map_err(|_| Damaged)?;
                Entry::Rejected { queue, seq: Seq(seq), attempt, detail: self.text()?.into() }
            }
            BOUND => Entry::Bound { queue, pattern: self.pattern()? },
            UNBOUND => Entry::Unbound { queue, pattern: self.pattern()? },
            _ => return Err(Damaged),
        })
    }

    /// Takes one record that is a message.
    pub(super) fn message(&mut self, salt: u32) -> Result<(QueueId, Seq, Message), Damaged> {
        let (kind, mut fields) = self.record(salt)?;
        if kind != PUBLISHED {
            return Err(Damaged);
        }
        let [queue, seq, _bytes, published_at] = fields.numbers()?;
        let flags = fields.byte()?;
        let priority = fields.priority(flags)?;
        let more = fields.more(flags)?;
        let content = match flags & IS_BODY {
            0 => Content::Payload(fields.bytes()?.into()),
            _ => Content::Body(fields.text()?.into()),
        };
        let properties = match flags & HAS_PROPERTIES {
            0 => None,
            _ => Some(Box::new(fields.properties(flags, more)?)),
        };
        let message = Message { content, properties, priority, published_at };
        if fields.left() == 0 { Ok((QueueId(queue), Seq(seq), message)) } else { Err(Damaged) }
    }

    fn priority(&mut self, flags: u8) -> Result<Option<Priority>, Damaged> {
        match flags & HAS_PRIORITY {
            0 => Ok(None),
            _ => Priority::new(u64::from(self.byte()?)).map(Some).ok_or(Damaged),
        }
    }

    fn more(&mut self, flags: u8) -> Result<More<'a>, Damaged> {
        let mut more = More::default();
        let flags = if flags & HAS_MORE == 0 { 0 } else { self.byte()? };
        if flags & HAS_DELAY != 0 {
            more.delay_ms = self.number()?;
        }
        if flags & HAS_TTL != 0 {
            more.ttl_ms = Some(self.number()?);
        }
        if flags & HAS_GROUP != 0 {
            more.group = Some(self.text()?);
        }
        if flags & HAS_KEY != 0 {
            more.key = Some(self.text()?);
        }
        Ok(more)
    }

    pub(super) fn mark(&mut self) -> Result<Mark, Damaged> {
        let [published_at, not_before, expires_at] = self.numbers()?;
        let group = Some(self.text()?).filter(|group| !group.is_empty());
        let expires_at = Some(expires_at).filter(|at| *at > 0);
        Ok(Mark { published_at, not_before, expires_at, group: group.map(Into::into) })
    }

    pub(super) fn pattern(&mut self) -> Result<Pattern, Damaged> {
        Pattern::new(self.text()?).map_err(|_| Damaged)
    }

    fn properties(&mut self, flags: u8, more: More<'_>) -> Result<Properties, Damaged> {
        let mut properties = Properties {
            delay_ms: more.delay_ms,
            ttl_ms: more.ttl_ms,
            group: more.group.map(Into::into),
            key: more.key.map(Into::into),
            ..Properties::default()
        };
        for _ in 0..self.number()? {
            properties.headers.push((self.text()?.into(), self.text()?.into()));
        }
        if flags & HAS_REPLY_TO != 0 {
            properties.reply_to = Some(self.name()?);
        }
        if flags & HAS_CORRELATION_ID != 0 {
            properties.correlation_id = Some(self.text()?.into());
        }
        if flags & HAS_TOPIC != 0 {
            properties.topic = Some(self.name()?);
        }
        Ok(properties)
    }
}

/// What stands before the content.
#[derive(Debug, Default, Clone, Copy)]
struct More<'a> {
    delay_ms: u64,
    ttl_ms: Option<u64>,
    group: Option<&'a str>,
    key: Option<&'a str>,
}

impl More<'_> {
    fn traits(self, priority: Option<Priority>, published_at: WallMs) -> Traits {
        let after = |ms: u64| published_at.saturating_add(ms);
        let not_before = if self.delay_ms > 0 { after(self.delay_ms) } else { 0 };
        let (expires_at, group) = (self.ttl_ms.map(after), self.group.map(Into::into));
        let mark = Mark { published_at, not_before, expires_at, group };
        Traits { priority: priority.unwrap_or_default(), key: self.key.map(Into::into), mark }
    }
}
