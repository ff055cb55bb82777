//! What a command that failed says.

use std::fmt;

/// One sentence, or one for each thing that is wrong.
#[derive(Debug)]
pub(super) struct Failure(String);

/// How a command ends.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The errors of the rooms below are written to be read.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
