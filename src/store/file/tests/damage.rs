//! Damage to any file or byte is found and named, or it does no harm: there is never silently less.

use std::sync::Arc;

use super::super::disk::SimulatedDisk;
use super::super::journal::Options;
use super::super::stepped::{Stepped, Written};
use super::super::{OpenError, check};
use crate::engine::image::Image;
use crate::engine::{Load, LoadTicket, Recovered, StoredMessage};
use crate::store::conformance::Script;
use crate::types::{Level, QueueId, Seq, TenantId};

const TENANT: TenantId = TenantId(3);
const OPTIONS: Options = Options { file_bytes: 4 * 1024 };

pub(super) type Files = Vec<(String, Vec<u8>)>;

/// What clients would find.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) recovered: Recovered,
    pub(super) messages: Vec<(QueueId, Vec<StoredMessage>)>,
}

/// A store with a history of several files, and what is in it.
pub(super) fn history(seed: u64) -> (Files, Found) {
    let disk = SimulatedDisk::new(seed);
    let mut store = Stepped::start(disk.mount(), OPTIONS).expect("it starts");
    let mut script = Script::new(seed, Level::Disk);
    let mut batches = 0;
    for _ in 0..120 {
        store.append(TENANT, script.next());
        batches += 1;
        while store.has_gathered() {
            assert!(matches!(store.write(), Written::Durable(_)));
        }
        if batches % 7 == 0 {
            store.maintain().expect("nothing fails");
        }
    }
    store.mark();
    let image = script.image(batches).expect("it was made");
    let found = look(&store).expect("nothing is damaged");
    assert_eq!(found.recovered.lsn, image.lsn);
    assert_eq!(found.messages, of_image(image));
    let content = |name: String| {
        let content = disk.content(&name).unwrap_or_default();
        (name, content)
    };
    (disk.names().into_iter().map(content).collect(), found)
}

fn of_image(image: &Image) -> Vec<(QueueId, Vec<StoredMessage>)> {
    let queues = image.queues.iter();
    queues.map(|(id, queue)| (*id, queue.messages.values().cloned().collect())).collect()
}

fn disk_with(files: &Files) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    files.iter().for_each(|(name, content)| disk.replace(name, Some(content.clone())));
    disk
}

/// Everything that can be read; `None` if something is told to be damaged on the way.
fn look(store: &Stepped) -> Option<Found> {
    let recovered = store.recovered(TENANT).ok()?;
    let mut messages = Vec::new();
    for queue in &recovered.queues {
        let mut all: Vec<StoredMessage> = Vec::new();
        loop {
            let load = Load {
                priority: None,
                ticket: LoadTicket(1),
                queue: queue.id,
                from_seq: all.last().map_or(Seq(0), |last| last.seq.next()),
                to_seq: queue.next_seq,
                messages_max: 50,
                bytes_max: 10_000,
            };
            let loaded = store.load(TENANT, &load).ok()?;
            if loaded.is_empty() {
                break;
            }
            all.extend(loaded);
        }
        messages.push((queue.id, all));
    }
    Some(Found { recovered, messages })
}

/// Starts on files, and reads all that is in them.
pub(super) fn look_at(files: &Files) -> Option<Found> {
    let store = Stepped::start(disk_with(files).mount(), OPTIONS).ok()?;
    if store.damage().is_empty() { look(&store) } else { None }
}

/// Starts on files of which some are damaged. Answers whether that was told.
fn start_on(files: &Files, whole: &Found, what: &str) -> bool {
    let checked = check(disk_with(files).mount());
    let noticed = checked.as_ref().map_or(true, |contents| !contents.damage.is_empty());
    let store = match Stepped::start(disk_with(files).mount(), OPTIONS) {
        Ok(store) => store,
        Err(OpenError::Io(error)) => panic!("{what}: {error}"),
        Err(_) => {
            assert!(noticed, "{what}: a check finds what stops a start");
            return true;
        }
    };
    let told = !store.damage().is_empty();
    let found = look(&store);
    if told || found.is_none() {
        assert!(noticed, "{what}: a check finds what a start or a read does");
        return true;
    }
    assert!(
        found.as_ref() == Some(whole),
        "{what}: silently not what it was: {:?} of {:?}",
        found.as_ref().map(|f| f.recovered.lsn),
        whole.recovered.lsn
    );
    false
}

#[test]
fn any_flipped_bit_is_found_or_harmless() {
    let (mut told, mut harmless) = (0, 0);
    for seed in 0..3 {
        let (files, whole) = history(seed);
        assert!(files.len() > 5, "several files of each kind: {}", files.len());
        for index in 0..files.len() {
            let length = files[index].1.len();
            for at in (seed as usize % 7..length).step_by(7) {
                let mut damaged = files.clone();
                damaged[index].1[at] ^= 1 << (at % 8);
                let name = &files[index].0;
                match start_on(&damaged, &whole, &format!("seed {seed}, {name}, byte {at}")) {
                    true => told += 1,
                    false => harmless += 1,
                }
            }
        }
    }
    assert!(told > 100 && harmless > 100, "both happen: {told} and {harmless}");
}

#[test]
fn any_file_cut_is_found_or_harmless() {
    for seed in 0..3 {
        let (files, whole) = history(seed);
        for index in 0..files.len() {
            let length = files[index].1.len();
            for cut in (0..length).step_by(61) {
                let mut damaged = files.clone();
                damaged[index].1.truncate(cut);
                let name = &files[index].0;
                start_on(&damaged, &whole, &format!("seed {seed}, {name} cut at {cut}"));
            }
        }
    }
}

#[test]
fn any_file_removed_or_doubled_is_found_or_harmless() {
    for seed in 0..20 {
        let (files, whole) = history(seed);
        for index in 0..files.len() {
            let mut removed = files.clone();
            let (name, content) = removed.remove(index);
            start_on(&removed, &whole, &format!("seed {seed}, {name} removed"));
            let mut doubled = files.clone();
            doubled.push((format!("{name}.copy"), content.clone()));
            assert!(!start_on(&doubled, &whole, &format!("seed {seed}, {name} doubled")));
            let later = name.replace("000000000", "000000001");
            let mut renamed = files.clone();
            renamed.push((later.clone(), content.clone()));
            start_on(&renamed, &whole, &format!("seed {seed}, {name} as {later}"));
            for (other, (there, _)) in files.iter().enumerate() {
                let mut replaced = files.clone();
                replaced[other].1.clone_from(&content);
                start_on(&replaced, &whole, &format!("seed {seed}, {name} in place of {there}"));
            }
        }
    }
}

#[test]
fn a_newer_format_is_refused_with_the_file() {
    let (files, _) = history(0);
    for name in ["checkpoint", "journal"] {
        let mut newer = files.clone();
        for (file, content) in &mut newer {
            if !file.ends_with(name) {
                continue;
            }
            content[8..12].copy_from_slice(&9_u32.to_le_bytes());
            let end = if name == "journal" { 24 } else { content.len() - 4 };
            let crc = crc32fast::hash(&content[..end]).to_le_bytes();
            content[end..end + 4].copy_from_slice(&crc);
        }
        let error = Stepped::start(disk_with(&newer).mount(), OPTIONS).err().expect("refused");
        let said = error.to_string();
        assert!(said.contains(name) && said.contains("format 9"), "{said}");
    }
}

#[test]
fn a_check_changes_nothing() {
    let (files, _) = history(5);
    let disk = disk_with(&files);
    let contents = check(disk.mount()).expect("it can be read");
    assert_eq!((contents.damage, contents.notes), (vec![], vec![]));
    for (name, content) in files {
        assert_eq!(disk.content(&name), Some(content));
    }
    drop(Arc::new(disk));
}
