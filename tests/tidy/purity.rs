//! What `types`, `protocol` and `engine` must not know: I/O, clocks, threads, chance. And what nobody
//! may: code that is unsafe, or that panics where it was not thought about.

use crate::source::{self, Fault, Source};
use crate::{fault_lines, hold};

const PURE: [&str; 3] = ["src/types/", "src/protocol/", "src/engine/"];

const IMPURE: [&[&str]; 12] = [
    &["tokio"],
    &["std", ":", ":", "fs"],
    &["std", ":", ":", "net"],
    &["std", ":", ":", "env"],
    &["std", ":", ":", "thread"],
    &["SystemTime"],
    &["Instant"],
    &["RandomState"],
    &["rand"],
    &["getrandom"],
    &["async"],
    &["println", "!"],
];

fn impure(source: &Source) -> Vec<Fault> {
    if !PURE.iter().any(|room| source.path.starts_with(room)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for words in IMPURE {
        for place in source.places(words).filter(|place| !source.is_test(*place)) {
            let text = format!("{} in a pure room: hand it in from outside", words.concat());
            faults.push(Fault::new(source.tokens[place].line, text));
        }
    }
    for place in (0..source.tokens.len()).filter(|place| !source.is_test(*place)) {
        if matches!(source.at(place), "HashMap" | "HashSet") && has_random_seed(source, place) {
            let text = "a hash table with a random seed in a pure room: its order differs from run \
                        to run; take BTreeMap, or a hasher of your own";
            faults.push(Fault::new(source.tokens[place].line, text));
        }
    }
    faults
}

/// Whether a mention of `HashMap` or `HashSet`, imports aside, names no hasher.
fn has_random_seed(source: &Source, place: usize) -> bool {
    match source.at(place + 1) {
        "<" => {
            let arguments = if source.at(place) == "HashMap" { 3 } else { 2 };
            generic_arguments(source, place + 1) < arguments
        }
        // `HashMap::new` and its kin exist for the random seed alone.
        ":" => matches!(source.at(place + 3), "new" | "with_capacity" | "from"),
        _ => false,
    }
}

fn generic_arguments(source: &Source, open: usize) -> usize {
    let (mut depth, mut count, mut place) = (0_i32, 1, open);
    while place < source.tokens.len() {
        match source.at(place) {
            "<" | "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            ">" if source.at(place - 1) != "-" => depth -= 1,
            "," if depth == 1 => count += 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        place += 1;
    }
    count
}

fn careless(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut find = |words: &[&str], in_tests: bool, text: &str| {
        for place in source.places(words).filter(|place| in_tests || !source.is_test(*place)) {
            faults.push(Fault::new(source.tokens[place].line, text));
        }
    };
    find(&["todo", "!"], true, "todo! is no answer: write it, or leave the feature out");
    find(&["unimplemented", "!"], true, "unimplemented! is no answer: write it, or leave it out");
    find(&["dbg", "!"], true, "dbg! is for the desk: take it out");
    find(&["unsafe"], true, "unsafe is forbidden");
    find(&["#", "[", "ignore"], true, "an ignored test tests nothing: mend it or remove it");
    let unwrapped = "unwrap outside tests: return an error, or expect(\"why it cannot fail\")";
    find(&[".", "unwrap", "(", ")"], false, unwrapped);
    faults
}

#[test]
fn types_protocol_and_engine_are_pure() {
    hold(&source::under("src"), impure);
}

#[test]
fn nothing_is_careless() {
    hold(&source::all(), careless);
}

#[test]
fn impurity_is_found() {
    let lines = |text| fault_lines("src/engine/x.rs", text, impure);
    assert_eq!(lines("use std::time::Instant;"), [1]);
    assert_eq!(lines("async fn f() {}\nuse std::fs;"), [1, 2]);
    assert_eq!(lines("use std::collections::HashMap;\ntype M = HashMap<Vec<u8>, u8>;"), [2]);
    assert_eq!(lines("type M = HashMap<(u8, u8), fn(u8) -> u8, MyHasher>;"), []);
    assert_eq!(lines("fn f() { HashSet::new() }"), [1]);
    assert_eq!(lines("#[cfg(test)]\nmod tests { use std::time::Instant; }"), []);
    assert_eq!(fault_lines("src/server/x.rs", "use std::time::Instant;", impure), []);
}

#[test]
fn carelessness_is_found() {
    let lines = |text| fault_lines("src/server/x.rs", text, careless);
    assert_eq!(lines("fn f() { todo!() }"), [1]);
    assert_eq!(lines("fn f() { unimplemented!() }"), [1]);
    assert_eq!(lines("fn f() {\n    dbg!(1);\n}"), [2]);
    assert_eq!(lines("unsafe fn f() {}"), [1]);
    assert_eq!(lines("#[ignore = \"later\"]\n#[test]\nfn f() {}"), [1]);
    assert_eq!(
        lines("fn f() { g().unwrap() }\n#[cfg(test)] mod tests { fn h() { g().unwrap() } }"),
        [1]
    );
    assert_eq!(lines("// todo!()\nconst A: &str = \"dbg!(unsafe)\";"), []);
}
