//! `ack`, `nack`, `extend`, leases.

use super::*;
use crate::engine::*;
use crate::types::*;

fn unknown(tags: &[u64]) -> Answer {
    Err(Refusal::UnknownTag { tags: tags.iter().map(|tag| Tag(*tag)).collect() })
}

fn extend(tags: &[u64], lease_ms: Option<u64>) -> Request {
    Request::Extend { tags: list(tags), lease_ms }
}

/// Three messages, in hand under the tags 1 to 3, with leases of a second.
fn in_hand() -> Bench {
    let mut bench = Bench::new(memory(), open());
    let ack_timeout_ms = Some(1_000);
    bench
        .ask(A, declare_with("q", SettingsPatch { ack_timeout_ms, ..SettingsPatch::default() }))
        .unwrap();
    bench.publish("q", &["a", "b", "c"]);
    bench.send(B, consume("q", 3));
    assert_eq!(bench.counts("q"), (0, 0, 3));
    bench
}

#[test]
fn unknown_tags_are_named_and_the_others_settled_all_the_same() {
    for request in [
        |tags: &[u64]| ack(tags),
        |tags: &[u64]| nack(tags, 60_000),
        |tags: &[u64]| extend(tags, Some(9_000)),
    ] {
        let mut bench = in_hand();
        assert_eq!(bench.ask(B, request(&[9, 1, 0, 3])), unknown(&[9, 0]));
        match request(&[]) {
            Request::Ack(_) => assert_eq!(bench.counts("q"), (0, 0, 1)),
            Request::Nack { .. } => assert_eq!(bench.counts("q"), (0, 2, 1)),
            _ => {
                bench.pass(5_000);
                assert_eq!(bench.counts("q"), (1, 0, 2));
            }
        }
    }
}

#[test]
fn a_tag_is_settled_once() {
    let mut bench = in_hand();
    assert_eq!(bench.ask(B, ack(&[2, 2])), unknown(&[2]));
    assert_eq!(bench.ask(B, nack(&[2], 0)), unknown(&[2]));
    assert_eq!(bench.counts("q"), (0, 0, 2));
}

#[test]
fn up_to_means_every_tag_in_hand_up_to_it() {
    let mut bench = in_hand();
    bench.send(B, ack(&[1]));
    assert_eq!(bench.ask(B, Request::Ack(Tags::UpTo(Tag(2)))), Ok(Reply::Acked(1)));
    assert_eq!(bench.ask(B, Request::Ack(Tags::UpTo(Tag(2)))), Ok(Reply::Acked(0)));
    let all = Tags::UpTo(Tag(u64::MAX));
    assert_eq!(bench.ask(B, nack_of(all, 9)), Ok(Reply::Nacked(1)));
}

#[test]
fn tags_are_of_one_connection() {
    let mut bench = in_hand();
    assert_eq!(bench.ask(A, ack(&[1])), unknown(&[1]));
    assert_eq!(bench.counts("q"), (0, 0, 3));
}

#[test]
fn a_nack_with_a_delay_returns_the_message_later_to_its_place() {
    let mut bench = in_hand();
    bench.publish("q", &["d"]);
    bench.send(B, nack(&[1], 500));
    assert_eq!(bench.counts("q"), (0, 1, 3), "the next one takes its place in the prefetch");
    assert_eq!(texts(&bench.pass(499)), Vec::<String>::new());
    bench.pass(1);
    assert_eq!(bench.counts("q"), (1, 0, 3));
    bench.publish("q", &["e"]);
    let given = deliveries(&bench.send(A, consume("q", 1)));
    assert_eq!((given[0].1.seq, given[0].1.attempt), (Seq(1), 2));
}

#[test]
fn a_delay_counts_on_the_wall_clock_and_a_lease_does_not() {
    let mut bench = in_hand();
    bench.send(B, nack(&[1], 3_600_000));
    bench.now.wall_ms += 3_600_000;
    bench.input(Input::Tick);
    assert_eq!(bench.counts("q"), (0, 0, 3), "delivered again; no lease ran out");
}

#[test]
fn a_jump_of_the_wall_clock_is_noticed_within_ten_seconds() {
    let mut bench = in_hand();
    bench.send(B, nack(&[1], 3_600_000));
    let deadline = bench.tenant.next_deadline().unwrap();
    assert!(deadline - bench.now.monotonic <= std::time::Duration::from_secs(10));
}

#[test]
fn a_lease_that_ran_out_returns_the_message() {
    let mut bench = in_hand();
    bench.pass(999);
    assert_eq!(bench.counts("q"), (0, 0, 3));
    bench.send(A, consume("q", 9));
    let effects = bench.pass(1);
    assert_eq!(texts(&effects), ["a", "b", "c"]);
    assert!(deliveries(&effects).iter().all(|(at, d)| *at == A && d.attempt == 2));
}

#[test]
fn a_lease_that_ran_out_fills_the_prefetch_until_its_tag_is_named() {
    for request in
        [|tags: &[u64]| ack(tags), |tags: &[u64]| nack(tags, 0), |tags: &[u64]| extend(tags, None)]
    {
        let mut bench = in_hand();
        assert_eq!(texts(&bench.pass(1_000)), Vec::<String>::new(), "a hung worker is not fed");
        let effects = bench.send(B, request(&[2]));
        assert_eq!(answers(&effects), [unknown(&[2])]);
        assert_eq!(texts(&effects), ["a"]);
        assert_eq!(bench.ask(B, request(&[2])), unknown(&[2]));
        assert_eq!(bench.counts("q"), (2, 0, 1));
    }
}

#[test]
fn up_to_names_leases_that_ran_out_too() {
    let mut bench = in_hand();
    bench.pass(1_000);
    let effects = bench.send(B, Request::Ack(Tags::UpTo(Tag(2))));
    assert_eq!(answers(&effects), [Ok(Reply::Acked(0))]);
    assert_eq!(texts(&effects), ["a", "b"]);
}

#[test]
fn the_end_of_a_subscription_frees_its_ghosts() {
    let mut bench = in_hand();
    bench.pass(1_000);
    bench.send(B, Request::Cancel { subscription: SubscriptionId(1) });
    assert_eq!(bench.ask(B, ack(&[1])), unknown(&[1]));
    assert_eq!(texts(&bench.send(B, consume("q", 9))), ["a", "b", "c"]);
}

#[test]
fn a_lease_that_runs_out_after_the_subscriptions_end_leaves_nothing() {
    let mut bench = in_hand();
    bench.send(B, Request::Cancel { subscription: SubscriptionId(1) });
    bench.pass(1_000);
    assert_eq!(bench.counts("q"), (3, 0, 0));
    assert_eq!(bench.ask(B, ack(&[1])), unknown(&[1]));
}

#[test]
fn extend_starts_the_lease_anew() {
    let mut bench = in_hand();
    bench.pass(900);
    assert_eq!(bench.ask(B, extend(&[1], Some(5_000))), Ok(Reply::Extended(1)));
    assert_eq!(bench.ask(B, extend(&[2], None)), Ok(Reply::Extended(1)));
    assert_eq!(bench.ask(B, extend(&[3], Some(10))), Ok(Reply::Extended(1)));
    bench.pass(10);
    assert_eq!(bench.counts("q"), (1, 0, 2), "a lease may be shortened");
    bench.pass(989);
    assert_eq!(bench.counts("q"), (1, 0, 2));
    bench.pass(1);
    assert_eq!(bench.counts("q"), (2, 0, 1));
    bench.pass(4_000);
    assert_eq!(bench.counts("q"), (3, 0, 0));
}
