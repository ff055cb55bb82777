//! `publish`: all or none, limits, quotas, levels, and queues made on the way.

use super::*;
use crate::engine::*;
use crate::types::*;

fn published(seqs: &[u64], batch: bool) -> Answer {
    let seqs = seqs.iter().map(|seq| Seq(*seq)).collect();
    Ok(Reply::Published { seqs, duplicates: vec![], batch, level: None })
}

fn quotas(quotas: Quotas) -> TenantLimits {
    TenantLimits { quotas, ..open() }
}

fn limited(max_messages: Option<u64>, max_bytes: Option<u64>) -> SettingsPatch {
    SettingsPatch {
        max_messages: Some(max_messages),
        max_bytes: Some(max_bytes),
        ..SettingsPatch::default()
    }
}

#[test]
fn a_single_message_and_a_batch_are_answered_in_their_forms() {
    let mut bench = Bench::new(memory(), open());
    assert_eq!(bench.ask(A, publish("q", &["a"])), published(&[1], false));
    assert_eq!(bench.ask(A, publish("q", &["b", "c"])), published(&[2, 3], true));
}

#[test]
fn the_server_says_when_a_message_was_published() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a"]);
    let effects = bench.send(B, consume("q", 1));
    assert_eq!(deliveries(&effects)[0].1.message.published_at, bench.now.wall_ms);
}

#[test]
fn a_publish_makes_the_queue_with_the_tenants_defaults() {
    let ack_timeout_ms = Some(7);
    let defaults = SettingsPatch { ack_timeout_ms, ..SettingsPatch::default() };
    let mut bench = Bench::new(memory(), TenantLimits { defaults, ..open() });
    bench.publish("q", &["a"]);
    assert_eq!(bench.info("q").settings.ack_timeout_ms, 7);
    assert_eq!(bench.info("q").settings.storage, Storage::Default);
}

#[test]
fn a_publish_makes_no_queue_without_the_grant_or_the_tenants_leave() {
    let mut bench = Bench::new(memory(), open());
    let to = Destination::Queue { name: name("q"), may_create: false };
    let (messages, batch, require) = (vec![message("a")], false, None);
    let request = Request::Publish { to, messages, batch, require };
    assert_eq!(bench.ask(A, request), Err(Refusal::NoSuchQueue));
    let mut bench = Bench::new(memory(), TenantLimits::default());
    assert_eq!(bench.ask(A, publish("q", &["a"])), Err(Refusal::NoSuchQueue));
    assert_eq!(bench.tenant.usage(), Usage::default());
}

#[test]
fn a_full_queue_refuses_the_whole_batch() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare_with("q", limited(Some(3), None))).unwrap();
    bench.publish("q", &["a", "b"]);
    assert_eq!(bench.ask(A, publish("q", &["c", "d"])), Err(Refusal::QueueFull));
    assert_eq!(bench.counts("q"), (2, 0, 0));
    assert_eq!(bench.ask(A, publish("q", &["c"])), published(&[3], false));
}

#[test]
fn messages_in_hand_count_for_the_queues_limits() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare_with("q", limited(Some(1), None))).unwrap();
    bench.publish("q", &["a"]);
    bench.send(B, consume("q", 9));
    assert_eq!(bench.ask(A, publish("q", &["b"])), Err(Refusal::QueueFull));
    bench.send(B, ack(&[1]));
    assert_eq!(bench.ask(A, publish("q", &["b"])), published(&[2], false));
}

#[test]
fn bytes_of_content_and_headers_count_for_the_queues_limits() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare_with("q", limited(None, Some(10)))).unwrap();
    let mut with_headers = message("12345");
    let headers = vec![("ab".into(), "cde".into())];
    with_headers.properties = Some(Box::new(Properties { headers, ..Properties::default() }));
    let (messages, batch, require) = (vec![with_headers], false, None);
    let request = Request::Publish { to: to("q"), messages, batch, require };
    bench.ask(A, request).unwrap();
    assert_eq!(bench.info("q").bytes, 10);
    assert_eq!(bench.ask(A, publish("q", &["x"])), Err(Refusal::QueueFull));
}

#[test]
fn a_queue_without_a_limit_has_the_servers() {
    let limits = TenantLimits { queue_messages_max: Some(2), ..open() };
    let mut bench = Bench::new(memory(), limits);
    assert_eq!(bench.ask(A, publish("q", &["a", "b", "c"])), Err(Refusal::QueueFull));
    assert_eq!(bench.tenant.usage().queues, 0, "what is refused makes no queue");
    bench.ask(A, declare_with("r", limited(Some(3), None))).unwrap();
    bench.ask(A, publish("r", &["a", "b", "c"])).unwrap();
}

#[test]
fn quotas_of_the_tenant_hold_over_all_queues() {
    let mut bench = Bench::new(memory(), quotas(Quotas { messages: Some(2), ..Quotas::default() }));
    bench.publish("q", &["a"]);
    bench.publish("r", &["b"]);
    let refused = Err(Refusal::QuotaExceeded(Quota::Messages));
    assert_eq!(bench.ask(A, publish("q", &["c"])), refused);

    let mut bench = Bench::new(memory(), quotas(Quotas { bytes: Some(3), ..Quotas::default() }));
    bench.publish("q", &["ab"]);
    let refused = Err(Refusal::QuotaExceeded(Quota::Bytes));
    assert_eq!(bench.ask(A, publish("r", &["cd"])), refused);

    let mut bench = Bench::new(memory(), quotas(Quotas { queues: Some(1), ..Quotas::default() }));
    bench.publish("q", &["a"]);
    let refused = Err(Refusal::QuotaExceeded(Quota::Queues));
    assert_eq!(bench.ask(A, publish("r", &["b"])), refused);
    assert_eq!(bench.ask(A, declare("r")), refused);
}

#[test]
fn changed_limits_hold_at_once() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b"]);
    bench.input(Input::Limits(quotas(Quotas { messages: Some(2), ..Quotas::default() })));
    let refused = Err(Refusal::QuotaExceeded(Quota::Messages));
    assert_eq!(bench.ask(A, publish("q", &["c"])), refused);
    bench.input(Input::Limits(open()));
    bench.ask(A, publish("q", &["c"])).unwrap();
}

fn require(queue: &str, level: Level) -> Request {
    let (messages, require) = (vec![message("a")], Some(level));
    Request::Publish { to: to(queue), messages, batch: false, require }
}

#[test]
fn a_level_that_the_store_cannot_give_is_refused_at_once() {
    let mut bench = Bench::new(memory(), open());
    let (asked, best) = (Level::Os, Level::Memory);
    let refused = Err(Refusal::LevelNotOffered { asked, best });
    assert_eq!(bench.ask(A, require("q", Level::Os)), refused);
    assert_eq!(bench.tenant.usage().queues, 0);
    let answer = bench.ask(A, require("q", Level::Memory));
    let level = Some(Level::Memory);
    assert_eq!(
        answer,
        Ok(Reply::Published { seqs: vec![Seq(1)], duplicates: vec![], batch: false, level })
    );

    let mut bench = Bench::new(durable(), open());
    let (asked, best) = (Level::Replicated, Level::Disk);
    let refused = Err(Refusal::LevelNotOffered { asked, best });
    assert_eq!(bench.ask(A, require("q", Level::Replicated)), refused);
}

#[test]
fn a_queue_in_memory_gives_no_more_than_memory() {
    let mut bench = Bench::new(durable(), open());
    let storage = Some(Storage::Memory);
    bench.send(A, declare_with("q", SettingsPatch { storage, ..SettingsPatch::default() }));
    bench.input(Input::Durable(Lsn(1)));
    let (asked, best) = (Level::Os, Level::Memory);
    let refused = Err(Refusal::LevelNotOffered { asked, best });
    assert_eq!(bench.ask(A, require("q", Level::Os)), refused);
}

#[test]
fn the_level_that_is_required_is_carried_to_the_store_and_told() {
    let mut bench = Bench::new(durable(), open());
    for (lsn, asked, level) in
        [(1, Level::Memory, Level::Os), (2, Level::Os, Level::Os), (3, Level::Disk, Level::Disk)]
    {
        let effects = bench.send(A, require("q", asked));
        let [Effect::Append(batch)] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!((batch.lsn, batch.level), (Lsn(lsn), level));
        let effects = bench.input(Input::Durable(Lsn(lsn)));
        let level = Some(level);
        let (seqs, duplicates) = (vec![Seq(lsn)], vec![]);
        let reply = Reply::Published { seqs, duplicates, batch: false, level };
        assert_eq!(answers(&effects), [Ok(reply)]);
    }
}
