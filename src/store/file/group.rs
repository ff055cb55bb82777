//! The group that gathers while the one before is written: frames, encoded as they come, and who
//! is to be told of them.

use super::frame::Frames;
use crate::engine::Batch;
use crate::store::codec::{put_record, salt};
use crate::types::{Level, Lsn, TenantId};

/// Batches of one tenant that come one after the other share a frame up to this length. Unit:
/// bytes.
const FRAME_BYTES: usize = 256 * 1024;

/// The same as a part of a file, where files are small.
const FRAMES_PER_FILE: usize = 8;

/// See the module.
#[derive(Default)]
pub(super) struct Group {
    pub(super) frames: Frames,
    /// Of each frame, whose it is and how far it goes.
    pub(super) ends: Vec<(TenantId, Lsn)>,
    /// The highest level that one of its batches asks for.
    pub(super) level: Option<Level>,
}

impl Group {
    /// Takes a batch in, for files of that length.
    pub(super) fn add(&mut self, tenant: TenantId, batch: &Batch, file_bytes: u32) {
        self.level = self.level.max(Some(batch.level));
        let began = self.frames.starts.last().copied().unwrap_or_default();
        let longest = FRAME_BYTES.min(file_bytes as usize / FRAMES_PER_FILE);
        let room = self.frames.bytes.len() - began < longest;
        match self.ends.last_mut() {
            Some((last, lsn)) if *last == tenant && room => {
                *lsn = batch.lsn;
                self.frames.set_last(batch.lsn);
            }
            _ => {
                self.frames.begin_batches(tenant, batch.lsn);
                self.ends.push((tenant, batch.lsn));
            }
        }
        let salt = salt(tenant);
        for record in &batch.records {
            put_record(&mut self.frames.bytes, salt, record);
        }
    }

    /// Of each tenant that has some of these frames, how far they go.
    pub(super) fn told(&self, frames: std::ops::Range<usize>) -> Vec<(TenantId, Lsn)> {
        let mut told: Vec<(TenantId, Lsn)> = Vec::new();
        for (tenant, lsn) in &self.ends[frames] {
            match told.iter_mut().find(|(of, _)| of == tenant) {
                Some((_, last)) => *last = *lsn,
                None => told.push((*tenant, *lsn)),
            }
        }
        told
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.ends.clear();
        self.level = None;
    }
}
