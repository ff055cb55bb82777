//! Starting on what is there: the checkpoint, then the journal's files behind it, frame by frame.
//!
//! Where a frame is broken, it matters whether it was ever whole on the disk. It was if a later
//! frame of the file says that it had been flushed, or if the next file says that this one ends
//! further on: then it is damage, which is told by file and place, and what follows is read on. It
//! was not otherwise: a power cut tore the last write, nothing in it was ever confirmed, and the
//! file ends there. Nothing is written behind a torn end: each start goes on in a new file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use super::checkpoint::{self, Unusable};
use super::disk::{Disk, DiskFile, read_all};
use super::frame::{
    FILE_HEADER_BYTES, FORMAT, Frame, Standing, file_header, frame_at, next_frame,
    read_file_header, salvaged,
};
use super::index::{FileNumber, Index, Misfit};
use super::journal::{Journal, Options};
use super::names::{self, Kind};
use super::upkeep::{RESERVE_PER_FILE, Upkeep};

/// Something in the store's folder that is not what was written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it, from and to. Unit: bytes.
    pub place: Option<(u64, u64)>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((from, to)) => write!(f, "{}, bytes {from} to {to}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A newer version wrote it.
    #[error(
        "{file} has format {format}, and this version reads formats up to {FORMAT}: start the version of gmq that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        file: String,
        /// Its format.
        format: u32,
    },
    /// Without that file nothing can be known.
    #[error(
        "{file} is {what}: restore the store from a backup, or move the whole folder away to begin anew"
    )]
    Lost {
        /// The file.
        file: String,
        /// Missing or damaged.
        what: &'static str,
    },
}

/// What reading a store gave.
pub(super) struct Recovery {
    pub(super) index: Index,
    pub(super) damage: Vec<Damage>,
    /// Where the checkpoint begins.
    pub(super) position: FileNumber,
    /// Files that were read frame by frame.
    replayed: Vec<FileNumber>,
    /// The last file that was written, and where it ends.
    last: Option<(FileNumber, u32)>,
    /// Up to where that file is known to have been flushed.
    flushed: u32,
    pub(super) inventory: Inventory,
}

/// The files that are there.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) journals: BTreeSet<FileNumber>,
    pub(super) tables: BTreeSet<FileNumber>,
    pub(super) spares: BTreeSet<FileNumber>,
    pub(super) checkpoints: Vec<String>,
    pub(super) unknown: Vec<String>,
}

impl Inventory {
    pub(super) fn take(disk: &dyn Disk) -> io::Result<Self> {
        let mut inventory = Self::default();
        for name in disk.names()? {
            match names::kind(&name) {
                Kind::Journal(number) => drop(inventory.journals.insert(number)),
                Kind::Table(number) => drop(inventory.tables.insert(number)),
                Kind::Spare(number) => drop(inventory.spares.insert(number)),
                Kind::Checkpoint => inventory.checkpoints.push(name),
                Kind::Damaged(_) | Kind::CheckpointNew | Kind::Reserve => {}
                Kind::Unknown => inventory.unknown.push(name),
            }
        }
        inventory.checkpoints.sort();
        Ok(inventory)
    }
}

impl Recovery {
    /// Reads the store; changes nothing.
    pub(super) fn read(disk: &dyn Disk) -> Result<Self, OpenError> {
        let inventory = Inventory::take(disk)?;
        let mut damage = Vec::new();
        let (index, position) = read_checkpoint(disk, &inventory, &mut damage)?;
        let mut recovery = Self {
            index,
            damage,
            position,
            replayed: Vec::new(),
            last: None,
            flushed: 0,
            inventory,
        };
        recovery.replay(disk)?;
        recovery.look_for_missing();
        Ok(recovery)
    }

    /// Reads the files from the checkpoint on.
    fn replay(&mut self, disk: &dyn Disk) -> Result<(), OpenError> {
        let first = match self.read_file(disk, self.position)? {
            Some(file) => Some(file),
            None if self.inventory.checkpoints.is_empty() => self.next_file(disk, self.position)?,
            None => Some(JournalFile::missing(self.position)),
        };
        let Some(mut at_hand) = first else { return Ok(()) };
        if at_hand.content.is_empty() {
            self.missing(at_hand.number);
        }
        loop {
            let number = at_hand.number;
            let next = self.next_file(disk, number)?;
            let end = next.as_ref().map(|next| {
                let known = if next.number == number + 1 { next.previous_end() } else { None };
                known.unwrap_or(u32::MAX)
            });
            let ended = self.replay_file(&at_hand, end);
            let Some(next) = next else {
                if ended == Ended::ByItself && !self.inventory.journals.contains(&(number + 1)) {
                    self.missing(number + 1);
                }
                return Ok(());
            };
            (number + 1..next.number).for_each(|number| self.missing(number));
            at_hand = next;
        }
    }

    /// The next file that something was written to.
    fn next_file(
        &mut self,
        disk: &dyn Disk,
        after: FileNumber,
    ) -> Result<Option<JournalFile>, OpenError> {
        let numbers: Vec<_> = self.inventory.journals.range(after + 1..).copied().collect();
        for number in numbers {
            if let Some(file) = self.read_file(disk, number)?
                && file.has_begun()
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Applies the frames of one file; `end` is where the next one says that it ends, if there is
    /// a next one.
    fn replay_file(&mut self, file: &JournalFile, end: Option<u32>) -> Ended {
        self.replayed.push(file.number);
        self.flushed = 0;
        let mut reader = FileReader { file, at: FILE_HEADER_BYTES, end };
        let mut ended = Ended::Torn;
        loop {
            match reader.next() {
                Next::Frame(standing) => {
                    self.flushed = self.flushed.max(standing.flushed);
                    if standing.frame == Frame::End {
                        ended = Ended::ByItself;
                    }
                    self.apply(file.number, &standing);
                }
                Next::Damage(from, to) => {
                    self.damaged(file.number, from, to);
                    if let Ok(standing) = salvaged(&file.content, from, to) {
                        self.apply(file.number, &standing);
                    }
                }
                Next::Over => break,
            }
            if ended == Ended::ByItself {
                break;
            }
        }
        self.last = Some((file.number, reader.at as u32));
        self.index.files.entry(file.number).or_default().end = reader.at as u64;
        ended
    }

    fn apply(&mut self, number: FileNumber, standing: &Standing<'_>) {
        let mut misfits: Vec<Misfit> = Vec::new();
        self.index.apply(number, standing, &mut misfits);
        let place = Some((standing.at as u64, standing.end as u64));
        let told = misfits.into_iter().map(|misfit| Damage {
            file: names::journal(number),
            place,
            what: misfit.to_string(),
        });
        self.damage.extend(told);
    }

    fn damaged(&mut self, number: FileNumber, from: usize, to: usize) {
        let what = "damaged".to_owned();
        self.tell(Damage {
            file: names::journal(number),
            place: Some((from as u64, to as u64)),
            what,
        });
    }

    /// Notes damage, once.
    fn tell(&mut self, damage: Damage) {
        if !self.damage.contains(&damage) {
            self.damage.push(damage);
        }
    }

    fn missing(&mut self, number: FileNumber) {
        let file = names::journal(number);
        self.tell(Damage { file, place: None, what: "missing".to_owned() });
    }

    /// Reads a file, if it is there; a header that is not right is told as damage.
    fn read_file(
        &mut self,
        disk: &dyn Disk,
        number: FileNumber,
    ) -> Result<Option<JournalFile>, OpenError> {
        if !self.inventory.journals.contains(&number) {
            return Ok(None);
        }
        let name = names::journal(number);
        let file = disk.open(&name)?;
        let content = read_all(&*file)?;
        let header = content.get(..FILE_HEADER_BYTES).map(read_file_header);
        match header {
            Some(Ok(header)) if header.format > FORMAT => {
                return Err(OpenError::Newer { file: name, format: header.format });
            }
            Some(Ok(header)) if header.number == number => {
                let (is, was) = (content.len() as u64, u64::from(header.length));
                if is < was {
                    let place = Some((is, was));
                    let what = "cut off; what stood there is lost".to_owned();
                    self.tell(Damage { file: name, place, what });
                }
            }
            // A file gets its name once its header is on the disk.
            _ => self.damaged(number, 0, FILE_HEADER_BYTES.min(content.len())),
        }
        Ok(Some(JournalFile { number, content }))
    }

    /// Files that the index refers to and that are not there.
    fn look_for_missing(&mut self) {
        let lost: Vec<FileNumber> = self
            .index
            .files
            .iter()
            .filter(|(file, state)| state.messages > 0 && !self.inventory.journals.contains(file))
            .map(|(file, _)| *file)
            .collect();
        for file in lost {
            let messages = self.index.files[&file].messages;
            let what = format!("missing, with {messages} messages");
            let file = names::journal(file);
            if !self.damage.iter().any(|damage| damage.file == file) {
                self.damage.push(Damage { file, place: None, what });
            }
        }
    }

    /// Makes the store ready to be written: seals what was read, and goes on in a new file. Answers
    /// what is damaged, too.
    pub(super) fn start(
        mut self,
        disk: Arc<dyn Disk>,
        options: Options,
    ) -> Result<(Journal, Vec<Damage>), OpenError> {
        self.keep_damaged(&*disk);
        let journals = &self.inventory.journals;
        self.index.files.retain(|file, state| state.messages > 0 || journals.contains(file));
        self.flush_replayed(&*disk)?;
        let last = self.last.map_or(0, |(number, _)| number);
        let position = last.max(self.position.saturating_sub(1)) + 1;
        let spares = self.tidy(&*disk, position)?;
        let mut upkeep = Upkeep { taken: position, spares, ..Upkeep::default() };
        upkeep.position = self.position;
        let (file, length) = match self.inventory.journals.contains(&position) {
            true => (clear(&*disk, options, position)?, options.file_bytes),
            false => first_file(&*disk, options, position, upkeep.spares.pop())?,
        };
        for file in &self.replayed {
            let table = checkpoint::seal(&mut self.index, *file);
            upkeep.tables.insert(*file, Arc::new(table));
        }
        upkeep.snapshot = Some((position, checkpoint::encode(&self.index, position)));
        let previous_end = self.last.map(|(_, end)| end);
        let begun = (position, file, length);
        let journal = Journal::begin(disk, options, self.index, upkeep, begun, previous_end)?;
        journal.keep_reserve();
        match journal.save() {
            // Upkeep does it when there is room; until then the files before are kept.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            saved => saved?,
        }
        // At once: a server that is restarted again and again takes a file each time.
        journal.release()?;
        Ok((journal, self.damage))
    }

    /// What was read may not be on the disk: it is, before anything is built on it. It is written
    /// again for that, from where it is known to have been flushed: where a flush failed, the
    /// operating system takes what was to be flushed for clean, and a flush alone does nothing.
    fn flush_replayed(&self, disk: &dyn Disk) -> io::Result<()> {
        let Some((number, end)) = self.last else { return Ok(()) };
        if !self.inventory.journals.contains(&number) {
            return Ok(());
        }
        let file = disk.open(&names::journal(number))?;
        // Not what a file that was cut off does not have.
        let end = u32::try_from(file.length()?).unwrap_or(u32::MAX).min(end);
        let mut again = vec![0; end.saturating_sub(self.flushed) as usize];
        file.read_at(&mut again, u64::from(self.flushed))?;
        file.write_at(&again, u64::from(self.flushed))?;
        file.sync()
    }

    /// Removes what a crash left half done. Answers the spare files.
    fn tidy(&self, disk: &dyn Disk, position: FileNumber) -> io::Result<Vec<FileNumber>> {
        let mut spares: Vec<FileNumber> = self.inventory.spares.iter().copied().collect();
        for number in self.inventory.journals.range(position + 1..) {
            // It was made ready, and nothing was written to it. The one before it is replaced.
            disk.rename(&names::journal(*number), &names::spare(*number))?;
            if !spares.contains(number) {
                spares.push(*number);
            }
        }
        let known = |number: &FileNumber| {
            self.index.files.contains_key(number) || self.replayed.contains(number)
        };
        for number in self.inventory.journals.range(..position).filter(|number| !known(number)) {
            // It was given up, and its name came back.
            disk.rename(&names::journal(*number), &names::spare(*number))?;
            spares.push(*number);
        }
        for number in self.inventory.tables.iter().filter(|number| !known(number)) {
            disk.remove(&names::table(*number))?;
        }
        disk.sync_names()?;
        while spares.len() > 2 {
            if let Some(spare) = spares.pop() {
                disk.remove(&names::spare(spare))?;
            }
        }
        Ok(spares)
    }

    /// Puts copies of damaged files aside, for whoever wants to look into them: the files
    /// themselves are used anew when all that can be read in them is done.
    fn keep_damaged(&mut self, disk: &dyn Disk) {
        let mut files = BTreeMap::new();
        for damage in self.damage.iter().filter(|damage| damage.place.is_some()) {
            if let Kind::Journal(number) = names::kind(&damage.file) {
                files.insert(number, damage.file.clone());
            }
        }
        for (number, file) in files {
            if let Err(error) = copy(disk, &file, &names::damaged(number)) {
                let what = format!("cannot be put aside: {error}");
                self.damage.push(Damage { file, place: None, what });
            }
        }
    }
}

/// Makes the first file of a run; on a full disk a short one, in the place of the reserve. Answers
/// its length. Unit: bytes.
fn first_file(
    disk: &dyn Disk,
    options: Options,
    number: FileNumber,
    spare: Option<FileNumber>,
) -> io::Result<(Arc<dyn DiskFile>, u32)> {
    match Journal::prepare(disk, options, number, spare) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
        made => return made.map(|file| (file, options.file_bytes)),
    }
    match disk.remove(names::RESERVE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let short = Options { file_bytes: options.file_bytes / RESERVE_PER_FILE };
    Ok((Journal::prepare(disk, short, number, None)?, short.file_bytes))
}

/// Takes the file that was made ready for the run before, which may have begun to write to it.
fn clear(disk: &dyn Disk, options: Options, number: FileNumber) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.open(&names::journal(number))?;
    file.allocate(u64::from(options.file_bytes))?;
    let mut content = read_all(&*file)?;
    let begun = next_frame(&content, number, 0).is_some();
    let (header, rest) = content.split_at_mut(FILE_HEADER_BYTES);
    // Its header is right, and stays so at each moment, or it was damaged.
    header.copy_from_slice(&file_header(number, options.file_bytes));
    if begun {
        rest.fill(0);
        file.write_at(&content, 0)?;
    } else {
        file.write_at(header, 0)?;
    }
    file.sync()?;
    Ok(file)
}

fn copy(disk: &dyn Disk, from: &str, to: &str) -> io::Result<()> {
    let file = disk.open(from)?;
    let content = read_all(&*file)?;
    let copy = disk.create(to)?;
    copy.write_at(&content, 0)?;
    copy.sync()
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It says so itself.
    ByItself,
    /// It does not.
    Torn,
}

/// One journal file's content.
struct JournalFile {
    number: FileNumber,
    content: Vec<u8>,
}

impl JournalFile {
    fn missing(number: FileNumber) -> Self {
        Self { number, content: Vec::new() }
    }

    /// Whether its first frame was flushed once.
    fn has_begun(&self) -> bool {
        let mut later = next_frame(&self.content, self.number, FILE_HEADER_BYTES);
        while let Some(standing) = &later {
            let first = standing.at == FILE_HEADER_BYTES;
            if first || standing.flushed as usize > FILE_HEADER_BYTES {
                return true;
            }
            later = next_frame(&self.content, self.number, standing.end);
        }
        false
    }

    /// Where the file before ends, as this one says.
    fn previous_end(&self) -> Option<u32> {
        match frame_at(&self.content, self.number, FILE_HEADER_BYTES).ok()?.frame {
            Frame::Begin { previous_end } => Some(previous_end),
            _ => None,
        }
    }
}

/// Reads the frames of one file.
struct FileReader<'a> {
    file: &'a JournalFile,
    at: usize,
    /// Where it must end; `u32::MAX`: further on than can be known.
    end: Option<u32>,
}

enum Next<'a> {
    Frame(Standing<'a>),
    Damage(usize, usize),
    Over,
}

impl<'a> FileReader<'a> {
    fn next(&mut self) -> Next<'a> {
        let (content, number) = (&self.file.content, self.file.number);
        if content.is_empty() || self.end.is_some_and(|end| self.at >= end as usize) {
            return Next::Over;
        }
        if let Ok(standing) = frame_at(content, number, self.at) {
            self.at = standing.end;
            return Next::Frame(standing);
        }
        let broken = self.at;
        let mut later = next_frame(content, number, broken);
        // Behind a torn end there may be whole frames of the same write, and of none after it.
        while let Some(standing) = &later
            && self.end.is_none()
            && standing.flushed as usize <= broken
        {
            later = next_frame(content, number, standing.end);
        }
        match (later, self.end) {
            (Some(_), _) => {
                let first = next_frame(content, number, broken);
                self.at = first.map_or(content.len(), |first| first.at);
                Next::Damage(broken, self.at)
            }
            (None, Some(end)) => {
                self.at = (end as usize).min(content.len().max(broken));
                self.end = Some(self.at as u32);
                Next::Damage(broken, self.at)
            }
            (None, None) => {
                self.end = Some(broken as u32);
                Next::Over
            }
        }
    }
}

fn read_checkpoint(
    disk: &dyn Disk,
    inventory: &Inventory,
    damage: &mut Vec<Damage>,
) -> Result<(Index, FileNumber), OpenError> {
    let mut best: Option<(Index, FileNumber)> = None;
    for name in &inventory.checkpoints {
        let file = disk.open(name)?;
        let content = read_all(&*file)?;
        match checkpoint::decode(&content) {
            Ok((index, position)) => {
                if best.as_ref().is_none_or(|(_, best)| position > *best) {
                    best = Some((index, position));
                }
            }
            Err(Unusable::Newer(format)) => {
                return Err(OpenError::Newer { file: name.clone(), format });
            }
            Err(Unusable::Damaged) => {
                let what = "damaged".to_owned();
                damage.push(Damage { file: name.clone(), place: None, what });
            }
        }
    }
    if let Some(best) = best {
        return Ok(best);
    }
    if let Some(name) = inventory.checkpoints.first() {
        return Err(OpenError::Lost { file: name.clone(), what: "damaged" });
    }
    // A store that never wrote one begins with its first file.
    let first = inventory.journals.first().copied().unwrap_or(1);
    if first > 1 {
        let file = names::CHECKPOINT.to_owned();
        return Err(OpenError::Lost { file, what: "missing" });
    }
    Ok((Index::default(), 1))
}
