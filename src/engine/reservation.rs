//! Numbers that must never repeat, drawn from blocks that the store has noted before the first of a
//! block is used: fences of the tenant, and the sequence numbers of queues whose messages are kept
//! in memory while the store is durable. Called by delivery and publish.

use std::collections::{BTreeSet, VecDeque};

use super::Record;
use super::waiting::Ledger;
use crate::types::{Fence, Level, Lsn, Now, QueueId, Seq};

/// Wall milliseconds are shifted by so much for the first fence of a store that remembers nothing.
/// A tenant then starts above all fences of the run before, as long as that made fewer than 2,048
/// deliveries a millisecond over its whole life and the clock did not go back; and the number stays
/// below 2^53 until the year 2109.
const FENCE_SHIFT: u32 = 11;

/// Clocks beyond 2^42 ms (the year 2109) count as that year, with room for as many fences as a
/// tenant can use, so that no clock makes a number that a client cannot read.
const FENCE_WALL_MAX: u64 = (1 << 42) - (1 << 32);

/// The source of fences.
#[derive(Debug)]
pub(super) struct Fences {
    /// The last one given.
    last: Fence,
    /// Promised to messages that are taken but not on their way yet.
    promised: u64,
    /// The last that may be given; `None`: there is no need of reservations.
    reserved: Option<Fence>,
    /// A reservation that is not durable yet.
    pending: Option<(Lsn, Fence)>,
    /// Whether anybody ever consumed: until then nothing is reserved.
    wanted: bool,
    block: u64,
    stalled: BTreeSet<QueueId>,
}

impl Fences {
    /// Goes on after `recovered`, in blocks of `block`.
    pub(super) fn new(level: Level, recovered: Fence, block: u64, now: Now) -> Self {
        let memory = level == Level::Memory;
        let clock = now.wall_ms.min(FENCE_WALL_MAX) << FENCE_SHIFT;
        let last = if memory { recovered.max(Fence(clock)) } else { recovered };
        Self {
            last,
            promised: 0,
            reserved: (!memory).then_some(last),
            pending: None,
            wanted: false,
            block: block.max(1),
            stalled: BTreeSet::new(),
        }
    }

    /// Somebody wants to consume.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Sets one fence aside for `queue`; `false`, and the queue is noted as stalled, if there is
    /// none.
    pub(super) fn promise(&mut self, queue: QueueId) -> bool {
        if self.left() == 0 {
            self.stalled.insert(queue);
            return false;
        }
        self.promised += 1;
        true
    }

    /// Gives back what [`promise`](Self::promise) set aside.
    pub(super) fn release(&mut self) {
        debug_assert!(self.promised > 0);
        self.promised = self.promised.saturating_sub(1);
    }

    /// Draws a fence that was promised.
    pub(super) fn draw(&mut self) -> Fence {
        self.release();
        self.last = self.last.next();
        self.last
    }

    /// Fences that were promised and not drawn; for the invariants.
    pub(super) fn promised(&self) -> u64 {
        self.promised
    }

    /// Fences that can be promised.
    pub(super) fn left(&self) -> u64 {
        self.reserved.map_or(u64::MAX, |up_to| {
            up_to.0.saturating_sub(self.last.0).saturating_sub(self.promised)
        })
    }

    /// The record to write, if half of the last block or more is used up.
    pub(super) fn reservation_due(&self) -> Option<Record> {
        let reserved = self.reserved?;
        let due = self.wanted && self.pending.is_none() && self.left() <= self.block / 2;
        due.then(|| Record::FenceReserved { up_to: Fence(reserved.0.saturating_add(self.block)) })
    }

    /// Notes that [`reservation_due`](Self::reservation_due) was given to the store.
    pub(super) fn reserving(&mut self, lsn: Lsn) {
        let up_to = self.reserved.map_or(0, |reserved| reserved.0.saturating_add(self.block));
        self.pending = Some((lsn, Fence(up_to)));
    }

    /// Opens the pending block once it is durable, and names the queues that waited for it.
    pub(super) fn durable_up_to(&mut self, lsn: Lsn) -> BTreeSet<QueueId> {
        match self.pending {
            Some((pending, up_to)) if pending <= lsn => {
                self.reserved = Some(up_to);
                self.pending = None;
                std::mem::take(&mut self.stalled)
            }
            _ => BTreeSet::new(),
        }
    }
}

/// Blocks of sequence numbers of one queue.
#[derive(Debug, Default)]
pub(super) struct SeqBlocks {
    /// The last number of each block with the LSN of its record, ascending.
    blocks: VecDeque<(Seq, Lsn)>,
}

impl SeqBlocks {
    /// The last number of a further block, if one is needed before `last` is given: there is none
    /// for it, or less than half of a block is left after it.
    pub(super) fn due(&self, last: Seq, block: u64) -> Option<Seq> {
        let reserved = self.blocks.back().map_or(Seq(0), |(up_to, _)| *up_to);
        let due = reserved.0 < last.0.saturating_add(block / 2);
        due.then(|| Seq(reserved.max(last).0.saturating_add(block.max(1))))
    }

    /// Notes a block that was given to the store.
    pub(super) fn reserved(&mut self, up_to: Seq, lsn: Lsn) {
        self.blocks.push_back((up_to, lsn));
    }

    /// The last number that is reserved durably.
    pub(super) fn durable_to(&self, ledger: &Ledger) -> Seq {
        let durable = self.blocks.iter().filter(|(_, lsn)| ledger.is_durable(*lsn));
        durable.map(|(up_to, _)| *up_to).max().unwrap_or_default()
    }

    /// The LSN that must be durable before `seq` may be told, and all after it; forgets the blocks
    /// before.
    pub(super) fn lsn_of(&mut self, seq: Seq) -> Lsn {
        while self.blocks.front().is_some_and(|(up_to, _)| *up_to < seq) && self.blocks.len() > 1 {
            self.blocks.pop_front();
        }
        self.blocks.front().map_or(Lsn(0), |(_, lsn)| *lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(wall_ms: u64) -> Now {
        Now { wall_ms, ..Now::default() }
    }

    #[test]
    fn fences_of_the_memory_store_start_at_the_clock() {
        let mut fences = Fences::new(Level::Memory, Fence(7), 10, now(1_800_000_000_000));
        assert!(fences.promise(QueueId(1)));
        let first = fences.draw();
        assert_eq!(first.0, (1_800_000_000_000 << 11) + 1);
        assert!(fences.reservation_due().is_none());
        let mut later = Fences::new(Level::Memory, Fence(u64::MAX >> 12), 10, now(5));
        assert!(later.promise(QueueId(1)));
        assert_eq!(later.draw(), Fence((u64::MAX >> 12) + 1));
    }

    #[test]
    fn fences_of_any_clock_stay_below_2_to_the_53() {
        let mut fences = Fences::new(Level::Memory, Fence(0), 10, now(u64::MAX));
        assert!(fences.promise(QueueId(1)));
        assert!(fences.draw().0 + (1 << 42) < 1 << 53);
    }

    #[test]
    fn fences_are_given_only_from_durable_blocks() {
        let mut fences = Fences::new(Level::Disk, Fence(100), 10, now(1_800_000_000_000));
        assert!(fences.reservation_due().is_none(), "nobody consumes");
        fences.want();
        assert!(!fences.promise(QueueId(1)));
        assert_eq!(fences.reservation_due(), Some(Record::FenceReserved { up_to: Fence(110) }));
        fences.reserving(Lsn(5));
        assert!(fences.reservation_due().is_none(), "one at a time");
        assert!(fences.durable_up_to(Lsn(4)).is_empty());
        assert_eq!(fences.durable_up_to(Lsn(5)), BTreeSet::from([QueueId(1)]));
        for n in 101..=105 {
            assert!(fences.reservation_due().is_none(), "more than half is left");
            assert!(fences.promise(QueueId(1)));
            assert_eq!(fences.draw(), Fence(n));
        }
        assert_eq!(fences.reservation_due(), Some(Record::FenceReserved { up_to: Fence(120) }));
    }

    #[test]
    fn a_seq_waits_for_the_block_that_covers_it() {
        let mut blocks = SeqBlocks::default();
        let up_to = blocks.due(Seq(3), 10).expect("none yet");
        assert_eq!(up_to, Seq(13));
        blocks.reserved(up_to, Lsn(1));
        assert_eq!(blocks.due(Seq(8), 10), None);
        assert_eq!(blocks.due(Seq(9), 10), Some(Seq(23)));
        blocks.reserved(Seq(23), Lsn(4));
        assert_eq!(blocks.lsn_of(Seq(13)), Lsn(1));
        assert_eq!(blocks.lsn_of(Seq(14)), Lsn(4));
        assert_eq!(blocks.due(Seq(100), 10), Some(Seq(110)));
    }
}
