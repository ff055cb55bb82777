//! What waits for the store: replies, deliveries, numbers; and what becomes of it when it fails.

use super::*;
use crate::engine::*;
use crate::types::*;

/// The batches among effects.
fn batches(effects: &[Effect]) -> Vec<Batch> {
    let batch = |effect: &Effect| match effect {
        Effect::Append(batch) => Some(batch.clone()),
        _ => None,
    };
    effects.iter().filter_map(batch).collect()
}

fn records(effects: &[Effect]) -> Vec<Record> {
    batches(effects).into_iter().flat_map(|batch| batch.records).collect()
}

fn in_memory() -> SettingsPatch {
    SettingsPatch { storage: Some(Storage::Memory), ..SettingsPatch::default() }
}

impl Bench {
    /// Makes everything durable that was appended so far, and what comes of it, and so on.
    fn flush(&mut self) -> Effects {
        let mut all = Effects::new();
        loop {
            let effects = self.input(Input::Durable(Lsn(u64::MAX)));
            let quiet = batches(&effects).is_empty();
            all.extend(effects);
            if quiet {
                return all;
            }
        }
    }
}

/// A durable queue `q` with a consumer (B, prefetch 2), and fences at hand.
fn flowing() -> Bench {
    let mut bench = Bench::new(durable(), open());
    bench.send(A, declare("q"));
    bench.flush();
    bench.send(B, consume("q", 2));
    bench.flush();
    bench
}

#[test]
fn the_memory_store_gets_no_records() {
    let mut bench = Bench::new(memory(), open());
    let mut effects = bench.publish("q", &["a"]);
    effects.extend(bench.send(B, consume("q", 1)));
    effects.extend(bench.send(B, nack(&[1], 9)));
    effects.extend(bench.send(A, purge("q")));
    effects.extend(bench.send(A, delete("q")));
    assert_eq!(batches(&effects), []);
}

#[test]
fn a_publish_is_one_batch_with_the_queue_it_makes() {
    let mut bench = Bench::new(durable(), open());
    let effects = bench.publish("q", &["a", "b"]);
    let [Effect::Append(batch)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((batch.lsn, batch.level), (Lsn(1), Level::Os));
    let [Record::Created { .. }, Record::Published { .. }, Record::Published { .. }] =
        &batch.records[..]
    else {
        panic!("{batch:?}")
    };
}

#[test]
fn a_publish_is_told_and_delivered_once_it_is_durable() {
    let mut bench = flowing();
    let effects = bench.publish("q", &["a"]);
    assert_eq!((answers(&effects).len(), deliveries(&effects).len()), (0, 0));
    assert_eq!(bench.counts("q"), (0, 0, 0), "not ready yet");
    assert_eq!(bench.tenant.usage().messages, 1, "but there");
    let peeked = bench.ask(A, peek("q", 0, 9));
    assert_eq!(peeked, Ok(Reply::Peeked { queue: name("q"), messages: vec![] }));
    let effects = bench.flush();
    assert_eq!((answers(&effects).len(), texts(&effects)), (1, vec!["a".to_owned()]));
}

#[test]
fn what_is_not_durable_yet_counts_for_the_limits() {
    let mut bench = Bench::new(durable(), open());
    let max_messages = Some(Some(1));
    bench.send(A, declare_with("q", SettingsPatch { max_messages, ..SettingsPatch::default() }));
    bench.publish("q", &["a"]);
    bench.publish("q", &["b"]);
    let [_, _, refused] = &answers(&bench.flush())[..] else { panic!() };
    assert_eq!(*refused, Err(Refusal::QueueFull), "and the refusal waits for what it tells of");
}

#[test]
fn an_ack_is_told_once_it_is_durable() {
    let mut bench = flowing();
    bench.publish("q", &["a"]);
    bench.flush();
    let effects = bench.send(B, ack(&[1]));
    assert!(matches!(records(&effects)[..], [Record::Removed { seq: Seq(1), .. }]));
    assert_eq!(answers(&effects), []);
    assert_eq!(bench.counts("q"), (0, 0, 0), "gone at once");
    assert_eq!(answers(&bench.send(B, ack(&[1]))), [], "unknown tells of the ack");
    let unknown = Err(Refusal::UnknownTag { tags: vec![Tag(1)] });
    assert_eq!(answers(&bench.flush()), [Ok(Reply::Acked(1)), unknown]);
}

#[test]
fn a_nack_is_recorded_only_if_it_delays() {
    let mut bench = flowing();
    bench.publish("q", &["a"]);
    bench.flush();
    let effects = bench.send(B, nack(&[1], 0));
    assert_eq!((records(&effects).len(), answers(&effects).len()), (0, 1));
    let effects = bench.send(B, nack(&[2], 500));
    let until = bench.now.wall_ms + 500;
    let queue = QueueId(1);
    let (seq, attempt) = (Seq(1), 2);
    let published_at = bench.now.wall_ms;
    let delayed = Record::Delayed { queue, seq, until, attempt, published_at };
    assert_eq!(records(&effects), [delayed]);
    assert_eq!(answers(&effects), []);
    assert_eq!(answers(&bench.flush()), [Ok(Reply::Nacked(1))]);
}

#[test]
fn auto_ack_sends_once_the_removal_is_durable() {
    let mut bench = flowing();
    bench.input(Input::Disconnected { connection: B, sent_up_to: Tag(0) });
    bench.publish("q", &["a", "b"]);
    bench.flush();
    let effects = bench.send(B, consume_auto("q"));
    assert_eq!(batches(&effects).len(), 1, "one batch for the round");
    assert_eq!(texts(&effects), Vec::<String>::new());
    let cancelled = bench.send(B, Request::Cancel { subscription: SubscriptionId(1) });
    assert_eq!(answers(&cancelled), [], "what is settled is sent before the end is told");
    let effects = bench.flush();
    assert_eq!(texts(&effects), ["a", "b"]);
    assert_eq!(effects.last().map(std::slice::from_ref).map(answers), Some(vec![Ok(Reply::Done)]));
}

#[test]
fn a_pull_with_auto_ack_is_answered_once_the_removals_are_durable() {
    let mut bench = flowing();
    bench.send(B, Request::Cancel { subscription: SubscriptionId(1) });
    bench.publish("q", &["a"]);
    bench.flush();
    let (queue, max, wait_ms, auto_ack, bytes_max) = (name("q"), 5, 0, true, 1 << 20);
    let effects = bench.send(B, Request::Pull { queue, max, wait_ms, auto_ack, bytes_max });
    assert_eq!(answers(&effects), []);
    assert_eq!(pulled(&answers(&bench.flush())[0]), ["a"]);
}

#[test]
fn a_lost_grant_keeps_back_what_is_settled_but_not_sent() {
    let mut bench = flowing();
    bench.send(B, Request::Cancel { subscription: SubscriptionId(1) });
    bench.publish("q", &["a", "b"]);
    bench.flush();
    bench.send(B, consume_auto("q"));
    bench.input(Input::Forbid { connection: B, queues: vec![name("q")] });
    assert_eq!(texts(&bench.flush()), Vec::<String>::new());
}

#[test]
fn created_false_and_no_such_queue_wait_for_what_they_tell_of() {
    let mut bench = Bench::new(durable(), open());
    assert_eq!(answers(&bench.send(A, declare("q"))), []);
    assert_eq!(answers(&bench.send(B, declare("q"))), []);
    assert_eq!(answers(&bench.send(B, Request::Info { queue: name("q") })), []);
    assert_eq!(answers(&bench.send(B, consume("q", 1))), []);
    assert_eq!(answers(&bench.flush()).len(), 4);
    let effects = bench.send(A, delete("q"));
    assert_eq!(effects.len(), 1, "the record alone: {effects:?}");
    assert_eq!(answers(&bench.send(B, pull("q", 1, 0))), []);
    assert_eq!(answers(&bench.send(B, purge("q"))), []);
    let effects = bench.flush();
    let reason = CancelReason::QueueDeleted;
    let (connection, subscription) = (B, SubscriptionId(1));
    assert!(effects.contains(&Effect::Cancelled { connection, subscription, reason }));
    let gone = Err(Refusal::NoSuchQueue);
    assert_eq!(answers(&effects), [Ok(Reply::Done), gone.clone(), gone]);
}

#[test]
fn replies_about_a_queue_keep_their_order() {
    let mut bench = Bench::new(durable(), open());
    bench.publish("q", &["a"]);
    bench.publish("r", &["b"]);
    bench.send(A, declare("q"));
    assert_eq!(answers(&bench.input(Input::Durable(Lsn(1)))).len(), 2, "not held up by r");
    bench.publish("q", &["c"]);
    bench.send(A, declare("q"));
    let told = answers(&bench.flush());
    assert!(matches!(told[1], Ok(Reply::Published { .. })), "{told:?}");
    assert_eq!(told[2], Ok(Reply::Declared { created: false }));
}

#[test]
fn a_purge_is_one_record() {
    let mut bench = flowing();
    bench.publish("q", &["a", "b", "c"]);
    bench.flush();
    bench.publish("q", &["d"]);
    let effects = bench.send(A, purge("q"));
    let except = vec![(Seq(1), 1), (Seq(2), 1)];
    let (queue, up_to) = (QueueId(1), Seq(4));
    assert_eq!(records(&effects), [Record::Purged { queue, up_to, except }]);
    assert_eq!(answers(&bench.flush())[1], Ok(Reply::Purged(2)));
    let again = bench.send(A, purge("q"));
    assert_eq!((records(&again), answers(&again)), (vec![], vec![Ok(Reply::Purged(0))]));
}

#[test]
fn a_queue_in_memory_is_recorded_and_its_messages_are_not() {
    let mut bench = Bench::new(durable(), open());
    let effects = bench.send(A, declare_with("m", in_memory()));
    assert!(matches!(records(&effects)[..], [Record::Created { .. }]));
    let effects = bench.publish("m", &["a"]);
    let (queue, up_to) = (QueueId(1), Seq(101));
    assert_eq!(records(&effects), [Record::SeqReserved { queue, up_to }]);
    assert_eq!(answers(&effects), [], "its number is told once the block is durable");
    bench.send(B, consume("m", 200));
    let effects = bench.flush();
    assert_eq!((answers(&effects).len(), texts(&effects).len()), (3, 1));
    let effects = bench.publish("m", &["b"]);
    assert_eq!((answers(&effects).len(), texts(&effects).len()), (1, 1), "at once");
    assert_eq!(records(&effects), []);
    let effects = bench.send(B, ack(&[1, 2]));
    assert_eq!((records(&effects), answers(&effects)), (vec![], vec![Ok(Reply::Acked(2))]));
}

#[test]
fn numbers_are_reserved_before_they_run_out() {
    let mut bench = Bench::new(durable(), open());
    bench.send(A, declare_with("m", in_memory()));
    bench.publish("m", &["a"]);
    bench.flush();
    let mut reserved = 0;
    for _ in 0..1_000 {
        let effects = bench.publish("m", &["a"]);
        assert_eq!(answers(&effects).len(), 1, "nothing waits");
        reserved += records(&effects).len();
        bench.flush();
    }
    assert_eq!(reserved, 10);
}

#[test]
fn fences_come_from_durable_blocks() {
    let mut bench = Bench::new(durable(), open());
    bench.publish("q", &["a"]);
    let effects = bench.send(B, consume("q", 1));
    assert_eq!(records(&effects), [Record::FenceReserved { up_to: Fence(100) }]);
    bench.input(Input::Durable(Lsn(1)));
    assert_eq!(bench.counts("q"), (1, 0, 0), "durable, but there is no fence");
    let effects = bench.input(Input::Durable(Lsn(2)));
    assert_eq!(deliveries(&effects)[0].1.fence, Fence(1));
    let mut reserved = 0;
    for tag in 1..1_000 {
        let effects = bench.send(B, nack(&[tag], 0));
        assert_eq!(texts(&effects), ["a"], "nothing waits");
        reserved += records(&effects).len();
        bench.flush();
    }
    assert_eq!(reserved, 10, "a block ahead of its need each");
}

#[test]
fn a_restart_goes_on_after_all_numbers_that_may_have_been_given() {
    let recovered = Recovered {
        lsn: Lsn(7),
        fence: Fence(500),
        queue_id_max: QueueId(9),
        queues: vec![RecoveredQueue {
            id: QueueId(4),
            name: name("m"),
            settings: in_memory().apply(&QueueSettings::default()),
            next_seq: Seq(102),
            messages: 0,
            bytes: 0,
            known: vec![],
            plain: vec![],
            keys: vec![],
            bindings: vec![],
        }],
    };
    let mut bench = Bench::recovered(durable(), open(), recovered);
    bench.send(B, consume("m", 1));
    bench.publish("m", &["a"]);
    let given = deliveries(&bench.flush());
    assert_eq!((given[0].1.seq, given[0].1.fence), (Seq(102), Fence(501)));
    let effects = bench.send(A, declare("new"));
    assert!(matches!(records(&effects)[..], [Record::Created { queue: QueueId(10), .. }]));
}

#[test]
fn a_failed_store_answers_what_waits_and_takes_no_more() {
    let mut bench = flowing();
    bench.publish("q", &["a", "b", "c"]);
    bench.flush();
    bench.send(A, declare_with("m", in_memory()));
    bench.publish("m", &["x"]);
    bench.flush();
    bench.send(A, declare("empty"));
    bench.flush();
    bench.publish("q", &["d"]);
    bench.send(A, pull("empty", 1, 60_000));
    let effects = bench.input(Input::StoreFailed);
    let unavailable = || Err(Refusal::StorageUnavailable);
    assert_eq!(answers(&effects), [unavailable(), unavailable()], "the publish and the pull");
    let requests =
        [publish("q", &["e"]), publish("new", &["e"]), declare("new"), delete("q"), purge("q")];
    for request in requests {
        assert_eq!(bench.ask(A, request), unavailable());
    }
    for request in [consume("q", 1), pull("q", 1, 0), peek("q", 0, 1)] {
        assert_eq!(bench.ask(A, request), unavailable());
    }
    assert_eq!(bench.ask(B, ack(&[1])), unavailable());
    assert_eq!(bench.ask(B, nack(&[1], 500)), unavailable());
    assert_eq!(bench.ask(B, nack(&[1], 0)), Ok(Reply::Nacked(1)));
    assert_eq!(bench.counts("q"), (2, 0, 1), "nothing more is delivered");
    assert_eq!(bench.input(Input::Durable(Lsn(99))), [], "and nothing becomes durable");
}

#[test]
fn queues_in_memory_go_on_after_the_store_failed() {
    let mut bench = Bench::new(durable(), open());
    bench.send(A, declare_with("m", in_memory()));
    bench.publish("m", &["a"]);
    bench.send(B, consume("m", 1));
    bench.flush();
    bench.input(Input::StoreFailed);
    assert_eq!(bench.ask(A, publish("m", &["b"])).map(|_| ()), Ok(()));
    let effects = bench.send(B, ack(&[1]));
    assert_eq!((answers(&effects), texts(&effects)), (vec![Ok(Reply::Acked(1))], vec!["b".into()]));
    let all = [""; 200];
    assert_eq!(bench.ask(A, publish("m", &all)), Err(Refusal::StorageUnavailable), "no numbers");
}

#[test]
fn a_message_that_was_settled_for_a_lost_connection_is_not_sent() {
    let mut bench = flowing();
    bench.send(B, Request::Cancel { subscription: SubscriptionId(1) });
    bench.publish("q", &["a"]);
    bench.flush();
    bench.send(B, consume_auto("q"));
    bench.input(Input::Disconnected { connection: B, sent_up_to: Tag(0) });
    assert_eq!(bench.flush(), [], "at most once");
    assert_eq!(bench.tenant.usage().messages, 0);
}

#[test]
fn a_pull_from_memory_is_told_when_a_failed_store_reserves_no_more_fences() {
    let mut bench = Bench::new(Config { reservation: 1, ..durable() }, open());
    bench.send(A, declare_with("m", in_memory()));
    bench.publish("m", &["a"]);
    bench.flush();
    bench.input(Input::StoreFailed);
    assert_eq!(bench.ask(B, pull("m", 1, 0)), Err(Refusal::StorageUnavailable));
}
