//! Every message of an error that somebody can meet, provoked and kept as lists that are read as a
//! whole: is each clear, does it say what to do next, do all speak in one way? A message that
//! changes fails its test; CONTRIBUTING.md says how the change is accepted.

mod command_line;
mod configuration;
mod storage;
mod wire;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

use crate::harness::text;

/// Longest text of what was asked that is repeated in a list, in characters.
const ASKED_MAX: usize = 110;

/// One list: what was asked, and what was said to it.
#[derive(Default)]
struct List {
    text: String,
    /// What differs from run to run, and what stands for it.
    places: Vec<(String, &'static str)>,
}

impl List {
    /// From now on `name` stands for `text`.
    fn name(&mut self, text: impl ToString, name: &'static str) {
        self.places.insert(0, (text.to_string(), name));
    }

    /// The same for a folder.
    fn name_path(&mut self, path: &Path, name: &'static str) {
        self.name(path.display(), name);
    }

    /// Opens a group.
    fn group(&mut self, name: &str) {
        let line_end = if self.text.is_empty() { "" } else { "\n" };
        writeln!(self.text, "{line_end}== {name}").unwrap();
    }

    /// One more entry.
    fn add(&mut self, asked: &str, said: &str) {
        let (asked, said) = (self.settled(asked), self.settled(said));
        let cut = asked.char_indices().nth(ASKED_MAX).map(|(at, _)| at);
        let asked = cut.map_or(asked.clone(), |at| format!("{}…", &asked[..at]));
        writeln!(self.text, "\n{asked}").unwrap();
        for line in said.lines() {
            writeln!(self.text, "    {line}").unwrap();
        }
    }

    /// What a command said that failed, with its exit code where that is not 1.
    fn add_failure(&mut self, asked: &str, output: &Output) {
        assert!(!output.status.success(), "{asked} succeeded: {}", text(&output.stdout));
        let mut said = text(&output.stderr).trim_end().to_owned();
        assert!(!said.is_empty(), "{asked} failed in silence");
        assert!(!said.contains("panicked"), "{asked}: {said}");
        match output.status.code() {
            Some(1) => {}
            Some(code) => write!(said, "\n(exit code {code})").unwrap(),
            None => panic!("{asked} ended by a signal: {said}"),
        }
        self.add(asked, &said);
    }

    fn settled(&self, text: &str) -> String {
        let places = self.places.iter();
        let named = places.fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        // How long to wait depends on the moment.
        match named.split_once(", again in ") {
            Some((before, wait)) => {
                let behind = wait.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{before}, again in N{behind}")
            }
            None => named,
        }
    }

    /// Compares the list with the one that was accepted.
    fn check(&self, name: &str) {
        // As cargo says it when the test runs: a shared target folder may hold a test built
        // elsewhere.
        let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs this test");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(Path::new(&root).join("tests/it/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, self.text));
    }
}
