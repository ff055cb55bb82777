//! A run: messages of one queue in one journal file, whose sequence numbers lie close together.
//! It knows which of them are still in the queue, a bit each, and where each lies in the file.

use crate::store::codec::{Damaged, Mark, Reader, put_mark, put_number};
use crate::types::Seq;

/// A message further than this behind the last one of a run begins another run.
const GAP_MAX: u64 = 1_024;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    first: Seq,
    /// Sequence numbers from the first to the last.
    span: u64,
    /// A bit for each number: whether the message is still in the queue.
    alive: Vec<u64>,
    live: u64,
    /// Bytes of the live messages, as `Message::size` counts.
    bytes: u64,
    places: Places,
    marks: Marks,
}

/// What is known of messages besides their places, one after the other: the number from the first,
/// and the [`Mark`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Marks {
    /// In memory.
    Here(Vec<u8>),
    /// So many bytes behind the run's places in the file's table.
    Table(u32),
}

/// Where a run's messages lie.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Places {
    /// In memory, for each number of the span; 0: no message has that number.
    Here(Vec<u32>),
    /// The same list, at this place of the file's table.
    Table(u64),
}

impl Run {
    pub(super) fn new(first: Seq) -> Self {
        let places = Places::Here(Vec::new());
        let marks = Marks::Here(Vec::new());
        Self { first, span: 0, alive: Vec::new(), live: 0, bytes: 0, places, marks }
    }

    /// A run as a checkpoint remembers it.
    pub(super) fn restored(
        first: Seq,
        span: u64,
        alive: Vec<u64>,
        bytes: u64,
        at: u64,
        marks: u32,
    ) -> Self {
        let live = alive.iter().map(|word| u64::from(word.count_ones())).sum();
        let (places, marks) = (Places::Table(at), Marks::Table(marks));
        Self { first, span, alive, live, bytes, places, marks }
    }

    pub(super) fn first(&self) -> Seq {
        self.first
    }

    pub(super) fn span(&self) -> u64 {
        self.span
    }

    pub(super) fn live(&self) -> u64 {
        self.live
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn alive(&self) -> &[u64] {
        &self.alive
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// From now on the places, and the marks behind them, are in the file's table.
    pub(super) fn seal(&mut self, at: u64) {
        self.places = Places::Table(at);
        if let Marks::Here(marks) = &self.marks {
            self.marks = Marks::Table(marks.len() as u32);
        }
    }

    /// Whether a message with that number can be added.
    pub(super) fn takes(&self, seq: Seq) -> bool {
        let end = self.first.0 + self.span;
        matches!(self.places, Places::Here(_)) && seq.0 >= end && seq.0 - end < GAP_MAX
    }

    /// Adds the next message.
    pub(super) fn add(&mut self, seq: Seq, bytes: u64, place: u32, mark: &Mark) {
        let index = seq.0 - self.first.0;
        if !mark.is_empty()
            && let Marks::Here(marks) = &mut self.marks
        {
            put_number(marks, index);
            put_mark(marks, mark);
        }
        self.span = index + 1;
        let Places::Here(places) = &mut self.places else { return };
        places.resize(index as usize, 0);
        places.push(place);
        self.alive.resize(self.span.div_ceil(64) as usize, 0);
        self.alive[(index / 64) as usize] |= 1 << (index % 64);
        self.live += 1;
        self.bytes += bytes;
    }

    /// Whether the message is alive in this run.
    pub(super) fn holds(&self, seq: Seq) -> bool {
        let Some(index) = seq.0.checked_sub(self.first.0) else { return false };
        let word = self.alive.get((index / 64) as usize);
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Takes out a message that is alive.
    pub(super) fn remove(&mut self, seq: Seq, bytes: u64) {
        let index = seq.0 - self.first.0;
        self.alive[(index / 64) as usize] &= !(1 << (index % 64));
        self.live -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Keeps only those of `kept`, with their sizes, that are alive.
    pub(super) fn keep_only(&mut self, kept: &[(Seq, u64)]) {
        let kept: Vec<_> = kept.iter().filter(|(seq, _)| self.holds(*seq)).copied().collect();
        self.alive.fill(0);
        (self.live, self.bytes) = (0, 0);
        for (seq, bytes) in kept {
            let index = seq.0 - self.first.0;
            self.alive[(index / 64) as usize] |= 1 << (index % 64);
            self.live += 1;
            self.bytes += bytes;
        }
    }

    /// Reads the marks of live messages, ascending.
    pub(super) fn marked(&self, marks: &[u8]) -> Result<Vec<(Seq, Mark)>, Damaged> {
        let mut reader = Reader::new(marks);
        let mut marked = Vec::new();
        while reader.left() > 0 {
            let seq = Seq(self.first.0.saturating_add(reader.number()?));
            let mark = reader.mark()?;
            if self.holds(seq) {
                marked.push((seq, mark));
            }
        }
        Ok(marked)
    }

    /// The live messages at or after `from`, ascending.
    pub(super) fn iter_from(&self, from: Seq) -> impl Iterator<Item = Seq> {
        let start = from.0.saturating_sub(self.first.0);
        let skip = (start / 64) as usize;
        let words = self.alive.iter().enumerate().skip(skip);
        words.flat_map(move |(index, word)| {
            let mask = if index == skip { u64::MAX << (start % 64) } else { u64::MAX };
            let base = self.first.0 + 64 * index as u64;
            bits(word & mask).map(move |bit| Seq(base + bit))
        })
    }
}

/// The places of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        (word != 0).then(|| {
            word &= word - 1;
            u64::from(bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_knows_what_is_alive_and_where() {
        let mut run = Run::new(Seq(10));
        for (seq, place) in [(10, 64), (11, 128), (75, 200), (140, 300)] {
            assert!(run.takes(Seq(seq)));
            run.add(Seq(seq), 5, place, &Mark::default());
        }
        assert!(!run.takes(Seq(140)) && !run.takes(Seq(9)) && !run.takes(Seq(141 + GAP_MAX)));
        assert_eq!((run.span(), run.live(), run.bytes()), (131, 4, 20));
        run.remove(Seq(11), 5);
        let from = |seq| run.iter_from(Seq(seq)).map(|seq| seq.0).collect::<Vec<_>>();
        assert_eq!(from(0), [10, 75, 140]);
        assert_eq!(from(11), [75, 140]);
        assert_eq!(from(140), [140]);
        assert_eq!(from(141), [0; 0]);
        assert!(run.holds(Seq(75)) && !run.holds(Seq(11)) && !run.holds(Seq(76)));
        assert!(!run.holds(Seq(9)) && !run.holds(Seq(9_999)));
        let Places::Here(places) = run.places() else { panic!("they are in memory") };
        assert_eq!((places[0], places[1], places[2], places[65]), (64, 128, 0, 200));
        run.seal(7);
        assert!(!run.takes(Seq(141)));
    }
}
