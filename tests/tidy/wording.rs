//! Names of files, and words that belong on nobody's machine but the author's.

use crate::source::{self, Fault};

/// Rooms for everything become rooms of nothing.
const VAGUE: [&str; 4] = ["util", "common", "helper", "manager"];

fn is_vague(path: &str) -> bool {
    let mut words = path.split(['/', '.', '_', '-']);
    words.any(|word| VAGUE.iter().any(|vague| word.strip_prefix(vague).is_some_and(is_ending)))
}

fn is_ending(rest: &str) -> bool {
    matches!(rest, "" | "s")
}

/// Paths of the machine that something was written on. Put together here, so that this file passes.
fn private_paths() -> [String; 4] {
    ["work", "root", "opt/wheels", "tmp/tmp"].map(|folder| format!("/{folder}/"))
}

fn private(text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for path in private_paths() {
            let begins = line.match_indices(&path).any(|(at, _)| {
                !line[..at]
                    .ends_with(|before: char| before.is_alphanumeric() || "._-~".contains(before))
            });
            if begins {
                let text = format!("names {path}, which is on one machine only");
                faults.push(Fault::new(number, text));
            }
        }
    }
    faults
}

#[test]
fn files_are_named_after_what_is_in_them() {
    let vague: Vec<String> =
        source::tracked().into_iter().map(|(path, _)| path).filter(|path| is_vague(path)).collect();
    assert!(vague.is_empty(), "name these after what is in them: {}", vague.join(", "));
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let tracked = source::tracked();
    assert!(tracked.len() > 20, "the tree was not found");
    let faults: Vec<String> = tracked
        .iter()
        .flat_map(|(path, text)| private(text).into_iter().map(|fault| fault.at(path)))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn vague_names_are_found() {
    for vague in ["src/util.rs", "src/utils/mod.rs", "a/test_helpers.rs", "a/common/b.rs"] {
        assert!(is_vague(vague), "{vague}");
    }
    for good in ["src/utility_meter.rs", "src/uncommon.rs", "docs/management.md"] {
        assert!(!is_vague(good), "{good}");
    }
}

#[test]
fn private_paths_are_found() {
    for path in private_paths() {
        let lines =
            |text: String| private(&text).iter().map(|fault| fault.line).collect::<Vec<_>>();
        assert_eq!(lines(format!("fine\nsee {path}x")), [2]);
        assert_eq!(lines(format!("the folder frame{path}x")), []);
    }
}
