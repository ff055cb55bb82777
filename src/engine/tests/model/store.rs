//! A store that is as late as the test wants, forgets what was not told durable, and gives answers
//! to loads that are as old, or as new, as the contract allows.

use std::collections::VecDeque;

use crate::engine::image::Image;
use crate::engine::*;
use crate::types::*;

/// See the module.
#[derive(Default)]
pub(super) struct LateStore {
    /// What was told durable.
    pub(super) durable: Image,
    /// What all batches add up to.
    pub(super) newest: Image,
    ahead: VecDeque<Batch>,
    loads: Vec<(Load, Vec<StoredMessage>)>,
}

impl LateStore {
    pub(super) fn append(&mut self, batch: &Batch) {
        self.newest.apply(batch);
        self.ahead.push_back(batch.clone());
    }

    pub(super) fn ask(&mut self, load: Load) {
        let early = self.durable.load(&load);
        self.loads.push((load, early));
    }

    /// Makes some more batches durable; up to which, if there were any.
    pub(super) fn flush(&mut self, batches: usize) -> Option<Lsn> {
        for _ in 0..batches {
            let Some(batch) = self.ahead.pop_front() else { break };
            self.durable.apply(&batch);
        }
        Some(self.durable.lsn)
    }

    /// Answers a load: from what stood when it was asked, or from what stands now.
    pub(super) fn answer(&mut self, which: usize, fails: bool) -> Option<Input> {
        if self.loads.is_empty() {
            return None;
        }
        let (load, early) = self.loads.remove(which % self.loads.len());
        let messages = match which % 3 {
            0 => early,
            1 => self.durable.load(&load),
            // A store may see more than it told.
            _ => self.newest.load(&load),
        };
        Some(Input::Loaded { ticket: load.ticket, messages: (!fails).then_some(messages) })
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.ahead.is_empty() && self.loads.is_empty()
    }

    /// The server stops hard: what was told durable stands, and `kept` batches more.
    pub(super) fn crash(&mut self, kept: usize) {
        self.flush(kept);
        self.ahead.clear();
        self.loads.clear();
        self.newest = self.durable.clone();
    }
}
