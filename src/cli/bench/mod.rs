//! `gmq bench`: load on a running server. Latency is taken from when a message was meant to be sent,
//! so that a server that stalls cannot hide behind a client that waits for it.

mod connect;
mod consume;
mod pipeline;
mod publish;
mod report;

use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use self::report::Recorder;
use super::connect::Connect;
use super::output::OutputFormat;
use super::{Failure, Outcome, limit};
use crate::client::{Client, body};
use crate::types::{Message, Priority, QueueName, SettingsPatch};

/// Measure a server: its queue `gmq-bench` is deleted before and after.
#[derive(Debug, Args)]
pub(super) struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publishes with confirms; latency is from publish to confirm.
    #[command(
        after_help = "Example:\n  gmq bench publish --connections 4 --in-flight 256 --size 128"
    )]
    Publish(Load),
    /// Fills a queue, then measures how fast it is consumed and acknowledged.
    #[command(after_help = "Example:\n  gmq bench consume --connections 2 --size 128")]
    Consume(Load),
    /// Publishes and consumes at once; latency is from publish to receipt.
    #[command(after_help = "Example:\n  gmq bench pipeline --rate 5000 --duration 10s")]
    Pipeline(Load),
    /// Connects, logs in and closes, again and again.
    #[command(after_help = "Example:\n  gmq bench connect --connections 8")]
    Connect(Load),
}

/// The load.
#[derive(Debug, Clone, Args)]
struct Load {
    /// Connections, each with a task of its own.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Unconfirmed publishes of a connection, and its prefetch.
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Bytes of a message.
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = limit::bytes)]
    size: ByteSize,
    /// How long to measure.
    #[arg(long, value_name = "TIME", default_value = "5s",
          value_parser = limit::time)]
    duration: Duration,
    /// Messages a second, all connections together; as fast as it goes where left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Give the messages more than their content: priorities 0 to 9 in turn, a key each, or one of
    /// 1,000 groups.
    #[arg(long, value_enum)]
    vary: Option<Vary>,
    /// The form of the result.
    #[arg(long, value_enum)]
    output: Option<OutputFormat>,
    #[command(flatten)]
    connect: Connect,
}

/// What the messages differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Vary {
    Priority,
    Key,
    Group,
}

/// Groups of one connection's messages.
const GROUPS: u64 = 1_000;
/// How long the queue remembers keys: so that they stay below what it may remember.
const DEDUP_WINDOW_MS: u64 = 500;

impl Vary {
    /// Makes the message the next one, number `number` of connection `index`.
    fn apply(self, message: &mut Message, index: usize, number: u64) {
        match self {
            Vary::Priority => message.priority = Priority::new(number % 10),
            Vary::Key => {
                let key = format!("{index}-{number}");
                message.properties.get_or_insert_default().key = Some(key.into());
            }
            Vary::Group => {
                let group = format!("{index}-{}", number % GROUPS);
                message.properties.get_or_insert_default().group = Some(group.into());
            }
        }
    }
}

/// The queue that is used.
const QUEUE: &str = "gmq-bench";
/// Smallest message that can carry a time.
const SIZE_MIN: usize = 24;
/// The most that `limits.max_message_bytes` can be. Unit: bytes.
const SIZE_MAX: u64 = bytesize::GIB;

pub(super) async fn run(command: Bench) -> Outcome {
    let (name, load) = match &command.command {
        Command::Publish(load) => ("publish", load.clone()),
        Command::Consume(load) => ("consume", load.clone()),
        Command::Pipeline(load) => ("pipeline", load.clone()),
        Command::Connect(load) => ("connect", load.clone()),
    };
    let run = Run::prepare(&load).await?;
    let recorder = match command.command {
        Command::Publish(_) => publish::run(&run).await,
        Command::Consume(_) => consume::run(&run).await,
        Command::Pipeline(_) => pipeline::run(&run).await,
        Command::Connect(_) => connect::run(&run).await,
    };
    run.progress.finish_and_clear();
    run.clean().await?;
    report::print(name, &load, &recorder?)
}

/// What the tasks of one run share.
struct Run {
    load: Load,
    control: Client,
    queue: QueueName,
    message: Message,
    progress: ProgressBar,
}

impl Run {
    async fn prepare(load: &Load) -> Outcome<Self> {
        let control = load.connect.clone().client().await?;
        let queue = QueueName::new(QUEUE)?;
        let message = message(load.size, "")?;
        let style = ProgressStyle::with_template("{spinner} {human_pos} messages, {elapsed}")?;
        let progress = ProgressBar::new_spinner().with_style(style);
        let run = Self { load: load.clone(), control, queue, message, progress };
        run.clean().await?;
        if run.load.vary == Some(Vary::Key) {
            let dedup_window_ms = Some(DEDUP_WINDOW_MS);
            let settings = SettingsPatch { dedup_window_ms, ..SettingsPatch::default() };
            run.control.declare(&run.queue, &settings, false).await?;
        }
        Ok(run)
    }

    /// Nothing of a run before or of this one stays.
    async fn clean(&self) -> Outcome {
        match self.control.delete(&self.queue, false).await {
            Err(crate::client::Error::Refused(error)) if error.code == "no_such_queue" => Ok(()),
            other => Ok(other?),
        }
    }

    async fn connections(&self) -> Outcome<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..self.load.connections {
            clients.push(self.load.connect.clone().client().await?);
        }
        Ok(clients)
    }

    /// When connection `index` is to send its messages.
    fn pace(&self, index: usize) -> Pace {
        let connections = f64::from(self.load.connections);
        let interval =
            self.load.rate.map(|rate| Duration::from_secs_f64(connections / f64::from(rate)));
        // Connections take turns, so that they do not all send at once.
        let offset = interval
            .map_or(Duration::ZERO, |interval| interval.mul_f64(index as f64 / connections));
        let start = Instant::now() + offset;
        Pace { interval, next: start, end: start + self.load.duration }
    }
}

/// The times at which one connection is to send.
struct Pace {
    interval: Option<Duration>,
    next: Instant,
    end: Instant,
}

impl Pace {
    /// Waits for the next time; that time, or `None` at the end.
    async fn tick(&mut self) -> Option<Instant> {
        let Some(interval) = self.interval else {
            let now = Instant::now();
            return (now < self.end).then_some(now);
        };
        let at = self.next;
        self.next += interval;
        // A server that cannot keep up makes the run no longer.
        if at >= self.end || Instant::now() >= self.end {
            return None;
        }
        tokio::time::sleep_until(at).await;
        Some(at)
    }
}

/// A JSON string of `size` bytes that begins with `text`.
fn message(size: ByteSize, text: &str) -> Outcome<Message> {
    let size = size.as_u64();
    if size > SIZE_MAX {
        return Err(Failure::new("--size is more than any server takes; give 1 GiB at most"));
    }
    let bytes = usize::try_from(size)?.max(SIZE_MIN);
    // The padding of `format!` ends at 64 KiB.
    let padded = format!("\"{text}{}\"", "x".repeat((bytes - 2).saturating_sub(text.len())));
    body(&padded).ok_or_else(|| Failure::new("a message that is no JSON was made"))
}

/// Runs one task for each connection and puts their records together.
async fn gather<F>(tasks: impl IntoIterator<Item = F>) -> Outcome<Recorder>
where
    F: Future<Output = Outcome<Recorder>> + Send + 'static,
{
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut all = Recorder::new()?;
    for task in tasks {
        all.add(&task.await??)?;
    }
    Ok(all)
}
