//! `gmq topic`.

use clap::{Args, Subcommand};

use super::Outcome;
use super::connect::Connect;
use super::output::{self, OutputFormat};
use crate::types::{Pattern, QueueName};

/// Say which queues get a copy of what is published to a topic.
#[derive(Debug, Args)]
pub(super) struct Topic {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give a queue a copy of what is published to topics that match; lasts as long as the queue.
    #[command(after_help = "Example:\n  gmq topic bind 'orders.*.created' mails")]
    Bind(Binding),
    /// End a binding; the messages that the queue has stay.
    #[command(after_help = "Example:\n  gmq topic unbind 'orders.*.created' mails")]
    Unbind(Binding),
    /// The bindings of the queues that the user may see.
    #[command(after_help = "Example:\n  gmq topic list --output json")]
    List {
        /// The form of the list.
        #[arg(long, value_enum)]
        output: Option<OutputFormat>,
        #[command(flatten)]
        connect: Connect,
    },
}

#[derive(Debug, Args)]
struct Binding {
    /// Topics: `*` is one word, `#` last any number.
    pattern: Pattern,
    /// The queue; it must exist.
    queue: QueueName,
    #[command(flatten)]
    connect: Connect,
}

pub(super) async fn run(command: Topic) -> Outcome {
    match command.command {
        Command::Bind(Binding { pattern, queue, connect }) => {
            let client = connect.client().await?;
            if client.bind(&pattern, &queue).await? {
                println!("{queue} gets what is published to {pattern}");
            } else {
                println!("{queue} gets what is published to {pattern} already");
            }
            client.close();
        }
        Command::Unbind(Binding { pattern, queue, connect }) => {
            let client = connect.client().await?;
            if client.unbind(&pattern, &queue).await? {
                println!("{queue} gets no more of what is published to {pattern}");
            } else {
                println!("{queue} has no binding {pattern}; see `gmq topic list`");
            }
            client.close();
        }
        Command::List { output, connect } => {
            let client = connect.client().await?;
            let bindings = client.bindings().await?;
            let rows: Vec<_> =
                bindings.into_iter().map(|binding| [binding.pattern, binding.queue]).collect();
            output::print(output, ["pattern", "queue"], &rows)?;
            client.close();
        }
    }
    Ok(())
}
