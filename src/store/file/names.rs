//! The names of the files in the store's folder.

use super::index::FileNumber;

/// What stands before the journal's later files.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// The same, in case the first is damaged.
pub(super) const CHECKPOINT_COPY: &str = "checkpoint.copy";
/// A checkpoint that is being written.
pub(super) const CHECKPOINT_NEW: &str = "checkpoint.new";
/// Room that is given up to write a checkpoint when the disk is full.
pub(super) const RESERVE: &str = "reserve";

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Journal(FileNumber),
    Table(FileNumber),
    Spare(FileNumber),
    /// A copy of a damaged file.
    Damaged(FileNumber),
    Checkpoint,
    CheckpointNew,
    Reserve,
    Unknown,
}

pub(super) fn journal(number: FileNumber) -> String {
    format!("{number:010}.journal")
}

pub(super) fn table(number: FileNumber) -> String {
    format!("{number:010}.table")
}

pub(super) fn spare(number: FileNumber) -> String {
    format!("{number:010}.spare")
}

pub(super) fn damaged(number: FileNumber) -> String {
    format!("{number:010}.damaged")
}

pub(super) fn kind(name: &str) -> Kind {
    match name {
        CHECKPOINT | CHECKPOINT_COPY => return Kind::Checkpoint,
        CHECKPOINT_NEW => return Kind::CheckpointNew,
        RESERVE => return Kind::Reserve,
        _ => {}
    }
    let Some((number, extension)) = name.split_once('.') else { return Kind::Unknown };
    let digits = number.len() >= 10 && number.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = digits.then(|| number.parse().ok()).flatten() else { return Kind::Unknown };
    match extension {
        "journal" => Kind::Journal(number),
        "table" => Kind::Table(number),
        "spare" => Kind::Spare(number),
        "damaged" => Kind::Damaged(number),
        _ => Kind::Unknown,
    }
}
