//! `gmq publish`.

use std::collections::VecDeque;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::connect::Connect;
use super::limit;
use super::{Cli, Failure, Outcome};
use crate::client::{Client, Confirm, Destination, Published, Routed, body, payload};
use crate::types::{Message, Priority, QueueName};

/// Publish messages; each is confirmed before the command ends.
#[derive(Debug, Args)]
#[command(
    override_usage = "gmq publish [OPTIONS] <QUEUE> <BODIES>...\n       \
                      gmq publish [OPTIONS] --topic <TOPIC> <BODIES>...",
    after_help = "Examples:\n  gmq publish orders 'one message' 'another'\n  \
                  gmq publish orders --json '{\"id\": 7}' --header source=web\n  \
                  gmq publish orders - < message\n  \
                  gmq publish orders 'pay 7' --key payment-7 --group customer-3 --ttl 1h\n  \
                  gmq publish --topic orders.eu.created 'order 7' --priority 9 --delay 5m"
)]
pub(super) struct Publish {
    /// The queue; with --topic this is the first message already.
    #[arg(required_unless_present = "topic")]
    queue: Option<String>,
    /// The messages; `-` is standard input.
    #[arg(required_unless_present_any = ["file", "lines", "topic"])]
    bodies: Vec<String>,
    /// Publish to every queue with a binding that matches this topic, instead of to a queue.
    #[arg(long)]
    topic: Option<QueueName>,
    /// The messages are JSON values, delivered as they are.
    #[arg(long)]
    json: bool,
    /// A file whose content is one message; may be repeated.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// One message a line of standard input, with progress on a terminal.
    #[arg(long, conflicts_with_all = ["bodies", "file"])]
    lines: bool,
    #[command(flatten)]
    with: With,
    #[command(flatten)]
    connect: Connect,
}

/// What every message of the command is published with.
#[derive(Debug, Args)]
struct With {
    /// A header of every message; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Which messages go first: 0 the last to 9 the first.
    #[arg(long, value_name = "0..9", value_parser = priority)]
    priority: Option<Priority>,
    /// Not delivered before so long from now, such as 5m.
    #[arg(long, value_name = "TIME", value_parser = limit::message_time)]
    delay: Option<Duration>,
    /// Not delivered after so long from now, such as 1h: it expires.
    #[arg(long, value_name = "TIME", value_parser = limit::message_time_above_zero)]
    ttl: Option<Duration>,
    /// Stored once within the queue's dedup window, however often it is published.
    #[arg(long, conflicts_with = "lines")]
    key: Option<String>,
    /// One message of a group is in hand at a time, in the order of their publishes.
    #[arg(long)]
    group: Option<String>,
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("must be written NAME=VALUE".to_owned()),
    }
}

fn priority(text: &str) -> Result<Priority, String> {
    let number = text.parse().ok().and_then(Priority::new);
    number.ok_or_else(|| "must be a number from 0 to 9".to_owned())
}

/// What clap cannot see by itself, told as it tells the rest.
fn wrong_usage(kind: ErrorKind, text: &str) -> ! {
    let mut program = Cli::command();
    program.build();
    let command = program.find_subcommand_mut("publish");
    command.map_or_else(Cli::command, |command| command.clone()).error(kind, text).exit()
}

pub(super) async fn run(command: Publish) -> Outcome {
    let Publish { queue, mut bodies, topic, json, file, lines, with, connect } = command;
    let to = match (topic, queue) {
        (Some(topic), first) => {
            bodies.splice(..0, first);
            Destination::Topic(topic)
        }
        (None, queue) => Destination::Queue(name(&queue.unwrap_or_default())),
    };
    if lines {
        if !bodies.is_empty() {
            let text = "--lines takes the messages from standard input; leave the others out";
            wrong_usage(ErrorKind::ArgumentConflict, text);
        }
        return publish_lines(connect.client().await?, &to, json, &with).await;
    }
    match bodies.len() + file.len() {
        0 => {
            let text = "there is no message to publish; give one, or --file or --lines";
            wrong_usage(ErrorKind::MissingRequiredArgument, text)
        }
        2.. if with.key.is_some() => {
            let text = "--key names one message; publish each with a key of its own";
            wrong_usage(ErrorKind::TooManyValues, text)
        }
        _ => {}
    }
    let mut messages = Vec::new();
    for text in bodies {
        let bytes = if text == "-" { standard_input()? } else { text.into_bytes() };
        messages.push(message(bytes, json, &with)?);
    }
    for path in file {
        let bytes = std::fs::read(&path).map_err(|error| {
            Failure::new(format!("{} cannot be read: {error}; give another --file", path.display()))
        })?;
        messages.push(message(bytes, json, &with)?);
    }
    let client = connect.client().await?;
    let mut pending = Vec::with_capacity(messages.len());
    for message in messages {
        pending.push(Pending::publish(&client, &to, &message).await?);
    }
    for pending in pending {
        println!("{}", pending.taken().await?.sentence(&to));
    }
    client.close();
    Ok(())
}

fn name(text: &str) -> QueueName {
    QueueName::new(text).unwrap_or_else(|error| {
        let text = format!("invalid value '{text}' for '<QUEUE>': {error}");
        wrong_usage(ErrorKind::ValueValidation, &text)
    })
}

/// A publish that waits for its confirm.
enum Pending {
    Queue(Confirm),
    Topic(Confirm<Routed>),
}

/// What became of a publish.
enum Taken {
    Queue(Published),
    Topic(Routed),
}

impl Pending {
    async fn publish(client: &Client, to: &Destination, message: &Message) -> Outcome<Self> {
        Ok(match to {
            Destination::Queue(queue) => {
                Pending::Queue(client.publish_pipelined(queue, message, None).await?)
            }
            Destination::Topic(topic) => {
                Pending::Topic(client.publish_topic_pipelined(topic, message, None).await?)
            }
        })
    }

    async fn taken(self) -> Result<Taken, crate::client::Error> {
        Ok(match self {
            Pending::Queue(confirm) => Taken::Queue(confirm.await?),
            Pending::Topic(confirm) => Taken::Topic(confirm.await?),
        })
    }
}

impl Taken {
    fn sentence(&self, to: &Destination) -> String {
        let to = described(to);
        match self {
            Taken::Queue(Published { seq, duplicate: false }) => {
                format!("published to {to}, seq {seq}")
            }
            Taken::Queue(Published { seq, duplicate: true }) => {
                format!("{to} has a message with this key already, seq {seq}; nothing was stored")
            }
            Taken::Topic(Routed { queues: 0 }) => format!(
                "no queue has a binding that matches {to}, so the message is gone; bind one with \
                 `gmq topic bind`"
            ),
            Taken::Topic(Routed { queues: 1 }) => format!("published to {to}, for 1 queue"),
            Taken::Topic(Routed { queues }) => format!("published to {to}, for {queues} queues"),
        }
    }

    /// Whether some queue has it because of this publish or one before.
    fn has_a_queue(&self) -> bool {
        !matches!(self, Taken::Topic(Routed { queues: 0 }))
    }
}

fn described(to: &Destination) -> String {
    match to {
        Destination::Queue(queue) => queue.to_string(),
        Destination::Topic(topic) => format!("the topic {topic}"),
    }
}

/// Publishes that wait for their confirm before the oldest is waited for.
const LINES_IN_FLIGHT: usize = 1_000;

async fn publish_lines(client: Client, to: &Destination, json: bool, with: &With) -> Outcome {
    let mut lines = BufReader::new(tokio::io::stdin());
    let progress = ProgressBar::new_spinner()
        .with_style(ProgressStyle::with_template("{human_pos} confirmed, {per_sec}, {elapsed}")?);
    let mut confirms = VecDeque::new();
    let (mut number, mut unrouted): (u64, u64) = (0, 0);
    loop {
        let mut line = Vec::new();
        let read = lines.read_until(b'\n', &mut line).await?;
        if read == 0 || confirms.len() >= LINES_IN_FLIGHT {
            let left = if read == 0 { 0 } else { LINES_IN_FLIGHT / 2 };
            unrouted += confirm_until(&mut confirms, left, &progress).await?;
        }
        if read == 0 {
            break;
        }
        number += 1;
        let bytes = line.strip_suffix(b"\n").unwrap_or(&line);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let message = message(bytes.to_vec(), json, with)
            .map_err(|failure| Failure::new(format!("line {number}: {failure}")))?;
        confirms.push_back((number, Pending::publish(&client, to, &message).await?));
    }
    progress.finish_and_clear();
    println!("published {number} messages to {}", described(to));
    if unrouted > 0 {
        println!("{unrouted} of them matched no binding and are gone; see `gmq topic list`");
    }
    client.close();
    Ok(())
}

/// Waits for confirms until so many are left; says which line was not taken, and how many were
/// taken by no queue.
async fn confirm_until(
    confirms: &mut VecDeque<(u64, Pending)>,
    left: usize,
    progress: &ProgressBar,
) -> Outcome<u64> {
    let mut unrouted = 0;
    while confirms.len() > left {
        let Some((number, confirm)) = confirms.pop_front() else { break };
        let taken = confirm.taken().await.map_err(|error| {
            Failure::new(format!("line {number} and maybe those behind it: {error}"))
        })?;
        unrouted += u64::from(!taken.has_a_queue());
        progress.inc(1);
    }
    Ok(unrouted)
}

fn standard_input() -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn message(bytes: Vec<u8>, json: bool, with: &With) -> Outcome<Message> {
    let mut message = if json {
        String::from_utf8(bytes).ok().and_then(|text| body(&text)).ok_or_else(|| {
            Failure::new("a message is not one JSON value; mend it, or leave --json out")
        })?
    } else {
        payload(bytes)
    };
    message.priority = with.priority;
    for (name, value) in &with.header {
        message = message.with_header(name, value);
    }
    if let Some(delay) = with.delay {
        message = message.with_delay(delay);
    }
    if let Some(ttl) = with.ttl {
        message = message.with_ttl(ttl);
    }
    if let Some(key) = &with.key {
        message = message.with_key(key);
    }
    if let Some(group) = &with.group {
        message = message.with_group(group);
    }
    Ok(message)
}
