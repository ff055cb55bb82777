//! `queue.declare`, `delete`, `purge`, `info`, `list`, `peek`.

use super::*;
use crate::engine::*;
use crate::types::*;

fn lease(ms: u64) -> SettingsPatch {
    SettingsPatch { ack_timeout_ms: Some(ms), ..SettingsPatch::default() }
}

fn storage(storage: Storage) -> SettingsPatch {
    SettingsPatch { storage: Some(storage), ..SettingsPatch::default() }
}

fn update(queue: &str, settings: SettingsPatch) -> Request {
    Request::Declare { queue: name(queue), settings, update: true }
}

fn created(created: bool) -> Answer {
    Ok(Reply::Declared { created })
}

#[test]
fn declaring_again_compares_the_settings_that_are_named() {
    let mut bench = Bench::new(memory(), open());
    assert_eq!(bench.ask(A, declare_with("q", lease(7))), created(true));
    assert_eq!(bench.ask(A, declare("q")), created(false));
    assert_eq!(bench.ask(A, declare_with("q", lease(7))), created(false));
    let differences = vec!["ack_timeout_ms"];
    let refused = Err(Refusal::QueueExists { differences });
    assert_eq!(bench.ask(A, declare_with("q", lease(8))), refused);
    assert_eq!(bench.info("q").settings.ack_timeout_ms, 7);
}

#[test]
fn update_changes_the_settings_that_are_named() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare_with("q", lease(7))).unwrap();
    let max_messages = Some(Some(3));
    let patch = SettingsPatch { max_messages, ..SettingsPatch::default() };
    assert_eq!(bench.ask(A, update("q", patch)), created(false));
    let settings = bench.info("q").settings;
    assert_eq!((settings.max_messages, settings.ack_timeout_ms), (Some(3), 7));
    assert_eq!(bench.ask(A, update("new", lease(1))), created(true));
}

#[test]
fn storage_is_fixed_but_may_be_named() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare("q")).unwrap();
    let refused = Err(Refusal::SettingFixed { setting: "storage" });
    assert_eq!(bench.ask(A, update("q", storage(Storage::Memory))), refused);
    assert_eq!(bench.ask(A, update("q", storage(Storage::Default))), created(false));
    let differences = vec!["storage"];
    let refused = Err(Refusal::QueueExists { differences });
    assert_eq!(bench.ask(A, declare_with("q", storage(Storage::Memory))), refused);
}

#[test]
fn a_queue_that_is_left_out_of_settings_takes_the_tenants() {
    let limits = TenantLimits { defaults: lease(5), ..open() };
    let mut bench = Bench::new(memory(), limits);
    bench.ask(A, declare_with("q", storage(Storage::Memory))).unwrap();
    let settings = bench.info("q").settings;
    assert_eq!((settings.ack_timeout_ms, settings.storage), (5, Storage::Memory));
}

#[test]
fn delete_takes_all_with_it() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b"]);
    bench.send(B, consume("q", 1));
    bench.send(B, nack(&[1], 60_000));
    bench.send(A, consume("q", 9));
    let effects = bench.send(A, delete("q"));
    assert_eq!(answers(&effects), [Ok(Reply::Done)]);
    for (connection, subscription) in [(A, SubscriptionId(1)), (B, SubscriptionId(1))] {
        let reason = CancelReason::QueueDeleted;
        assert!(effects.contains(&Effect::Cancelled { connection, subscription, reason }));
    }
    assert_eq!(bench.tenant.usage(), Usage::default());
    assert_eq!(bench.tenant.next_deadline(), None, "no timer is left");
    assert_eq!(bench.ask(B, ack(&[2])), Err(Refusal::UnknownTag { tags: vec![Tag(2)] }));
    assert_eq!(bench.ask(A, delete("q")), Err(Refusal::NoSuchQueue));
}

#[test]
fn delete_answers_waiting_pulls() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare("q")).unwrap();
    bench.send(B, pull("q", 1, 60_000));
    let effects = bench.send(A, delete("q"));
    assert_eq!(answers(&effects), [Err(Refusal::NoSuchQueue), Ok(Reply::Done)]);
}

#[test]
fn delete_if_empty_counts_messages_in_hand() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a"]);
    bench.send(B, consume("q", 1));
    let if_empty = || Request::Delete { queue: name("q"), if_empty: true };
    assert_eq!(bench.ask(A, if_empty()), Err(Refusal::QueueNotEmpty));
    bench.send(B, ack(&[1]));
    assert_eq!(bench.ask(A, if_empty()), Ok(Reply::Done));
}

#[test]
fn fences_grow_over_a_queues_deletion() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a"]);
    let before = deliveries(&bench.send(B, consume("q", 1)))[0].1.clone();
    bench.send(A, delete("q"));
    bench.publish("q", &["b"]);
    let after = deliveries(&bench.send(B, consume("q", 1)))[0].1.clone();
    assert_eq!(after.seq, Seq(1), "the queue is a new one");
    assert!(after.fence > before.fence);
}

#[test]
fn purge_removes_ready_and_delayed_and_leaves_what_is_in_hand() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b", "c", "d"]);
    bench.send(B, consume("q", 2));
    bench.send(B, nack(&[1], 60_000));
    assert_eq!(bench.counts("q"), (1, 1, 2));
    assert_eq!(bench.ask(A, purge("q")), Ok(Reply::Purged(2)));
    assert_eq!(bench.counts("q"), (0, 0, 2));
    assert_eq!(bench.info("q").bytes, 2);
    assert_eq!(texts(&bench.pass(60_000)), Vec::<String>::new());
    assert_eq!(bench.ask(A, purge("unknown")), Err(Refusal::NoSuchQueue));
}

#[test]
fn info_tells_age_and_counters() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a"]);
    bench.pass(500);
    bench.publish("q", &["b"]);
    bench.send(B, consume("q", 1));
    let info = bench.info("q");
    assert_eq!((info.oldest_age_ms, info.bytes, info.consumers), (500, 2, 1));
    bench.send(B, ack(&[1]));
    let info = bench.info("q");
    assert_eq!(info.oldest_age_ms, 0);
    let counters =
        QueueCounters { published: 2, delivered: 2, acked: 1, ..QueueCounters::default() };
    assert_eq!(info.counters, counters);
}

fn names(answer: Answer) -> (Vec<String>, bool) {
    match answer {
        Ok(Reply::List { queues, more }) => {
            (queues.iter().map(|info| info.queue.to_string()).collect(), more)
        }
        other => panic!("{other:?}"),
    }
}

fn listing(pattern: Option<&str>, after: Option<&str>, limit: u32) -> Request {
    Request::List {
        pattern: pattern.map(|text| text.parse().unwrap()),
        after: after.map(str::to_owned),
        limit,
        visible: all_visible(),
        bytes_max: 1 << 20,
    }
}

#[test]
fn lists_are_sorted_and_paged() {
    let mut bench = Bench::new(memory(), open());
    for queue in ["b", "a.x", "a", "A", "a.y.z"] {
        bench.ask(A, declare(queue)).unwrap();
    }
    let all = ["A", "a", "a.x", "a.y.z", "b"].map(str::to_owned).to_vec();
    assert_eq!(names(bench.ask(A, listing(None, None, 9))), (all.clone(), false));
    assert_eq!(names(bench.ask(A, listing(None, None, 2))), (all[..2].to_vec(), true));
    assert_eq!(names(bench.ask(A, listing(None, Some("a"), 3))), (all[2..].to_vec(), false));
    assert_eq!(names(bench.ask(A, listing(None, Some("a.w!"), 1))), (all[2..3].to_vec(), true));
    assert_eq!(names(bench.ask(A, listing(Some("a.#"), None, 9))), (all[1..4].to_vec(), false));
}

#[test]
fn lists_show_only_what_the_grants_mention_and_stay_within_their_bound() {
    let mut bench = Bench::new(memory(), open());
    for queue in ["a", "b", "c"] {
        bench.ask(A, declare(queue)).unwrap();
    }
    let (pattern, after, limit) = (None, None, 9);
    let visible = std::sync::Arc::new(Grants::new(vec!["publish:b".parse().unwrap()]));
    let request = Request::List { pattern, after, limit, visible, bytes_max: 1 << 20 };
    assert_eq!(names(bench.ask(A, request)), (vec!["b".to_owned()], false));
    let (pattern, after) = (None, None);
    let request = Request::List { pattern, after, limit, visible: all_visible(), bytes_max: 1 };
    assert_eq!(names(bench.ask(A, request)), (vec!["a".to_owned()], true));
}

#[test]
fn peek_shows_all_messages_and_changes_nothing() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b", "c"]);
    bench.send(B, consume("q", 2));
    bench.send(B, nack(&[2], 60_000));
    let before = bench.info("q");
    let Ok(Reply::Peeked { messages, .. }) = bench.ask(A, peek("q", 0, 9)) else { panic!() };
    let seen: Vec<_> = messages.iter().map(|p| (p.seq.0, p.attempt)).collect();
    assert_eq!(seen, [(1, 1), (2, 1), (3, 1)], "in hand, delayed, in hand");
    assert_eq!(bench.info("q"), before);
    let Ok(Reply::Peeked { messages, .. }) = bench.ask(A, peek("q", 2, 1)) else { panic!() };
    assert_eq!(messages.iter().map(|p| p.seq.0).collect::<Vec<_>>(), [2]);
    let (from_seq, max, bytes_max) = (Seq(0), 9, 0);
    let request = Request::Peek { queue: name("q"), from_seq, max, bytes_max };
    let Ok(Reply::Peeked { messages, .. }) = bench.ask(A, request) else { panic!() };
    assert_eq!(messages.len(), 1, "at least one");
}
