//! Whatever an input holds, the engine goes on.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::engine::*;
use crate::types::*;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..12, select(vec![u64::MAX, u64::MAX - 1, 1 << 53, 1 << 32, 70_000])]
}

fn tags() -> impl Strategy<Value = Tags> {
    prop_oneof![
        prop::collection::vec(number().prop_map(Tag), 0..5).prop_map(Tags::List),
        number().prop_map(|tag| Tags::UpTo(Tag(tag))),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let queue = || select(vec!["a", "b", "c"]).prop_map(name);
    let small = || number().prop_map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let size = || number().prop_map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    prop_oneof![
        4 => (queue(), 0usize..5, any::<bool>()).prop_map(|(queue, count, batch)| {
            let messages = vec![message("text"); count];
            let to = Destination::Queue { name: queue, may_create: true };
            Request::Publish { to, messages, batch, require: None }
        }),
        2 => (queue(), small(), any::<bool>()).prop_map(
            |(queue, prefetch, auto_ack)| Request::Consume { queue, prefetch, auto_ack }
        ),
        1 => number().prop_map(|n| Request::Cancel { subscription: SubscriptionId(n) }),
        2 => (queue(), small(), number(), any::<bool>(), size()).prop_map(
            |(queue, max, wait_ms, auto_ack, bytes_max)| Request::Pull {
                queue, max, wait_ms, auto_ack, bytes_max,
            }
        ),
        2 => tags().prop_map(Request::Ack),
        2 => (tags(), number(), any::<bool>()).prop_map(|(tags, delay_ms, dead_letter)| {
            Request::Nack { tags, delay_ms, dead_letter, reason: "why".into() }
        }),
        1 => (tags(), prop::option::of(number())).prop_map(
            |(tags, lease_ms)| Request::Extend { tags, lease_ms }
        ),
        1 => (queue(), any::<bool>(), any::<bool>()).prop_map(|(queue, in_memory, update)| {
            let storage = in_memory.then_some(Storage::Memory);
            let settings = SettingsPatch { storage, ..SettingsPatch::default() };
            Request::Declare { queue, settings, update }
        }),
        1 => queue().prop_map(|queue| Request::Delete { queue, if_empty: false }),
        1 => queue().prop_map(|queue| Request::Purge { queue }),
        1 => queue().prop_map(|queue| Request::Info { queue }),
        1 => (small(), size(), ".*").prop_map(|(limit, bytes_max, after)| {
            let (pattern, after, visible) = (None, Some(after), all_visible());
            Request::List { pattern, after, limit, visible, bytes_max }
        }),
        1 => (queue(), number(), small(), size()).prop_map(
            |(queue, from, max, bytes_max)| Request::Peek {
                queue, from_seq: Seq(from), max, bytes_max,
            }
        ),
    ]
}

fn loaded() -> impl Strategy<Value = Option<Vec<StoredMessage>>> {
    let stored = (number(), 0u32..3, number()).prop_map(|(seq, attempt, not_before)| {
        StoredMessage { seq: Seq(seq), attempt, not_before, message: message("lo").into() }
    });
    prop::option::of(prop::collection::vec(stored, 0..6))
}

fn input() -> impl Strategy<Value = Input> {
    let connection = || (0u64..3).prop_map(ConnectionId);
    prop_oneof![
        30 => (connection(), request()).prop_map(|(connection, request)| {
            let token = RequestToken { id: None, op: "test", frame_bytes: u32::MAX };
            Input::Request { connection, token, request }
        }),
        2 => (connection(), number()).prop_map(
            |(connection, bytes)| Input::Sent { connection, bytes }
        ),
        1 => connection().prop_map(|connection| Input::HalfClosed { connection }),
        1 => (connection(), number()).prop_map(|(connection, tag)| {
            Input::Disconnected { connection, sent_up_to: Tag(tag) }
        }),
        1 => connection().prop_map(|connection| {
            Input::Forbid { connection, queues: vec![name("a"), name("a"), name("x")] }
        }),
        6 => number().prop_map(|lsn| Input::Durable(Lsn(lsn))),
        4 => (number(), loaded()).prop_map(|(ticket, messages)| {
            Input::Loaded { ticket: LoadTicket(ticket), messages }
        }),
        1 => select(vec![Input::StoreFailed, Input::Drain]),
        2 => Just(Input::Tick),
    ]
}

fn recovered() -> Recovered {
    let known = |seq, attempt, not_before| KnownMessage {
        seq: Seq(seq),
        priority: Priority::default(),
        attempt,
        not_before,
        published_at: Some(1_800_000_000_000),
        expires_at: Some(1_800_000_000_900),
        group: Some("g".into()),
        rejected: None,
    };
    let queue = RecoveredQueue {
        id: QueueId(3),
        name: name("a"),
        settings: QueueSettings::default(),
        next_seq: Seq(12),
        messages: 9,
        bytes: 40,
        known: vec![known(2, 1, 0), known(4, 2, 1_800_000_000_500)],
        plain: vec![(Priority::default(), 7)],
        keys: vec![("k".into(), Seq(1), 1_799_999_999_000)],
        bindings: vec!["a.#".parse().unwrap()],
    };
    Recovered { lsn: Lsn(5), fence: Fence(9), queue_id_max: QueueId(3), queues: vec![queue] }
}

fn try_inputs(config: Config, recovered: Recovered, inputs: Vec<(u64, bool, Input)>) {
    let mut bench = Bench::recovered(config, open(), recovered);
    for (ms, back, input) in inputs {
        let nanos = bench.now.monotonic.as_nanos();
        let step = ms.saturating_mul(1_000_000);
        let nanos = if back { nanos.saturating_sub(step) } else { nanos.saturating_add(step) };
        bench.now.monotonic = Monotonic::from_nanos(nanos);
        bench.now.wall_ms = bench.now.wall_ms.wrapping_add(ms);
        bench.input(input);
        bench.tenant.next_deadline();
    }
}

fn inputs() -> impl Strategy<Value = Vec<(u64, bool, Input)>> {
    let time = prop_oneof![5 => 0u64..100, 1 => number()];
    prop::collection::vec((time, prop::bool::weighted(0.1), input()), 1..60)
}

proptest! {
    #![proptest_config(model::cases(200))]

    #[test]
    fn no_input_breaks_a_tenant_in_memory(inputs in inputs()) {
        try_inputs(memory(), Recovered::default(), inputs);
    }

    #[test]
    fn no_input_breaks_a_durable_tenant(inputs in inputs()) {
        try_inputs(durable(), recovered(), inputs);
    }
}

/// The store gives a message of a group as if it had none.
#[test]
fn a_message_that_waits_in_a_group_is_not_taken_for_a_plain_one() {
    let mut bench = Bench::recovered(durable(), open(), recovered());
    let queue = || name("a");
    let token = || RequestToken { id: None, op: "test", frame_bytes: u32::MAX };
    let request = |number, request| Input::Request {
        connection: ConnectionId(number),
        token: token(),
        request,
    };
    bench.input(request(2, Request::Consume { queue: queue(), prefetch: 1, auto_ack: false }));
    let message = message("lo").into();
    let stored = StoredMessage { seq: Seq(4), attempt: 0, not_before: 0, message };
    bench.input(Input::Loaded { ticket: LoadTicket(1), messages: Some(vec![stored]) });
    bench.input(Input::Disconnected { connection: ConnectionId(2), sent_up_to: Tag(0) });
    bench.input(Input::Durable(Lsn(6)));
    let (max, wait_ms, bytes_max) = (1, 0, 100);
    bench.input(request(
        0,
        Request::Pull { queue: queue(), max, wait_ms, auto_ack: true, bytes_max },
    ));
    bench.input(request(0, Request::Purge { queue: queue() }));
}
