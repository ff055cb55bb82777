//! Bars for long work, shown on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;

/// A bar of that length; `what` is what is counted.
pub(super) fn bar(what: &'static str, length: u64) -> Outcome<ProgressBar> {
    let style = ProgressStyle::with_template("{msg}: {pos}/{len} {wide_bar} {eta}")?;
    Ok(ProgressBar::new(length).with_style(style).with_message(what))
}
