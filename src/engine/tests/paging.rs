//! Durable queues deeper than their window.

use super::*;
use crate::engine::image::Image;
use crate::engine::*;
use crate::types::*;

/// A tenant with a store that answers at once, except where a test holds it up.
struct Deep {
    bench: Bench,
    image: Image,
    loads: Vec<Load>,
}

const C: ConnectionId = ConnectionId(3);

impl Deep {
    fn new() -> Self {
        Self { bench: Bench::new(durable(), open()), image: Image::default(), loads: Vec::new() }
    }

    /// The server stops and starts.
    fn restart(self) -> Self {
        let mut bench = Bench::recovered(durable(), open(), self.image.recovered());
        bench.now = self.bench.now;
        Self { bench, image: self.image, loads: Vec::new() }
    }

    /// Hands in a request; batches become durable at once, loads are kept.
    fn send(&mut self, connection: ConnectionId, request: Request) -> Effects {
        let effects = self.bench.send(connection, request);
        self.digest(effects)
    }

    fn digest(&mut self, effects: Effects) -> Effects {
        let mut seen = Effects::new();
        let mut fresh = effects;
        while !fresh.is_empty() {
            let mut durable = None;
            for effect in std::mem::take(&mut fresh) {
                match effect {
                    Effect::Append(batch) => {
                        self.image.apply(&batch);
                        durable = Some(batch.lsn);
                    }
                    Effect::Load(load) => self.loads.push(load),
                    other => seen.push(other),
                }
            }
            if let Some(lsn) = durable {
                fresh = self.bench.input(Input::Durable(lsn));
            }
        }
        seen
    }

    /// Answers all loads.
    fn load(&mut self) -> Effects {
        let mut seen = Effects::new();
        while !self.loads.is_empty() {
            let load = self.loads.remove(0);
            let messages = Some(self.image.load(&load));
            let effects = self.bench.input(Input::Loaded { ticket: load.ticket, messages });
            seen.extend(self.digest(effects));
        }
        seen
    }

    /// Answers the first load with a failure.
    fn fail_load(&mut self) -> Effects {
        let ticket = self.loads.remove(0).ticket;
        let effects = self.bench.input(Input::Loaded { ticket, messages: None });
        self.digest(effects)
    }

    fn in_memory(&self) -> usize {
        let all = self.image.queues.values().flat_map(|queue| queue.messages.values());
        // The image holds one of each; whoever else holds one is the engine.
        all.filter(|stored| std::sync::Arc::strong_count(&stored.message) > 1).count()
    }
}

fn ten() -> Vec<&'static str> {
    vec!["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
}

#[test]
fn only_the_window_is_in_memory() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    assert_eq!(deep.in_memory(), 4);
    assert_eq!(deep.bench.counts("q"), (10, 0, 0));
    assert_eq!(deep.loads, [], "nobody wants them");
}

#[test]
fn the_window_moves_on_with_the_head_and_asks_early() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    assert_eq!(texts(&deep.send(B, consume("q", 2))), ["0", "1"]);
    let [load] = &deep.loads[..] else { panic!("{:?}", deep.loads) };
    assert_eq!((load.from_seq, load.to_seq, load.messages_max), (Seq(5), Seq(10), 2));
    assert_eq!(texts(&deep.send(B, ack(&[1, 2]))), ["2", "3"], "while it is under way");
    deep.load();
    let mut all = Vec::new();
    for tag in (3..11).step_by(2) {
        all.extend(texts(&deep.send(B, ack(&[tag, tag + 1]))));
        assert!(deep.in_memory() <= 6, "the window and what is in hand");
        all.extend(texts(&deep.load()));
    }
    assert_eq!(all, ["4", "5", "6", "7", "8", "9"]);
}

#[test]
fn what_is_published_behind_the_window_keeps_its_order() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    deep.send(B, consume("q", 100));
    deep.send(A, publish("q", &["10"]));
    let mut expected = ten();
    expected.push("10");
    assert_eq!(texts(&deep.load()), expected[4..]);
}

#[test]
fn returned_messages_push_others_out_of_the_window() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    deep.send(B, consume("q", 4));
    deep.load();
    assert_eq!(deep.in_memory(), 8);
    let connection = B;
    let effects = deep.bench.input(Input::Disconnected { connection, sent_up_to: Tag(9) });
    deep.digest(effects);
    assert_eq!(deep.in_memory(), 4);
    let mut all = texts(&deep.send(C, consume("q", 100)));
    all.extend(texts(&deep.load()));
    assert_eq!(all, ten());
}

#[test]
fn a_restart_reads_nothing_until_somebody_asks() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    let mut deep = deep.restart();
    assert_eq!((deep.in_memory(), deep.bench.counts("q")), (0, (10, 0, 0)));
    assert_eq!(deep.bench.tenant.usage(), Usage { queues: 1, messages: 10, bytes: 10 });
    assert_eq!(answers(&deep.send(B, pull("q", 9, 0))), [], "there is something; it is not here");
    assert_eq!(pulled(&answers(&deep.load())[0]), ["0", "1", "2", "3"]);
}

#[test]
fn a_delay_outlives_a_restart_and_attempts_are_known() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &["a", "b", "c"]));
    deep.send(B, consume("q", 9));
    deep.send(B, nack(&[2], 5_000));
    let mut deep = deep.restart();
    assert_eq!(deep.bench.counts("q"), (2, 1, 0));
    deep.send(B, consume("q", 9));
    assert_eq!(texts(&deep.load()), ["a", "c"]);
    let effects = deep.bench.pass(5_000);
    deep.digest(effects);
    let given = deliveries(&deep.load());
    assert_eq!((given[0].1.seq, given[0].1.attempt), (Seq(2), 2));
}

#[test]
fn delayed_messages_wait_in_the_store() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &["a"]));
    deep.send(B, consume("q", 9));
    deep.send(B, nack(&[1], 5_000));
    assert_eq!(deep.in_memory(), 0);
    let effects = deep.bench.pass(5_000);
    deep.digest(effects);
    assert_eq!(texts(&deep.load()), ["a"]);
}

#[test]
fn a_load_that_failed_is_asked_again_within_a_second() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    let mut deep = deep.restart();
    deep.send(B, consume("q", 1));
    deep.fail_load();
    assert_eq!(deep.loads, []);
    let effects = deep.bench.pass(1_000);
    deep.digest(effects);
    assert_eq!(texts(&deep.load()), ["0"]);
}

#[test]
fn a_pull_that_does_not_wait_is_told_when_the_store_cannot_read() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    let mut deep = deep.restart();
    deep.send(B, pull("q", 1, 0));
    assert_eq!(answers(&deep.fail_load()), [Err(Refusal::StorageUnavailable)]);
    deep.send(C, pull("q", 1, 60_000));
    let effects = deep.bench.pass(1_000);
    deep.digest(effects);
    assert_eq!(pulled(&answers(&deep.load())[0]), ["0"], "one that waits waits");
}

#[test]
fn a_purge_makes_a_load_under_way_meaningless() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    deep.send(B, consume("q", 2));
    let [load] = &deep.loads[..] else { panic!() };
    let stale = Input::Loaded { ticket: load.ticket, messages: Some(deep.image.load(load)) };
    deep.send(A, purge("q"));
    let effects = deep.bench.input(stale);
    deep.digest(effects);
    assert_eq!(deep.bench.counts("q"), (0, 0, 2));
    deep.send(A, publish("q", &["new"]));
    assert_eq!(texts(&deep.send(B, ack(&[1, 2]))), ["new"]);
}

#[test]
fn a_delete_ends_peeks_that_wait() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    let mut deep = deep.restart();
    assert_eq!(deep.send(B, peek("q", 5, 9)), []);
    let gone = Err(Refusal::NoSuchQueue);
    assert_eq!(answers(&deep.send(A, delete("q"))), [gone, Ok(Reply::Done)]);
    assert_eq!(deep.load(), []);
}

#[test]
fn peek_reads_what_is_in_the_store_only() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    deep.send(B, consume("q", 2));
    deep.loads.clear();
    assert_eq!(deep.send(A, peek("q", 0, 100)), []);
    let [Ok(Reply::Peeked { messages, .. })] = &answers(&deep.load())[..] else { panic!() };
    let seen: Vec<_> = messages.iter().map(|peeked| text(&peeked.message)).collect();
    assert_eq!(seen, ten());
    assert_eq!(deep.send(A, peek("q", 9, 100)), []);
    assert_eq!(answers(&deep.fail_load()), [Err(Refusal::StorageUnavailable)]);
}

#[test]
fn messages_that_the_store_lost_are_not_waited_for() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    let mut deep = deep.restart();
    let queue = deep.image.queues.get_mut(&QueueId(1)).unwrap();
    queue.messages.retain(|seq, _| seq.0 == 7);
    let mut given = deep.send(B, consume("q", 100));
    given.extend(deep.load());
    assert_eq!(texts(&given), ["6"]);
    assert_eq!(deep.bench.counts("q"), (0, 0, 1));
    deep.send(B, ack(&[1]));
    assert_eq!(deep.bench.tenant.usage(), Usage { queues: 1, messages: 0, bytes: 0 });
}

#[test]
fn queues_in_memory_are_never_paged() {
    let mut bench = Bench::new(Config { window: durable().window, ..memory() }, open());
    bench.publish("q", &ten());
    assert_eq!(texts(&bench.send(B, consume("q", 100))), ten());
}

#[test]
fn the_age_of_a_message_in_the_store_is_read_there() {
    let mut deep = Deep::new();
    deep.send(A, publish("q", &ten()));
    let mut deep = deep.restart();
    deep.bench.pass(700);
    let info = || Request::Info { queue: name("q") };
    assert_eq!(deep.send(A, info()), []);
    let [Ok(Reply::Info(seen))] = &answers(&deep.load())[..] else { panic!() };
    assert_eq!((seen.oldest_age_ms, seen.ready), (700, 10));
    let [Ok(Reply::Info(seen))] = &answers(&deep.send(A, info()))[..] else { panic!() };
    assert_eq!(seen.oldest_age_ms, 700, "and remembered");
    deep.send(B, purge("q"));
    deep.send(A, publish("q", &ten()));
    let [Ok(Reply::Info(seen))] = &answers(&deep.send(A, info()))[..] else { panic!() };
    assert_eq!(seen.oldest_age_ms, 0);
}

#[test]
fn a_store_that_gives_another_message_than_the_dead_one_breaks_nothing() {
    let known = KnownMessage {
        seq: Seq(4),
        priority: Priority::default(),
        attempt: 1,
        not_before: 0,
        published_at: None,
        expires_at: None,
        group: None,
        rejected: Some("why".into()),
    };
    let queue = RecoveredQueue {
        id: QueueId(1),
        name: name("q"),
        settings: QueueSettings::default(),
        next_seq: Seq(5),
        messages: 1,
        bytes: 1,
        known: vec![known],
        plain: vec![],
        keys: vec![],
        bindings: vec![],
    };
    let recovered = Recovered { queues: vec![queue], ..Recovered::default() };
    let mut bench = Bench::recovered(durable(), open(), recovered);
    let effects = bench.input(Input::Tick);
    let [Effect::Load(load)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((load.from_seq, load.to_seq), (Seq(4), Seq(4)));
    let (seq, attempt, not_before, message) = (Seq(2), 0, 0, message("other").into());
    let messages = Some(vec![StoredMessage { seq, attempt, not_before, message }]);
    bench.input(Input::Loaded { ticket: load.ticket, messages });
    assert_eq!(bench.tenant.usage().messages, 0, "what the store lost is not waited for");
}

#[test]
fn what_is_gone_when_a_read_comes_says_how_far_the_store_has_read() {
    let mut deep = Deep::new();
    let mut messages: Vec<Message> = ten().into_iter().map(message).collect();
    for brief in &mut messages[..2] {
        brief.properties = Some(Properties { ttl_ms: Some(500), ..Properties::default() }.into());
    }
    let to = Destination::Queue { name: name("q"), may_create: true };
    deep.send(A, Request::Publish { to, messages, batch: true, require: None });
    let mut deep = deep.restart();
    deep.send(B, consume("q", 10));
    let load = deep.loads.remove(0);
    let early: Vec<_> = deep.image.load(&load).into_iter().take(2).collect();
    assert_eq!(early.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [Seq(1), Seq(2)]);

    let expiring = deep.bench.pass(500);
    deep.digest(expiring);
    deep.load();
    assert_eq!(deep.bench.counts("q"), (8, 0, 0), "both are dropped meanwhile");
    let (ticket, messages) = (load.ticket, Some(early));
    let effects = deep.bench.input(Input::Loaded { ticket, messages });
    let mut all = texts(&deep.digest(effects));
    all.extend(texts(&deep.load()));
    assert_eq!(all, ["2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[test]
fn what_a_read_still_gives_although_it_was_moved_is_not_delivered() {
    let mut deep = Deep::new();
    let dead_letter = SettingsPatch { dead_letter: Some(Some(name("dead"))), ..Default::default() };
    deep.send(A, declare_with("q", dead_letter));
    deep.send(A, publish("q", &ten()));
    deep.send(B, consume("q", 10));
    deep.load();
    let tags = list(&[2]);
    let reason = "broken".into();
    deep.send(B, Request::Nack { tags, delay_ms: 0, dead_letter: true, reason });

    // It is moved as soon as it can be; the store says only later that it was.
    let mut deep = deep.restart();
    deep.send(A, declare("dead"));
    let load = deep.loads.remove(0);
    let messages = Some(deep.image.load(&load));
    let mut held = deep.bench.input(Input::Loaded { ticket: load.ticket, messages });
    assert!(matches!(&held[..], [Effect::Append(_)]), "{held:?}");
    held.extend(deep.bench.send(B, consume("q", 10)));
    let at = held.iter().position(|effect| matches!(effect, Effect::Load(_))).unwrap();
    let Effect::Load(load) = held.remove(at) else { unreachable!() };
    let messages = Some(deep.image.load(&load));
    held.extend(deep.bench.input(Input::Loaded { ticket: load.ticket, messages }));
    let mut all = texts(&deep.digest(held));
    all.extend(texts(&deep.load()));
    assert_eq!(all, ["0", "2", "3", "4", "5", "6", "7", "8", "9"]);
}
