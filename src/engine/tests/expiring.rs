//! Delays and TTLs: a bounded number with one input, and a wall clock that jumps.

use std::time::Duration;

use super::bench::*;
use crate::engine::*;
use crate::types::*;

/// More than are looked at with one input.
const MANY: usize = 2_000;
const DAY_MS: u64 = 24 * 3600 * 1000;

fn with(edit: impl Fn(&mut Properties)) -> Message {
    let mut properties = Properties::default();
    edit(&mut properties);
    Message { properties: Some(Box::new(properties)), ..message("x") }
}

fn publish_many(bench: &mut Bench, message: &Message) {
    let messages = vec![message.clone(); MANY];
    let request = Request::Publish { to: to("q"), messages, batch: true, require: None };
    bench.ask(A, request).unwrap();
}

/// Time passes at once; then the tenant is called until it wants no more. Answers the counts of
/// messages that are done with, as they were after each call.
fn done_after_each(bench: &mut Bench, done: impl Fn(&QueueInfo) -> u64) -> Vec<u64> {
    bench.now.monotonic = bench.now.monotonic + Duration::from_secs(1);
    bench.now.wall_ms += 1_000;
    let mut counts = Vec::new();
    while bench.tenant.next_deadline().is_some_and(|at| at <= bench.now.monotonic) {
        // Looking is an input, and does as much as any.
        counts.push(done(&bench.info("q")));
        assert!(counts.len() <= MANY, "it comes to rest");
    }
    counts
}

fn assert_in_steps(counts: &[u64], all: u64) {
    assert_eq!(counts.last(), Some(&all));
    let steps = counts.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(steps.max().is_some_and(|step| step < all), "not all at once: {counts:?}");
}

#[test]
fn few_of_many_delays_end_with_one_input() {
    let mut bench = Bench::new(memory(), open());
    publish_many(&mut bench, &with(|properties| properties.delay_ms = 500));
    let counts = done_after_each(&mut bench, |info| info.ready);
    assert_in_steps(&counts, MANY as u64);
}

#[test]
fn few_of_many_messages_expire_with_one_input() {
    let own = with(|properties| properties.ttl_ms = Some(500));
    let by_queue = SettingsPatch { ttl_ms: Some(Some(500)), ..SettingsPatch::default() };
    for (message, settings) in [(own, SettingsPatch::default()), (message("x"), by_queue)] {
        for consumed in [false, true] {
            let mut bench = Bench::new(memory(), open());
            bench.ask(A, declare_with("q", settings.clone())).unwrap();
            bench.ask(B, consume("q", 1)).unwrap();
            publish_many(&mut bench, &message);
            bench.now.wall_ms += 500;
            if consumed {
                // It asks for the next one when all of them are over.
                bench.send(B, ack(&[1]));
            }
            let counts = done_after_each(&mut bench, |info| info.counters.expired);
            assert_in_steps(&counts, MANY as u64 - 1);
        }
    }
}

#[test]
fn a_wall_clock_that_jumps_ahead_ends_delays_and_ttls_and_no_lease() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare("leased")).unwrap();
    bench.ask(A, consume("leased", 1)).unwrap();
    bench.publish("leased", &["held"]);
    let messages = vec![
        with(|p| p.delay_ms = DAY_MS),
        with(|p| (p.delay_ms, p.ttl_ms) = (DAY_MS, Some(DAY_MS))),
    ];
    let request = Request::Publish { to: to("q"), messages, batch: true, require: None };
    bench.ask(A, request).unwrap();
    bench.now.wall_ms += 3 * DAY_MS;
    bench.input(Input::Tick);
    let info = bench.info("q");
    assert_eq!((info.ready, info.delayed, info.counters.expired), (1, 0, 1));
    assert_eq!(bench.info("leased").in_hand, 1, "leases count on the other clock");
    bench.pass(30_000);
    assert_eq!(bench.info("leased").in_hand, 0);
}

#[test]
fn a_wall_clock_that_jumps_back_makes_delays_and_ttls_longer_and_no_lease() {
    let mut bench = Bench::new(memory(), open());
    bench.ask(A, declare("leased")).unwrap();
    bench.ask(A, consume("leased", 1)).unwrap();
    bench.publish("leased", &["held"]);
    let messages = vec![with(|p| p.delay_ms = 1_000), with(|p| p.ttl_ms = Some(1_000))];
    let request = Request::Publish { to: to("q"), messages, batch: true, require: None };
    bench.ask(A, request).unwrap();
    bench.now.wall_ms -= 3 * DAY_MS;
    bench.pass(31_000);
    let info = bench.info("q");
    assert_eq!((info.ready, info.delayed, info.counters.expired), (1, 1, 0));
    assert_eq!(bench.info("leased").in_hand, 0, "leases count on the other clock");
    bench.pass(3 * DAY_MS);
    let info = bench.info("q");
    assert_eq!((info.ready, info.delayed, info.counters.expired), (1, 0, 1));
}
