//! The model: queues as plain lists, every rule told by looking at all messages.

use std::collections::BTreeMap;

use crate::engine::{DeadReason, QueueCounters, QueueInfo};
use crate::types::*;

/// What is told of a message's death.
pub(super) type Dead = (DeadReason, String);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Idle,
    InHand { connection: ConnectionId, tag: u64, deadline: Monotonic, subscription: Option<u64> },
    Dead(DeadReason, String),
}

#[derive(Debug, Clone)]
pub(super) struct PlainMessage {
    pub(super) message: Message,
    pub(super) attempt: u32,
    pub(super) not_before: WallMs,
    pub(super) place: Place,
    /// What a restart finds: attempts, delay, and whether it was rejected.
    pub(super) stored: (u32, WallMs, Option<String>),
    /// Its queue had a TTL when it was delayed, now or once.
    pub(super) dated: bool,
    /// Its queue had none: it is looked at when the delay ends.
    pub(super) blind: bool,
}

#[derive(Debug, Clone)]
pub(super) struct PlainQueue {
    pub(super) settings: QueueSettings,
    pub(super) owner: Option<ConnectionId>,
    pub(super) next_seq: u64,
    pub(super) messages: BTreeMap<u64, PlainMessage>,
    pub(super) keys: Vec<(String, u64, WallMs)>,
    pub(super) bindings: Vec<Pattern>,
    pub(super) counters: QueueCounters,
    pub(super) last_used: Monotonic,
}

impl PlainQueue {
    pub(super) fn bytes(&self) -> u64 {
        self.messages.values().map(|m| m.message.size()).sum()
    }

    fn is_dead(message: &PlainMessage) -> bool {
        matches!(message.place, Place::Dead(..))
    }

    pub(super) fn has_expired(&self, message: &Message, now: WallMs) -> bool {
        let by_queue = self.settings.ttl_ms.map(|ttl| message.published_at + ttl);
        [by_queue, message.expires_at()].into_iter().flatten().any(|end| end <= now)
    }

    /// Whether another message of its group goes before it.
    fn waits(&self, seq: u64, message: &PlainMessage) -> bool {
        let group = message.message.group();
        group.is_some()
            && self
                .messages
                .range(..seq)
                .any(|(_, other)| other.message.group() == group && !Self::is_dead(other))
    }

    /// Messages that could be delivered, by `seq`.
    pub(super) fn ready(&self, now: WallMs) -> Vec<u64> {
        let ready = self.messages.iter().filter(|(seq, message)| {
            message.place == Place::Idle && message.not_before <= now && !self.waits(**seq, message)
        });
        ready.map(|(seq, _)| *seq).collect()
    }

    /// The one of them that goes first.
    pub(super) fn first(&self, now: WallMs) -> Option<u64> {
        let order = |seq: &u64| (std::cmp::Reverse(self.messages[seq].message.priority()), *seq);
        self.ready(now).into_iter().min_by_key(order)
    }

    /// Room for messages of these sizes: what must go for it, if that is possible.
    pub(super) fn limits(&self) -> (u64, u64) {
        let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        (most(self.settings.max_messages), most(self.settings.max_bytes))
    }

    pub(super) fn kill(&mut self, seq: u64, reason: DeadReason, detail: &str) {
        self.counters.expired += u64::from(reason == DeadReason::Expired);
        self.messages.get_mut(&seq).unwrap().place = Place::Dead(reason, detail.into());
    }

    /// What is idle and whose time is over dies.
    pub(super) fn expire(&mut self, now: WallMs) -> bool {
        let old = self.messages.iter().filter(|(_, message)| {
            let blind = message.blind && message.not_before > now;
            message.place == Place::Idle && !blind && self.has_expired(&message.message, now)
        });
        let old: Vec<u64> = old.map(|(seq, _)| *seq).collect();
        old.iter().for_each(|seq| self.kill(*seq, DeadReason::Expired, ""));
        !old.is_empty()
    }

    /// A message that was in hand comes back.
    pub(super) fn give_back(&mut self, seq: u64, until: WallMs, now: WallMs) {
        let counts = self.settings.max_attempts;
        let message = self.messages.get_mut(&seq).unwrap();
        if until > now && self.settings.ttl_ms.is_some() {
            (message.dated, message.blind) = (true, false);
        }
        if until > 0 || counts.is_some() {
            message.stored = (message.attempt, until, None);
        }
        (message.place, message.not_before) = (Place::Idle, until);
        let attempts = u64::from(message.attempt);
        let content = message.message.clone();
        if self.has_expired(&content, now) {
            self.kill(seq, DeadReason::Expired, "");
        } else if counts.is_some_and(|most| attempts >= most) {
            self.kill(seq, DeadReason::MaxAttempts, "");
        }
    }

    pub(super) fn info(&self, name: &QueueName, consumers: u64, now: WallMs) -> QueueInfo {
        let idle = self.messages.values().filter(|m| m.place == Place::Idle).count() as u64;
        let held = |m: &&PlainMessage| matches!(m.place, Place::InHand { .. });
        let ready = self.ready(now).len() as u64;
        let oldest = self.messages.values().next().map(|m| m.message.published_at);
        QueueInfo {
            queue: name.clone(),
            settings: self.settings.clone(),
            ready,
            delayed: idle - ready,
            in_hand: self.messages.values().filter(held).count() as u64,
            dead_waiting: self.messages.values().filter(|m| Self::is_dead(m)).count() as u64,
            bytes: self.bytes(),
            consumers,
            oldest_age_ms: oldest.map_or(0, |at| now - at),
            counters: self.counters,
        }
    }
}

/// A message as another queue gets it.
pub(super) fn moved(message: &Message, now: WallMs) -> Message {
    let mut copy = Message { published_at: now, ..message.clone() };
    if let Some(properties) = &mut copy.properties {
        properties.headers.retain(|(name, _)| !name.starts_with("gmq-dead-"));
        (properties.delay_ms, properties.ttl_ms) = (0, None);
    }
    copy
}

/// A dead message as its dead-letter queue gets it.
pub(super) fn buried(
    message: &Message,
    from: &QueueName,
    seq: u64,
    (reason, detail): &Dead,
    now: WallMs,
) -> Message {
    let mut copy = moved(message, now);
    let headers = &mut copy.properties.get_or_insert_default().headers;
    for (name, value) in [
        ("gmq-dead-reason", reason.as_str().to_owned()),
        ("gmq-dead-queue", from.to_string()),
        ("gmq-dead-seq", seq.to_string()),
        ("gmq-dead-at", now.to_string()),
        ("gmq-dead-detail", detail.clone()),
    ] {
        if !value.is_empty() {
            headers.push((name.into(), value.into()));
        }
    }
    copy
}
