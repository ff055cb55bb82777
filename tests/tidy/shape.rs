//! How long things are, and that each says what it is.

use crate::source::{self, Fault, Source};
use crate::{fault_lines, hold};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

fn file_length(source: &Source) -> Vec<Fault> {
    let lines = source.text.lines().count();
    let text = format!("{lines} lines, {FILE_LINES_MAX} at most: split it by what it is about");
    if lines > FILE_LINES_MAX { vec![Fault::new(FILE_LINES_MAX + 1, text)] } else { Vec::new() }
}

fn function_length(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    for place in source.places(&["fn"]) {
        let is_named = source.at(place + 1).starts_with(|c: char| c.is_alphabetic() || c == '_');
        let Some(open) = is_named.then(|| body_of(source, place)).flatten() else { continue };
        let first = source.tokens[place].line;
        let last = source.tokens.get(source.close_of(open)).map_or(first, |token| token.line);
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = source.at(place + 1);
            let text = format!("{name} has {lines} lines, {FUNCTION_LINES_MAX} at most: split it");
            faults.push(Fault::new(first, text));
        }
    }
    faults
}

/// The brace that opens the body; `None`: a declaration.
fn body_of(source: &Source, function: usize) -> Option<usize> {
    let mut place = function;
    while place < source.tokens.len() {
        match source.at(place) {
            "(" | "[" => place = source.close_of(place),
            "{" => return Some(place),
            ";" => return None,
            _ => {}
        }
        place += 1;
    }
    None
}

/// A literal is not broken to fit, since it may be what a test sends.
fn columns(source: &Source) -> Vec<Fault> {
    let is_literal = |line: usize| {
        let literals = source.tokens.iter().filter_map(|t| Some((t, t.literal_end?)));
        let mut long = literals.filter(|(t, end)| *end > t.line || t.text.len() > COLUMNS_MAX / 2);
        long.any(|(token, end)| (token.line..=end).contains(&line))
    };
    let long = source.text.lines().zip(1..).filter(|(text, _)| text.chars().count() > COLUMNS_MAX);
    long.filter(|(_, line)| !is_literal(*line))
        .map(|(_, line)| Fault::new(line, format!("longer than {COLUMNS_MAX} columns")))
        .collect()
}

fn module_text(source: &Source) -> Vec<Fault> {
    let text = "a module begins with //!: what it does, what it refuses, who calls it";
    let has_words = source.text.lines().next().is_some_and(|line| {
        line.strip_prefix("//!").is_some_and(|words| words.split_whitespace().count() >= 2)
    });
    if has_words { Vec::new() } else { vec![Fault::new(1, text)] }
}

#[test]
fn files_are_short() {
    hold(&source::all(), file_length);
}

#[test]
fn functions_are_short() {
    hold(&source::all(), function_length);
}

#[test]
fn lines_are_short() {
    hold(&source::all(), columns);
}

#[test]
fn modules_say_what_they_are() {
    hold(&source::all(), module_text);
}

#[test]
fn what_is_too_long_is_found() {
    let path = "src/server/x.rs";
    assert_eq!(fault_lines(path, &"\n".repeat(801), file_length), [801]);
    assert_eq!(fault_lines(path, &"\n".repeat(800), file_length), []);
    let function = |lines| format!("\nfn f(a: [u8; 2]) -> T where A: B {{{}}}", "\n".repeat(lines));
    assert_eq!(fault_lines(path, &function(70), function_length), [2]);
    assert_eq!(fault_lines(path, &function(69), function_length), []);
    let declaration = format!("trait T {{ fn f(); }}\n{}const A: u8 = {{ 1 }};", "\n".repeat(99));
    assert_eq!(fault_lines(path, &declaration, function_length), []);
    let comment = format!("// {}\n", "é".repeat(98));
    assert_eq!(fault_lines(path, &comment, columns), [1]);
    let literal = format!("const A: &str = \"{}\";", "a".repeat(100));
    assert_eq!(fault_lines(path, &literal, columns), []);
}

#[test]
fn a_module_without_words_is_found() {
    let lines = |text| fault_lines("src/server/x.rs", text, module_text);
    assert_eq!(lines("use std::fmt;"), [1]);
    assert_eq!(lines("//! x"), [1]);
    assert_eq!(lines("//! What this is for."), []);
}
