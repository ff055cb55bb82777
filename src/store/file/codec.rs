//! How records are written: numbers of variable length, one self-checking record after the other.
//! The journal and the checkpoint use the same primitives. Reading never panics and never trusts a
//! length; `docs/storage.md` has the format in words.
//!
//! A record is `kind u8 | length u32 | fields | crc32 of all before`; the checksum is salted
//! with the tenant, so that a record is never taken for one of another tenant.

use crate::engine::Record;
use crate::types::{
    Content, Fence, Message, Properties, QueueId, QueueName, QueueSettings, Seq, TenantId, WallMs,
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
    Published { queue: QueueId, seq: Seq, bytes: u64 },
    Removed { queue: QueueId, seq: Seq, bytes: u64 },
    Delayed { queue: QueueId, seq: Seq, until: WallMs, attempt: u32 },
    Purged { queue: QueueId, except: Vec<(Seq, u64)> },
    SeqReserved { queue: QueueId, up_to: Seq },
    FenceReserved { up_to: Fence },
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

const CRC_BYTES: usize = 4;

/// What a record takes beyond the bytes that [`Message::size`] counts, about. Unit: bytes.
pub(super) const RECORD_BYTES: u64 = 24;

/// Bytes of a message's properties that are there, as flags.
const IS_BODY: u8 = 1;
const HAS_PROPERTIES: u8 = 2;
const HAS_REPLY_TO: u8 = 4;
const HAS_CORRELATION_ID: u8 = 8;

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
        Record::Removed { queue, seq, bytes } => put(out, salt, REMOVED, |out| {
            put_numbers(out, [queue.0, seq.0, *bytes]);
        }),
        Record::Delayed { queue, seq, until, attempt } => put(out, salt, DELAYED, |out| {
            put_numbers(out, [queue.0, seq.0, *until, u64::from(*attempt)]);
        }),
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
    }
}

fn put_message(out: &mut Vec<u8>, salt: u32, queue: QueueId, seq: Seq, message: &Message) {
    put(out, salt, PUBLISHED, |out| {
        put_numbers(out, [queue.0, seq.0, message.size(), message.published_at]);
        let (is_body, content) = match &message.content {
            Content::Payload(bytes) => (0, &bytes[..]),
            Content::Body(text) => (IS_BODY, text.as_bytes()),
        };
        let Some(properties) = &message.properties else {
            out.push(is_body);
            return put_bytes(out, content);
        };
        let reply_to = properties.reply_to.as_ref().map_or(0, |_| HAS_REPLY_TO);
        let correlation_id = properties.correlation_id.as_ref().map_or(0, |_| HAS_CORRELATION_ID);
        out.push(is_body | HAS_PROPERTIES | reply_to | correlation_id);
        put_bytes(out, content);
        put_number(out, properties.headers.len() as u64);
        for (name, value) in &properties.headers {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
        let reply_to = properties.reply_to.as_ref().map(QueueName::as_str);
        let correlation_id = properties.correlation_id.as_deref();
        reply_to.into_iter().chain(correlation_id).for_each(|text| put_bytes(out, text.as_bytes()));
    });
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
                let [seq, bytes] = self.numbers()?;
                Entry::Published { queue, seq: Seq(seq), bytes }
            }
            REMOVED => {
                let [seq, bytes] = self.numbers()?;
                Entry::Removed { queue, seq: Seq(seq), bytes }
            }
            DELAYED => {
                let [seq, until, attempt] = self.numbers()?;
                let attempt = u32::try_from(attempt).map_err(|_| Damaged)?;
                Entry::Delayed { queue, seq: Seq(seq), until, attempt }
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
        let content = match flags & IS_BODY {
            0 => Content::Payload(fields.bytes()?.into()),
            _ => Content::Body(fields.text()?.into()),
        };
        let properties = match flags & HAS_PROPERTIES {
            0 => None,
            _ => Some(Box::new(fields.properties(flags)?)),
        };
        let message = Message { content, properties, published_at };
        if fields.left() == 0 { Ok((QueueId(queue), Seq(seq), message)) } else { Err(Damaged) }
    }

    fn properties(&mut self, flags: u8) -> Result<Properties, Damaged> {
        let mut properties = Properties::default();
        for _ in 0..self.number()? {
            properties.headers.push((self.text()?.into(), self.text()?.into()));
        }
        if flags & HAS_REPLY_TO != 0 {
            properties.reply_to = Some(self.name()?);
        }
        if flags & HAS_CORRELATION_ID != 0 {
            properties.correlation_id = Some(self.text()?.into());
        }
        Ok(properties)
    }
}
