//! Stores that versions before wrote, kept in `tests/stores`: every version reads them all.
//!
//! `UPDATE_STORES=1 cargo test --lib corpus` adds one for the format of this version, if there is
//! none; those that are there are never changed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::frame::FORMAT;
use super::damage::{Files, Found, history, look_at};
use crate::engine::RecoveredQueue;
use crate::types::{self, Headers, Message, QueueName};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores")
}

/// What is in a store, as lines that no later version writes otherwise.
fn told(found: &Found) -> String {
    let mut text = String::new();
    let recovered = &found.recovered;
    writeln!(text, "lsn {} fence {}", recovered.lsn, recovered.fence).unwrap();
    for queue in &recovered.queues {
        let settings = &queue.settings;
        writeln!(
            text,
            "queue {} {} next {} messages {} bytes {} lease {} most {:?}",
            queue.id,
            queue.name,
            queue.next_seq,
            queue.messages,
            queue.bytes,
            settings.ack_timeout_ms,
            settings.max_messages
        )
        .unwrap();
        let messages = found.messages.iter().filter(|(id, _)| *id == queue.id);
        for stored in messages.flat_map(|(_, messages)| messages) {
            let message = &stored.message;
            writeln!(
                text,
                "  {} attempt {} not before {} published {} {:?}",
                stored.seq,
                stored.attempt,
                stored.not_before,
                message.published_at,
                (&message.content, message.properties.as_deref().map(Properties::from))
            )
            .unwrap();
            tell_more(&mut text, message);
        }
        tell_queue(&mut text, queue);
    }
    text
}

/// What messages had in format 1.
#[derive(Debug)]
#[expect(dead_code, reason = "it is printed")]
struct Properties<'a> {
    headers: &'a Headers,
    reply_to: &'a Option<QueueName>,
    correlation_id: &'a Option<Box<str>>,
}

impl<'a> From<&'a types::Properties> for Properties<'a> {
    fn from(properties: &'a types::Properties) -> Self {
        let types::Properties { headers, reply_to, correlation_id, .. } = properties;
        Self { headers, reply_to, correlation_id }
    }
}

/// What messages have since format 2.
fn tell_more(text: &mut String, message: &Message) {
    if let Some(priority) = message.priority {
        writeln!(text, "    priority {}", priority.number()).unwrap();
    }
    let Some(properties) = &message.properties else { return };
    let types::Properties { topic, key, group, delay_ms, ttl_ms, .. } = &**properties;
    if topic.is_some() || key.is_some() || group.is_some() || *delay_ms > 0 || ttl_ms.is_some() {
        writeln!(text, "    {topic:?} {key:?} {group:?} {delay_ms} {ttl_ms:?}").unwrap();
    }
}

/// What queues have since format 2.
fn tell_queue(text: &mut String, queue: &RecoveredQueue) {
    for (key, seq, at) in &queue.keys {
        writeln!(text, "  key {key:?} {seq} at {at}").unwrap();
    }
    for pattern in &queue.bindings {
        writeln!(text, "  binding {pattern}").unwrap();
    }
    for known in queue.known.iter().filter(|known| known.rejected.is_some()) {
        writeln!(text, "  rejected {} {:?}", known.seq, known.rejected).unwrap();
    }
}

fn write(folder: &Path, files: &Files, found: &Found) {
    fs::create_dir_all(folder).unwrap();
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
    }
    fs::write(folder.join("contents.txt"), told(found)).unwrap();
}

fn read(folder: &Path) -> (Files, String) {
    let mut files = Files::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name != "contents.txt" {
            files.push((name, fs::read(&path).unwrap()));
        }
    }
    (files, fs::read_to_string(folder.join("contents.txt")).unwrap())
}

#[test]
fn the_stores_of_every_version_are_read() {
    let newest = folder().join(format!("format-{FORMAT}"));
    if std::env::var_os("UPDATE_STORES").is_some() && !newest.exists() {
        let (files, found) = history(7);
        write(&newest, &files, &found);
    }
    assert!(newest.exists(), "a new format: UPDATE_STORES=1 cargo test --lib corpus");
    for format in 1..=FORMAT {
        let (files, contents) = read(&folder().join(format!("format-{format}")));
        let found = look_at(&files).expect("it starts, and all of it can be read");
        assert_eq!(told(&found), contents, "format {format}");
    }
}
