//! `gmq publish`.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;

use super::connect::Connect;
use super::{Failure, Outcome};
use crate::client::{body, payload};
use crate::types::{Message, Properties, QueueName};

/// Publish messages; each is confirmed before the command ends.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gmq publish orders 'one message' 'another'\n  \
                  gmq publish orders --json '{\"id\": 7}' --header source=web\n  \
                  gmq publish orders - < message")]
pub(super) struct Publish {
    /// The queue.
    queue: QueueName,
    /// The messages; `-` is standard input.
    #[arg(required_unless_present = "file")]
    bodies: Vec<String>,
    /// The messages are JSON values, delivered as they are.
    #[arg(long)]
    json: bool,
    /// A file whose content is one message; may be repeated.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// A header of every message; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    #[command(flatten)]
    connect: Connect,
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("a header is written NAME=VALUE".to_owned()),
    }
}

pub(super) async fn run(command: Publish) -> Outcome {
    let Publish { queue, bodies, json, file, header, connect } = command;
    let mut messages = Vec::new();
    for text in bodies {
        let bytes = if text == "-" { standard_input()? } else { text.into_bytes() };
        messages.push(message(bytes, json)?);
    }
    for path in file {
        let bytes = std::fs::read(&path)
            .map_err(|error| Failure::new(format!("{} cannot be read: {error}", path.display())))?;
        messages.push(message(bytes, json)?);
    }
    let headers: Vec<_> =
        header.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let client = connect.client().await?;
    let mut confirms = Vec::with_capacity(messages.len());
    for mut message in messages {
        if !headers.is_empty() {
            let properties = Properties { headers: headers.clone(), ..Properties::default() };
            message.properties = Some(Box::new(properties));
        }
        confirms.push(client.publish_pipelined(&queue, &message, None).await?);
    }
    for confirm in confirms {
        println!("published to {queue}, seq {}", confirm.await?);
    }
    client.close();
    Ok(())
}

fn standard_input() -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn message(bytes: Vec<u8>, json: bool) -> Outcome<Message> {
    if !json {
        return Ok(payload(bytes));
    }
    String::from_utf8(bytes)
        .ok()
        .and_then(|text| body(&text))
        .ok_or_else(|| Failure::new("--json wants each message to be one JSON value"))
}
