//! Operations with every feature, small enough that random lists of them meet.

use proptest::prelude::*;
use proptest::sample::select;

use crate::types::*;

/// Queues by number; the last two are those that dead letters go to.
pub(super) const QUEUES: [&str; 5] = ["a", "b", "c", "dead1", "dead2"];

/// What one message has.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) priority: Option<u64>,
    pub(super) delay_ms: u64,
    pub(super) ttl_ms: Option<u64>,
    pub(super) key: Option<u8>,
    pub(super) group: Option<u8>,
    pub(super) long: bool,
}

/// One step.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Publish {
        at: u8,
        queue: usize,
        messages: Vec<Spec>,
    },
    Topic {
        at: u8,
        topic: &'static str,
        messages: Vec<Spec>,
    },
    Consume {
        at: u8,
        queue: usize,
        prefetch: u32,
    },
    Cancel {
        at: u8,
        subscription: u64,
    },
    Pull {
        at: u8,
        queue: usize,
        max: u32,
    },
    /// Of the tags in hand, counted from the last one.
    Ack {
        at: u8,
        back: Vec<u8>,
    },
    Nack {
        at: u8,
        back: Vec<u8>,
        delay_ms: u64,
    },
    Reject {
        at: u8,
        back: Vec<u8>,
        reason: &'static str,
    },
    Extend {
        at: u8,
        back: Vec<u8>,
        lease_ms: u64,
    },
    Declare {
        at: u8,
        queue: usize,
        settings: SettingsPatch,
        update: bool,
    },
    Delete {
        at: u8,
        queue: usize,
    },
    Purge {
        at: u8,
        queue: usize,
    },
    Move {
        at: u8,
        from: usize,
        to: usize,
        max: u32,
    },
    Bind {
        at: u8,
        queue: usize,
        pattern: &'static str,
    },
    Unbind {
        at: u8,
        queue: usize,
        pattern: &'static str,
    },
    Disconnect {
        at: u8,
        unsent: u64,
    },
    Pass {
        ms: u64,
    },
    Crash,
}

const PATTERNS: [&str; 4] = ["x.#", "x.*", "*.y", "#"];
const TOPICS: [&str; 3] = ["x.y", "x", "z.y"];

fn spec() -> impl Strategy<Value = Spec> {
    (
        select(vec![None, None, None, Some(0u64), Some(9), Some(4)]),
        select(vec![0u64, 0, 0, 50, 700]),
        select(vec![None, None, None, Some(60u64), Some(900)]),
        select(vec![None, None, Some(0u8), Some(1)]),
        select(vec![None, None, Some(0u8), Some(1)]),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(priority, delay_ms, ttl_ms, key, group, long)| Spec {
            priority,
            delay_ms,
            ttl_ms,
            key,
            group,
            long,
        })
}

fn patch() -> impl Strategy<Value = SettingsPatch> {
    let dead = |text: &str| Some(Some(QueueName::new(text).unwrap()));
    (
        select(vec![None, None, Some(None), Some(Some(5u64)), Some(Some(2))]),
        select(vec![None, None, Some(None), Some(Some(60u64))]),
        select(vec![None, Some(Overflow::Reject), Some(Overflow::DropOldest)]),
        select(vec![None, Some(None), Some(Some(1u64)), Some(Some(2))]),
        select(vec![None, Some(None), dead("dead1"), dead("dead1"), dead("dead2")]),
        select(vec![None, None, Some(None), Some(Some(80u64)), Some(Some(1_000))]),
        (
            select(vec![None, Some(0u64), Some(2_000), Some(2_000)]),
            select(vec![None, None, None, Some(None), Some(Some(2_000u64))]),
            select(vec![None, None, None, None, Some(true), Some(false)]),
            select(vec![None, None, Some(Storage::Memory), Some(Storage::Default)]),
        ),
    )
        .prop_map(
            |(max_messages, max_bytes, overflow, max_attempts, dead_letter, ttl_ms, rest)| {
                let (dedup_window_ms, expires_ms, exclusive, storage) = rest;
                SettingsPatch {
                    storage,
                    max_messages,
                    max_bytes,
                    overflow,
                    ack_timeout_ms: None,
                    max_attempts,
                    dead_letter,
                    ttl_ms,
                    dedup_window_ms,
                    expires_ms,
                    exclusive,
                }
            },
        )
}

fn op() -> impl Strategy<Value = Op> {
    let at = || 0u8..3;
    let queue = || select(vec![0usize, 0, 0, 1, 1, 2, 3, 3, 4]);
    let back = || prop::collection::vec(0u8..5, 1..4);
    let messages = || prop::collection::vec(spec(), 1..4);
    prop_oneof![
        14 => (at(), queue(), messages())
            .prop_map(|(at, queue, messages)| Op::Publish { at, queue, messages }),
        4 => (at(), select(TOPICS.to_vec()), messages())
            .prop_map(|(at, topic, messages)| Op::Topic { at, topic, messages }),
        5 => (at(), queue(), 1u32..5)
            .prop_map(|(at, queue, prefetch)| Op::Consume { at, queue, prefetch }),
        3 => (at(), 1u64..5).prop_map(|(at, subscription)| Op::Cancel { at, subscription }),
        6 => (at(), queue(), 1u32..5).prop_map(|(at, queue, max)| Op::Pull { at, queue, max }),
        8 => (at(), back()).prop_map(|(at, back)| Op::Ack { at, back }),
        6 => (at(), back(), select(vec![0u64, 0, 40, 800]))
            .prop_map(|(at, back, delay_ms)| Op::Nack { at, back, delay_ms }),
        4 => (at(), back(), select(vec!["", "why"]))
            .prop_map(|(at, back, reason)| Op::Reject { at, back, reason }),
        1 => (at(), back(), select(vec![10u64, 5_000]))
            .prop_map(|(at, back, lease_ms)| Op::Extend { at, back, lease_ms }),
        8 => (at(), queue(), patch(), prop::bool::weighted(0.8)).prop_map(
            |(at, queue, settings, update)| Op::Declare { at, queue, settings, update }
        ),
        1 => (at(), queue()).prop_map(|(at, queue)| Op::Delete { at, queue }),
        1 => (at(), queue()).prop_map(|(at, queue)| Op::Purge { at, queue }),
        4 => (at(), queue(), queue(), 1u32..5)
            .prop_map(|(at, from, to, max)| Op::Move { at, from, to, max }),
        3 => (at(), queue(), select(PATTERNS.to_vec()))
            .prop_map(|(at, queue, pattern)| Op::Bind { at, queue, pattern }),
        1 => (at(), queue(), select(PATTERNS.to_vec()))
            .prop_map(|(at, queue, pattern)| Op::Unbind { at, queue, pattern }),
        3 => (at(), 0u64..3).prop_map(|(at, unsent)| Op::Disconnect { at, unsent }),
        8 => select(vec![1u64, 30, 60, 100, 400, 1_500]).prop_map(|ms| Op::Pass { ms }),
    ]
}

/// Operations; of a durable store some are crashes.
pub(super) fn ops(durable: bool) -> impl Strategy<Value = Vec<Op>> {
    let crash = prop::bool::weighted(if durable { 0.03 } else { 0.0 });
    let op = (op(), crash).prop_map(|(op, crash)| if crash { Op::Crash } else { op });
    prop::collection::vec(op, 1..120)
}
