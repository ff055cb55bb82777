//! What the journal adds up to: of each tenant its queues, of each queue which messages are in it
//! and where they lie, of each journal file how much of it is still alive. Frames are applied to it
//! in the order of the journal, by the same code when they have just been made durable and when
//! they are read back at a start.
//!
//! A record that cannot be true after those before it shows that something was lost in between. It
//! is a [`Misfit`], told to the caller, and as much of it as makes sense is done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::frame::{Frame, Standing};
use super::run::{Marks, Places, Run};
use crate::engine::{KnownMessage, Recovered, RecoveredQueue};
use crate::store::codec::{Entry, Mark, Reader, Traits, salt};
use crate::types::{
    Fence, Lsn, Pattern, Priority, QueueId, QueueName, QueueSettings, Seq, TenantId, WallMs,
};

/// Journal files are numbered in the order in which they are written; 1 the first.
pub(super) type FileNumber = u64;

/// A record that does not follow from what stands before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Batches are missing.
    #[error("tenant {tenant}: batches {from} to {to} are missing")]
    Gap {
        /// Whose.
        tenant: TenantId,
        /// The first one missing.
        from: Lsn,
        /// The last one missing.
        to: Lsn,
    },
    /// A record cannot be carried out.
    #[error("tenant {tenant}: a record of queue number {queue} does not fit ({what})")]
    Record {
        /// Whose.
        tenant: TenantId,
        /// Of which queue.
        queue: QueueId,
        /// What it was to do.
        what: &'static str,
    },
    /// A record cannot be read.
    #[error("tenant {tenant}: the record at {at} cannot be read")]
    Unreadable {
        /// Whose.
        tenant: TenantId,
        /// Where in the file. Unit: bytes.
        at: u64,
    },
}

/// See the module.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Index {
    pub(super) tenants: BTreeMap<TenantId, TenantState>,
    pub(super) files: BTreeMap<FileNumber, FileState>,
}

/// One tenant.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct TenantState {
    pub(super) lsn: Lsn,
    pub(super) fence: Fence,
    pub(super) queue_id_max: QueueId,
    pub(super) queues: BTreeMap<QueueId, QueueState>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct QueueState {
    pub(super) name: QueueName,
    pub(super) settings: QueueSettings,
    pub(super) next_seq: Seq,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Messages that were returned.
    pub(super) returned: BTreeMap<Seq, Returned>,
    /// Messages that a consumer refused for good, and what it said.
    pub(super) rejected: BTreeMap<Seq, Box<str>>,
    /// Keys with their message and its time, in the order of their publishing.
    pub(super) keys: VecDeque<(Box<str>, Seq, WallMs)>,
    pub(super) bindings: BTreeSet<Pattern>,
    pub(super) runs: BTreeMap<RunKey, Run>,
    /// No run spans more numbers.
    pub(super) span_max: u64,
    /// The priorities that messages had, each with the runs that are added to.
    tails: Vec<Tails>,
}

/// The runs of one priority that new messages, and moved ones, are added to.
#[derive(Debug, Clone, PartialEq)]
struct Tails {
    priority: Priority,
    new: Option<RunKey>,
    moved: Option<RunKey>,
}

/// Runs of different priorities are apart, so that messages of one can be read alone.
pub(super) type RunKey = (Priority, Seq, FileNumber);

/// One journal file.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct FileState {
    /// Messages in it that are alive, and their bytes as `Message::size` counts.
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Where its last frame ends.
    pub(super) end: u64,
    /// The runs in it, while it is not sealed.
    pub(super) open: Vec<RunId>,
}

impl FileState {
    /// What its live messages take, about. Unit: bytes.
    pub(super) fn live_bytes(&self) -> u64 {
        self.bytes + self.messages * crate::store::codec::RECORD_BYTES
    }
}

/// What is known of a message that was returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Returned {
    /// Deliveries so far.
    pub(super) attempt: u32,
    /// Not delivered before; 0: at once.
    pub(super) until: WallMs,
    /// Not known of those that format 1 has.
    pub(super) published_at: Option<WallMs>,
}

/// A run, of all in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunId {
    pub(super) tenant: TenantId,
    pub(super) queue: QueueId,
    pub(super) priority: Priority,
    pub(super) first: Seq,
}

/// Where one message lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) seq: Seq,
    pub(super) file: FileNumber,
    pub(super) place: Place,
    /// Where it was returned.
    pub(super) returned: Option<Returned>,
}

/// A place in a journal file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Known.
    At(u32),
    /// In the file's table, at this place.
    InTable(u64),
}

impl QueueState {
    fn new(name: QueueName, settings: QueueSettings) -> Self {
        Self::restored(name, settings, Seq(1))
    }

    /// A queue as a checkpoint remembers it, without its messages.
    pub(super) fn restored(name: QueueName, settings: QueueSettings, next_seq: Seq) -> Self {
        Self {
            name,
            settings,
            next_seq,
            messages: 0,
            bytes: 0,
            returned: BTreeMap::new(),
            rejected: BTreeMap::new(),
            keys: VecDeque::new(),
            bindings: BTreeSet::new(),
            runs: BTreeMap::new(),
            span_max: 0,
            tails: Vec::new(),
        }
    }

    /// The run in which the message is alive.
    fn find(&self, seq: Seq) -> Option<RunKey> {
        self.tails.iter().find_map(|tails| {
            let priority = tails.priority;
            let range = (priority, Seq(0), 0)..=(priority, seq, FileNumber::MAX);
            let before = self.runs.range(range).rev();
            before
                .take_while(|((_, first, _), _)| first.0 + self.span_max > seq.0)
                .find(|(_, run)| run.holds(seq))
                .map(|(key, _)| *key)
        })
    }

    fn tails(&mut self, priority: Priority) -> &mut Tails {
        let at = self.tails.iter().position(|tails| tails.priority == priority);
        let at = at.unwrap_or_else(|| {
            self.tails.push(Tails { priority, new: None, moved: None });
            self.tails.len() - 1
        });
        &mut self.tails[at]
    }

    /// Takes a run as a checkpoint remembers it.
    pub(super) fn restore(&mut self, key: RunKey, run: Run) {
        self.tails(key.0);
        self.messages += run.live();
        self.bytes += run.bytes();
        self.span_max = self.span_max.max(run.span());
        self.runs.insert(key, run);
    }

    /// Adds a message that lies in the file that is being written. Answers whether that began a
    /// run.
    fn add(
        &mut self,
        (file, place): (FileNumber, u32),
        seq: Seq,
        bytes: u64,
        traits: &Traits,
        moved: bool,
    ) -> bool {
        let priority = traits.priority;
        let tails = self.tails(priority);
        let tail = if moved { tails.moved } else { tails.new };
        let key = tail.filter(|(_, _, of)| *of == file);
        let key = key.filter(|key| self.runs.get(key).is_some_and(|run| run.takes(seq)));
        let there = key.is_some();
        let key = key.unwrap_or((priority, seq, file));
        if !there {
            let tails = self.tails(priority);
            let tail = if moved { &mut tails.moved } else { &mut tails.new };
            *tail = Some(key);
        }
        let run = self.runs.entry(key).or_insert_with(|| Run::new(seq));
        run.add(seq, bytes, place, &traits.mark);
        self.span_max = self.span_max.max(run.span());
        !there
    }

    /// Takes a message out of a run; one that is empty and not being added to goes.
    fn take_out(&mut self, key: RunKey, seq: Seq, bytes: u64) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        run.remove(seq, bytes);
        if run.live() == 0 && matches!(run.places(), Places::Table(_)) {
            self.runs.remove(&key);
        }
    }

    /// Where up to `max` messages in `[from, to]` lie, of one priority or of all, ascending; those
    /// that take `bytes_max`, by what they take on the average, are enough.
    pub(super) fn locate(
        &self,
        priority: Option<Priority>,
        (from, to): (Seq, Seq),
        max: usize,
        bytes_max: u64,
    ) -> Vec<Located> {
        let wanted = self.tails.iter().map(|tails| tails.priority);
        let wanted = wanted.filter(|of| priority.is_none_or(|priority| priority == *of));
        let mut all: Vec<Located> = Vec::new();
        let mut end = to;
        for priority in wanted {
            let (located, horizon) = self.locate_of(priority, (from, to), max, bytes_max);
            end = end.min(horizon);
            all.extend(located);
        }
        all.retain(|located| located.seq <= end);
        all.sort_by_key(|located| located.seq);
        all.truncate(max.max(1));
        all
    }

    /// The same for one priority; and up to where none is left out.
    fn locate_of(
        &self,
        priority: Priority,
        (from, to): (Seq, Seq),
        max: usize,
        bytes_max: u64,
    ) -> (Vec<Located>, Seq) {
        let mut located: Vec<Located> = Vec::new();
        let earliest = Seq(from.0.saturating_sub(self.span_max));
        // Where the first run ends of which not all was taken: nothing behind that may be given.
        let mut horizon = to;
        let mut reached = Seq(0);
        let mut bytes: u64 = 0;
        let range = (priority, earliest, 0)..=(priority, to, FileNumber::MAX);
        for ((_, first, file), run) in self.runs.range(range) {
            let enough = located.len() >= max.max(1) || bytes > bytes_max;
            if *first > horizon || enough && *first > reached {
                horizon = horizon.min(Seq(first.0.saturating_sub(1)));
                break;
            }
            let average = run.bytes() / run.live().max(1);
            let fit = usize::try_from(bytes_max / average.max(1)).unwrap_or(usize::MAX);
            let mut seqs = run.iter_from(from).take_while(|seq| *seq <= horizon);
            let taken = seqs.by_ref().take(fit.saturating_add(1).min(max.max(1)));
            let before = located.len();
            located.extend(taken.map(|seq| self.located(run, *file, seq)));
            bytes = bytes.saturating_add(average.saturating_mul((located.len() - before) as u64));
            reached = reached.max(located.last().map_or(Seq(0), |last| last.seq));
            if let Some(next) = seqs.next() {
                horizon = horizon.min(Seq(next.0 - 1));
            }
        }
        located.retain(|located| located.seq <= horizon);
        (located, horizon)
    }

    fn located(&self, run: &Run, file: FileNumber, seq: Seq) -> Located {
        let index = seq.0 - run.first().0;
        let place = match run.places() {
            Places::Here(places) => Place::At(places[index as usize]),
            Places::Table(at) => Place::InTable(at + 4 * index),
        };
        let returned = self.returned.get(&seq).copied();
        Located { seq, file, place, returned }
    }

    /// Whether the message is alive in that file.
    pub(super) fn is_in(&self, seq: Seq, file: FileNumber) -> bool {
        self.find(seq).is_some_and(|(_, _, of)| of == file)
    }

    /// Where the live messages of one run lie.
    pub(super) fn located_in(&self, key: RunKey) -> Vec<Located> {
        let run = self.runs.get(&key);
        let located = run.map(|run| run.iter_from(Seq(0)).map(|seq| self.located(run, key.2, seq)));
        located.into_iter().flatten().collect()
    }
}

impl Index {
    /// Applies a frame of a file. Misfits are told; everything else is done.
    pub(super) fn apply(
        &mut self,
        file: FileNumber,
        standing: &Standing<'_>,
        misfits: &mut Vec<Misfit>,
    ) {
        self.files.entry(file).or_default().end = standing.end as u64;
        let (tenant, records, moved) = match &standing.frame {
            Frame::Batches { tenant, first, last, records } => {
                let state = self.tenants.entry(*tenant).or_default();
                if *first > state.lsn.next() {
                    let (from, to) = (state.lsn.next(), Lsn(first.0 - 1));
                    misfits.push(Misfit::Gap { tenant: *tenant, from, to });
                }
                state.lsn = state.lsn.max(*last);
                (*tenant, *records, false)
            }
            Frame::Moved { tenant, records } => (*tenant, *records, true),
            Frame::Begin { .. } | Frame::End | Frame::Mark => return,
        };
        let salt = salt(tenant);
        let mut reader = Reader::new(records);
        while reader.left() > 0 {
            let place = standing.records_at + records.len() - reader.left();
            let Ok(entry) = reader.entry(salt) else {
                misfits.push(Misfit::Unreadable { tenant, at: place as u64 });
                if reader.skip_record().is_err() {
                    return;
                }
                continue;
            };
            let done = self.apply_entry(tenant, file, entry, place as u32, moved);
            if let Err((queue, what)) = done {
                misfits.push(Misfit::Record { tenant, queue, what });
            }
        }
    }

    fn apply_entry(
        &mut self,
        tenant: TenantId,
        file: FileNumber,
        entry: Entry,
        place: u32,
        moved: bool,
    ) -> Result<(), (QueueId, &'static str)> {
        let files = &mut self.files;
        let state = self.tenants.entry(tenant).or_default();
        match entry {
            Entry::FenceReserved { up_to } => state.fence = state.fence.max(up_to),
            Entry::Created { queue, name, settings } => {
                return state.create(files, queue, name, settings);
            }
            Entry::Deleted { queue } => {
                let gone = state.queues.remove(&queue).ok_or((queue, "delete"))?;
                gone.release(files);
            }
            Entry::Changed { queue, settings } => {
                let there = state.queue(queue, "change")?;
                if settings.dedup_window_ms == 0 {
                    there.keys.clear();
                }
                there.settings = settings;
            }
            Entry::SeqReserved { queue, up_to } => {
                let there = state.queue(queue, "reserve numbers")?;
                there.next_seq = there.next_seq.max(up_to.next());
            }
            Entry::Published { queue, seq, bytes, published_at, mut traits } => {
                let what = if moved { "move" } else { "publish" };
                // A queue may be deleted while its messages are moved.
                let there = match state.queue(queue, what) {
                    Err(_) if moved => return Ok(()),
                    there => there?,
                };
                if let Some(key) = traits.key.take().filter(|_| !moved) {
                    there.remember(key, seq, published_at);
                }
                if there.store(files, (file, place), seq, bytes, &traits, moved)? {
                    let run = RunId { tenant, queue, priority: traits.priority, first: seq };
                    files.entry(file).or_default().open.push(run);
                }
            }
            Entry::Removed { queue, seq, bytes } => {
                let there = state.queue(queue, "remove")?;
                there.remove(files, seq, bytes).ok_or((queue, "remove"))?;
            }
            Entry::Delayed { queue, seq, until, attempt, published_at } => {
                let there = state.queue(queue, "delay")?;
                there.find(seq).ok_or((queue, "delay"))?;
                there.returned.insert(seq, Returned { attempt, until, published_at });
            }
            Entry::Purged { queue, except } => state.queue(queue, "purge")?.purge(files, &except),
            Entry::Rejected { queue, seq, attempt, detail } => {
                let there = state.queue(queue, "reject")?;
                there.reject(seq, attempt, detail).ok_or((queue, "reject"))?;
            }
            Entry::Bound { queue, pattern } => {
                state.queue(queue, "bind")?.bindings.insert(pattern);
            }
            Entry::Unbound { queue, pattern } => {
                state.queue(queue, "unbind")?.bindings.remove(&pattern);
            }
        }
        Ok(())
    }

    /// What an engine starts from; `marks` reads those that are in tables.
    pub(super) fn recovered<E>(
        &self,
        tenant: TenantId,
        mut marks: impl FnMut(QueueId, RunKey, &Run) -> Result<Vec<(Seq, Mark)>, E>,
    ) -> Result<Recovered, E> {
        let Some(state) = self.tenants.get(&tenant) else { return Ok(Recovered::default()) };
        let mut queues = Vec::with_capacity(state.queues.len());
        for (id, queue) in &state.queues {
            queues.push(queue.recovered(*id, &mut marks)?);
        }
        Ok(Recovered {
            lsn: state.lsn,
            fence: state.fence,
            queue_id_max: state.queue_id_max,
            queues,
        })
    }

    /// Where messages of a queue lie; see [`QueueState::locate`].
    pub(super) fn queue(&self, tenant: TenantId, queue: QueueId) -> Option<&QueueState> {
        self.tenants.get(&tenant)?.queues.get(&queue)
    }

    /// No more is written to the file: hands out its runs that have live messages, each with its
    /// places, and forgets the others. `at` gives the place of each in the table.
    pub(super) fn seal(
        &mut self,
        file: FileNumber,
        mut put: impl FnMut(RunId, &Run, &[u32], &[u8]) -> u64,
    ) {
        let Some(state) = self.files.get_mut(&file) else { return };
        for id in std::mem::take(&mut state.open) {
            let tenant = self.tenants.get_mut(&id.tenant);
            let Some(there) = tenant.and_then(|t| t.queues.get_mut(&id.queue)) else { continue };
            let key = (id.priority, id.first, file);
            let Some(run) = there.runs.get_mut(&key) else { continue };
            let Places::Here(places) = run.places() else { continue };
            let Marks::Here(marks) = run.marks() else { continue };
            if run.live() == 0 {
                there.runs.remove(&key);
                continue;
            }
            let at = put(id, run, places, marks);
            run.seal(at);
        }
    }
}

type Files = BTreeMap<FileNumber, FileState>;

impl TenantState {
    fn queue(
        &mut self,
        queue: QueueId,
        what: &'static str,
    ) -> Result<&mut QueueState, (QueueId, &'static str)> {
        self.queues.get_mut(&queue).ok_or((queue, what))
    }

    fn create(
        &mut self,
        files: &mut Files,
        queue: QueueId,
        name: QueueName,
        settings: QueueSettings,
    ) -> Result<(), (QueueId, &'static str)> {
        self.queue_id_max = self.queue_id_max.max(queue);
        let same = self.queues.iter().find(|(_, there)| there.name == name).map(|(id, _)| *id);
        let lost = same.and_then(|id| self.queues.remove(&id));
        self.queues.insert(queue, QueueState::new(name, settings));
        let Some(lost) = lost else { return Ok(()) };
        // Its deletion was lost: two queues never have one name.
        lost.release(files);
        Err((queue, "create"))
    }
}

impl QueueState {
    /// Adds a message; answers whether that began a run.
    fn store(
        &mut self,
        files: &mut Files,
        (file, place): (FileNumber, u32),
        seq: Seq,
        bytes: u64,
        traits: &Traits,
        moved: bool,
    ) -> Result<bool, (QueueId, &'static str)> {
        let there = if seq < self.next_seq { self.find(seq) } else { None };
        if moved {
            // It may have been removed while it was moved.
            let Some(key) = there else { return Ok(false) };
            self.take_out(key, seq, bytes);
            release(files, key.2, 1, bytes);
        } else {
            if let Some(key) = there {
                self.take_out(key, seq, bytes);
                release(files, key.2, 1, bytes);
            } else {
                self.messages += 1;
                self.bytes += bytes;
            }
            self.next_seq = self.next_seq.max(seq.next());
        }
        let state = files.entry(file).or_default();
        state.messages += 1;
        state.bytes += bytes;
        Ok(self.add((file, place), seq, bytes, traits, moved))
    }

    /// Remembers a key, and forgets those that had left the window by then.
    fn remember(&mut self, key: Box<str>, seq: Seq, at: WallMs) {
        let window = self.settings.dedup_window_ms;
        if window == 0 {
            return;
        }
        self.keys.push_back((key, seq, at));
        while self.keys.front().is_some_and(|(_, _, old)| at.saturating_sub(*old) >= window) {
            self.keys.pop_front();
        }
    }

    fn recovered<E>(
        &self,
        id: QueueId,
        marks: &mut impl FnMut(QueueId, RunKey, &Run) -> Result<Vec<(Seq, Mark)>, E>,
    ) -> Result<RecoveredQueue, E> {
        let mut known: Vec<KnownMessage> = Vec::new();
        let mut plain: BTreeMap<Priority, u64> = BTreeMap::new();
        for (key, run) in &self.runs {
            for (seq, mark) in marks(id, *key, run)? {
                let Mark { published_at, not_before, expires_at, group } = mark;
                let (priority, attempt, rejected) = (key.0, 0, None);
                let message = KnownMessage {
                    seq,
                    priority,
                    attempt,
                    not_before,
                    published_at: Some(published_at),
                    expires_at,
                    group,
                    rejected,
                };
                known.push(message);
            }
            *plain.entry(key.0).or_default() += run.live();
        }
        known.sort_unstable_by_key(|message| message.seq);
        let marked = known.len();
        for (seq, returned) in &self.returned {
            let Some((priority, _, _)) = self.find(*seq) else { continue };
            let at = known[..marked].binary_search_by_key(seq, |message| message.seq);
            let at = at.unwrap_or_else(|_| {
                known.push(KnownMessage {
                    seq: *seq,
                    priority,
                    attempt: 0,
                    not_before: 0,
                    published_at: None,
                    expires_at: None,
                    group: None,
                    rejected: None,
                });
                known.len() - 1
            });
            let message = &mut known[at];
            (message.attempt, message.not_before) = (returned.attempt, returned.until);
            message.published_at = message.published_at.or(returned.published_at);
            message.rejected = self.rejected.get(seq).cloned();
        }
        known.sort_unstable_by_key(|message| message.seq);
        for message in &known {
            if let Some(count) = plain.get_mut(&message.priority) {
                *count -= 1;
            }
        }
        plain.retain(|_, count| *count > 0);
        Ok(RecoveredQueue {
            id,
            name: self.name.clone(),
            settings: self.settings.clone(),
            next_seq: self.next_seq,
            messages: self.messages,
            bytes: self.bytes,
            known,
            plain: plain.into_iter().collect(),
            keys: self.keys.iter().cloned().collect(),
            bindings: self.bindings.iter().cloned().collect(),
        })
    }

    fn remove(&mut self, files: &mut Files, seq: Seq, bytes: u64) -> Option<()> {
        let key = self.find(seq)?;
        self.take_out(key, seq, bytes);
        release(files, key.2, 1, bytes);
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.returned.remove(&seq);
        self.rejected.remove(&seq);
        Some(())
    }

    fn reject(&mut self, seq: Seq, attempt: u32, detail: Box<str>) -> Option<()> {
        self.find(seq)?;
        let published_at = self.returned.get(&seq).and_then(|returned| returned.published_at);
        self.returned.insert(seq, Returned { attempt, until: 0, published_at });
        self.rejected.insert(seq, detail);
        Some(())
    }

    /// All messages go but `kept`: the last number given is what a purge names, so that there are
    /// none behind it.
    fn purge(&mut self, files: &mut Files, kept: &[(Seq, u64)]) {
        (self.messages, self.bytes) = (0, 0);
        for ((_, _, file), run) in &mut self.runs {
            let (live, bytes) = (run.live(), run.bytes());
            run.keep_only(kept);
            release(files, *file, live - run.live(), bytes.saturating_sub(run.bytes()));
            self.messages += run.live();
            self.bytes += run.bytes();
        }
        let stays = |seq: &Seq| kept.binary_search_by_key(seq, |(kept, _)| *kept).is_ok();
        self.returned.retain(|seq, _| stays(seq));
        self.rejected.retain(|seq, _| stays(seq));
        self.runs.retain(|_, run| run.live() > 0 || matches!(run.places(), Places::Here(_)));
    }

    /// All of its messages are gone.
    fn release(&self, files: &mut Files) {
        for ((_, _, file), run) in &self.runs {
            release(files, *file, run.live(), run.bytes());
        }
    }
}

fn release(files: &mut Files, file: FileNumber, messages: u64, bytes: u64) {
    if let Some(state) = files.get_mut(&file) {
        state.messages = state.messages.saturating_sub(messages);
        state.bytes = state.bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> QueueState {
        QueueState::new(QueueName::new("q").unwrap(), QueueSettings::default())
    }

    #[test]
    fn what_is_located_has_no_holes_where_a_run_is_too_long_for_one_read() {
        let mut queue = queue();
        let mut files = Files::new();
        for seq in 1..=4 {
            let place = (1, 100 * seq as u32);
            queue.store(&mut files, place, Seq(seq), 1_000, &Traits::default(), false).unwrap();
        }
        for seq in 5..=6 {
            let place = (2, 100 * seq as u32);
            queue.store(&mut files, place, Seq(seq), 10, &Traits::default(), false).unwrap();
        }
        for bytes_max in (0..6_000).step_by(100) {
            for max in 1..=6 {
                let located = queue.locate(None, (Seq(1), Seq(6)), max, bytes_max);
                let seqs: Vec<u64> = located.iter().map(|located| located.seq.0).collect();
                let whole: Vec<u64> = (1..=seqs.len() as u64).collect();
                assert_eq!(seqs, whole, "bytes {bytes_max}, messages {max}");
                assert!(!seqs.is_empty() && seqs.len() <= max);
            }
        }
        queue.store(&mut files, (3, 7), Seq(2), 1_000, &Traits::default(), true).unwrap();
        let located = queue.locate(None, (Seq(1), Seq(6)), 9, 9_999);
        let files_of: Vec<u64> = located.iter().map(|located| located.file).collect();
        assert_eq!(files_of, [1, 3, 1, 1, 2, 2]);
        let located = queue.locate(None, (Seq(1), Seq(6)), 9, 1_000);
        let seqs: Vec<u64> = located.iter().map(|located| located.seq.0).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    }
}
