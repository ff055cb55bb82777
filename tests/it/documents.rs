//! The conversations in `docs/protocol.md`, replayed against a real server: each line that the page
//! says the server answers is what it answers, but for numbers that depend on the moment.

use std::collections::VecDeque;

use serde_json::Value;

use crate::harness::{Home, Server, Wire};

/// What the page's examples log in with.
const PASSWORD: &str = "correct horse battery staple\n";
/// Numbers that are others each time.
const OF_THE_MOMENT: [&str; 3] = ["fence", "published_at", "oldest_age_ms"];

/// The lines of all blocks, `→ ` and `← ` in front.
fn conversation() -> Vec<String> {
    let page = include_str!("../../docs/protocol.md");
    let mut lines = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```gmq" => inside = true,
            "```" => inside = false,
            line if inside => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

/// The line with zeros for what depends on the moment.
fn settled(mut line: Value) -> Value {
    fn settle(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    let moment = OF_THE_MOMENT.contains(&&**name) && value.is_u64();
                    if moment || name == "gmq-dead-at" {
                        *value = 0.into();
                    }
                    settle(value);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(settle),
            _ => {}
        }
    }
    settle(&mut line);
    line
}

fn replay(server: &Server<'_>, lines: &mut VecDeque<String>) -> Vec<String> {
    let mut wire: Option<Wire> = None;
    let mut differences = Vec::new();
    while let Some(line) = lines.pop_front() {
        if let Some(request) = line.strip_prefix("→ ") {
            wire.as_mut().expect("a conversation begins with hello").send(request);
            continue;
        }
        let expected: Value = serde_json::from_str(line.strip_prefix("← ").unwrap()).unwrap();
        if expected["event"] == "hello" {
            wire = Some(server.connect_ungreeted());
        }
        let actual = wire.as_mut().expect("a conversation begins with hello").next();
        if settled(actual.clone()) != settled(expected) {
            differences.push(format!("page:   {line}\nserver: ← {actual}"));
        }
    }
    differences
}

#[test]
fn the_examples_of_the_protocol_are_what_the_server_says() {
    let home = Home::new();
    home.admin(&["tenant", "add", "acme"], "");
    let user = ["user", "add", "alice", "--tenant", "acme", "--password-stdin", "--grant", "all:#"];
    home.admin(&user, PASSWORD);
    let server = home.serve();
    let mut lines: VecDeque<_> = conversation().into();
    assert!(lines.len() > 60, "the page has its examples");
    let differences = replay(&server, &mut lines);
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}
