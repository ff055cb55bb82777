//! Jobs that wait for a worker: one line for each address, served in turn, so that a flood from one
//! address delays another by one job and not by its line. Refuses what goes beyond its bounds;
//! where all is full, the newest job of the longest line makes room for a shorter line. Knows no
//! threads; called by the pool, under its lock.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Bounds of a [`FairQueue`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Jobs of all addresses.
    pub in_all: usize,
    /// Jobs of one address.
    pub per_address: usize,
}

/// Lines of jobs by address.
pub(super) struct FairQueue<J> {
    bounds: Bounds,
    waiting: usize,
    /// No line is empty.
    lines: HashMap<IpAddr, VecDeque<J>>,
    /// Each address of `lines` once; the front is served next.
    turns: VecDeque<IpAddr>,
}

impl<J> FairQueue<J> {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, waiting: 0, lines: HashMap::new(), turns: VecDeque::new() }
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether one more job of `address` is refused, or displaces another.
    pub fn is_full_for(&self, address: IpAddr) -> bool {
        self.waiting >= self.bounds.in_all || self.line_of(address) >= self.bounds.per_address
    }

    /// Queues `job`. What comes back found no room: `job` itself, or the one it displaced.
    pub fn push(&mut self, address: IpAddr, job: J) -> Option<J> {
        if self.line_of(address) >= self.bounds.per_address {
            return Some(job);
        }
        let displaced = if self.waiting >= self.bounds.in_all {
            match self.displace_for(address) {
                None => return Some(job),
                displaced => displaced,
            }
        } else {
            None
        };
        let line = self.lines.entry(address).or_default();
        if line.is_empty() {
            self.turns.push_back(address);
        }
        line.push_back(job);
        self.waiting += 1;
        displaced
    }

    /// Takes the first job of the address whose turn it is.
    pub fn pop(&mut self) -> Option<J> {
        let address = self.turns.pop_front()?;
        let line = self.lines.get_mut(&address)?;
        let job = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&address);
        } else {
            self.turns.push_back(address);
        }
        self.waiting -= usize::from(job.is_some());
        job
    }

    /// Drops the jobs that `keep` is false for.
    pub fn retain(&mut self, keep: impl Fn(&J) -> bool) {
        self.lines.retain(|_, line| {
            line.retain(&keep);
            !line.is_empty()
        });
        self.turns.retain(|address| self.lines.contains_key(address));
        self.waiting = self.lines.values().map(VecDeque::len).sum();
    }

    fn line_of(&self, address: IpAddr) -> usize {
        self.lines.get(&address).map_or(0, VecDeque::len)
    }

    /// Takes the newest job of the longest line, if that stays no shorter than the line of
    /// `address` becomes. Such a line has two jobs or more, so none is left empty.
    fn displace_for(&mut self, address: IpAddr) -> Option<J> {
        let own = self.line_of(address);
        let longest = self.lines.values_mut().max_by_key(|line| line.len())?;
        if longest.len() < own + 2 {
            return None;
        }
        self.waiting -= 1;
        longest.pop_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last_byte: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last_byte])
    }

    fn queue(in_all: usize, per_address: usize) -> FairQueue<(u8, u32)> {
        FairQueue::new(Bounds { in_all, per_address })
    }

    fn push(queue: &mut FairQueue<(u8, u32)>, from: u8, number: u32) -> Option<(u8, u32)> {
        queue.push(address(from), (from, number))
    }

    #[test]
    fn addresses_take_turns_and_each_line_is_in_order() {
        let mut queue = queue(100, 100);
        for number in 0..50 {
            assert_eq!(push(&mut queue, 1, number), None);
        }
        push(&mut queue, 2, 0);
        push(&mut queue, 2, 1);
        let first: Vec<_> = (0..5).filter_map(|_| queue.pop()).collect();
        assert_eq!(first, [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)]);
        assert_eq!(queue.waiting(), 47);
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 47);
        assert!(queue.lines.is_empty() && queue.turns.is_empty() && queue.waiting() == 0);
    }

    #[test]
    fn a_line_has_its_bound() {
        let mut queue = queue(100, 2);
        push(&mut queue, 1, 0);
        assert!(!queue.is_full_for(address(1)));
        push(&mut queue, 1, 1);
        assert!(queue.is_full_for(address(1)) && !queue.is_full_for(address(2)));
        assert_eq!(push(&mut queue, 1, 2), Some((1, 2)));
        assert_eq!(push(&mut queue, 2, 0), None);
    }

    #[test]
    fn a_full_queue_makes_room_for_a_shorter_line_alone() {
        let mut queue = queue(4, 4);
        for number in 0..4 {
            push(&mut queue, 1, number);
        }
        assert_eq!(push(&mut queue, 1, 4), Some((1, 4)));
        assert_eq!(push(&mut queue, 2, 0), Some((1, 3)));
        assert_eq!(push(&mut queue, 2, 1), Some((1, 2)));
        assert_eq!(push(&mut queue, 2, 2), Some((2, 2)), "as long as the other now");
        assert_eq!(push(&mut queue, 3, 0).map(|(_, number)| number), Some(1));
        assert_eq!(queue.waiting(), 4);
    }

    #[test]
    fn dropped_jobs_leave_no_turn_behind() {
        let mut queue = queue(100, 100);
        for number in 0..4 {
            push(&mut queue, 1, number);
            push(&mut queue, 2, number);
        }
        queue.retain(|job| job.0 == 2 && job.1 > 1);
        assert_eq!(queue.waiting(), 2);
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some((2, 2)), Some((2, 3)), None));
    }
}
