//! Looking at a store that is not running: what is in it ([`stat`]), and whether every byte of it
//! is what was written there ([`check`]). Changes nothing.

use std::io;
use std::sync::Arc;

use super::checkpoint::runs_of;
use super::disk::Disk;
use super::frame::{FILE_HEADER_BYTES, frame_at, next_frame};
use super::index::FileNumber;
use super::journal::{Journal, lock};
use super::names;
use super::recovery::{Damage, OpenError, Recovery};
use crate::engine::{Load, LoadTicket};
use crate::types::{QueueId, QueueName, Seq, TenantId};

/// What is in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The queues of all tenants.
    pub queues: Vec<QueueContents>,
    /// The journal's files, in their order.
    pub files: Vec<FileContents>,
    /// What is not as it was written.
    pub damage: Vec<Damage>,
    /// What is damaged or unknown and does no harm.
    pub notes: Vec<String>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueContents {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: QueueName,
    /// Messages in it.
    pub messages: u64,
    /// Bytes of these: content and headers.
    pub bytes: u64,
}

/// One journal file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContents {
    /// Its name.
    pub name: String,
    /// What it takes. Unit: bytes.
    pub length: u64,
    /// How much of that is written. Unit: bytes.
    pub written: u64,
    /// Messages in it that are in a queue.
    pub messages: u64,
    /// What these take, about. Unit: bytes.
    pub live: u64,
}

impl Contents {
    /// Messages in all queues.
    pub fn messages(&self) -> u64 {
        self.queues.iter().map(|queue| queue.messages).sum()
    }

    /// Bytes of these.
    pub fn bytes(&self) -> u64 {
        self.queues.iter().map(|queue| queue.bytes).sum()
    }
}

/// What is in the store, by its checkpoint and the end of its journal.
///
/// # Errors
///
/// If the disk says no, or nothing can be known.
pub fn stat(disk: &dyn Disk) -> Result<Contents, OpenError> {
    let recovery = Recovery::read(disk)?;
    Ok(contents(disk, &recovery)?)
}

/// Reads every file, and every message.
///
/// # Errors
///
/// If the disk says no, or nothing can be known.
pub fn check(disk: Arc<dyn Disk>) -> Result<Contents, OpenError> {
    let recovery = Recovery::read(&*disk)?;
    let mut contents = contents(&*disk, &recovery)?;
    let position = recovery.position;
    let journal = Journal::read_only(disk, recovery.index);
    let sealed: Vec<(FileNumber, u64)> = {
        let index = lock(&journal.index);
        index.files.range(..position).map(|(file, state)| (*file, state.end)).collect()
    };
    for (file, end) in sealed {
        check_file(&journal, file, end, &mut contents)?;
    }
    let queues: Vec<(TenantId, QueueId, Seq)> = {
        let index = lock(&journal.index);
        let of = |(tenant, state): (&TenantId, &super::index::TenantState)| {
            let tenant = *tenant;
            let queues = state.queues.iter();
            queues.map(move |(id, queue)| (tenant, *id, queue.next_seq)).collect::<Vec<_>>()
        };
        index.tenants.iter().flat_map(of).collect()
    };
    for (tenant, queue, next_seq) in queues {
        check_queue(&journal, (tenant, queue, next_seq), &mut contents)?;
    }
    Ok(contents)
}

fn contents(disk: &dyn Disk, recovery: &Recovery) -> io::Result<Contents> {
    let mut contents = Contents { damage: recovery.damage.clone(), ..Contents::default() };
    for (tenant, state) in &recovery.index.tenants {
        contents.queues.extend(state.queues.values().map(|queue| QueueContents {
            tenant: *tenant,
            name: queue.name.clone(),
            messages: queue.messages,
            bytes: queue.bytes,
        }));
    }
    for number in &recovery.inventory.journals {
        let name = names::journal(*number);
        let length = disk.open(&name)?.length()?;
        let state = recovery.index.files.get(number);
        contents.files.push(FileContents {
            name,
            length,
            written: state.map_or(0, |state| state.end),
            messages: state.map_or(0, |state| state.messages),
            live: state.map_or(0, |state| state.live_bytes()),
        });
    }
    let unknown = recovery.inventory.unknown.iter();
    contents.notes.extend(unknown.map(|name| format!("{name}: not a file of the store")));
    Ok(contents)
}

/// Every frame of a file that a start does not read, and its table.
fn check_file(
    journal: &Journal,
    file: FileNumber,
    end: u64,
    contents: &mut Contents,
) -> io::Result<()> {
    let content = match journal.content(file) {
        // That it is missing is known, if it matters.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        content => content?,
    };
    let mut at = FILE_HEADER_BYTES;
    while (at as u64) < end {
        if let Ok(standing) = frame_at(&content, file, at) {
            at = standing.end;
            continue;
        }
        let next = next_frame(&content, file, at).map_or(content.len(), |standing| standing.at);
        contents.damage.push(Damage {
            file: names::journal(file),
            place: Some((at as u64, next as u64)),
            what: "damaged".to_owned(),
        });
        at = next.max(at + 1);
    }
    let sound = journal.table_content(file).is_ok_and(|table| runs_of(&table, file).is_ok());
    if !sound {
        let name = names::table(file);
        contents
            .notes
            .push(format!("{name}: damaged or missing; the journal file is searched instead"));
    }
    Ok(())
}

/// Every message of a queue.
fn check_queue(
    journal: &Journal,
    (tenant, queue, next_seq): (TenantId, QueueId, Seq),
    contents: &mut Contents,
) -> io::Result<()> {
    let mut from = Seq(0);
    loop {
        let load = Load {
            ticket: LoadTicket(0),
            queue,
            priority: None,
            from_seq: from,
            to_seq: next_seq,
            messages_max: 4_096,
            bytes_max: 16 * 1024 * 1024,
        };
        let loaded = journal.load(tenant, &load)?;
        contents.damage.extend(loaded.damaged.iter().map(|damaged| Damage {
            file: damaged.file.clone(),
            place: Some((damaged.at, damaged.at)),
            what: damaged.to_string(),
        }));
        let Some(last) = loaded.messages.last() else { return Ok(()) };
        from = last.seq.next();
    }
}
