//! Operations, small enough that random lists of them meet.

use proptest::prelude::*;
use proptest::sample::select;

use crate::types::*;

/// Tags that a request names, relative to the connection's last one.
#[derive(Debug, Clone)]
pub(super) enum Choice {
    /// The last tag less each of these.
    Back(Vec<u8>),
    /// Up to the last tag less this.
    UpTo(u8),
}

/// One step. Connections and queues are named by small numbers.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Publish {
        at: u8,
        queue: u8,
        messages: Vec<u16>,
        may_create: bool,
        require: Option<Level>,
    },
    Consume {
        at: u8,
        queue: u8,
        prefetch: u32,
        auto_ack: bool,
    },
    Cancel {
        at: u8,
        subscription: u64,
    },
    Pull {
        at: u8,
        queue: u8,
        max: u32,
        wait_ms: u64,
        auto_ack: bool,
        bytes_max: usize,
    },
    Ack {
        at: u8,
        tags: Choice,
    },
    Nack {
        at: u8,
        tags: Choice,
        delay_ms: u64,
    },
    Extend {
        at: u8,
        tags: Choice,
        lease_ms: Option<u64>,
    },
    Declare {
        at: u8,
        queue: u8,
        settings: SettingsPatch,
        update: bool,
    },
    Delete {
        at: u8,
        queue: u8,
        if_empty: bool,
    },
    Purge {
        at: u8,
        queue: u8,
    },
    Info {
        at: u8,
        queue: u8,
    },
    List {
        at: u8,
        limit: u32,
    },
    Peek {
        at: u8,
        queue: u8,
        from_seq: u64,
        max: u32,
    },
    /// The peer took so many quarters of what lies in the outbox.
    Sent {
        at: u8,
        quarters: u64,
    },
    HalfClosed {
        at: u8,
    },
    /// The connection ends; so many of the last tags were never sent.
    Disconnected {
        at: u8,
        unsent: u8,
    },
    Forbid {
        at: u8,
        queue: u8,
    },
    Quotas {
        messages: Option<u64>,
        bytes: Option<u64>,
        queues: Option<u64>,
        auto_create: bool,
    },
    Pass {
        ms: u64,
    },
    Drain,
    /// The store makes so many more batches durable.
    Flush {
        batches: u8,
    },
    /// The store answers a load, or says that it cannot.
    Answer {
        load: u8,
        fails: bool,
    },
    /// The store makes everything durable and answers every load, until nothing more comes of it.
    Settle,
    /// The server stops hard; so many batches more than those told durable stand.
    Crash {
        kept: u8,
    },
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        4 => prop::collection::vec(0u8..6, 1..4).prop_map(Choice::Back),
        1 => (0u8..4).prop_map(Choice::UpTo),
    ]
}

fn patch() -> impl Strategy<Value = SettingsPatch> {
    let storage = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Storage::Default)),
        1 => Just(Some(Storage::Memory)),
    ];
    let messages = prop_oneof![3 => Just(None), 1 => Just(Some(None)), 2 => Just(Some(Some(6)))];
    let bytes = prop_oneof![4 => Just(None), 1 => Just(Some(None)), 1 => Just(Some(Some(900)))];
    let lease = prop_oneof![2 => Just(None), 1 => Just(Some(700)), 1 => Just(Some(30_000))];
    (storage, messages, bytes, lease).prop_map(|(storage, max_messages, max_bytes, lease)| {
        SettingsPatch {
            storage,
            max_messages,
            max_bytes,
            ack_timeout_ms: lease,
            ..SettingsPatch::default()
        }
    })
}

fn sizes() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(prop_oneof![3 => Just(4u16), 1 => Just(300)], 1..5)
}

fn require() -> impl Strategy<Value = Option<Level>> {
    let levels = [Level::Memory, Level::Os, Level::Disk, Level::Replicated];
    prop_oneof![6 => Just(None), 1 => select(levels.to_vec()).prop_map(Some)]
}

/// What a client of any store can do.
fn client() -> impl Strategy<Value = Op> {
    let at = || 1u8..4;
    let queue = || 0u8..3;
    let wait = || select(vec![0u64, 0, 100, 1_000]);
    let bytes = || select(vec![1usize, 1_000, 1 << 20]);
    prop_oneof![
        12 => (at(), queue(), sizes(), prop::bool::weighted(0.9), require()).prop_map(
            |(at, queue, messages, may_create, require)| Op::Publish {
                at, queue, messages, may_create, require,
            }
        ),
        5 => (at(), queue(), 1u32..5, prop::bool::weighted(0.2)).prop_map(
            |(at, queue, prefetch, auto_ack)| Op::Consume { at, queue, prefetch, auto_ack }
        ),
        2 => (at(), 1u64..5).prop_map(|(at, subscription)| Op::Cancel { at, subscription }),
        6 => (at(), queue(), 1u32..5, wait(), prop::bool::weighted(0.2), bytes()).prop_map(
            |(at, queue, max, wait_ms, auto_ack, bytes_max)| Op::Pull {
                at, queue, max, wait_ms, auto_ack, bytes_max,
            }
        ),
        8 => (at(), choice()).prop_map(|(at, tags)| Op::Ack { at, tags }),
        6 => (at(), choice(), select(vec![0u64, 0, 50, 2_000])).prop_map(
            |(at, tags, delay_ms)| Op::Nack { at, tags, delay_ms }
        ),
        2 => (at(), choice(), select(vec![None, Some(10u64), Some(5_000)])).prop_map(
            |(at, tags, lease_ms)| Op::Extend { at, tags, lease_ms }
        ),
        3 => (at(), queue(), patch(), any::<bool>()).prop_map(
            |(at, queue, settings, update)| Op::Declare { at, queue, settings, update }
        ),
        1 => (at(), queue(), any::<bool>()).prop_map(
            |(at, queue, if_empty)| Op::Delete { at, queue, if_empty }
        ),
        1 => (at(), queue()).prop_map(|(at, queue)| Op::Purge { at, queue }),
        2 => (at(), queue()).prop_map(|(at, queue)| Op::Info { at, queue }),
        1 => (at(), 1u32..4).prop_map(|(at, limit)| Op::List { at, limit }),
        2 => (at(), queue(), 0u64..12, 1u32..9).prop_map(
            |(at, queue, from_seq, max)| Op::Peek { at, queue, from_seq, max }
        ),
        8 => (at(), 1u64..5).prop_map(|(at, quarters)| Op::Sent { at, quarters }),
        1 => at().prop_map(|at| Op::HalfClosed { at }),
        2 => (at(), 0u8..4).prop_map(|(at, unsent)| Op::Disconnected { at, unsent }),
        1 => (at(), queue()).prop_map(|(at, queue)| Op::Forbid { at, queue }),
        1 => (
            select(vec![None, None, Some(15u64)]),
            select(vec![None, None, Some(2_000u64)]),
            select(vec![None, None, Some(2u64)]),
            prop::bool::weighted(0.8),
        ).prop_map(|(messages, bytes, queues, auto_create)| Op::Quotas {
            messages, bytes, queues, auto_create,
        }),
        5 => select(vec![0u64, 1, 60, 400, 1_500]).prop_map(|ms| Op::Pass { ms }),
    ]
}

/// Operations on a tenant whose store keeps nothing.
pub(super) fn memory_ops() -> impl Strategy<Value = Vec<Op>> {
    let drain = prop::option::weighted(0.1, Just(Op::Drain));
    (prop::collection::vec(client(), 1..80), drain, prop::collection::vec(client(), 0..8)).prop_map(
        |(mut ops, drain, rest)| {
            if drain.is_some() {
                ops.extend(drain.into_iter().chain(rest));
            }
            ops
        },
    )
}

/// Operations on a tenant whose store is durable, late, and sometimes fails to read.
pub(super) fn durable_ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        20 => client(),
        10 => (1u8..6).prop_map(|batches| Op::Flush { batches }),
        5 => (0u8..4, prop::bool::weighted(0.15)).prop_map(
            |(load, fails)| Op::Answer { load, fails }
        ),
        2 => Just(Op::Settle),
        2 => (0u8..4).prop_map(|kept| Op::Crash { kept }),
    ];
    prop::collection::vec(op, 1..100)
}
