//! What stands before a journal file begins, written as one: a start reads it and then only the
//! files from there on. And the tables of sealed files: where the messages of each run lie.
//!
//! ```text
//! checkpoint  magic "gmqchkp1" | format u32 | body | crc u32
//! table       magic "gmqtabl1" | format u32 | file u64 | runs | crc u32
//! a run       tenant u128 | queue u64 | first u64 | span u32 | priority u8 | marks u32
//!             | place u32 × span | bytes of marks
//! (format 1)  tenant u128 | queue u64 | first u64 | span u32 | place u32 × span
//! ```

use super::frame::FORMAT;
use super::index::{FileNumber, FileState, Index, QueueState, Returned, RunId, TenantState};
use super::run::{Marks, Places, Run};
use crate::store::codec::{Damaged, Reader, checksum, put_bytes, put_number, put_numbers};
use crate::types::{Fence, Lsn, Priority, QueueId, Seq, TenantId};

const CHECKPOINT_MAGIC: [u8; 8] = *b"gmqchkp1";
const TABLE_MAGIC: [u8; 8] = *b"gmqtabl1";

/// Why a checkpoint cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    Damaged,
    /// A newer version wrote it.
    Newer(u32),
}

impl From<Damaged> for Unusable {
    fn from(_: Damaged) -> Self {
        Unusable::Damaged
    }
}

/// The state of everything before file `position`, whose files are all sealed.
pub(super) fn encode(index: &Index, position: FileNumber) -> Vec<u8> {
    let mut out = Vec::with_capacity(4_096);
    out.extend_from_slice(&CHECKPOINT_MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    put_number(&mut out, position);
    let files: Vec<_> = index.files.iter().filter(|(file, _)| **file < position).collect();
    put_number(&mut out, files.len() as u64);
    for (file, state) in files {
        put_numbers(&mut out, [*file, state.end]);
    }
    put_number(&mut out, index.tenants.len() as u64);
    for (tenant, state) in &index.tenants {
        out.extend_from_slice(&tenant.0.to_le_bytes());
        put_numbers(&mut out, [state.lsn.0, state.fence.0, state.queue_id_max.0]);
        put_number(&mut out, state.queues.len() as u64);
        state.queues.iter().for_each(|(id, queue)| put_queue(&mut out, *id, queue));
    }
    let crc = checksum(0, &[&out]);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn put_queue(out: &mut Vec<u8>, id: QueueId, queue: &QueueState) {
    put_number(out, id.0);
    put_bytes(out, queue.name.as_str().as_bytes());
    put_bytes(out, &serde_json::to_vec(&queue.settings).unwrap_or_default());
    put_numbers(out, [queue.next_seq.0, queue.returned.len() as u64]);
    for (seq, returned) in &queue.returned {
        let Returned { attempt, until, published_at } = returned;
        put_numbers(out, [seq.0, u64::from(*attempt), *until, published_at.unwrap_or(0)]);
    }
    put_number(out, queue.rejected.len() as u64);
    for (seq, detail) in &queue.rejected {
        put_number(out, seq.0);
        put_bytes(out, detail.as_bytes());
    }
    put_number(out, queue.keys.len() as u64);
    for (key, seq, at) in &queue.keys {
        put_bytes(out, key.as_bytes());
        put_numbers(out, [seq.0, *at]);
    }
    put_number(out, queue.bindings.len() as u64);
    queue.bindings.iter().for_each(|pattern| put_bytes(out, pattern.as_str().as_bytes()));
    let sealed = queue.runs.iter().filter_map(|(key, run)| match (run.places(), run.marks()) {
        (Places::Table(at), Marks::Table(marks)) => Some((*key, run, *at, *marks)),
        _ => None,
    });
    let sealed: Vec<_> = sealed.collect();
    put_number(out, sealed.len() as u64);
    for ((priority, _, file), run, at, marks) in sealed {
        put_numbers(out, [file, run.first().0, run.span(), run.bytes(), at, run.live()]);
        put_numbers(out, [u64::from(priority.number()), u64::from(marks)]);
        if run.live() < run.span() {
            run.alive().iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
    }
}

/// Reads a checkpoint: the state, and the file from which the journal goes on.
pub(super) fn decode(bytes: &[u8]) -> Result<(Index, FileNumber), Unusable> {
    let (content, crc) = bytes.split_last_chunk::<4>().ok_or(Unusable::Damaged)?;
    let mut reader = Reader::new(content);
    let magic = reader.take(CHECKPOINT_MAGIC.len())?;
    let format = reader.u32()?;
    if magic != CHECKPOINT_MAGIC || checksum(0, &[content]).to_le_bytes() != *crc {
        return Err(Unusable::Damaged);
    }
    if format > FORMAT {
        return Err(Unusable::Newer(format));
    }
    let position = reader.number()?;
    let mut index = Index::default();
    for _ in 0..reader.number()? {
        let [file, end] = reader.numbers()?;
        index.files.insert(file, FileState { end, ..FileState::default() });
    }
    for _ in 0..reader.number()? {
        let (tenant, state) = tenant(&mut reader, format, &mut index.files)?;
        index.tenants.insert(tenant, state);
    }
    Ok((index, position))
}

type Files = std::collections::BTreeMap<FileNumber, FileState>;

fn tenant(
    reader: &mut Reader<'_>,
    format: u32,
    files: &mut Files,
) -> Result<(TenantId, TenantState), Damaged> {
    let id = reader.u128()?;
    let [lsn, fence, queue_id_max] = reader.numbers()?;
    let (lsn, fence, queue_id_max) = (Lsn(lsn), Fence(fence), QueueId(queue_id_max));
    let mut state = TenantState { lsn, fence, queue_id_max, ..TenantState::default() };
    for _ in 0..reader.number()? {
        let id = QueueId(reader.number()?);
        state.queues.insert(id, queue(reader, format, files)?);
    }
    Ok((TenantId(id), state))
}

fn queue(reader: &mut Reader<'_>, format: u32, files: &mut Files) -> Result<QueueState, Damaged> {
    let (name, settings) = (reader.name()?, reader.settings()?);
    let [next_seq, returned] = reader.numbers()?;
    let mut queue = QueueState::restored(name, settings, Seq(next_seq));
    for _ in 0..returned {
        let [seq, attempt, until] = reader.numbers()?;
        let attempt = u32::try_from(attempt).map_err(|_| Damaged)?;
        let published_at = if format > 1 { Some(reader.number()?) } else { None };
        let published_at = published_at.filter(|at| *at > 0);
        queue.returned.insert(Seq(seq), Returned { attempt, until, published_at });
    }
    if format > 1 {
        recent(reader, &mut queue)?;
    }
    for _ in 0..reader.number()? {
        let [file, first, span, bytes, at, live] = reader.numbers()?;
        let (priority, marks) = if format > 1 { class(reader)? } else { Default::default() };
        let mut alive = Vec::new();
        for word in 0..span.div_ceil(64) {
            let left = span - 64 * word;
            let all = if left < 64 { (1 << left) - 1 } else { u64::MAX };
            alive.push(if live < span { reader.u64()? } else { all });
        }
        let run = Run::restored(Seq(first), span, alive, bytes, at, marks);
        let state = files.entry(file).or_default();
        state.messages += run.live();
        state.bytes += bytes;
        queue.restore((priority, Seq(first), file), run);
    }
    Ok(queue)
}

/// What format 1 did not have.
fn recent(reader: &mut Reader<'_>, queue: &mut QueueState) -> Result<(), Damaged> {
    for _ in 0..reader.number()? {
        let seq = Seq(reader.number()?);
        queue.rejected.insert(seq, reader.text()?.into());
    }
    for _ in 0..reader.number()? {
        let key = reader.text()?.into();
        let [seq, at] = reader.numbers()?;
        queue.keys.push_back((key, Seq(seq), at));
    }
    for _ in 0..reader.number()? {
        queue.bindings.insert(reader.pattern()?);
    }
    Ok(())
}

/// A run's priority, and the bytes of its marks.
fn class(reader: &mut Reader<'_>) -> Result<(Priority, u32), Damaged> {
    let [priority, marks] = reader.numbers()?;
    let marks = u32::try_from(marks).map_err(|_| Damaged)?;
    Ok((Priority::new(priority).ok_or(Damaged)?, marks))
}

/// Seals a file: its table, which the runs refer to from now on.
pub(super) fn seal(index: &mut Index, file: FileNumber) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&TABLE_MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&file.to_le_bytes());
    index.seal(file, |id, run, places, marks| {
        out.extend_from_slice(&id.tenant.0.to_le_bytes());
        out.extend_from_slice(&id.queue.0.to_le_bytes());
        out.extend_from_slice(&run.first().0.to_le_bytes());
        out.extend_from_slice(&(run.span() as u32).to_le_bytes());
        out.push(id.priority.number());
        out.extend_from_slice(&(marks.len() as u32).to_le_bytes());
        let at = out.len() as u64;
        places.iter().for_each(|place| out.extend_from_slice(&place.to_le_bytes()));
        out.extend_from_slice(marks);
        at
    });
    let crc = checksum(0, &[&out]);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The place that stands at `at` in a table, or in a part of one.
pub(super) fn place_in(table: &[u8], at: usize) -> Result<u32, Damaged> {
    Reader::new(table.get(at..).ok_or(Damaged)?).u32()
}

/// The marks of a run whose places stand at `at` in a sound table.
pub(super) fn marks_in<'a>(table: &'a [u8], at: u64, run: &Run) -> Result<&'a [u8], Damaged> {
    let Marks::Table(length) = run.marks() else { return Err(Damaged) };
    let start = usize::try_from(at + 4 * run.span()).map_err(|_| Damaged)?;
    let mut reader = Reader::new(table.get(start..).ok_or(Damaged)?);
    reader.take(*length as usize)
}

/// The runs that a file's table names.
pub(super) fn runs_of(table: &[u8], file: FileNumber) -> Result<Vec<RunId>, Damaged> {
    let (content, crc) = table.split_last_chunk::<4>().ok_or(Damaged)?;
    let mut reader = Reader::new(content);
    let magic = reader.take(TABLE_MAGIC.len())?;
    let format = reader.u32()?;
    let right = format <= FORMAT && reader.u64()? == file;
    if !right || magic != TABLE_MAGIC || checksum(0, &[content]).to_le_bytes() != *crc {
        return Err(Damaged);
    }
    let mut runs = Vec::new();
    while reader.left() > 0 {
        let tenant = TenantId(reader.u128()?);
        let (queue, first) = (QueueId(reader.u64()?), Seq(reader.u64()?));
        let span = reader.u32()? as usize;
        let (mut priority, mut marks) = (Priority::default(), 0);
        if format > 1 {
            priority = Priority::new(u64::from(reader.byte()?)).ok_or(Damaged)?;
            marks = reader.u32()? as usize;
        }
        reader.take(4 * span)?;
        reader.take(marks)?;
        runs.push(RunId { tenant, queue, priority, first });
    }
    Ok(runs)
}
