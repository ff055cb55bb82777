//! The server's configuration: defaults < file < environment < flags, layered by figment, which
//! stays in this room. Refuses unknown names, values of the wrong kind or out of range, and
//! settings that contradict each other; all of it is told at once, with where it came from and what
//! to do. Called by the commands; the rooms get the finished values.
//!
//! Settings never hold secrets, only paths of files that do, so everything here may be printed; yet
//! no error repeats a value, because a secret may stand in the wrong place.

use std::path::Path;

mod layers;
mod problem;
mod rules;
mod section;
mod settings;
mod template;
mod value;
mod word;

#[cfg(test)]
mod tests;

pub use layers::{Layers, Overrides};
pub use problem::{Problem, Problems, Source};
pub use settings::{Argon2, Auth, Cluster, Config, Database, Limits, Log, Tls};
pub use template::{example, initial};
pub use value::{DatabaseUrl, NodeName, Workers};
pub use word::{
    AccountsKind, Answer, ClientAuth, Durability, LogFormat, LogLevel, MinVersion, StoreKind,
};

use rules::RULES;
use settings::settings;

/// One setting as it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The setting's full name.
    pub key: &'static str,
    /// Its value as TOML, as it was written: a relative path is still relative.
    pub value: String,
    /// Where the value came from.
    pub source: Source,
}

impl Default for Config {
    /// What holds where nothing is set; paths are relative to the working directory.
    fn default() -> Self {
        extract(&layers::defaults())
    }
}

impl Config {
    /// The configuration, its relative paths resolved against the file's folder; or everything
    /// that is wrong with it.
    pub fn load(layers: &Layers) -> Result<Config, Problems> {
        let reading = Reading::new(layers);
        if reading.problems.is_empty() {
            Ok(reading.config.relative_to(&layers.base()))
        } else {
            Err(Problems(reading.problems))
        }
    }

    /// Everything that is wrong with the configuration; empty if nothing is.
    pub fn check(layers: &Layers) -> Vec<Problem> {
        Reading::new(layers).problems
    }

    /// Every setting with its value and where that came from, in the order of the example file.
    pub fn show(layers: &Layers) -> Result<Vec<Row>, Problems> {
        let reading = Reading::new(layers);
        if reading.problems.is_empty() { Ok(reading.rows) } else { Err(Problems(reading.problems)) }
    }

    fn relative_to(mut self, base: &Path) -> Self {
        let Tls { certificate, key, client_ca, .. } = &mut self.tls;
        for path in [&mut self.data_dir, certificate, key, client_ca] {
            *path = base.join(&*path);
        }
        for path in [&mut self.database.password_file, &mut self.database.ca].into_iter().flatten()
        {
            *path = base.join(&*path);
        }
        self
    }
}

/// A configuration that was read as far as possible: what is wrong is replaced by its default.
struct Reading {
    config: Config,
    rows: Vec<Row>,
    problems: Vec<Problem>,
}

impl Reading {
    fn new(layers: &Layers) -> Self {
        let (mut figment, mut problems) = layers.merge();
        let mut rows = Vec::new();
        for setting in settings() {
            let found = figment.find_value(setting.name).expect("every setting has a default");
            let source = Source::from_metadata(figment.get_metadata(found.tag()));
            match (setting.read)(setting, &found) {
                Ok(value) => rows.push(Row { key: setting.name, value, source }),
                Err(message) => {
                    problems.push(Problem { key: setting.name.to_owned(), source, message });
                    figment = figment.merge((setting.name, setting.default));
                }
            }
        }
        let config = extract(&figment);
        problems.extend(broken_rules(&config, &rows));
        Self { config, rows, problems }
    }
}

/// The rules that are broken; `rows` are the settings that are valid by themselves.
fn broken_rules(config: &Config, rows: &[Row]) -> Vec<Problem> {
    let row = |key: &&str| rows.iter().find(|row| row.key == *key);
    let is_readable = |keys: &&rules::Rule| keys.keys.iter().all(|key| row(key).is_some());
    let problem = |rule: &rules::Rule| {
        let first = rule.keys.first()?;
        let set = rule.keys.iter().filter_map(row).find(|row| row.source != Source::Default);
        let source = set.or(row(first)).map_or(Source::Default, |row| row.source.clone());
        let message = (rule.broken)(config)?;
        Some(Problem { key: (*first).to_owned(), source, message })
    };
    RULES.iter().filter(is_readable).filter_map(problem).collect()
}

fn extract(figment: &figment::Figment) -> Config {
    figment.extract().expect("each setting was read by the same code before")
}
