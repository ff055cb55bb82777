//! What must be true of doubles.

use super::{Checked, DEDUP_WINDOW_MS, DEDUPLICATED, Id, Number, Oracle, Told};
use crate::types::{Now, Seq};

impl Oracle {
    /// The message whose double this one must be: it has its key, was confirmed before, and the
    /// queue remembers it for sure.
    pub(in super::super) fn must_double(&self, id: &Id, now: Now) -> Option<Number> {
        let asked = self.messages.get(id)?;
        if !self.features || id.1.as_str() != DEDUPLICATED || asked.key.is_none() {
            return None;
        }
        let found = self.messages.iter().find(|(other, of)| {
            *other != id
                && other.1 == id.1
                && of.key == asked.key
                && of.life == asked.life
                && of.published == Told::Yes
                && now.wall_ms < of.published_at + DEDUP_WINDOW_MS
        });
        found.map(|((number, _), _)| *number)
    }

    /// The reply calls it a double of what has this `seq`: nothing was stored for it.
    pub(in super::super) fn doubled(&mut self, id: &Id, seq: Seq) -> Checked {
        let Some(double) = self.messages.remove(id) else { return Ok(()) };
        let first = self.messages.iter().find(|(other, of)| {
            other.1 == id.1
                && of.key == double.key
                && of.seq.is_none_or(|of| of == seq)
                && double.published_at < of.published_at + DEDUP_WINDOW_MS
        });
        match first {
            Some(_) => Ok(()),
            None => Err(format!("{id:?} is called a double of seq {seq}, which it is not of")),
        }
    }
}
