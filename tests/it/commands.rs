//! The commands of a client that the rest of the tests does not type: topics, dead letters, keys and
//! what else a message and a queue can have.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Home, Server, eventually, gmq, text};

fn json_of(server: &Server<'_>, arguments: &[&str]) -> Value {
    let said = server.client(&[arguments, &["--output", "json"]].concat(), "");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn a_message_is_published_with_all_that_it_can_have() {
    let home = Home::new();
    let server = home.serve();
    let said = |arguments: &[&str]| server.client(arguments, "");
    said(&["queue", "declare", "jobs", "--dedup-window", "1h"]);
    let first = ["publish", "jobs", "one", "--key", "k", "--group", "g", "--priority", "9"];
    assert_eq!(said(&first), "published to jobs, seq 1\n");
    let again = said(&first);
    assert_eq!(again, "jobs has a message with this key already, seq 1; nothing was stored\n");
    said(&["publish", "jobs", "late", "--delay", "1h"]);
    said(&["publish", "jobs", "gone", "--ttl", "1ms"]);
    said(&["publish", "jobs", "--json", "{\"a\": 1}", "--header", "h=1"]);
    let info = eventually("an expired message", || {
        Some(json_of(&server, &["queue", "info", "jobs"])).filter(|info| info["expired"] == 1)
    });
    assert_eq!((&info["ready"], &info["delayed"]), (&2.into(), &1.into()));
    assert_eq!(info["duplicates"], 1);
    let taken = said(&["consume", "jobs", "--output", "json"]);
    let taken: Vec<Value> = taken.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(taken.len(), 2);
    let (first, second) = (&taken[0], &taken[1]);
    assert_eq!(
        (&first["priority"], &first["key"], &first["group"]),
        (&json!(9), &json!("k"), &json!("g"))
    );
    assert_eq!(
        (&second["priority"], &second["key"], &second["topic"]),
        (&json!(4), &json!(null), &json!(null))
    );
    assert_eq!((&second["body"], &second["headers"]), (&json!({"a": 1}), &json!({"h": "1"})));
}

#[test]
fn topics_are_bound_published_to_and_unbound() {
    let home = Home::new();
    let server = home.serve();
    let said = |arguments: &[&str]| server.client(arguments, "");
    said(&["queue", "declare", "mails"]);
    said(&["queue", "declare", "archive"]);
    let bind = ["topic", "bind", "orders.*.created", "mails"];
    assert_eq!(said(&bind), "mails gets what is published to orders.*.created\n");
    assert_eq!(said(&bind), "mails gets what is published to orders.*.created already\n");
    said(&["topic", "bind", "orders.#", "archive"]);
    let expected = json!([
        {"pattern": "orders.#", "queue": "archive"},
        {"pattern": "orders.*.created", "queue": "mails"},
    ]);
    assert_eq!(json_of(&server, &["topic", "list"]), expected);
    let table = said(&["topic", "list", "--output", "table"]);
    assert!(table.contains("pattern") && table.contains("orders.#"), "{table}");
    let published = said(&["publish", "--topic", "orders.eu.created", "order 7"]);
    assert_eq!(published, "published to the topic orders.eu.created, for 2 queues\n");
    let gone = said(&["publish", "--topic", "elsewhere", "order 7"]);
    assert!(gone.contains("no queue has a binding") && gone.contains("topic bind"), "{gone}");
    let lines = server.client(&["publish", "--topic", "orders.eu", "--lines"], "1\n2\n");
    assert_eq!(lines, "published 2 messages to the topic orders.eu\n");
    let lines = server.client(&["publish", "--topic", "elsewhere", "--lines"], "1\n2\n");
    assert!(lines.contains("2 of them matched no binding"), "{lines}");
    let taken =
        said(&["consume", "mails", "--exec", "echo $GMQ_MESSAGE_TOPIC $GMQ_MESSAGE_PRIORITY"]);
    assert_eq!(taken, "orders.eu.created 4\n");
    let unbind = ["topic", "unbind", "orders.*.created", "mails"];
    assert_eq!(said(&unbind), "mails gets no more of what is published to orders.*.created\n");
    assert!(said(&unbind).contains("has no binding"));
}

#[test]
fn dead_letters_are_counted_and_moved_back() {
    let home = Home::new();
    let server = home.serve();
    let said = |arguments: &[&str]| server.client(arguments, "");
    said(&["queue", "declare", "dead"]);
    said(&["queue", "declare", "jobs", "--max-attempts", "1", "--dead-letter", "dead"]);
    said(&["publish", "jobs", "1", "2", "3"]);
    said(&["consume", "jobs", "--exec", "exit 1"]);
    eventually("dead letters", || {
        let info = json_of(&server, &["queue", "info", "jobs"]);
        (info["dead_lettered"] == 3 && info["dead_waiting"] == 0).then_some(())
    });
    let two = said(&["queue", "move", "dead", "jobs", "--max", "2"]);
    assert_eq!(two, "2 messages moved from dead to jobs\n");
    assert_eq!(said(&["queue", "move", "dead", "jobs"]), "1 messages moved from dead to jobs\n");
    assert_eq!(said(&["queue", "peek", "jobs"]), "1\n2\n3\n");
    let table = said(&["queue", "info", "jobs", "--output", "table"]);
    for name in ["dead_waiting", "dead_lettered", "expired", "duplicates"] {
        assert!(table.contains(name), "{table}");
    }
}

#[test]
fn more_messages_than_one_request_moves_are_all_moved() {
    let home = Home::new();
    let server = home.serve();
    let lines: String = (0..10_500).map(|number| format!("{number}\n")).collect();
    server.client(&["publish", "from", "--lines"], &lines);
    server.client(&["queue", "declare", "to"], "");
    let said = server.client(&["queue", "move", "from", "to"], "");
    assert_eq!(said, "10500 messages moved from from to to\n");
    assert_eq!(server.client(&["consume", "to"], ""), lines, "in their order");
}

#[test]
fn the_doctor_says_why_nothing_comes() {
    let home = Home::new();
    let server = home.serve();
    server.client(&["publish", "jobs", "late", "--delay", "1h"], "");
    let findings = json_of(&server, &["queue", "doctor", "jobs"]);
    let codes: Vec<_> = findings.as_array().unwrap().iter().map(|found| &found["code"]).collect();
    assert_eq!(codes, ["head_delayed", "no_consumer"]);
    let table = server.client(&["queue", "doctor", "jobs", "--output", "table"], "");
    assert!(table.contains("head_delayed") && table.contains("seq 1"), "{table}");
}

#[test]
fn every_setting_is_declared_and_taken_back() {
    let home = Home::new();
    let server = home.serve();
    let said = |arguments: &[&str]| server.client(arguments, "");
    let declare = |flags: &str| {
        let words = ["queue", "declare", "jobs"].into_iter().chain(flags.split(' '));
        server.client(&words.collect::<Vec<_>>(), "")
    };
    let all = "--storage memory --max-messages 5 --max-bytes 1KiB --overflow drop-oldest \
               --ack-timeout 1m --max-attempts 3 --dead-letter dead --ttl 1h --dedup-window 1m \
               --expires 1d";
    assert_eq!(declare(all), "created jobs\n");
    assert_eq!(declare(all), "jobs exists with these settings\n");
    let settings = json_of(&server, &["queue", "info", "jobs"])["settings"].clone();
    let expected = json!({
        "storage": "memory", "max_messages": 5, "max_bytes": 1024, "overflow": "drop_oldest",
        "ack_timeout_ms": 60_000, "max_attempts": 3, "dead_letter": "dead", "ttl_ms": 3_600_000,
        "dedup_window_ms": 60_000, "expires_ms": 86_400_000, "exclusive": false,
    });
    assert_eq!(settings, expected);
    let off = "--max-messages off --max-bytes off --overflow reject --max-attempts off \
               --dead-letter off --ttl off --dedup-window off --expires off --update";
    assert_eq!(declare(off), "jobs has these settings now\n");
    let settings = json_of(&server, &["queue", "info", "jobs"])["settings"].clone();
    let expected = json!({
        "storage": "memory", "max_messages": null, "max_bytes": null, "overflow": "reject",
        "ack_timeout_ms": 60_000, "max_attempts": null, "dead_letter": null, "ttl_ms": null,
        "dedup_window_ms": 0, "expires_ms": null, "exclusive": false,
    });
    assert_eq!(settings, expected);
    let help = said(&["queue", "declare", "--help"]);
    assert!(help.contains("Exclusive queues end with the connection"), "{help}");
    said(&["queue", "delete", "jobs"]);
}

#[test]
fn a_tenant_has_a_default_for_every_setting_but_exclusive() {
    let home = Home::new();
    let set = |values: &[&str]| {
        let mut words = vec!["tenant", "set", "default"];
        words.extend(values.iter().flat_map(|value| ["--default", value]));
        home.try_admin(&words, "")
    };
    let refused = |values: &[&str], part: &str| {
        let output = set(values);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    };
    refused(&["exclusive=true"], "leave exclusive out");
    refused(&["max_attempts=3"], "dead_letter=QUEUE");
    let all = [
        "storage=memory",
        "max_messages=5",
        "max_bytes=1024",
        "overflow=drop_oldest",
        "ack_timeout_ms=60000",
        "max_attempts=3",
        "dead_letter=404",
        "ttl_ms=3600000",
        "dedup_window_ms=60000",
        "expires_ms=86400000",
    ];
    assert!(set(&all).status.success());
    refused(&["dead_letter=null"], "dead_letter=QUEUE");
    assert!(set(&["ttl_ms=null", "max_attempts=4"]).status.success());
    let server = home.serve();
    server.client(&["queue", "declare", "jobs"], "");
    let settings = json_of(&server, &["queue", "info", "jobs"])["settings"].clone();
    let expected = json!({
        "storage": "memory", "max_messages": 5, "max_bytes": 1024, "overflow": "drop_oldest",
        "ack_timeout_ms": 60_000, "max_attempts": 4, "dead_letter": "404", "ttl_ms": null,
        "dedup_window_ms": 60_000, "expires_ms": 86_400_000, "exclusive": false,
    });
    assert_eq!(settings, expected);
}

/// Reads lines of a command that goes on, until there is one.
fn next_line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
}

#[test]
fn who_follows_a_queue_goes_on_when_the_server_is_back() {
    let home = Home::new();
    let server = home.serve();
    let address = server.address.to_string();
    server.client(&["publish", "orders", "one"], "");
    let mut follower = gmq();
    follower.args(["consume", "orders", "--follow", "--server", &address]);
    follower.arg("--profile").arg(home.path("client.toml"));
    let mut follower = follower.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(follower.stdout.take().unwrap());
    let mut errors = BufReader::new(follower.stderr.take().unwrap());
    assert_eq!(next_line(&mut output), "one\n");
    drop(server);
    let told = next_line(&mut errors);
    assert!(told.contains("going on as soon as the server is back"), "{told}");
    let server = home.serve_at(&address);
    server.client(&["publish", "orders", "two"], "");
    // The first one again, if the server was killed before it took the acknowledgement.
    let mut line = next_line(&mut output);
    if line == "one\n" {
        line = next_line(&mut output);
    }
    assert_eq!(line, "two\n");
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_message_whose_ack_was_lost_does_not_count() {
    let home = Home::new();
    let mut server = home.serve();
    let address = server.address.to_string();
    server.client(&["publish", "orders", "one"], "");
    // The server is gone before the command is done with its first message.
    let kill = format!("kill -9 {}; echo done", server.child.id());
    let mut follower = gmq();
    follower.args(["consume", "orders", "--follow", "--max", "1", "--exec", &kill]);
    follower.args(["--server", &address, "--profile"]).arg(home.path("client.toml"));
    let follower = follower.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    server.wait();
    drop(server);
    let server = home.serve_at(&address);
    let output = follower.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "done\ndone\n");
    assert_eq!(server.client(&["consume", "orders"], ""), "");
}
