//! Layers the configuration: defaults < file < environment < flags, by figment, which also knows
//! where each value came from. Refuses unknown names in every layer and names the nearest known
//! one. Called by `config` alone.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::problem::{Problem, Source};
use super::settings::{SECTIONS, settings};

/// What begins the name of an environment variable that holds a setting.
const PREFIX: &str = "GMQ_";

/// Variables with the prefix that are the client's and no settings of the server.
const NOT_SETTINGS: [&str; 1] = ["GMQ_PROFILE"];

/// Flags of the command line that stand above everything else.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<SocketAddr>,
}

/// What a configuration is made from.
#[derive(Debug, Clone)]
pub struct Layers {
    file: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    overrides: Overrides,
}

impl Layers {
    /// The file, the environment of this process and the flags.
    pub fn new(file: Option<&Path>, overrides: Overrides) -> Self {
        Self::with_environment(file, std::env::vars_os(), overrides)
    }

    /// The file, the variables given and the flags.
    pub fn with_environment(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: Overrides,
    ) -> Self {
        let mut environment: Vec<_> = environment
            .into_iter()
            .filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
            .collect();
        environment.sort();
        Self { file: file.map(Path::to_owned), environment, overrides }
    }

    /// The folder that relative paths count from: the file's, or the working directory.
    pub(super) fn base(&self) -> PathBuf {
        self.file.as_deref().and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
    }

    /// All layers, each over the one before, without what is not a setting; that is told.
    pub(super) fn merge(&self) -> (Figment, Vec<Problem>) {
        let mut merging = Merging { figment: defaults(), problems: Vec::new() };
        merging.add_file(self.file.as_deref());
        merging.add_environment(&self.environment);
        if let Some(listen) = self.overrides.listen {
            merging.add("listen", listen.to_string().into(), &Source::Flag("--listen"));
        }
        (merging.figment, merging.problems)
    }
}

/// The lowest layer.
pub(super) fn defaults() -> Figment {
    settings().fold(Figment::new(), |figment, setting| {
        figment.merge(Leaf::new(setting.name, setting.default.into(), &Source::Default))
    })
}

struct Merging {
    figment: Figment,
    problems: Vec<Problem>,
}

impl Merging {
    fn add(&mut self, key: &str, value: Value, source: &Source) {
        let figment = std::mem::take(&mut self.figment);
        self.figment = figment.merge(Leaf::new(key, value, source));
    }

    fn refuse(&mut self, key: &str, source: &Source, message: impl Into<String>) {
        let (key, source, message) = (key.to_owned(), source.clone(), message.into());
        self.problems.push(Problem { key, source, message });
    }

    fn add_file(&mut self, file: Option<&Path>) {
        let Some(path) = file else { return };
        let source = Source::File(path.to_owned());
        match std::fs::read_to_string(path) {
            Err(error) => self.refuse("", &source, unreadable(&error)),
            Ok(text) => match toml::from_str::<toml::Table>(&text) {
                Err(error) => self.refuse("", &source, malformed(&text, &error)),
                Ok(table) => self.add_table("", table, &source),
            },
        }
    }

    fn add_table(&mut self, section: &str, table: toml::Table, source: &Source) {
        for (name, value) in table {
            let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            let is_plain = !name.contains('.');
            if is_plain && is_setting(&key) {
                match Value::serialize(&value) {
                    Ok(value) => self.add(&key, value, source),
                    Err(_) => self.refuse(&key, source, "is not a value that a setting can have"),
                }
            } else if is_plain && is_section(&key) {
                match value {
                    toml::Value::Table(table) => self.add_table(&key, table, source),
                    _ => self.refuse(
                        &key,
                        source,
                        format!("is a section; write [{key}] and its settings below it"),
                    ),
                }
            } else {
                self.refuse(&key, source, unknown(&key, str::to_owned));
            }
        }
    }

    fn add_environment(&mut self, environment: &[(OsString, OsString)]) {
        for (name, value) in environment {
            let name = name.to_string_lossy();
            if NOT_SETTINGS.contains(&&*name) {
                continue;
            }
            let source = Source::Environment(name.clone().into_owned());
            let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
            if is_of_others(&key) {
                continue;
            }
            match value.to_str() {
                _ if !is_setting(&key) => self.refuse(&key, &source, unknown(&key, variable)),
                None => self.refuse(&key, &source, "must be UTF-8"),
                Some(text) => self.add(&key, text.into(), &source),
            }
        }
    }
}

/// The environment variable of a setting.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn is_setting(key: &str) -> bool {
    settings().any(|setting| setting.name == key)
}

/// The environment is shared: scripts around the server have variables of their own, such as
/// `GMQ_BIN`. One that looks like no setting is left alone; a typing mistake looks like one.
fn is_of_others(key: &str) -> bool {
    !is_setting(key) && !is_section(key) && !key.contains('.') && nearest(key).is_none()
}

fn is_section(key: &str) -> bool {
    SECTIONS.iter().any(|section| !section.name.is_empty() && section.name == key)
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such file; name another with --config, or make one with `gmq init DIR`"
                .to_owned()
        }
        std::io::ErrorKind::InvalidData => "must be UTF-8".to_owned(),
        _ => format!("cannot be read: {error}; name a file that this user may read"),
    }
}

/// Line, column and reason; the library's own text would repeat the line.
fn malformed(text: &str, error: &toml::de::Error) -> String {
    let before = &text[..error.span().map_or(0, |span| span.start).min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let reason = error.message().lines().collect::<Vec<_>>().join(", ");
    let reason = if reason.is_empty() { "a value is missing or not whole" } else { &reason };
    format!("is not TOML at line {line}, column {column}: {reason}; mend it there")
}

/// Says that there is no such setting, and names the nearest one as `write` writes it.
fn unknown(key: &str, write: impl Fn(&str) -> String) -> String {
    match nearest(key) {
        Some(name) => format!("there is no such setting; did you mean {}?", write(name)),
        None => {
            "there is no such setting; the file that `gmq init` makes lists them all".to_owned()
        }
    }
}

/// The known name that looks most like `key`, if one does: its whole name or its last word.
fn nearest(key: &str) -> Option<&'static str> {
    let fold = |text: &str| text.replace(['.', '-'], "_").to_lowercase();
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |name: &str| {
        let whole = strsim::damerau_levenshtein(&fold(key), &fold(name));
        // A setting in the wrong section: a little farther than one in the right section.
        let word = strsim::damerau_levenshtein(&fold(&last(key)), &fold(&last(name))) + 1;
        whole.min(word)
    };
    let sections = SECTIONS.iter().map(|section| section.name).filter(|name| !name.is_empty());
    settings()
        .map(|setting| setting.name)
        .chain(sections)
        .map(|name| (distance(name), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= (last(key).len() / 3).max(1))
        .map(|(_, name)| name)
}

/// One value of one layer; figment merges these and remembers the source of each.
struct Leaf {
    key: String,
    value: Value,
    source: Metadata,
}

impl Leaf {
    fn new(key: &str, value: Value, source: &Source) -> Self {
        Self { key: key.to_owned(), value, source: source.to_metadata() }
    }
}

impl Provider for Leaf {
    fn metadata(&self) -> Metadata {
        self.source.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        let dict = nested.into_dict().unwrap_or_default();
        Ok(Map::from([(Profile::Default, dict)]))
    }
}
