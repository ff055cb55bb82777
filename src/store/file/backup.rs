//! Copying a store while a server writes to it. Nothing is held up: what the journal says at some
//! moment during the copying is what the copy says. The copy is read back from the first byte to
//! the last; if a file was given up or used anew meanwhile, what is missing is copied again.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::check::{Contents, check};
use super::checkpoint;
use super::disk::{Disk, read_all};
use super::frame::{FILE_HEADER_BYTES, Frame, frame_at, read_file_header};
use super::index::FileNumber;
use super::names::{self, Kind};
use super::recovery::{Inventory, OpenError};

/// How often files are copied again that changed meanwhile.
const ROUNDS: usize = 20;

/// Copies the store of one folder into another, which is empty. `told` hears how many bytes are
/// copied, of how many.
///
/// # Errors
///
/// If a disk says no, or nothing can be known of the store. Damage in what is returned is in the
/// store itself, and so in the copy.
pub fn backup(
    from: &dyn Disk,
    to: &Arc<dyn Disk>,
    told: &mut dyn FnMut(u64, u64),
) -> Result<Contents, OpenError> {
    let mut again: Option<BTreeSet<String>> = None;
    let mut round = 0;
    loop {
        round += 1;
        copy_store(from, &**to, again.as_ref(), told)?;
        let contents = check(Arc::clone(to));
        match contents {
            Ok(contents) if contents.damage.is_empty() || round == ROUNDS => return Ok(contents),
            Err(error) if round == ROUNDS => return Err(error),
            Ok(contents) => {
                again = Some(contents.damage.into_iter().map(|damage| damage.file).collect());
            }
            Err(_) => again = None,
        }
    }
}

/// One round: every file that is not there yet, or is to be copied `again`.
fn copy_store(
    from: &dyn Disk,
    to: &dyn Disk,
    again: Option<&BTreeSet<String>>,
    told: &mut dyn FnMut(u64, u64),
) -> io::Result<()> {
    let checkpoint = match read(from, names::CHECKPOINT)? {
        None => read(from, names::CHECKPOINT_COPY)?,
        there => there,
    };
    let decoded = checkpoint.as_deref().map(checkpoint::decode);
    let position = match &decoded {
        Some(Ok((_, position))) => *position,
        _ => 1,
    };
    let there = Inventory::take(to)?;
    let is_there = |number: FileNumber| {
        let named = again.is_some_and(|again| again.contains(&names::journal(number)));
        again.is_some() && !named && there.journals.contains(&number)
    };
    let journals = Inventory::take(from)?.journals;
    let total = journals.len() as u64;
    for (count, number) in journals.range(..position).enumerate() {
        told(count as u64, total);
        if is_there(*number) {
            continue;
        }
        if let Some(content) = read(from, &names::journal(*number))? {
            write(to, &names::journal(*number), &content)?;
        }
        if let Some(content) = read(from, &names::table(*number))? {
            write(to, &names::table(*number), &content)?;
        }
    }
    copy_tail(from, to, journals.range(position..).copied())?;
    told(total, total);
    if let Some(checkpoint) = checkpoint {
        write(to, names::CHECKPOINT, &checkpoint)?;
        write(to, names::CHECKPOINT_COPY, &checkpoint)?;
    }
    to.sync_names()
}

/// The files that a start reads, as far as whole frames go.
fn copy_tail(
    from: &dyn Disk,
    to: &dyn Disk,
    numbers: impl Iterator<Item = FileNumber>,
) -> io::Result<()> {
    let mut before: Option<(FileNumber, Vec<u8>)> = None;
    for number in numbers {
        let Some(content) = read(from, &names::journal(number))? else { break };
        let begun = whole_frames(&content, number).0 > FILE_HEADER_BYTES;
        if before.is_some() && !begun {
            break;
        }
        if let Some((number, content)) = before.replace((number, content)) {
            write_frames(to, number, content, true)?;
        }
    }
    match before {
        Some((number, content)) => write_frames(to, number, content, false),
        None => Ok(()),
    }
}

/// Writes a file's whole frames; the last file of a journal says nothing of one after it.
fn write_frames(
    to: &dyn Disk,
    number: FileNumber,
    mut content: Vec<u8>,
    followed: bool,
) -> io::Result<()> {
    let (end, last) = whole_frames(&content, number);
    content[if followed { end } else { last }..].fill(0);
    write(to, &names::journal(number), &content)
}

/// Where the whole frames of a file end, with the frame that ends it, and without.
fn whole_frames(content: &[u8], number: FileNumber) -> (usize, usize) {
    let header = content.get(..FILE_HEADER_BYTES).map(read_file_header);
    if !matches!(header, Some(Ok(header)) if header.number == number) {
        return (0, 0);
    }
    let mut end = FILE_HEADER_BYTES;
    while let Ok(standing) = frame_at(content, number, end) {
        if standing.frame == Frame::End {
            return (standing.end, standing.at);
        }
        end = standing.end;
    }
    (end, end)
}

fn read(disk: &dyn Disk, name: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let content = read_all(&*file)?;
    Ok(Some(content))
}

fn write(disk: &dyn Disk, name: &str, content: &[u8]) -> io::Result<()> {
    debug_assert!(names::kind(name) != Kind::Unknown);
    let file = disk.create(name)?;
    file.write_at(content, 0)?;
    file.sync()
}
