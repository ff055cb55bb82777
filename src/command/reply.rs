//! What the engine answers, as text: the one place where its replies and refusals get their names
//! on the wire.

use crate::broker::Outgoing;
use crate::engine::{Delivery, QueueInfo, Refusal, Reply};
use crate::protocol::ErrorCode;
use crate::protocol::response::{
    self, Delivered, Details, boolean_field, field_name, integer, list, number_field, object,
    string_field,
};
use crate::types::{Level, RequestToken, Seq, Tag};

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// What the engine counted for the messages in it. Unit: bytes.
    pub delivery_bytes: u64,
    /// The highest tag in it; `Tag(0)` for none.
    pub last_tag: Tag,
}

/// Appends one item of an outbox.
pub fn write(out: &mut Vec<u8>, item: &Outgoing) -> Written {
    match item {
        Outgoing::Reply { token, result: Ok(reply) } => write_reply(out, token, reply),
        Outgoing::Reply { token, result: Err(refusal) } => {
            write_refusal(out, token, refusal);
            Written::default()
        }
        Outgoing::Deliver { subscription, delivery } => {
            response::message(out, *subscription, delivered(delivery));
            Written { delivery_bytes: delivery.wire_bytes(), last_tag: delivery.tag }
        }
        Outgoing::Cancelled { subscription, reason } => {
            response::cancelled(out, *subscription, *reason);
            Written::default()
        }
    }
}

fn delivered(delivery: &Delivery) -> Delivered<'_> {
    Delivered {
        queue: &delivery.queue,
        hand: Some((delivery.tag, delivery.fence.0)),
        seq: delivery.seq,
        attempt: delivery.attempt,
        message: &delivery.message,
    }
}

fn write_reply(out: &mut Vec<u8>, token: &RequestToken, reply: &Reply) -> Written {
    response::ok(out, token, |out| reply_fields(out, reply));
    match reply {
        Reply::Pulled { deliveries } => Written {
            delivery_bytes: deliveries.iter().map(Delivery::wire_bytes).sum(),
            last_tag: deliveries.last().map_or(Tag(0), |delivery| delivery.tag),
        },
        Reply::Peeked { messages, .. } => Written {
            delivery_bytes: messages.iter().map(|peeked| peeked.message.wire_bytes() as u64).sum(),
            last_tag: Tag(0),
        },
        _ => Written::default(),
    }
}

fn reply_fields(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Published { seqs, duplicates, batch, level } => {
            published(out, seqs, duplicates, *batch);
            level_field(out, *level);
        }
        Reply::Routed { routed, batch, level } => {
            match routed.as_slice() {
                [routed] if !batch => number_field(out, "routed", *routed),
                routed => integers(out, "routed", routed.iter().copied()),
            }
            level_field(out, *level);
        }
        Reply::Subscribed(subscription) => number_field(out, "sub", subscription.0),
        Reply::Done => {}
        Reply::Pulled { deliveries } => {
            message_list(out, deliveries.iter().map(delivered));
        }
        Reply::Acked(count) => number_field(out, "acked", *count),
        Reply::Nacked(count) => number_field(out, "nacked", *count),
        Reply::Extended(count) => number_field(out, "extended", *count),
        Reply::Declared { created } => boolean_field(out, "created", *created),
        Reply::Purged(count) => number_field(out, "purged", *count),
        Reply::Moved { moved, more } => {
            number_field(out, "moved", *moved);
            boolean_field(out, "more", *more);
        }
        Reply::Bound { created } => boolean_field(out, "created", *created),
        Reply::Unbound { removed } => boolean_field(out, "removed", *removed),
        Reply::Bindings { bindings, more } => {
            objects(out, "bindings", bindings, |out, (pattern, queue)| {
                string_field(out, "pattern", pattern.as_str());
                string_field(out, "queue", queue.as_str());
            });
            boolean_field(out, "more", *more);
        }
        Reply::Findings(findings) => objects(out, "findings", findings, |out, finding| {
            string_field(out, "code", finding.code);
            string_field(out, "text", &finding.text);
        }),
        Reply::Info(info) => info_fields(out, info),
        Reply::List { queues, more } => {
            objects(out, "queues", queues, info_fields);
            boolean_field(out, "more", *more);
        }
        Reply::Peeked { queue, messages } => {
            let peeked = messages.iter().map(|peeked| Delivered {
                queue,
                hand: None,
                seq: peeked.seq,
                attempt: peeked.attempt,
                message: &peeked.message,
            });
            message_list(out, peeked);
        }
    }
}

fn published(out: &mut Vec<u8>, seqs: &[Seq], duplicates: &[u32], batch: bool) {
    match seqs {
        [seq] if !batch => {
            number_field(out, "seq", seq.0);
            if !duplicates.is_empty() {
                boolean_field(out, "duplicate", true);
            }
        }
        seqs => {
            integers(out, "seqs", seqs.iter().map(|seq| seq.0));
            if !duplicates.is_empty() {
                integers(out, "duplicates", duplicates.iter().map(|place| u64::from(*place)));
            }
        }
    }
}

fn level_field(out: &mut Vec<u8>, level: Option<Level>) {
    if let Some(level) = level {
        string_field(out, "level", level.as_str());
    }
}

fn integers(out: &mut Vec<u8>, name: &str, numbers: impl Iterator<Item = u64>) {
    field_name(out, name);
    out.push(b'[');
    list(out, numbers, integer);
    out.push(b']');
}

fn objects<T>(out: &mut Vec<u8>, name: &str, items: &[T], fields: impl Fn(&mut Vec<u8>, &T)) {
    field_name(out, name);
    out.push(b'[');
    list(out, items, |out, item| object(out, |out| fields(out, item)));
    out.push(b']');
}

fn message_list<'a>(out: &mut Vec<u8>, messages: impl Iterator<Item = Delivered<'a>>) {
    field_name(out, "messages");
    out.push(b'[');
    list(out, messages, response::pulled);
    out.push(b']');
}

fn info_fields(out: &mut Vec<u8>, info: &QueueInfo) {
    string_field(out, "queue", info.queue.as_str());
    field_name(out, "settings");
    response::settings(out, &info.settings);
    for (name, number) in [
        ("ready", info.ready),
        ("delayed", info.delayed),
        ("in_hand", info.in_hand),
        ("bytes", info.bytes),
        ("consumers", info.consumers),
        ("oldest_age_ms", info.oldest_age_ms),
        ("published", info.counters.published),
        ("delivered", info.counters.delivered),
        ("acked", info.counters.acked),
        ("redelivered", info.counters.redelivered),
        ("dead_waiting", info.dead_waiting),
        ("dead_lettered", info.counters.dead_lettered),
        ("expired", info.counters.expired),
        ("duplicates", info.counters.duplicates),
    ] {
        number_field(out, name, number);
    }
}

fn write_refusal(out: &mut Vec<u8>, token: &RequestToken, refusal: &Refusal) {
    let mut details = Details::default();
    let code = match refusal {
        Refusal::NoSuchQueue => ErrorCode::NoSuchQueue,
        Refusal::QueueExists { differences } => {
            details.differences = Some(differences);
            ErrorCode::QueueExists
        }
        Refusal::QueueFull => ErrorCode::QueueFull,
        Refusal::QueueNotEmpty => ErrorCode::QueueNotEmpty,
        Refusal::QuotaExceeded(quota) => {
            details.quota = Some(*quota);
            ErrorCode::QuotaExceeded
        }
        Refusal::UnknownTag { tags } => {
            details.tags = Some(tags);
            ErrorCode::UnknownTag
        }
        Refusal::UnknownSubscription => ErrorCode::UnknownSub,
        Refusal::Forbidden | Refusal::Exclusive => ErrorCode::Forbidden,
        Refusal::MoveToItself => {
            details.field = Some("to");
            ErrorCode::BadRequest
        }
        Refusal::LevelNotOffered { .. } => {
            details.field = Some("require");
            ErrorCode::BadRequest
        }
        Refusal::SettingFixed { setting } => {
            return write_setting_refusal(out, token, refusal, setting);
        }
        Refusal::SettingInvalid(error) => {
            return write_setting_refusal(out, token, refusal, error.setting());
        }
        Refusal::StorageUnavailable => ErrorCode::StorageUnavailable,
        Refusal::ShuttingDown => ErrorCode::ShuttingDown,
    };
    response::error(out, token, code, &refusal.to_string(), &details);
}

fn write_setting_refusal(
    out: &mut Vec<u8>,
    token: &RequestToken,
    refusal: &Refusal,
    setting: &str,
) {
    let field = format!("settings.{setting}");
    let details = Details { field: Some(&field), ..Details::default() };
    response::error(out, token, ErrorCode::BadRequest, &refusal.to_string(), &details);
}
