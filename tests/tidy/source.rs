//! Files as lines and tokens. Tokens come from the compiler's own lexer (proc-macro2), so that
//! comments, strings and macros cannot mislead a rule.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

/// What a rule found.
#[derive(Debug)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    text: String,
}

impl Fault {
    pub fn new(line: usize, text: impl Into<String>) -> Self {
        Self { line, text: text.into() }
    }

    pub fn at(&self, path: &str) -> String {
        format!("{path}:{}: {}", self.line, self.text)
    }
}

/// A word, a sign, a literal, or one side of a bracket.
#[derive(Debug)]
pub struct Token {
    pub text: String,
    /// From 1.
    pub line: usize,
    /// The lines of a literal's end and how long it is; `None` of all others.
    pub literal_end: Option<usize>,
}

/// One Rust file.
pub struct Source {
    /// From the root of the tree, with `/`.
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
    /// Tokens inside `#[cfg(test)] mod …  { … }`.
    test_tokens: Vec<Range<usize>>,
    is_test_file: bool,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let tokens = lex(text).unwrap_or_else(|error| panic!("{path} is not Rust: {error}"));
        let is_test_file = path.starts_with("tests/")
            || path.split('/').any(|part| matches!(part, "tests" | "tests.rs"));
        let test_tokens = test_modules(&tokens).filter_map(|module| module.body).collect();
        Self { path: path.to_owned(), text: text.to_owned(), tokens, test_tokens, is_test_file }
    }

    /// Whether the token of that place is compiled for tests alone.
    pub fn is_test(&self, place: usize) -> bool {
        self.is_test_file || self.test_tokens.iter().any(|range| range.contains(&place))
    }

    /// The text of the token of that place; empty behind the end.
    pub fn at(&self, place: usize) -> &str {
        self.tokens.get(place).map_or("", |token| &token.text)
    }

    /// Whether the tokens from that place on are these.
    pub fn has(&self, place: usize, texts: &[&str]) -> bool {
        texts.iter().enumerate().all(|(n, text)| self.at(place + n) == *text)
    }

    /// Every place where these tokens stand.
    pub fn places<'a>(&'a self, texts: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
        (0..self.tokens.len()).filter(move |place| self.has(*place, texts))
    }

    /// The place of the bracket that closes the one at `open`.
    pub fn close_of(&self, open: usize) -> usize {
        close_of(&self.tokens, open)
    }
}

struct TestModule {
    name: String,
    body: Option<Range<usize>>,
}

/// The modules behind `#[cfg(test)]` and `#[cfg(all(test, …))]`.
fn test_modules(tokens: &[Token]) -> impl Iterator<Item = TestModule> + '_ {
    let at = |place: usize| tokens.get(place).map_or("", |token| &*token.text);
    (0..tokens.len()).filter_map(move |start| {
        let is_for_tests = ["#", "[", "cfg", "("].iter().zip(start..).all(|(t, n)| at(n) == *t)
            && (at(start + 4) == "test" || (at(start + 4) == "all" && at(start + 6) == "test"));
        if !is_for_tests {
            return None;
        }
        let mut place = close_of(tokens, start + 1) + 1;
        while matches!(at(place), "pub" | "(" | "crate" | "super" | ")") {
            place += 1;
        }
        let name = (at(place) == "mod").then(|| at(place + 1).to_owned())?;
        let body = (at(place + 2) == "{").then(|| place + 2..close_of(tokens, place + 2));
        Some(TestModule { name, body })
    })
}

fn close_of(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return place;
        }
    }
    tokens.len()
}

fn lex(text: &str) -> Result<Vec<Token>, LexError> {
    let mut tokens = Vec::new();
    flatten(text.parse()?, &mut tokens);
    Ok(tokens)
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        let mut push = |text: &str, line| {
            tokens.push(Token { text: text.to_owned(), line, literal_end: None });
        };
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(open, line);
                flatten(group.stream(), tokens);
                let line = group.span_close().start().line;
                tokens.push(Token { text: close.to_owned(), line, literal_end: None });
            }
            TokenTree::Ident(word) => push(&word.to_string(), line),
            TokenTree::Punct(sign) => push(&sign.as_char().to_string(), line),
            TokenTree::Literal(literal) => {
                let literal_end = Some(literal.span().end().line);
                tokens.push(Token { text: literal.to_string(), line, literal_end });
            }
        }
    }
}

/// As cargo says it when the test runs: a shared target folder may hold a test built elsewhere.
fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test").into()
    });
    &ROOT
}

/// The Rust files under a folder; none where there is no such folder.
pub fn under(folder: &str) -> Vec<Source> {
    let mut sources: Vec<Source> = files(&root().join(folder))
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| Source::new(&name(&file), &fs::read_to_string(&file).expect("UTF-8")))
        .collect();
    mark_test_files(&mut sources);
    sources
}

/// Every Rust file of the project.
pub fn all() -> Vec<Source> {
    ["src", "tests", "benches", "examples"].into_iter().flat_map(under).collect()
}

/// A file that its parent declares behind `#[cfg(test)]` is for tests, with all below it.
fn mark_test_files(sources: &mut [Source]) {
    let mut stems = Vec::new();
    for source in &*sources {
        let folder = module_folder(&source.path);
        let outside = test_modules(&source.tokens).filter(|module| module.body.is_none());
        stems.extend(outside.map(|module| format!("{folder}/{}", module.name)));
    }
    for source in sources {
        source.is_test_file |= stems.iter().any(|stem| {
            let rest = source.path.strip_prefix(stem.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
}

/// Where the files of a file's child modules lie.
fn module_folder(path: &str) -> String {
    for end in ["/mod.rs", "/lib.rs", "/main.rs"] {
        if let Some(folder) = path.strip_suffix(end) {
            return folder.to_owned();
        }
    }
    path.trim_end_matches(".rs").to_owned()
}

/// The text files that belong to the project, with their names: what git tracks, or, where there is
/// no git, what lies there but for what is built.
pub fn tracked() -> Vec<(String, String)> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let paths: Vec<PathBuf> = match listed {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            let names = String::from_utf8(output.stdout).expect("names in UTF-8");
            names.split_terminator('\0').map(|name| root().join(name)).collect()
        }
        _ => files(root()),
    };
    let read = |path: PathBuf| Some((name(&path), fs::read_to_string(path).ok()?));
    paths.into_iter().filter_map(read).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path);
        } else if !path.ends_with("target") && !path.ends_with(".git") {
            found.extend(files(&path));
        }
    }
    found
}

fn name(path: &Path) -> String {
    let relative = path.strip_prefix(root()).unwrap_or(path);
    relative.to_string_lossy().replace('\\', "/")
}

#[test]
fn tests_are_told_from_the_rest() {
    let text = "fn a() {}\n#[cfg(all(test, unix))]\nmod tests { fn b() {} }\nfn c() {}";
    let source = Source::new("src/x/y.rs", text);
    let is_test = |name| source.is_test(source.places(&["fn", name]).next().expect("it is there"));
    assert_eq!([is_test("a"), is_test("b"), is_test("c")], [false, true, false]);

    let mut sources = [
        Source::new("src/x/mod.rs", "#[cfg(test)]\npub(crate) mod model;\nmod y;"),
        Source::new("src/x/model/part.rs", "fn a() {}"),
        Source::new("src/x/y.rs", "fn a() {}"),
    ];
    mark_test_files(&mut sources);
    assert_eq!(sources.map(|source| source.is_test(0)), [false, true, false]);
}
