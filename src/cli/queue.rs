//! `gmq queue`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Outcome;
use super::connect::Connect;
use super::consume::{self, Form};
use super::limit::{self, Limit};
use super::output::{self, OutputFormat};
use crate::client::QueueReport;
use crate::types::{LEASE_MS_MAX, Pattern, QueueName, Seq, SettingsPatch, Storage};

/// Look at queues and change them.
#[derive(Debug, Args)]
pub(super) struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a queue; with --update, change the settings that are named.
    #[command(
        after_help = "Example:\n  gmq queue declare orders --max-messages 100000 --ack-timeout 1m"
    )]
    Declare(Declare),
    /// Look at messages without taking them.
    #[command(after_help = "Example:\n  gmq queue peek orders --max 3 --output json")]
    Peek {
        /// The queue.
        queue: QueueName,
        /// The first `seq` of interest.
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        from_seq: u64,
        /// Most messages.
        #[arg(long, value_name = "N", default_value_t = 10,
              value_parser = clap::value_parser!(u32).range(1..=1000))]
        max: u32,
        /// Contents alone, a line each, or whole messages as JSON, a line each.
        #[arg(long, value_enum, default_value = "raw")]
        output: Form,
        #[command(flatten)]
        connect: Connect,
    },
    /// Remove what is ready or delayed; what consumers have in hand stays.
    #[command(after_help = "Example:\n  gmq queue purge orders")]
    Purge {
        /// The queue.
        queue: QueueName,
        #[command(flatten)]
        connect: Connect,
    },
    /// Delete a queue with all its messages.
    #[command(after_help = "Example:\n  gmq queue delete orders --if-empty")]
    Delete {
        /// The queue.
        queue: QueueName,
        /// Only if it has no messages.
        #[arg(long)]
        if_empty: bool,
        #[command(flatten)]
        connect: Connect,
    },
    /// The queues that the user may see.
    #[command(after_help = "Example:\n  gmq queue list 'orders.#' --output json")]
    List {
        /// Only names that match: `*` is one word, `#` last any number.
        pattern: Option<Pattern>,
        /// The form of the list.
        #[arg(long, value_enum)]
        output: Option<OutputFormat>,
        #[command(flatten)]
        connect: Connect,
    },
    /// One queue, its counts and settings.
    #[command(after_help = "Example:\n  gmq queue info orders")]
    Info {
        /// The queue.
        queue: QueueName,
        /// The form.
        #[arg(long, value_enum)]
        output: Option<OutputFormat>,
        #[command(flatten)]
        connect: Connect,
    },
}

#[derive(Debug, Args)]
struct Declare {
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
    /// How long a consumer may have a message, such as 30s.
    #[arg(long, value_name = "TIME", value_parser = ack_timeout)]
    ack_timeout: Option<Duration>,
    /// Change the queue if it exists.
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    connect: Connect,
}

fn storage(text: &str) -> Result<Storage, String> {
    match text {
        "default" => Ok(Storage::Default),
        "memory" => Ok(Storage::Memory),
        _ => Err("must be default or memory".to_owned()),
    }
}

fn count(text: &str) -> Result<Limit, String> {
    at_least_1(limit::count(text, "off")?)
}

fn size(text: &str) -> Result<Limit, String> {
    at_least_1(limit::size(text, "off")?)
}

fn at_least_1(limit: Limit) -> Result<Limit, String> {
    if limit.0 == Some(0) { Err("must be at least 1, or off".to_owned()) } else { Ok(limit) }
}

fn ack_timeout(text: &str) -> Result<Duration, String> {
    let time = limit::time(text)?;
    if (1..=u128::from(LEASE_MS_MAX)).contains(&time.as_millis()) {
        Ok(time)
    } else {
        Err("must be between 1ms and 12h".to_owned())
    }
}

pub(super) async fn run(command: Queue) -> Outcome {
    match command.command {
        Command::Declare(command) => declare(command).await,
        Command::Peek { queue, from_seq, max, output, connect } => {
            let client = connect.client().await?;
            consume::print(&client.peek(&queue, Seq(from_seq), max).await?, output)
        }
        Command::Purge { queue, connect } => {
            let client = connect.client().await?;
            println!("{} messages removed from {queue}", client.purge(&queue).await?);
            Ok(())
        }
        Command::Delete { queue, if_empty, connect } => {
            let client = connect.client().await?;
            client.delete(&queue, if_empty).await?;
            println!("deleted {queue}");
            Ok(())
        }
        Command::List { pattern, output, connect } => {
            let client = connect.client().await?;
            let queues = client.queues(pattern.as_ref()).await?;
            list(output, &queues)
        }
        Command::Info { queue, output, connect } => {
            let client = connect.client().await?;
            info(output, &client.info(&queue).await?)
        }
    }
}

async fn declare(command: Declare) -> Outcome {
    let Declare { queue, storage, max_messages, max_bytes, ack_timeout, update, connect } = command;
    let settings = SettingsPatch {
        storage,
        max_messages: max_messages.map(|limit| limit.0),
        max_bytes: max_bytes.map(|limit| limit.0),
        overflow: None,
        ack_timeout_ms: ack_timeout.map(|time| u64::try_from(time.as_millis())).transpose()?,
        ..SettingsPatch::default()
    };
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

fn list(output: Option<OutputFormat>, queues: &[QueueReport]) -> Outcome {
    if output.unwrap_or_default() == OutputFormat::Json {
        println!("{}", serde_json::to_string_pretty(queues)?);
        return Ok(());
    }
    let rows: Vec<_> = queues
        .iter()
        .map(|queue| {
            [
                queue.queue.clone(),
                queue.ready.to_string(),
                queue.in_hand.to_string(),
                queue.delayed.to_string(),
                queue.consumers.to_string(),
                queue.bytes.to_string(),
            ]
        })
        .collect();
    let names = ["queue", "ready", "in hand", "delayed", "consumers", "bytes"];
    output::print(Some(OutputFormat::Table), names, &rows)
}

fn info(output: Option<OutputFormat>, queue: &QueueReport) -> Outcome {
    if output.unwrap_or_default() == OutputFormat::Json {
        println!("{}", serde_json::to_string_pretty(queue)?);
        return Ok(());
    }
    let mut rows = vec![["queue".to_owned(), queue.queue.clone()]];
    for (name, number) in [
        ("ready", queue.ready),
        ("in_hand", queue.in_hand),
        ("delayed", queue.delayed),
        ("consumers", queue.consumers),
        ("bytes", queue.bytes),
        ("oldest_age_ms", queue.oldest_age_ms),
        ("published", queue.published),
        ("delivered", queue.delivered),
        ("acked", queue.acked),
        ("redelivered", queue.redelivered),
    ] {
        rows.push([name.to_owned(), number.to_string()]);
    }
    for (name, value) in queue.settings.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        rows.push([format!("settings.{name}"), value]);
    }
    output::print(Some(OutputFormat::Table), ["", ""], &rows)
}
