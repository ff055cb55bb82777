//! `gmq queue`.

mod declare;

use clap::{Args, Subcommand};

use super::connect::Connect;
use super::consume::{self, Form};
use super::output::{self, OutputFormat};
use super::{Failure, Outcome, limit};
use crate::client::{Client, QueueReport};
use crate::types::{Pattern, QueueName, Seq};

/// Messages that one request moves at most.
const MOVE_MAX: u64 = 10_000;

/// Look at queues and change them.
#[derive(Debug, Args)]
pub(super) struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Declare(declare::Declare),
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
    /// Move ready messages to another queue: how dead letters go back to work.
    #[command(after_help = "Examples:\n  gmq queue move orders.dead orders\n  \
                      gmq queue move orders.dead orders --max 10")]
    Move {
        /// The queue that has them.
        from: QueueName,
        /// The queue that gets them; each is a new message there.
        to: QueueName,
        /// Most messages; else all.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        max: Option<u64>,
        #[command(flatten)]
        connect: Connect,
    },
    /// Why nothing, or nothing more, is delivered from a queue just now.
    #[command(after_help = "Example:\n  gmq queue doctor orders")]
    Doctor {
        /// The queue.
        queue: QueueName,
        /// The form of the list.
        #[arg(long, value_enum)]
        output: Option<OutputFormat>,
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

pub(super) async fn run(command: Queue) -> Outcome {
    match command.command {
        Command::Declare(command) => declare::run(command).await,
        Command::Peek { queue, from_seq, max, output, connect } => {
            let client = connect.client().await?;
            consume::print(&client.peek(&queue, Seq(from_seq), max).await?, output)
        }
        Command::Purge { queue, connect } => {
            let client = connect.client().await?;
            println!("{} messages removed from {queue}", client.purge(&queue).await?);
            Ok(())
        }
        Command::Move { from, to, max, connect } => {
            transfer(&connect.client().await?, &from, &to, max).await
        }
        Command::Doctor { queue, output, connect } => {
            let findings = connect.client().await?.doctor(&queue).await?;
            let rows: Vec<_> =
                findings.into_iter().map(|finding| [finding.code, finding.text]).collect();
            output::print(output, ["code", "text"], &rows)
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

/// Moves until there is nothing left or `max` are moved; each request moves so many at most.
async fn transfer(client: &Client, from: &QueueName, to: &QueueName, max: Option<u64>) -> Outcome {
    let mut left = max.unwrap_or(u64::MAX);
    let mut total = 0;
    while left > 0 {
        let count = u32::try_from(left.min(MOVE_MAX))?;
        let moved = client.move_messages(from, to, count).await.map_err(|error| {
            let moved = format!("{total} messages moved from {from} to {to}, then: ");
            Failure::new(format!("{}{error}", if total > 0 { &*moved } else { "" }))
        })?;
        total += moved.moved;
        left -= moved.moved.min(left);
        if !moved.more || moved.moved == 0 {
            break;
        }
    }
    println!("{total} messages moved from {from} to {to}");
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
        ("dead_waiting", queue.dead_waiting),
        ("consumers", queue.consumers),
        ("bytes", queue.bytes),
        ("oldest_age_ms", queue.oldest_age_ms),
        ("published", queue.published),
        ("delivered", queue.delivered),
        ("acked", queue.acked),
        ("redelivered", queue.redelivered),
        ("dead_lettered", queue.dead_lettered),
        ("expired", queue.expired),
        ("duplicates", queue.duplicates),
    ] {
        rows.push([name.to_owned(), number.to_string()]);
    }
    for (name, value) in queue.settings.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        rows.push([format!("settings.{name}"), value]);
    }
    output::print(Some(OutputFormat::Table), ["", ""], &rows)
}
