//! `gmq queue declare`: every setting that outlives a command.

use std::time::Duration;

use clap::Args;

use super::limit::{self, Limit};
use super::{Connect, Outcome};
use crate::types::{LEASE_MS_MAX, Overflow, QueueName, SettingsPatch, Storage};

/// Create a queue; with --update, change the settings that are named.
///
/// A setting that is left out has the tenant's default. Exclusive queues end with the connection
/// that makes them, and so they cannot be made by a command; programs make them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  gmq queue declare orders --max-messages 100000 --ack-timeout 1m\n  \
                  gmq queue declare orders --max-attempts 5 --dead-letter orders.dead\n  \
                  gmq queue declare payments --dedup-window 1h --ttl 1d\n  \
                  gmq queue declare orders --ttl off --update")]
pub(super) struct Declare {
    /// The queue.
    queue: QueueName,
    /// Where messages are kept: default (the server's store) or memory.
    #[arg(long, value_name = "default|memory", value_parser = storage)]
    storage: Option<Storage>,
    /// Most messages; `off` leaves it to the tenant's quota.
    #[arg(long, value_name = "N", value_parser = count)]
    max_messages: Option<Limit>,
    /// Most bytes, such as `1 GiB`; `off` leaves it to the tenant's quota.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<Limit>,
    /// What a publish to the full queue gets: refused, or the oldest messages make room.
    #[arg(long, value_name = "reject|drop-oldest", value_parser = overflow)]
    overflow: Option<Overflow>,
    /// How long a consumer may have a message, such as 30s.
    #[arg(long, value_name = "TIME", value_parser = ack_timeout)]
    ack_timeout: Option<Duration>,
    /// Deliveries without an ack after which a message is a dead letter, or `off`; needs
    /// --dead-letter.
    #[arg(long, value_name = "N", value_parser = count)]
    max_attempts: Option<Limit>,
    /// The queue that dead letters go to, or `off`; it need not exist yet.
    #[arg(long, value_name = "QUEUE", value_parser = dead_letter)]
    dead_letter: Option<DeadLetter>,
    /// How long after its publish a message may be delivered, such as 1d, or `off`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    ttl: Option<Limit>,
    /// For how long the key of a message is remembered, such as 1h, at most 7 days, or `off`.
    #[arg(long, value_name = "TIME", value_parser = dedup_window)]
    dedup_window: Option<Limit>,
    /// Delete the queue after so long with no consumer, pull or publish, or `off`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<Limit>,
    /// Change the queue if it exists.
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    connect: Connect,
}

/// A queue's name; `None` where `off` stood.
#[derive(Debug, Clone)]
struct DeadLetter(Option<QueueName>);

/// What stands for a limit that there is none of.
const OFF: &str = "off";
/// Seven days.
const DEDUP_WINDOW_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

fn storage(text: &str) -> Result<Storage, String> {
    match text {
        "default" => Ok(Storage::Default),
        "memory" => Ok(Storage::Memory),
        _ => Err("must be default or memory".to_owned()),
    }
}

fn overflow(text: &str) -> Result<Overflow, String> {
    match text {
        "reject" => Ok(Overflow::Reject),
        // As the protocol writes it, too.
        "drop-oldest" | "drop_oldest" => Ok(Overflow::DropOldest),
        _ => Err("must be reject or drop-oldest".to_owned()),
    }
}

fn count(text: &str) -> Result<Limit, String> {
    at_least_1(limit::count(text, OFF)?)
}

fn size(text: &str) -> Result<Limit, String> {
    at_least_1(limit::size(text, OFF)?)
}

fn at_least_1(limit: Limit) -> Result<Limit, String> {
    if limit.0 == Some(0) { Err("must be at least 1, or off".to_owned()) } else { Ok(limit) }
}

fn time(text: &str) -> Result<Limit, String> {
    limit::milliseconds(text, limit::TIME_MAX, OFF)
}

fn dedup_window(text: &str) -> Result<Limit, String> {
    limit::milliseconds(text, DEDUP_WINDOW_MAX, OFF)
}

fn ack_timeout(text: &str) -> Result<Duration, String> {
    let time = limit::time(text)?;
    if (1..=u128::from(LEASE_MS_MAX)).contains(&time.as_millis()) {
        Ok(time)
    } else {
        Err("must be between 1ms and 12h".to_owned())
    }
}

fn dead_letter(text: &str) -> Result<DeadLetter, String> {
    if text == OFF {
        return Ok(DeadLetter(None));
    }
    let name = QueueName::new(text).map_err(|error| format!("{error}; or write off"))?;
    Ok(DeadLetter(Some(name)))
}

impl Declare {
    fn settings(&self) -> Outcome<SettingsPatch> {
        let named = |limit: &Option<Limit>| limit.map(|limit| limit.0);
        let ack_timeout = self.ack_timeout.map(|time| u64::try_from(time.as_millis()));
        Ok(SettingsPatch {
            storage: self.storage,
            max_messages: named(&self.max_messages),
            max_bytes: named(&self.max_bytes),
            overflow: self.overflow,
            ack_timeout_ms: ack_timeout.transpose()?,
            max_attempts: named(&self.max_attempts),
            dead_letter: self.dead_letter.clone().map(|name| name.0),
            ttl_ms: named(&self.ttl),
            dedup_window_ms: self.dedup_window.map(|limit| limit.0.unwrap_or(0)),
            expires_ms: named(&self.expires),
            exclusive: None,
        })
    }
}

pub(super) async fn run(command: Declare) -> Outcome {
    let settings = command.settings()?;
    let Declare { queue, update, connect, .. } = command;
    let client = connect.client().await?;
    if client.declare(&queue, &settings, update).await? {
        println!("created {queue}");
    } else if update {
        println!("{queue} has these settings now");
    } else {
        println!("{queue} exists with these settings");
    }
    Ok(())
}
