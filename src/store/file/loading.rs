//! Reading messages back, from whichever journal files they lie in. Nothing is locked while the
//! disk is read: a file may be given up and used anew meanwhile, so each record is checked to be
//! the one that was looked for, and where it is not, the index is asked again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::checkpoint::{marks_in, place_in, runs_of};
use super::disk::{DiskFile, read_all};
use super::frame::{Frame, next_frame};
use super::index::{FileNumber, Located, Place};
use super::journal::{Journal, lock};
use super::names;
use super::run::{Marks, Places, Run};
use crate::engine::{Load, Recovered, StoredMessage};
use crate::store::codec::{Entry, Mark, Reader, salt};
use crate::types::{Message, QueueId, Seq, TenantId};

/// Places that lie no further apart are read in one go. Unit: bytes.
const GAP_BYTES: u32 = 16 * 1024;

/// Most that is read in one go. Unit: bytes.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// Read behind the last place that is wanted, in the hope that it has the whole record.
const AHEAD_BYTES: u32 = 4 * 1024;

/// Most messages that one load gives.
const MESSAGES_MAX: usize = 16 * 1024;

/// A message that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, at {at}: message {seq} of queue number {queue} of tenant {tenant} cannot be read")]
pub struct DamagedMessage {
    /// The journal file.
    pub file: String,
    /// Where in it the message should be. Unit: bytes.
    pub at: u64,
    /// Whose.
    pub tenant: TenantId,
    /// In which queue.
    pub queue: QueueId,
    /// Which.
    pub seq: Seq,
}

/// What a load found.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) messages: Vec<StoredMessage>,
    pub(super) damaged: Vec<DamagedMessage>,
}

/// How far a group was read.
enum Read {
    All,
    /// As much as was asked for.
    Enough,
    /// This one was removed, or moved into another file, meanwhile.
    Changed(Seq),
}

impl Journal {
    /// The messages that are asked for, as far as they can be read; there may be fewer than
    /// asked for, but none only if there are none.
    pub(super) fn load(&self, tenant: TenantId, load: &Load) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        let mut bytes = 0;
        let mut from = load.from_seq;
        'located: loop {
            let located = self.locate(tenant, load, from);
            for group in located.chunk_by(|a, b| a.file == b.file) {
                match self.load_group(tenant, load, group, &mut loaded, &mut bytes)? {
                    Read::All => {}
                    Read::Enough => return Ok(loaded),
                    // Nothing behind it may be given without it: where is it now?
                    Read::Changed(_) if !loaded.messages.is_empty() => return Ok(loaded),
                    Read::Changed(seq) => {
                        from = seq;
                        continue 'located;
                    }
                }
            }
            match located.last() {
                // All of them are damaged: look behind them.
                Some(last) if loaded.messages.is_empty() => from = last.seq.next(),
                _ => return Ok(loaded),
            }
        }
    }

    fn locate(&self, tenant: TenantId, load: &Load, from: Seq) -> Vec<Located> {
        let index = lock(&self.index);
        let max = load.messages_max.min(MESSAGES_MAX);
        let queue = index.queue(tenant, load.queue).filter(|_| from <= load.to_seq);
        queue.map_or(Vec::new(), |queue| {
            queue.locate(load.priority, (from, load.to_seq), max, load.bytes_max)
        })
    }

    /// Reads messages of one file.
    fn load_group(
        &self,
        tenant: TenantId,
        load: &Load,
        group: &[Located],
        loaded: &mut Loaded,
        bytes: &mut u64,
    ) -> io::Result<Read> {
        let file = group[0].file;
        let places = self.places(file, group).unwrap_or_default();
        let mut records = self.records(file, &places).ok();
        let mut found: Option<BTreeMap<Seq, Message>> = None;
        for (index, located) in group.iter().enumerate() {
            let read = match &mut records {
                Some(records) if index < places.len() => {
                    records.message(tenant, load.queue, located.seq, index)?
                }
                _ => None,
            };
            let Some(message) = read.or_else(|| {
                // It is not where the index has it: look for it, and for all behind it.
                let search = || self.search(tenant, load.queue, file, &group[index..]);
                found.get_or_insert_with(search).remove(&located.seq)
            }) else {
                if !self.is_alive(tenant, load.queue, located.seq, file) {
                    return Ok(Read::Changed(located.seq));
                }
                let at = places.get(index).map_or(0, |place| u64::from(*place));
                let (file, queue, seq) = (names::journal(file), load.queue, located.seq);
                loaded.damaged.push(DamagedMessage { file, at, tenant, queue, seq });
                continue;
            };
            *bytes += message.size();
            if *bytes > load.bytes_max && !loaded.messages.is_empty() {
                return Ok(Read::Enough);
            }
            let seq = located.seq;
            let (attempt, not_before) = match located.returned {
                Some(returned) => (returned.attempt, returned.until),
                None => (0, message.not_before()),
            };
            let message = Arc::new(message);
            loaded.messages.push(StoredMessage { seq, attempt, not_before, message });
            if loaded.messages.len() >= load.messages_max {
                return Ok(Read::Enough);
            }
        }
        Ok(Read::All)
    }

    /// What an engine starts from.
    pub(super) fn recovered(&self, tenant: TenantId) -> io::Result<Recovered> {
        let index = lock(&self.index);
        let mut tables: BTreeMap<FileNumber, Option<Vec<u8>>> = BTreeMap::new();
        index.recovered(tenant, |queue, (_, _, file), run| {
            let (at, length) = match (run.marks(), run.places()) {
                (Marks::Here(marks), _) => return Ok(run.marked(marks).unwrap_or_default()),
                (Marks::Table(length), Places::Table(at)) => (*at, *length),
                (Marks::Table(_), Places::Here(_)) => return Ok(Vec::new()),
            };
            if length == 0 || run.live() == 0 {
                return Ok(Vec::new());
            }
            let sound = |table: &Vec<u8>| runs_of(table, file).is_ok();
            let table =
                tables.entry(file).or_insert_with(|| self.table_content(file).ok().filter(sound));
            let marked = table.as_ref().and_then(|table| {
                marks_in(table, at, run).and_then(|marks| run.marked(marks)).ok()
            });
            match marked {
                Some(marked) => Ok(marked),
                // The table is damaged or missing: the file itself has it, too.
                None => self.search_marks(tenant, queue, file, run),
            }
        })
    }

    /// The marks of a run, from the records of its file.
    fn search_marks(
        &self,
        tenant: TenantId,
        queue: QueueId,
        file: FileNumber,
        run: &Run,
    ) -> io::Result<Vec<(Seq, Mark)>> {
        let mut found = BTreeMap::new();
        let content = self.content(file)?;
        for records in records_of(&content, file, tenant) {
            let mut reader = Reader::new(records);
            while reader.left() > 0
                && let Ok(entry) = reader.entry(salt(tenant))
            {
                if let Entry::Published { queue: of, seq, traits, .. } = entry
                    && of == queue
                    && run.holds(seq)
                    && !traits.mark.is_empty()
                {
                    found.insert(seq, traits.mark);
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Those of `wanted` that stand anywhere in the file.
    fn search(
        &self,
        tenant: TenantId,
        queue: QueueId,
        file: FileNumber,
        wanted: &[Located],
    ) -> BTreeMap<Seq, Message> {
        let mut found = BTreeMap::new();
        let Ok(content) = self.content(file) else { return found };
        for records in records_of(&content, file, tenant) {
            let wanted = |seq: Seq| wanted.binary_search_by_key(&seq, |l| l.seq).is_ok();
            find_messages(records, tenant, queue, wanted, &mut found);
        }
        found
    }

    /// All of a journal file.
    pub(super) fn content(&self, file: FileNumber) -> io::Result<Vec<u8>> {
        read_all(&*self.disk.open(&names::journal(file))?)
    }

    /// Where these messages of one file lie in it.
    fn places(&self, file: FileNumber, group: &[Located]) -> io::Result<Vec<u32>> {
        let mut table = None;
        let mut places = Vec::with_capacity(group.len());
        let mut at = 0;
        while at < group.len() {
            match group[at].place {
                Place::At(place) => {
                    places.push(place);
                    at += 1;
                }
                Place::InTable(_) => {
                    let table = match &mut table {
                        Some(table) => table,
                        none => none.insert(self.table(file)?),
                    };
                    at += table.places(&group[at..], &mut places)?;
                }
            }
        }
        Ok(places)
    }

    fn table(&self, file: FileNumber) -> io::Result<Table> {
        if let Some(table) = lock(&self.upkeep).table(file) {
            return Ok(Table::Here(table));
        }
        Ok(Table::File(self.disk.open(&names::table(file))?))
    }

    /// A whole table.
    pub(super) fn table_content(&self, file: FileNumber) -> io::Result<Vec<u8>> {
        match self.table(file)? {
            Table::Here(table) => Ok(table.to_vec()),
            Table::File(file) => read_all(&*file),
        }
    }

    /// Reads the records of a file at these places, in their order.
    pub(super) fn records<'a>(
        &self,
        file: FileNumber,
        places: &'a [u32],
    ) -> io::Result<Records<'a>> {
        let file = self.disk.open(&names::journal(file))?;
        let length = u32::try_from(file.length()?).unwrap_or(u32::MAX);
        Ok(Records { file, length, places, start: 0, window: Vec::new() })
    }
}

/// The records of a tenant's frames, in the order in which they stand in a file.
fn records_of(content: &[u8], file: FileNumber, tenant: TenantId) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    let frames = std::iter::from_fn(move || {
        let standing = next_frame(content, file, at)?;
        at = standing.end;
        Some(standing.frame)
    });
    frames.filter_map(move |frame| match frame {
        Frame::Batches { tenant: of, records, .. } | Frame::Moved { tenant: of, records } => {
            (of == tenant).then_some(records)
        }
        Frame::Begin { .. } | Frame::End | Frame::Mark => None,
    })
}

fn find_messages(
    records: &[u8],
    tenant: TenantId,
    queue: QueueId,
    wanted: impl Fn(Seq) -> bool,
    found: &mut BTreeMap<Seq, Message>,
) {
    let salt = salt(tenant);
    let mut reader = Reader::new(records);
    while reader.left() > 0 {
        let mut here = reader.clone();
        if reader.entry(salt).is_err() {
            return;
        }
        if let Ok((of, seq, message)) = here.message(salt)
            && of == queue
            && wanted(seq)
        {
            found.insert(seq, message);
        }
    }
}

/// Where the places of sealed files are.
enum Table {
    Here(Arc<Vec<u8>>),
    File(Arc<dyn DiskFile>),
}

impl Table {
    /// The places of the first few of `group` that lie close together in the table; answers how
    /// many.
    fn places(&self, group: &[Located], places: &mut Vec<u32>) -> io::Result<usize> {
        let entries = group.iter().map_while(|located| match located.place {
            Place::InTable(at) => Some(at),
            Place::At(_) => None,
        });
        let entries: Vec<u64> = entries.collect();
        let first = entries[0];
        let near = |at: &&u64| **at >= first && **at - first < u64::from(GAP_BYTES);
        let count = entries.iter().take_while(near).count();
        let last = entries[..count].iter().max().copied().unwrap_or(first);
        let mut read = vec![0; (last - first) as usize + 4];
        match self {
            Table::File(file) => file.read_at(&mut read, first)?,
            Table::Here(table) => {
                let there = table.get(first as usize..last as usize + 4);
                read.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
        }
        for at in &entries[..count] {
            let place = place_in(&read, (at - first) as usize);
            places.push(place.map_err(|_| io::ErrorKind::UnexpectedEof)?);
        }
        Ok(count)
    }
}

/// Records of one file, read in large pieces.
pub(super) struct Records<'a> {
    file: Arc<dyn DiskFile>,
    length: u32,
    places: &'a [u32],
    /// Where the piece at hand begins.
    start: u32,
    window: Vec<u8>,
}

impl Records<'_> {
    /// The message whose place has that index; `None` if something else is there.
    pub(super) fn message(
        &mut self,
        tenant: TenantId,
        queue: QueueId,
        seq: Seq,
        index: usize,
    ) -> io::Result<Option<Message>> {
        let Some(record) = self.record(index)? else { return Ok(None) };
        let read = Reader::new(record).message(salt(tenant));
        Ok(read.ok().filter(|(of, found, _)| (*of, *found) == (queue, seq)).map(|(.., m)| m))
    }

    /// The bytes of a record, by the length that it gives itself; `None` if there is no such.
    pub(super) fn record(&mut self, index: usize) -> io::Result<Option<&[u8]>> {
        const HEADER: u32 = 5;
        const CRC: u32 = 4;
        let place = self.places[index];
        if place > self.length.saturating_sub(HEADER) {
            return Ok(None);
        }
        if !self.has(place, HEADER) {
            self.read(place, self.window_end(index))?;
        }
        let header = &self.window[(place - self.start) as usize..][..HEADER as usize];
        let mut reader = Reader::new(&header[1..]);
        let length = reader.u32().unwrap_or(u32::MAX);
        let whole = length.saturating_add(HEADER + CRC);
        if whole > self.length - place {
            return Ok(None);
        }
        if !self.has(place, whole) {
            self.read(place, self.window_end(index).max(place + whole))?;
        }
        Ok(self.window[(place - self.start) as usize..].get(..whole as usize))
    }

    fn has(&self, place: u32, length: u32) -> bool {
        place >= self.start && (place - self.start) as usize + length as usize <= self.window.len()
    }

    /// How far to read from a place on: over all that follow closely.
    fn window_end(&self, index: usize) -> u32 {
        let first = self.places[index];
        let mut last = first;
        for place in &self.places[index + 1..] {
            let near = *place >= last && place - last <= GAP_BYTES && place - first <= WINDOW_BYTES;
            if !near {
                break;
            }
            last = *place;
        }
        last.saturating_add(AHEAD_BYTES).min(self.length)
    }

    fn read(&mut self, place: u32, end: u32) -> io::Result<()> {
        self.start = place;
        self.window.resize((end - place) as usize, 0);
        self.file.read_at(&mut self.window, u64::from(place))
    }
}
