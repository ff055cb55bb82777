//! `pull`: when it is answered, and with what.

use super::*;
use crate::engine::*;
use crate::types::*;

#[test]
fn a_pull_takes_what_there_is() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b", "c"]);
    assert_eq!(pulled(&bench.ask(B, pull("q", 2, 0))), ["a", "b"]);
    assert_eq!(pulled(&bench.ask(B, pull("q", 2, 0))), ["c"]);
    assert_eq!(pulled(&bench.ask(B, pull("q", 2, 0))), Vec::<String>::new());
    assert_eq!(bench.counts("q"), (0, 0, 3));
    assert_eq!(bench.ask(B, ack(&[1, 2, 3])), Ok(Reply::Acked(3)));
}

#[test]
fn a_waiting_pull_is_answered_by_the_first_message() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare("q")).unwrap();
    assert_eq!(bench.send(B, pull("q", 10, 1_000)), []);
    assert_eq!(bench.info("q").consumers, 1);
    bench.pass(999);
    let answers = answers(&bench.publish("q", &["a", "b"]));
    assert_eq!(pulled(&answers[1]), ["a", "b"]);
    assert_eq!(bench.info("q").consumers, 0);
    assert_eq!(bench.pass(60_000), [], "it is answered once");
}

#[test]
fn a_pull_that_waited_in_vain_is_answered_empty() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare("q")).unwrap();
    bench.send(B, pull("q", 1, 1_000));
    assert_eq!(answers(&bench.pass(999)), []);
    assert_eq!(answers(&bench.pass(1)), [Ok(Reply::Pulled { deliveries: vec![] })]);
    assert_eq!(bench.tenant.next_deadline(), None);
}

#[test]
fn a_pulls_answer_is_bounded_but_has_at_least_one_message() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b", "c"]);
    let bytes_max = 2 * message("a").wire_bytes();
    let bounded = |bytes_max| {
        let (queue, max, wait_ms, auto_ack) = (name("q"), 10, 0, false);
        Request::Pull { queue, max, wait_ms, auto_ack, bytes_max }
    };
    assert_eq!(pulled(&bench.ask(B, bounded(bytes_max))), ["a", "b"]);
    assert_eq!(pulled(&bench.ask(B, bounded(0))), ["c"]);
}

#[test]
fn a_pull_whose_message_does_not_fit_leaves_it_to_others() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare("q")).unwrap();
    let (queue, max, wait_ms, auto_ack, bytes_max) = (name("q"), 10, 1_000, false, 1);
    bench.send(B, Request::Pull { queue, max, wait_ms, auto_ack, bytes_max });
    bench.send(A, pull("q", 10, 1_000));
    let answers = answers(&bench.publish("q", &["a", "b", "c"]));
    assert_eq!(pulled(&answers[1]), ["a"]);
    assert_eq!(pulled(&answers[2]), ["b", "c"]);
}

#[test]
fn a_pull_may_settle_what_it_takes() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a"]);
    let (queue, max, wait_ms, auto_ack, bytes_max) = (name("q"), 1, 0, true, 1 << 20);
    let answer = bench.ask(B, Request::Pull { queue, max, wait_ms, auto_ack, bytes_max });
    assert_eq!(pulled(&answer), ["a"]);
    assert_eq!(bench.tenant.usage().messages, 0);
}

#[test]
fn a_pull_behind_a_full_outbox_waits_for_room_rather_than_say_that_there_is_nothing() {
    let wire_bytes = message("a").wire_bytes() as u64;
    let mut bench = Bench::new(Config { outbox_bytes_max: wire_bytes, ..memory() }, open());
    bench.publish("q", &["a", "b"]);
    assert_eq!(pulled(&bench.ask(B, pull("q", 1, 0))), ["a"]);
    assert_eq!(answers(&bench.send(B, pull("q", 1, 0))), []);
    let effects = bench.input(Input::Sent { connection: B, bytes: wire_bytes });
    assert_eq!(pulled(&answers(&effects)[0]), ["b"]);
}

#[test]
fn a_pull_holds_its_messages_by_lease_and_its_ghosts_hold_nothing() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a"]);
    bench.ask(B, pull("q", 1, 0)).unwrap();
    bench.pass(30_000);
    assert_eq!(bench.counts("q"), (1, 0, 0));
    assert_eq!(bench.ask(B, ack(&[1])), Err(Refusal::UnknownTag { tags: vec![Tag(1)] }));
    assert_eq!(pulled(&bench.ask(B, pull("q", 1, 0))), ["a"]);
}

#[test]
fn the_number_of_waiting_pulls_of_a_connection_is_limited() {
    let mut bench = Bench::new(Config { pulls_max: 1, ..memory() }, open());
    bench.publish("q", &["a"]);
    bench.ask(A, declare("r")).unwrap();
    bench.send(B, pull("r", 1, 60_000));
    let refused = Err(Refusal::QuotaExceeded(Quota::Pulls));
    assert_eq!(bench.ask(B, pull("r", 1, 60_000)), refused);
    assert_eq!(pulled(&bench.ask(B, pull("q", 1, 60_000))), ["a"], "this one does not wait");
}
