//! Who may import whom: from the top of the house down only.

use crate::source::{self, Fault, Source};
use crate::{fault_lines, hold};

/// Each room with the rooms it may use besides itself.
const ROOMS: [(&str, &[&str]); 17] = [
    ("types", &[]),
    ("protocol", &["types"]),
    ("engine", &["types"]),
    ("store", &["engine", "mysql", "types"]),
    ("tls", &["config", "types"]),
    ("mysql", &[]),
    ("accounts", &["mysql", "types"]),
    ("auth", &["types"]),
    ("config", &["types"]),
    ("telemetry", &["config", "types"]),
    ("client", &["protocol", "tls", "types"]),
    ("torture", &["client", "engine", "store", "types"]),
    ("broker", &["engine", "store", "types"]),
    ("command", &["auth", "broker", "engine", "protocol", "types"]),
    (
        "server",
        &[
            "accounts",
            "auth",
            "broker",
            "command",
            "config",
            "engine",
            "protocol",
            "store",
            "telemetry",
            "tls",
            "types",
        ],
    ),
    (
        "cli",
        &[
            "accounts",
            "auth",
            "broker",
            "client",
            "command",
            "config",
            "engine",
            "mysql",
            "protocol",
            "server",
            "store",
            "telemetry",
            "tls",
            "torture",
            "types",
        ],
    ),
    ("main", &["cli"]),
];

/// Crates that have one place: where they are called, they could be replaced in an hour.
const CRATES: [(&str, &[&str]); 5] = [
    ("argon2", &["src/auth/"]),
    ("clap", &["src/cli/"]),
    ("figment", &["src/config"]),
    ("rustls_pemfile", &["src/tls/pem.rs"]),
    ("sqlx", &["src/accounts/", "src/mysql/", "src/store/mysql/"]),
];

fn arrows(source: &Source) -> Vec<Fault> {
    let modules = modules_of(&source.path);
    let Some(&room) = modules.first() else { return Vec::new() };
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        let text = format!("the room {room} is new: add it to ROOMS in tests/tidy/arrows.rs");
        return vec![Fault::new(1, text)];
    };
    let mut faults = Vec::new();
    for (place, used) in rooms_used(source, modules.len()) {
        let line = source.tokens[place].line;
        if used != room && !allowed.contains(&used) {
            faults.push(Fault::new(line, format!("{room} may not use {used}: imports point down")));
        }
        let is_principal = source.has(place + 1, &[":", ":", "Principal"]);
        if room == "command" && used == "auth" && !is_principal {
            faults.push(Fault::new(line, "command may use nothing of auth but its Principal"));
        }
    }
    faults
}

fn foreign_crates(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, homes) in CRATES {
        for place in source.places(&[name]) {
            let before = place.checked_sub(1).map_or("", |before| source.at(before));
            let is_path = source.has(place + 1, &[":", ":"]) && before != ":";
            let is_use = before == "use" && source.at(place + 1) != ":";
            if (is_path || is_use) && !homes.iter().any(|home| source.path.starts_with(home)) {
                let text = format!("{name} is called only in {}", homes.join(", "));
                faults.push(Fault::new(source.tokens[place].line, text));
            }
        }
    }
    faults
}

/// The modules that a file is in, itself included: none for `lib.rs`.
fn modules_of(path: &str) -> Vec<&str> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    inner.split('/').filter(|part| !matches!(*part, "mod" | "lib")).collect()
}

/// The rooms that paths from the crate's root name, with the place of each name. `depth` is how many
/// modules the file is in: so many `super` lead to the root.
fn rooms_used(source: &Source, depth: usize) -> Vec<(usize, &str)> {
    let mut used = Vec::new();
    let mut inner_modules: Vec<usize> = Vec::new();
    for place in 0..source.tokens.len() {
        inner_modules.retain(|end| *end > place);
        if source.at(place) == "mod" && source.at(place + 2) == "{" {
            inner_modules.push(source.close_of(place + 2));
        }
        let continues = place >= 2 && source.has(place - 2, &[":", ":"]);
        let Some(mut next) = after_root(source, place, depth + inner_modules.len()) else {
            continue;
        };
        if continues && source.at(place) == "super" {
            continue;
        }
        if source.at(next) == "{" {
            let end = source.close_of(next);
            let mut nested = 0_usize;
            next += 1;
            while next < end {
                match source.at(next) {
                    "{" => nested += 1,
                    "}" => nested -= 1,
                    _ if nested == 0 && matches!(source.at(next - 1), "{" | ",") => {
                        used.push((next, source.at(next)));
                    }
                    _ => {}
                }
                next += 1;
            }
        } else {
            used.push((next, source.at(next)));
        }
    }
    used
}

/// The place behind `crate::`, `gmq::`, or as many `super::` as lead to the root.
fn after_root(source: &Source, place: usize, depth: usize) -> Option<usize> {
    match source.at(place) {
        "crate" | "gmq" if source.has(place + 1, &[":", ":"]) => Some(place + 3),
        "super" => {
            let supers = (0..).take_while(|n| source.has(place + 3 * n, &["super", ":", ":"]));
            let count = supers.count();
            (count == depth).then_some(place + 3 * count)
        }
        _ => None,
    }
}

#[test]
fn imports_point_down() {
    hold(&source::under("src"), arrows);
}

#[test]
fn crates_have_one_place() {
    hold(&source::under("src"), foreign_crates);
}

#[test]
fn an_upward_import_is_found() {
    let lines = |path, text| fault_lines(path, text, arrows);
    assert_eq!(lines("src/types/name.rs", "use super::id;\nuse crate::protocol::Request;"), [2]);
    assert_eq!(lines("src/store/file.rs", "use crate::{engine::Tag, tls::{a, b}, types};"), [1]);
    assert_eq!(lines("src/engine/mod.rs", "use super::protocol::Request;"), [1]);
    assert_eq!(lines("src/engine/x.rs", "mod m {\nuse super::super::super::store::S;\n}"), [2]);
    assert_eq!(lines("src/engine/x.rs", "mod m {\nuse super::super::store::S;\n}"), []);
    assert_eq!(lines("src/client/mod.rs", "fn f() { crate::broker::f() }"), [1]);
    assert_eq!(lines("src/client/mod.rs", "// crate::broker\nconst A: &str = \"crate::cli\";"), []);
    assert_eq!(
        lines("src/command/x.rs", "use crate::auth::Principal;\nuse crate::auth::Pool;"),
        [2]
    );
    assert_eq!(lines("src/attic/x.rs", ""), [1]);
    assert_eq!(lines("src/main.rs", "fn main() { gmq::cli::run() }"), []);
    assert_eq!(lines("src/main.rs", "fn main() { gmq::broker::run() }"), [1]);
    assert_eq!(lines("src/lib.rs", "pub mod types;"), []);
}

#[test]
fn a_crate_in_the_wrong_place_is_found() {
    let lines = |path, text| fault_lines(path, text, foreign_crates);
    assert_eq!(lines("src/tls/server.rs", "use rustls_pemfile::Item;"), [1]);
    assert_eq!(lines("src/tls/pem.rs", "use rustls_pemfile::Item;"), []);
    assert_eq!(lines("src/broker/mod.rs", "fn f() { sqlx::query(x) }\nuse figment;"), [1, 2]);
    assert_eq!(lines("src/config/mod.rs", "struct A { argon2: B }\nuse self::argon2::C;"), []);
}
