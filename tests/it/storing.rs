//! Durability: what is confirmed outlives a kill; the store's commands; folders that are not the
//! server's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::harness::{Home, gmq, run, text};

fn store(arguments: &[&str]) -> Output {
    let mut command = gmq();
    command.arg("store").args(arguments);
    run(command, "")
}

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The bodies of everything that a queue has.
fn bodies(home: &Home, queue: &str) -> Vec<Value> {
    let server = home.serve();
    let mut wire = server.login();
    let pulled = wire.ok(json!({"op": "pull", "queue": queue, "max": 1000, "wait_ms": 0}));
    pulled["messages"].as_array().unwrap().iter().map(|m| m["body"].clone()).collect()
}

#[test]
fn nothing_confirmed_is_lost_over_fifty_kills_under_load() {
    let home = Home::new();
    let dir = home.path("torture");
    let mut command = gmq();
    command.args(["torture", "--dir", path(&dir), "--cycles", "50", "--lives", "20"]);
    let output = run(command, "");
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("50 kills of a real server") && said.ends_with("Verdict: sound.\n"));
    assert!(!dir.exists(), "it leaves nothing behind");
}

#[test]
fn a_reply_names_the_level_that_was_reached() {
    for (durability, level) in [("disk", "disk"), ("os", "os")] {
        let home = Home::new();
        let server = home.serve_with(&[("GMQ_DURABILITY", durability)]);
        let mut wire = server.login();
        let publish = json!({"op": "publish", "queue": "q", "body": 1, "require": "os"});
        assert_eq!(wire.ok(publish)["level"], level);
        let publish = json!({"op": "publish", "queue": "q", "body": 2, "require": "disk"});
        assert_eq!(wire.ok(publish)["level"], "disk");
        let publish = json!({"op": "publish", "queue": "q", "body": 3, "require": "replicated"});
        assert_eq!(wire.refused(publish)["code"], "bad_request");
        drop(server);
        assert_eq!(bodies(&home, "q"), [1, 2]);
    }
}

#[test]
fn a_queue_in_memory_survives_a_kill_without_its_messages_and_goes_on_counting() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let settings = json!({"storage": "memory"});
    wire.ok(json!({"op": "queue.declare", "queue": "m", "settings": settings}));
    let first = wire.ok(json!({"op": "publish", "queue": "m", "body": 1}));
    drop(server);
    let server = home.serve();
    let mut wire = server.login();
    let info = wire.ok(json!({"op": "queue.info", "queue": "m"}));
    assert_eq!((&info["ready"], &info["settings"]["storage"]), (&json!(0), &json!("memory")));
    let second = wire.ok(json!({"op": "publish", "queue": "m", "body": 2}));
    assert!(second["seq"].as_u64() > first["seq"].as_u64());
}

#[test]
fn acks_delays_settings_and_deletes_survive_a_kill() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for body in 1..=4 {
        wire.ok(json!({"op": "publish", "queue": "q", "body": body}));
    }
    wire.ok(json!({"op": "publish", "queue": "gone", "body": 0}));
    wire.ok(json!({"op": "queue.delete", "queue": "gone"}));
    let changed = json!({"ack_timeout_ms": 1234});
    let declare = json!({"op": "queue.declare", "queue": "q", "settings": changed, "update": true});
    wire.ok(declare);
    let pulled = wire.ok(json!({"op": "pull", "queue": "q", "max": 3, "wait_ms": 0}));
    let fence = pulled["messages"][2]["fence"].as_u64();
    wire.ok(json!({"op": "ack", "tags": [1]}));
    wire.ok(json!({"op": "nack", "tags": [2], "delay_ms": 3_600_000}));
    drop(server);
    let server = home.serve();
    let mut wire = server.login();
    let gone = wire.refused(json!({"op": "queue.info", "queue": "gone"}));
    assert_eq!(gone["code"], "no_such_queue");
    let info = wire.ok(json!({"op": "queue.info", "queue": "q"}));
    assert_eq!(info["settings"]["ack_timeout_ms"], 1234);
    assert_eq!((&info["ready"], &info["delayed"]), (&json!(2), &json!(1)));
    let pulled = wire.ok(json!({"op": "pull", "queue": "q", "max": 9, "wait_ms": 0}));
    let found: Vec<_> = pulled["messages"].as_array().unwrap().iter().map(|m| &m["body"]).collect();
    assert_eq!(found, [3, 4]);
    assert!(pulled["messages"][0]["fence"].as_u64() > fence, "fences never go back");
}

#[test]
fn a_backup_of_a_running_server_is_restored_by_starting_on_it() {
    let home = Home::new();
    let copy = home.path("copy");
    let server = home.serve();
    let mut wire = server.login();
    for body in 1..=20 {
        wire.ok(json!({"op": "publish", "queue": "q", "body": body}));
    }
    home.add_user("late", "a long password", &["all:#"]);
    let output = store(&["backup", path(&home.path("data")), "--to", path(&copy)]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("Copied 20 messages"), "{}", said(&output));
    wire.ok(json!({"op": "publish", "queue": "q", "body": "after the backup"}));
    let again = store(&["backup", path(&home.path("data")), "--to", path(&copy)]);
    assert!(said(&again).contains("exists already"), "{}", said(&again));
    drop(server);
    assert!(store(&["check", path(&copy)]).status.success());
    fs::remove_dir_all(home.path("data")).unwrap();
    fs::rename(&copy, home.path("data")).unwrap();
    assert_eq!(bodies(&home, "q"), (1..=20).map(Value::from).collect::<Vec<_>>());
    assert!(home.admin(&["user", "list"], "").contains("late"), "accounts are in it too");
}

#[test]
fn a_check_names_what_is_damaged_and_the_server_serves_the_rest() {
    let home = Home::new();
    let data = home.path("data");
    let server = home.serve();
    let mut wire = server.login();
    for queue in ["damaged", "whole"] {
        let body = format!("the content of {queue}");
        wire.ok(json!({"op": "publish", "queue": queue, "body": body}));
    }
    let running = store(&["check", path(&data)]);
    assert_eq!(running.status.code(), Some(1));
    assert!(said(&running).contains("gmq store backup"), "{}", said(&running));
    drop(server);
    // A second start, so that the file is no longer the last.
    drop(home.serve());
    let sound = store(&["check", path(&data)]);
    assert!(sound.status.success() && said(&sound).contains("Sound: 2 messages"));
    let mut flipped = Vec::new();
    for entry in fs::read_dir(data.join("messages")).unwrap() {
        let file = entry.unwrap().path();
        let mut content = fs::read(&file).unwrap();
        let found = content.windows(22).position(|bytes| bytes == b"the content of damaged");
        if let Some(at) = found.filter(|_| file.extension().unwrap() == "journal") {
            content[at + 4] ^= 1;
            fs::write(&file, content).unwrap();
            flipped.push(file.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    assert!(!flipped.is_empty());
    let damaged = store(&["check", path(&data)]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(flipped.iter().any(|file| said(&damaged).contains(file)), "{}", said(&damaged));
    assert_eq!(bodies(&home, "whole"), ["the content of whole"]);
    assert_eq!(bodies(&home, "damaged"), [] as [&str; 0]);
    assert!(home.log().contains("damaged"), "the log says so: {}", home.log());
}

#[test]
fn stat_says_what_is_in_a_store() {
    let home = Home::new();
    let server = home.serve();
    server.login().ok(json!({"op": "publish", "queue": "q", "body": "four"}));
    drop(server);
    let output = store(&["stat", path(&home.path("data")), "--output", "json"]);
    let queues: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = json!([{"tenant": "default", "queue": "q", "messages": "1", "bytes": "6"}]);
    assert_eq!(queues, expected);
    let output = store(&["stat", path(&home.path("data")), "--files", "--output", "json"]);
    let files: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(files[0]["messages"], "1");
    let none = store(&["stat", path(&home.path("certs"))]);
    assert!(said(&none).contains("no message store"), "{}", said(&none));
}

fn refused_to_serve(home: &Home, with: &str) {
    let mut command = gmq();
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(home.path("gmq.toml"));
    let output = run(command, "");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(with), "{said}");
}

#[test]
fn a_store_that_a_newer_version_wrote_is_refused() {
    let home = Home::new();
    drop(home.serve());
    for name in ["checkpoint", "checkpoint.copy"] {
        let file = home.path("data").join("messages").join(name);
        let mut content = fs::read(&file).unwrap();
        content[8] = 3;
        let end = content.len() - 4;
        let crc = crc32fast::hash(&content[..end]).to_le_bytes();
        content[end..].copy_from_slice(&crc);
        fs::write(&file, content).unwrap();
    }
    refused_to_serve(&home, "start the version of gmq that wrote it");
}

#[test]
fn a_folder_of_somebody_else_is_refused_with_the_mend() {
    let home = Home::new();
    let messages = home.path("data").join("messages");
    fs::create_dir(&messages).unwrap();
    if std::os::unix::fs::chown(&messages, Some(12_345), None).is_ok() {
        refused_to_serve(&home, "chown -R");
        return;
    }
    // Only root can give a folder away; anybody else is refused one that it cannot write.
    fs::set_permissions(home.path("data"), fs::Permissions::from_mode(0o500)).unwrap();
    refused_to_serve(&home, "chown -R");
    fs::set_permissions(home.path("data"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_read_only_file_system_is_refused_with_the_mend() {
    let home = Home::new();
    let file = home.path("gmq.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, config.replace("data_dir = \"data\"", "data_dir = \"/sys\"")).unwrap();
    let mut command = gmq();
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
    let output = run(command, "");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write in /sys"), "{said}");
}
