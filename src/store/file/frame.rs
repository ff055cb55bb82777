//! The frames of journal files: what is written and stands, or falls, as one.
//!
//! ```text
//! file header  magic "gmqjrnl1" | format u32 | length u32 | number u64 | crc u32
//! frame        magic "gmqF" | length u32 | flushed u32 | crc u32 | kind u8 | body
//! ```
//!
//! The checksum of a frame is salted with the number of its file, so that what an earlier use of
//! the same blocks left behind is never taken for a frame of this one. `flushed` is how far the
//! file was flushed before the frame was written: a broken frame before that place was whole once,
//! so it is damage; one behind it may be what a power cut tore.

use crate::store::codec::{Damaged, Reader, checksum};
use crate::types::{Lsn, TenantId};

/// The version of everything in the store's folder; newer ones are refused. 2: messages have
/// priorities, groups, keys, topics, delays and TTLs, queues have bindings.
pub(super) const FORMAT: u32 = 2;

const FILE_MAGIC: [u8; 8] = *b"gmqjrnl1";
/// Length of a file's header, and the place of its first frame. Unit: bytes.
pub(super) const FILE_HEADER_BYTES: usize = 28;

const MAGIC: [u8; 4] = *b"gmqF";
const HEADER_BYTES: usize = 16;

const BATCHES: u8 = 1;
const MOVED: u8 = 2;
const BEGIN: u8 = 3;
const END: u8 = 4;
const MARK: u8 = 5;

/// What a frame says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Frame<'a> {
    /// Batches of one tenant, without gaps; the records are one after the other.
    Batches { tenant: TenantId, first: Lsn, last: Lsn, records: &'a [u8] },
    /// Messages that were written here anew from a file that is given up.
    Moved { tenant: TenantId, records: &'a [u8] },
    /// The first frame of each file but the first: where the file before ends.
    Begin { previous_end: u32 },
    /// The last frame of a file: another one follows.
    End,
    /// All before is flushed; nothing else.
    Mark,
}

/// Frames that wait to be written: their bytes, one after the other.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) bytes: Vec<u8>,
    /// Where each frame begins.
    pub(super) starts: Vec<usize>,
}

impl Frames {
    /// Begins a frame of batches; records follow, then [`end`](Self::end).
    pub(super) fn begin_batches(&mut self, tenant: TenantId, first: Lsn) {
        self.begin(BATCHES);
        self.bytes.extend_from_slice(&tenant.0.to_le_bytes());
        self.bytes.extend_from_slice(&first.0.to_le_bytes());
        self.bytes.extend_from_slice(&first.0.to_le_bytes());
    }

    /// Notes the last LSN of the frame begun last.
    pub(super) fn set_last(&mut self, last: Lsn) {
        let at = self.starts.last().map_or(0, |start| start + HEADER_BYTES + 1 + 16 + 8);
        self.bytes[at..at + 8].copy_from_slice(&last.0.to_le_bytes());
    }

    /// Begins a frame of moved messages.
    pub(super) fn begin_moved(&mut self, tenant: TenantId) {
        self.begin(MOVED);
        self.bytes.extend_from_slice(&tenant.0.to_le_bytes());
    }

    pub(super) fn put_begin(&mut self, previous_end: u32) {
        self.begin(BEGIN);
        self.bytes.extend_from_slice(&previous_end.to_le_bytes());
    }

    pub(super) fn put_end(&mut self) {
        self.begin(END);
    }

    pub(super) fn put_mark(&mut self) {
        self.begin(MARK);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }

    /// Where the frame with that index lies.
    pub(super) fn range(&self, index: usize) -> std::ops::Range<usize> {
        let end = self.starts.get(index + 1).copied().unwrap_or(self.bytes.len());
        self.starts[index]..end
    }

    fn begin(&mut self, kind: u8) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(&MAGIC);
        self.bytes.extend_from_slice(&[0; HEADER_BYTES - MAGIC.len()]);
        self.bytes.push(kind);
    }

    /// Fills in the headers of the frames from `first` up to `end`, for file `number`.
    pub(super) fn finish(&mut self, first: usize, end: usize, number: u64, flushed: u32) {
        for index in first..end {
            let range = self.range(index);
            finish_frame(&mut self.bytes[range], number, flushed);
        }
    }
}

fn finish_frame(frame: &mut [u8], number: u64, flushed: u32) {
    let length = (frame.len() - HEADER_BYTES) as u32;
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    frame[8..12].copy_from_slice(&flushed.to_le_bytes());
    let crc = frame_checksum(frame, number);
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
}

fn frame_checksum(frame: &[u8], number: u64) -> u32 {
    checksum(crc32fast::hash(&number.to_le_bytes()), &[&frame[4..12], &frame[HEADER_BYTES..]])
}

/// The header of a file of that length.
pub(super) fn file_header(number: u64, length: u32) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(&FILE_MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..16].copy_from_slice(&length.to_le_bytes());
    header[16..24].copy_from_slice(&number.to_le_bytes());
    let crc = checksum(0, &[&header[..24]]);
    header[24..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What a file's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) format: u32,
    /// Unit: bytes.
    pub(super) length: u32,
    pub(super) number: u64,
}

/// Reads a file's header.
pub(super) fn read_file_header(header: &[u8]) -> Result<FileHeader, Damaged> {
    let mut reader = Reader::new(header);
    let magic = reader.take(FILE_MAGIC.len())?;
    let format = reader.u32()?;
    let length = reader.u32()?;
    let number = reader.u64()?;
    let crc = reader.u32()?;
    let right = magic == FILE_MAGIC && crc == checksum(0, &[&header[..24]]);
    if right { Ok(FileHeader { format, length, number }) } else { Err(Damaged) }
}

/// A frame that stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing<'a> {
    pub(super) frame: Frame<'a>,
    /// Where it begins.
    pub(super) at: usize,
    /// Where its records begin, if it has any.
    pub(super) records_at: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// What it says was flushed before it.
    pub(super) flushed: u32,
}

/// The frame of file `number` at `at`, if a whole one stands there.
pub(super) fn frame_at(file: &[u8], number: u64, at: usize) -> Result<Standing<'_>, Damaged> {
    let mut reader = Reader::new(file.get(at..).ok_or(Damaged)?);
    let magic = reader.take(MAGIC.len())?;
    let length = reader.u32()? as usize;
    let flushed = reader.u32()?;
    let crc = reader.u32()?;
    if magic != MAGIC || length == 0 {
        return Err(Damaged);
    }
    let body = reader.take(length)?;
    let end = at + HEADER_BYTES + length;
    if crc != frame_checksum(&file[at..end], number) {
        return Err(Damaged);
    }
    standing(body, at, end, flushed)
}

/// What can be had of a frame that is damaged somewhere within, if it takes exactly the place from
/// `at` to `end`. Its records check themselves.
pub(super) fn salvaged(file: &[u8], at: usize, end: usize) -> Result<Standing<'_>, Damaged> {
    let mut reader = Reader::new(file.get(at..end).ok_or(Damaged)?);
    let magic = reader.take(MAGIC.len())?;
    let length = reader.u32()? as usize;
    let _flushed = reader.u32()?;
    let _crc = reader.u32()?;
    if magic != MAGIC || length == 0 || length != reader.left() {
        return Err(Damaged);
    }
    standing(reader.take(length)?, at, end, 0)
}

fn standing(body: &[u8], at: usize, end: usize, flushed: u32) -> Result<Standing<'_>, Damaged> {
    let mut body = Reader::new(body);
    let frame = match body.byte()? {
        BATCHES => {
            let tenant = TenantId(body.u128()?);
            let (first, last) = (Lsn(body.u64()?), Lsn(body.u64()?));
            // A batch has records.
            if first.0 == 0 || last < first || last.0 - first.0 > (end - at) as u64 {
                return Err(Damaged);
            }
            Frame::Batches { tenant, first, last, records: body.take(body.left())? }
        }
        MOVED => {
            let tenant = TenantId(body.u128()?);
            Frame::Moved { tenant, records: body.take(body.left())? }
        }
        BEGIN => Frame::Begin { previous_end: body.u32()? },
        END => Frame::End,
        MARK => Frame::Mark,
        _ => return Err(Damaged),
    };
    let records_at = match &frame {
        Frame::Batches { records, .. } | Frame::Moved { records, .. } => end - records.len(),
        _ => end,
    };
    Ok(Standing { frame, at, records_at, end, flushed })
}

/// The next whole frame at or after `from`.
pub(super) fn next_frame(file: &[u8], number: u64, from: usize) -> Option<Standing<'_>> {
    let rest = file.get(from..)?;
    memchr::memmem::find_iter(rest, &MAGIC)
        .find_map(|found| frame_at(file, number, from + found).ok())
}
