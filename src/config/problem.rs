//! What is wrong with a configuration, and where each value came from. Called by `config`; printed
//! by the commands. No text here repeats a value: it may be a secret in the wrong place.

use std::fmt;
use std::path::PathBuf;

use figment::Metadata;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The program's own default.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by its name.
    Environment(String),
    /// A flag of the command line, as it is typed.
    Flag(&'static str),
}

const DEFAULT: &str = "default";
const FILE: &str = "file";
const ENVIRONMENT: &str = "environment";
const FLAGS: [&str; 1] = ["--listen"];

impl Source {
    pub(super) fn to_metadata(&self) -> Metadata {
        match self {
            Source::Default => Metadata::named(DEFAULT),
            Source::File(path) => Metadata::from(FILE, path.as_path()),
            Source::Environment(name) => Metadata::from(ENVIRONMENT, name.as_str()),
            Source::Flag(name) => Metadata::named(*name),
        }
    }

    pub(super) fn from_metadata(metadata: Option<&Metadata>) -> Source {
        let Some(metadata) = metadata else { return Source::Default };
        let source = metadata.source.as_ref();
        match &*metadata.name {
            FILE => Source::File(
                source.and_then(|s| s.file_path()).map(PathBuf::from).unwrap_or_default(),
            ),
            ENVIRONMENT => Source::Environment(
                source.and_then(|s| s.custom()).map(str::to_owned).unwrap_or_default(),
            ),
            name => {
                FLAGS.into_iter().find(|flag| *flag == name).map_or(Source::Default, Source::Flag)
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => path.display().fmt(f),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, `limits.max_queues`; empty where the file as a whole is meant.
    pub key: String,
    /// Where the value came from.
    pub source: Source,
    /// What is wrong and what to do; never the value.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.source, self.message)
        } else {
            write!(f, "{} ({}): {}", self.key, self.source, self.message)
        }
    }
}

/// Everything that is wrong with the configuration, at least one problem; a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let line_end = if at == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
