//! `gmq consume`.

use std::io::{Write as _, stdout};
use std::process::Stdio;
use std::time::Duration;

use base64_simd::STANDARD;
use clap::{Args, ValueEnum};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::Outcome;
use super::connect::Connect;
use crate::client::{Client, Delivery, Error, Hand, ReceivedMessage};
use crate::types::{Content, QueueName};

/// Take messages from a queue, print and acknowledge them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gmq consume orders --max 10\n  gmq consume orders --follow --output json\n  \
                  gmq consume mails --follow --exec 'sendmail -t'"
)]
pub(super) struct Consume {
    /// The queue.
    queue: QueueName,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Go on waiting for more when the queue is empty, and when the server is away for a while.
    #[arg(long)]
    follow: bool,
    /// Look only: everything returns to the queue at the end.
    #[arg(long)]
    no_ack: bool,
    /// Contents alone, a line each, or whole messages as JSON, a line each.
    #[arg(long, value_enum, default_value = "raw")]
    output: Form,
    /// Run a command by the shell for each message, its content on standard input: exit code 0
    /// acknowledges, anything else returns it. Its environment has GMQ_MESSAGE_QUEUE, _SEQ,
    /// _ATTEMPT, _FENCE and _PRIORITY, and of those that it was published with _TOPIC, _KEY and
    /// _GROUP.
    #[arg(long, value_name = "CMD", conflicts_with_all = ["no_ack", "output"])]
    exec: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// How messages are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// The content and a line end.
    Raw,
    /// An object a line.
    Json,
}

/// Taken at a time.
const BATCH_MAX: u64 = 100;
/// A wait for more; asked again until there are some.
const WAIT: Duration = Duration::from_secs(50);

pub(super) async fn run(command: Consume) -> Outcome {
    let Consume { queue, max, follow, no_ack, output, exec, connect } = command;
    let client = match follow {
        true => connect.lasting_client().await?,
        false => connect.client().await?,
    };
    let mut patience = Patience { follow, told: false };
    let mut left = max.unwrap_or(u64::MAX);
    while left > 0 {
        let wait = if follow { WAIT } else { Duration::ZERO };
        // A command may take long, and the lease of what waits behind it would run.
        let batch = if exec.is_some() { 1 } else { BATCH_MAX };
        let count = u32::try_from(left.min(batch))?;
        let messages = tokio::select! {
            messages = pull(&client, &queue, count, wait, &mut patience) => messages?,
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        };
        if messages.is_empty() {
            if follow {
                continue;
            }
            break;
        }
        let settled = match &exec {
            // One at a time.
            Some(command) => execute(command, &messages[0]).await?,
            None => {
                print(messages.iter().map(Delivery::message), output)?;
                let hands: Vec<Hand> = messages.iter().map(Delivery::hand).collect();
                if no_ack { Ok(()) } else { client.ack(&hands).await }
            }
        };
        // What was not settled comes again, and counts then.
        if patience.stand(settled)?.is_some() {
            left = left.saturating_sub(messages.len() as u64);
        }
    }
    client.close();
    Ok(())
}

/// A pause after what passes by itself.
const PAUSE: Duration = Duration::from_secs(1);

async fn pull(
    client: &Client,
    queue: &QueueName,
    count: u32,
    wait: Duration,
    patience: &mut Patience,
) -> Outcome<Vec<Delivery>> {
    loop {
        if let Some(messages) = patience.stand(client.pull(queue, count, wait).await)? {
            return Ok(messages);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who follows a queue goes on when the server was away: what was in hand comes again.
struct Patience {
    follow: bool,
    /// Whether the fault that lasts was told.
    told: bool,
}

impl Patience {
    /// The result, or `None` where it failed and the command goes on.
    fn stand<T>(&mut self, result: Result<T, Error>) -> Outcome<Option<T>> {
        match result {
            Err(error) if self.follow && !error.is_final() => {
                if !std::mem::replace(&mut self.told, true) {
                    eprintln!("gmq: {error}; going on as soon as the server is back");
                }
                Ok(None)
            }
            result => {
                self.told = false;
                Ok(Some(result?))
            }
        }
    }
}

/// A message that a command refused is not offered to it again at once.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Runs the command for a message and settles it; answers how that went.
async fn execute(command: &str, delivery: &Delivery) -> Outcome<Result<(), Error>> {
    let message = delivery.message();
    let mut shell = tokio::process::Command::new("sh");
    for (name, value) in [
        ("GMQ_MESSAGE_TOPIC", &message.topic),
        ("GMQ_MESSAGE_KEY", &message.key),
        ("GMQ_MESSAGE_GROUP", &message.group),
    ] {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    let mut child = shell
        .args(["-c", command])
        .env("GMQ_MESSAGE_QUEUE", &message.queue)
        .env("GMQ_MESSAGE_SEQ", message.seq.to_string())
        .env("GMQ_MESSAGE_ATTEMPT", message.attempt.to_string())
        .env("GMQ_MESSAGE_FENCE", message.fence.to_string())
        .env("GMQ_MESSAGE_PRIORITY", message.priority.unwrap_or_default().number().to_string())
        .stdin(Stdio::piped())
        .spawn()?;
    let content = match &message.content {
        Content::Payload(bytes) => &**bytes,
        Content::Body(text) => text.as_bytes(),
    };
    if let Some(mut input) = child.stdin.take() {
        // A command that does not read its input may be done already.
        let _ = input.write_all(content).await;
    }
    let status = child.wait().await?;
    if status.success() {
        return Ok(delivery.ack().await);
    }
    eprintln!("gmq: message {} was returned: the command ended with {status}", message.seq);
    Ok(delivery.nack(RETRY_DELAY).await)
}

/// Prints messages to standard output.
pub(super) fn print<'a>(
    messages: impl IntoIterator<Item = &'a ReceivedMessage>,
    output: Form,
) -> Outcome {
    let mut out = stdout().lock();
    for message in messages {
        match (output, &message.content) {
            (Form::Raw, Content::Payload(bytes)) => out.write_all(bytes)?,
            (Form::Raw, Content::Body(text)) => out.write_all(text.as_bytes())?,
            (Form::Json, _) => serde_json::to_writer(&mut out, &object(message)?)?,
        }
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

#[derive(serde::Serialize)]
struct Printed {
    #[serde(flatten)]
    fields: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Box<RawValue>>,
}

fn object(message: &ReceivedMessage) -> Outcome<Printed> {
    let mut fields = json!({
        "queue": message.queue,
        "seq": message.seq.0,
        "fence": message.fence.0,
        "attempt": message.attempt,
        "published_at": message.published_at,
        "priority": message.priority.unwrap_or_default().number(),
        "topic": message.topic,
        "key": message.key,
        "group": message.group,
        "headers": message.headers,
        "reply_to": message.reply_to,
        "correlation_id": message.correlation_id,
    });
    let body = match &message.content {
        Content::Payload(bytes) => {
            fields["payload"] = STANDARD.encode_to_string(bytes).into();
            None
        }
        Content::Body(text) => Some(RawValue::from_string(text.to_string())?),
    };
    Ok(Printed { fields, body })
}
