//! Subscriptions: order, fairness, prefetch, flow control, and how they end.

use super::*;
use crate::engine::*;
use crate::types::*;

#[test]
fn messages_are_delivered_by_seq_and_acknowledged() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b", "c"]);
    let effects = bench.send(B, consume("q", 2));
    assert_eq!(answers(&effects), [Ok(Reply::Subscribed(SubscriptionId(1)))]);
    assert_eq!(texts(&effects), ["a", "b"]);
    assert_eq!(bench.counts("q"), (1, 0, 2));
    let effects = bench.send(B, ack(&[1]));
    assert_eq!(answers(&effects), [Ok(Reply::Acked(1))]);
    assert_eq!(texts(&effects), ["c"]);
    assert_eq!(bench.ask(B, Request::Ack(Tags::UpTo(Tag(99)))), Ok(Reply::Acked(2)));
    assert_eq!(bench.counts("q"), (0, 0, 0));
    assert_eq!(bench.tenant.usage(), Usage { queues: 1, messages: 0, bytes: 0 });
}

#[test]
fn consuming_from_no_queue_is_refused() {
    let mut bench = Bench::new(memory(), open());
    assert_eq!(bench.ask(A, consume("q", 1)), Err(Refusal::NoSuchQueue));
    assert_eq!(bench.ask(A, pull("q", 1, 0)), Err(Refusal::NoSuchQueue));
}

#[test]
fn tags_are_unique_within_the_connection_and_fences_within_the_tenant() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b"]);
    bench.publish("r", &["c"]);
    let mut given = Vec::new();
    given.extend(deliveries(&bench.send(A, consume("q", 1))));
    given.extend(deliveries(&bench.send(A, consume("r", 1))));
    given.extend(deliveries(&bench.send(B, consume("q", 1))));
    let tags: Vec<_> = given.iter().map(|(at, d)| (*at, d.tag.0)).collect();
    assert_eq!(tags, [(A, 1), (A, 2), (B, 1)]);
    assert!(given.is_sorted_by(|(_, a), (_, b)| a.fence < b.fence));
}

#[test]
fn returned_messages_keep_their_place() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b", "c", "d"]);
    bench.send(B, consume("q", 3));
    bench.send(B, Request::Cancel { subscription: SubscriptionId(1) });
    bench.send(B, nack(&[3], 0));
    bench.send(B, nack(&[1], 0));
    assert_eq!(texts(&bench.send(A, consume("q", 9))), ["a", "c", "d"]);
}

#[test]
fn attempts_count_deliveries() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a"]);
    bench.send(B, consume("q", 1));
    let effects = bench.send(B, nack(&[1], 0));
    assert_eq!(deliveries(&effects)[0].1.attempt, 2);
    assert_eq!(bench.info("q").counters.redelivered, 1);
    assert_eq!(bench.info("q").counters.delivered, 2);
}

#[test]
fn a_hundred_consumers_share_a_queue_within_ten_percent() {
    let config = Config { outbox_bytes_max: u64::MAX, subscriptions_max: 1, ..memory() };
    let mut bench = Bench::new(config, open());
    bench.ask(A, declare("q")).unwrap();
    let connections: Vec<_> = (10..110).map(ConnectionId).collect();
    for connection in &connections {
        bench.send(*connection, consume("q", 5));
    }
    let mut taken = std::collections::BTreeMap::<ConnectionId, u32>::new();
    let mut open = deliveries(&bench.publish("q", &["a"; 700]));
    while let Some((connection, delivery)) = open.pop() {
        *taken.entry(connection).or_default() += 1;
        if taken.values().sum::<u32>() > 10_000 {
            break;
        }
        open.extend(deliveries(&bench.send(connection, ack(&[delivery.tag.0]))));
        open.extend(deliveries(&bench.publish("q", &["a"])));
        open.sort_by_key(|(_, delivery)| std::cmp::Reverse(delivery.fence));
    }
    let (least, most) = (taken.values().min().unwrap(), taken.values().max().unwrap());
    assert!(taken.len() == 100 && most - least <= most / 10, "{least} to {most}");
}

#[test]
fn pulls_and_subscriptions_take_turns() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare("q")).unwrap();
    bench.send(A, consume("q", 9));
    bench.send(B, pull("q", 9, 1_000));
    let effects = bench.publish("q", &["a", "b", "c", "d"]);
    assert_eq!(texts(&effects), ["a", "c"]);
    let answers = answers(&effects);
    assert_eq!(pulled(&answers[1]), ["b", "d"]);
}

#[test]
fn an_end_frees_the_prefetch_of_no_other_subscription() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b", "c"]);
    bench.send(A, consume("q", 1));
    bench.send(A, consume("q", 1));
    bench.send(A, Request::Cancel { subscription: SubscriptionId(1) });
    assert_eq!(texts(&bench.send(A, ack(&[1]))), Vec::<String>::new());
    assert_eq!(texts(&bench.send(A, ack(&[2]))), ["c"]);
}

#[test]
fn a_cancelled_subscription_gets_no_more_and_its_messages_can_be_acknowledged() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a"]);
    bench.send(B, consume("q", 9));
    let cancel = || Request::Cancel { subscription: SubscriptionId(1) };
    assert_eq!(bench.ask(B, cancel()), Ok(Reply::Done));
    assert_eq!(bench.ask(B, cancel()), Err(Refusal::UnknownSubscription));
    assert_eq!(texts(&bench.publish("q", &["b"])), Vec::<String>::new());
    assert_eq!(bench.ask(B, ack(&[1])), Ok(Reply::Acked(1)));
    assert_eq!(bench.info("q").consumers, 0);
}

#[test]
fn auto_ack_settles_before_the_message_is_sent() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b"]);
    let effects = bench.send(B, consume_auto("q"));
    assert_eq!(texts(&effects), ["a", "b"]);
    assert_eq!(bench.tenant.usage().messages, 0);
    assert_eq!(bench.info("q").counters.acked, 2);
    assert_eq!(bench.ask(B, ack(&[1])), Err(Refusal::UnknownTag { tags: vec![Tag(1)] }));
}

#[test]
fn a_full_outbox_gets_nothing_until_it_is_read() {
    let wire_bytes = message("a").wire_bytes() as u64;
    let config = Config { outbox_bytes_max: 2 * wire_bytes, ..memory() };
    let mut bench = Bench::new(config, open());
    bench.publish("q", &["a", "b", "c", "d"]);
    assert_eq!(texts(&bench.send(B, consume("q", 9))), ["a", "b"]);
    bench.send(B, ack(&[1, 2]));
    assert_eq!(bench.counts("q"), (2, 0, 0), "acknowledged, but not known to be sent");
    assert_eq!(texts(&bench.send(A, consume("q", 1))), ["c"], "others go on");
    let effects = bench.input(Input::Sent { connection: B, bytes: wire_bytes });
    assert_eq!(texts(&effects), ["d"]);
}

#[test]
fn auto_ack_too_is_held_up_by_a_full_outbox() {
    let wire_bytes = message("a").wire_bytes() as u64;
    let config = Config { outbox_bytes_max: wire_bytes, ..memory() };
    let mut bench = Bench::new(config, open());
    bench.publish("q", &["a", "b"]);
    assert_eq!(texts(&bench.send(B, consume_auto("q"))), ["a"]);
    assert_eq!(bench.counts("q"), (1, 0, 0));
    let effects = bench.input(Input::Sent { connection: B, bytes: wire_bytes });
    assert_eq!(texts(&effects), ["b"]);
}

#[test]
fn the_number_of_subscriptions_of_a_connection_is_limited() {
    let mut bench = Bench::new(Config { subscriptions_max: 1, ..memory() }, open());
    bench.ask(A, declare("q")).unwrap();
    bench.ask(A, consume("q", 1)).unwrap();
    let refused = Err(Refusal::QuotaExceeded(Quota::Subscriptions));
    assert_eq!(bench.ask(A, consume("q", 1)), refused);
    bench.ask(A, Request::Cancel { subscription: SubscriptionId(1) }).unwrap();
    assert_eq!(bench.ask(A, consume("q", 1)), Ok(Reply::Subscribed(SubscriptionId(2))));
}

#[test]
fn what_a_lost_connection_had_in_hand_returns() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b", "c"]);
    bench.send(B, consume("q", 2));
    let sent_up_to = Tag(1);
    bench.input(Input::Disconnected { connection: B, sent_up_to });
    assert_eq!(bench.counts("q"), (3, 0, 0));
    let given = deliveries(&bench.send(A, consume("q", 9)));
    let attempts: Vec<_> = given.iter().map(|(_, d)| (text(&d.message), d.attempt)).collect();
    let expected = [("a", 2), ("b", 1), ("c", 1)].map(|(text, n)| (text.to_owned(), n));
    assert_eq!(attempts, expected, "what was never sent does not count");
}

#[test]
fn a_half_closed_connection_consumes_no_more_and_keeps_what_it_has() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a"]);
    bench.publish("r", &[]);
    bench.send(B, consume("q", 9));
    bench.send(B, pull("r", 1, 60_000));
    let effects = bench.input(Input::HalfClosed { connection: B });
    assert_eq!(answers(&effects), [Ok(Reply::Pulled { deliveries: vec![] })]);
    assert_eq!(texts(&bench.publish("q", &["b"])), Vec::<String>::new());
    assert_eq!(bench.counts("q"), (1, 0, 1));
    assert_eq!(bench.ask(B, ack(&[1])), Ok(Reply::Acked(1)));
}

#[test]
fn a_lost_grant_ends_what_consumes_by_it() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a", "b"]);
    bench.publish("r", &["x"]);
    bench.send(B, consume("q", 1));
    bench.send(B, consume("r", 1));
    bench.ask(A, declare("empty")).unwrap();
    bench.send(B, pull("empty", 1, 60_000));
    assert_eq!(bench.tenant.watched(B), [name("empty"), name("q"), name("r")]);
    let queues = vec![name("q"), name("empty"), name("unknown")];
    let effects = bench.input(Input::Forbid { connection: B, queues });
    let (subscription, reason) = (SubscriptionId(1), CancelReason::Forbidden);
    assert!(effects.contains(&Effect::Cancelled { connection: B, subscription, reason }));
    assert_eq!(answers(&effects), [Err(Refusal::Forbidden)]);
    assert_eq!(bench.counts("q"), (2, 0, 0));
    assert_eq!(bench.counts("r"), (0, 0, 1), "other queues go on");
    assert_eq!(bench.ask(B, ack(&[1])), Err(Refusal::UnknownTag { tags: vec![Tag(1)] }));
    assert_eq!(bench.tenant.watched(B), [name("r")]);
}

#[test]
fn a_stopping_server_gives_and_takes_no_more_but_settles() {
    let mut bench = Bench::new(memory(), open());
    bench.publish("q", &["a"]);
    bench.send(B, consume("q", 9));
    bench.ask(A, declare("r")).unwrap();
    bench.send(B, pull("r", 1, 60_000));
    let effects = bench.input(Input::Drain);
    assert_eq!(answers(&effects), [Ok(Reply::Pulled { deliveries: vec![] })]);
    for request in [publish("q", &["b"]), consume("q", 1), pull("q", 1, 0), declare("s")] {
        assert_eq!(bench.ask(A, request), Err(Refusal::ShuttingDown));
    }
    for request in [delete("q"), purge("q"), peek("q", 0, 1)] {
        assert_eq!(bench.ask(A, request), Err(Refusal::ShuttingDown));
    }
    assert_eq!(
        bench.ask(B, Request::Extend { tags: list(&[1]), lease_ms: None }).ok(),
        Some(Reply::Extended(1))
    );
    let effects = bench.send(B, nack(&[1], 0));
    assert_eq!(answers(&effects), [Ok(Reply::Nacked(1))]);
    assert_eq!(texts(&effects), Vec::<String>::new());
    assert_eq!(bench.counts("q"), (1, 0, 0));
}

#[test]
fn a_group_that_blocks_holds_up_no_other_however_much_of_it_is_ahead() {
    let mut bench = Bench::new(memory(), open());
    let of = |group: &str, text: &str| {
        let properties = Properties { group: Some(group.into()), ..Properties::default() };
        Message { properties: Some(properties.into()), ..message(text) }
    };
    let messages = vec![of("blocked", "blocked"); 100_000];
    bench.send(A, Request::Publish { to: to("q"), messages, batch: true, require: None });
    let messages = vec![of("b", "b1"), of("b", "b2"), message("plain"), of("c", "c1")];
    bench.send(A, Request::Publish { to: to("q"), messages, batch: true, require: None });
    let effects = bench.send(B, consume("q", 100));
    assert_eq!(texts(&effects), ["blocked", "b1", "plain", "c1"]);
    assert_eq!(texts(&bench.send(B, ack(&[2]))), ["b2"], "its turn");
    assert_eq!(bench.counts("q"), (0, 99_999, 4));
}
