//! What the engine answers, as text: the one place where its replies and refusals get their names
//! on the wire.

use crate::broker::Outgoing;
use crate::engine::{Delivery, QueueInfo, Refusal, Reply};
use crate::protocol::ErrorCode;
use crate::protocol::response::{
    self, Delivered, Details, boolean_field, field_name, integer, list, number_field, object,
    string_field,
};
use crate::types::{RequestToken, Seq, Tag};

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
        Reply::Published { seqs, batch, level } => {
            published(out, seqs, *batch);
            if let Some(level) = level {
                string_field(out, "level", level.as_str());
            }
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
        Reply::Info(info) => info_fields(out, info),
        Reply::List { queues, more } => {
            field_name(out, "queues");
            out.push(b'[');
            list(out, queues, |out, info| object(out, |out| info_fields(out, info)));
            out.push(b']');
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

fn published(out: &mut Vec<u8>, seqs: &[Seq], batch: bool) {
    match seqs {
        [seq] if !batch => number_field(out, "seq", seq.0),
        seqs => {
            field_name(out, "seqs");
            out.push(b'[');
            list(out, seqs, |out, seq| integer(out, seq.0));
            out.push(b']');
        }
    }
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
        // What counts these comes with later work; until then there are none.
        ("dead_waiting", 0),
        ("dead_lettered", 0),
        ("expired", 0),
        ("duplicates", 0),
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
        Refusal::Forbidden => ErrorCode::Forbidden,
        Refusal::LevelNotOffered { .. } => {
            details.field = Some("require");
            ErrorCode::BadRequest
        }
        Refusal::SettingFixed { setting } => {
            let field = format!("settings.{setting}");
            details.field = Some(&field);
            let message = refusal.to_string();
            return response::error(out, token, ErrorCode::BadRequest, &message, &details);
        }
        Refusal::StorageUnavailable => ErrorCode::StorageUnavailable,
        Refusal::ShuttingDown => ErrorCode::ShuttingDown,
    };
    response::error(out, token, code, &refusal.to_string(), &details);
}
