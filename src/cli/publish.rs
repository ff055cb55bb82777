//! `gmq publish`.

use std::collections::VecDeque;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::connect::Connect;
use super::{Failure, Outcome};
use crate::client::{Client, Confirm, body, payload};
use crate::types::{Headers, Message, Properties, QueueName};

/// Publish messages; each is confirmed before the command ends.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gmq publish orders 'one message' 'another'\n  \
                  gmq publish orders --json '{\"id\": 7}' --header source=web\n  \
                  gmq publish orders - < message")]
pub(super) struct Publish {
    /// The queue.
    queue: QueueName,
    /// The messages; `-` is standard input.
    #[arg(required_unless_present_any = ["file", "lines"])]
    bodies: Vec<String>,
    /// The messages are JSON values, delivered as they are.
    #[arg(long)]
    json: bool,
    /// A file whose content is one message; may be repeated.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// One message a line of standard input, with progress on a terminal.
    #[arg(long, conflicts_with_all = ["bodies", "file"])]
    lines: bool,
    /// A header of every message; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    #[command(flatten)]
    connect: Connect,
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("must be written NAME=VALUE".to_owned()),
    }
}

pub(super) async fn run(command: Publish) -> Outcome {
    let Publish { queue, bodies, json, file, lines, header, connect } = command;
    let headers: Headers =
        header.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    if lines {
        return publish_lines(connect.client().await?, &queue, json, &headers).await;
    }
    let mut messages = Vec::new();
    for text in bodies {
        let bytes = if text == "-" { standard_input()? } else { text.into_bytes() };
        messages.push(message(bytes, json, &headers)?);
    }
    for path in file {
        let bytes = std::fs::read(&path).map_err(|error| {
            Failure::new(format!("{} cannot be read: {error}; give another --file", path.display()))
        })?;
        messages.push(message(bytes, json, &headers)?);
    }
    let client = connect.client().await?;
    let mut confirms = Vec::with_capacity(messages.len());
    for message in messages {
        confirms.push(client.publish_pipelined(&queue, &message, None).await?);
    }
    for confirm in confirms {
        println!("published to {queue}, seq {}", confirm.await?.seq);
    }
    client.close();
    Ok(())
}

/// Publishes that wait for their confirm before the oldest is waited for.
const LINES_IN_FLIGHT: usize = 1_000;

async fn publish_lines(
    client: Client,
    queue: &QueueName,
    json: bool,
    headers: &Headers,
) -> Outcome {
    let mut lines = BufReader::new(tokio::io::stdin());
    let progress = ProgressBar::new_spinner()
        .with_style(ProgressStyle::with_template("{human_pos} confirmed, {per_sec}, {elapsed}")?);
    let mut confirms = VecDeque::new();
    let mut number: u64 = 0;
    loop {
        let mut line = Vec::new();
        let read = lines.read_until(b'\n', &mut line).await?;
        if read == 0 || confirms.len() >= LINES_IN_FLIGHT {
            let left = if read == 0 { 0 } else { LINES_IN_FLIGHT / 2 };
            confirm_until(&mut confirms, left, &progress).await?;
        }
        if read == 0 {
            break;
        }
        number += 1;
        let bytes = line.strip_suffix(b"\n").unwrap_or(&line);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let message = message(bytes.to_vec(), json, headers)
            .map_err(|failure| Failure::new(format!("line {number}: {failure}")))?;
        let confirm = client.publish_pipelined(queue, &message, None).await?;
        confirms.push_back((number, confirm));
    }
    progress.finish_and_clear();
    println!("published {number} messages to {queue}");
    client.close();
    Ok(())
}

/// Waits for confirms until so many are left; says which line was not taken.
async fn confirm_until(
    confirms: &mut VecDeque<(u64, Confirm)>,
    left: usize,
    progress: &ProgressBar,
) -> Outcome {
    while confirms.len() > left {
        let Some((number, confirm)) = confirms.pop_front() else { break };
        confirm.await.map_err(|error| {
            Failure::new(format!("line {number} and maybe those behind it: {error}"))
        })?;
        progress.inc(1);
    }
    Ok(())
}

fn standard_input() -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn message(bytes: Vec<u8>, json: bool, headers: &Headers) -> Outcome<Message> {
    let mut message = if json {
        String::from_utf8(bytes).ok().and_then(|text| body(&text)).ok_or_else(|| {
            Failure::new("a message is not one JSON value; mend it, or leave --json out")
        })?
    } else {
        payload(bytes)
    };
    if !headers.is_empty() {
        let properties = Properties { headers: headers.clone(), ..Properties::default() };
        message.properties = Some(Box::new(properties));
    }
    Ok(message)
}
