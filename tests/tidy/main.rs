//! The rules of the house as tests over the source tree: which room may import which, and how long
//! files and lines may be. Each rule is shown to fire on a bad example.

use std::fs;
use std::path::{Path, PathBuf};

/// A room and the rooms that it may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("protocol", &["types"]),
    ("engine", &["types"]),
    ("store", &["types", "engine"]),
    ("auth", &["types"]),
    ("config", &["types"]),
    ("telemetry", &["types", "config"]),
    ("tls", &["types", "config"]),
    ("broker", &["types", "engine", "store"]),
];

/// What the pure rooms may not name: I/O, clocks, async, and maps of random order.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "HashMap",
    "HashSet",
];

const LINES_MAX: usize = 800;
const COLUMNS_MAX: usize = 100;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

/// The room of a file: the first part of its path below `src`.
fn room(file: &Path) -> String {
    let inner = file.strip_prefix(root().join("src")).unwrap();
    let first = inner.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Rooms that a text imports by `crate::`.
fn imports(text: &str) -> Vec<String> {
    let word = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    text.match_indices("crate::").map(|(at, found)| word(&text[at + found.len()..])).collect()
}

/// What a room may not import.
fn forbidden(room: &str, text: &str) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        return Vec::new();
    };
    imports(text)
        .into_iter()
        .filter(|import| {
            ARROWS.iter().any(|(name, _)| name == import)
                && import != room
                && !allowed.contains(&import.as_str())
        })
        .collect()
}

fn impure(text: &str) -> Vec<&'static str> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    IMPURE.iter().copied().filter(|word| code.contains(word)).collect()
}

#[test]
fn imports_point_down() {
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let bad = forbidden(&room(&file), &text);
        assert!(bad.is_empty(), "{} imports {bad:?}", file.display());
    }
    assert_eq!(forbidden("engine", "use crate::protocol::frame;"), ["protocol"]);
    assert_eq!(forbidden("types", "use crate::engine::Tenant;"), ["engine"]);
}

#[test]
fn the_pure_rooms_are_pure() {
    for file in rust_files(&root().join("src")) {
        let in_tests = file.components().any(|part| part.as_os_str() == "tests")
            || file.file_name().is_some_and(|name| name == "tests.rs");
        // Its maps have a fixed hash; it is the one place that names the type.
        let in_tests = in_tests || file.ends_with("engine/number_map.rs");
        if in_tests || !["types", "protocol", "engine"].contains(&room(&file).as_str()) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let bad = impure(&text);
        assert!(bad.is_empty(), "{} names {bad:?}", file.display());
    }
    assert_eq!(impure("use std::collections::HashMap;"), ["HashMap"]);
    assert!(impure("// no HashMap here").is_empty());
}

#[test]
fn every_file_says_what_it_is_and_keeps_its_measure() {
    for folder in ["src", "tests"] {
        for file in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let name = file.display();
            assert!(text.starts_with("//!"), "{name} does not say what it is");
            assert!(text.lines().count() <= LINES_MAX, "{name} has more than {LINES_MAX} lines");
        }
    }
}

#[test]
fn lines_of_code_keep_their_width() {
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            // A wire example is one line by its nature.
            let is_text = line.contains("r#\"") || line.contains('"');
            assert!(
                is_text || line.chars().count() <= COLUMNS_MAX,
                "{}:{} is wider than {COLUMNS_MAX}",
                file.display(),
                number + 1
            );
        }
    }
}

#[test]
fn nothing_is_left_undone() {
    let marks = [["todo", "!("].concat(), ["unimplemented", "!("].concat(), ["dbg", "!("].concat()];
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for mark in &marks {
            assert!(!text.contains(mark), "{} has {mark}", file.display());
        }
    }
}
