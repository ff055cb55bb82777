//! `gmq queue`.

use clap::{Args, Subcommand};

use super::Outcome;
use super::connect::Connect;
use super::output::{self, OutputFormat};
use crate::client::QueueReport;
use crate::types::{Pattern, QueueName};

/// Look at queues.
#[derive(Debug, Args)]
pub(super) struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
    let mut rows = Vec::new();
    let report = serde_json::to_value(queue)?;
    for (name, value) in report.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(settings) => {
                for (setting, value) in settings {
                    rows.push([format!("{name}.{setting}"), value.to_string()]);
                }
            }
            None => rows.push([name.clone(), value.to_string()]),
        }
    }
    output::print(Some(OutputFormat::Table), ["", ""], &rows)
}
