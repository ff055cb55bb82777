//! `gmq quickstart`: from nothing to a message over mutual TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::serve::{self, Signals};
use super::{Failure, Outcome, init};
use crate::client::{Client, Profile, payload};
use crate::telemetry;
use crate::tls::QUICKSTART_AUTHORITY_NAME;
use crate::types::{Content, QueueName};

/// Make a folder if it is new, serve from it, and send the first message over mutual TLS.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gmq quickstart --exit")]
pub(super) struct Quickstart {
    /// The folder.
    #[arg(long, default_value = "./gmq-quickstart")]
    dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4884",
          value_parser = serve::address)]
    listen: SocketAddr,
    /// End after the round trip instead of going on serving.
    #[arg(long)]
    exit: bool,
}

/// The queue of the first message.
const QUEUE: &str = "greetings";
/// How long the message may take to come back.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(command: Quickstart) -> Outcome {
    let Quickstart { dir, listen, exit } = command;
    if !dir.join("gmq.toml").exists() {
        init::make(&dir, &[], listen, QUICKSTART_AUTHORITY_NAME).await?;
        println!("Made {}: configuration, certificates and the user `admin`.", dir.display());
    }
    let mut config = serve::load_config(&dir.join("gmq.toml"), Some(listen))?;
    // The server's own log would bury what a newcomer is to read.
    config.log.level = crate::config::LogLevel::Warn;
    telemetry::init(&config.log)?;
    let mut signals = Signals::new()?;
    let prepared = serve::prepare(&config).await?;
    let address = prepared.server.address()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(prepared.run_until(async {
        // Either way it is time to stop.
        let _ = stopped.await;
    }));
    let outcome = greet(&dir, address).await;
    if outcome.is_ok() && !exit {
        println!("\nServing on {address} until Ctrl-C.");
        signals.next().await;
    }
    drop(stop);
    serving.await??;
    outcome
}

/// One message there and back, and how to send the next.
async fn greet(dir: &Path, address: SocketAddr) -> Outcome {
    let path = dir.join("client.toml");
    let mut profile = Profile::load(&path)?;
    let configured = std::mem::replace(&mut profile.server, address.to_string());
    let queue = QueueName::new(QUEUE)?;
    let start = Instant::now();
    let client = Client::connect(&profile).await?;
    let connected = start.elapsed();
    let sent = Instant::now();
    let text = "the first message";
    let seq = client.publish(&queue, payload(text)).await?.seq;
    let mut subscription = client.consume(&queue, 100).await?;
    let delivered = async {
        while let Some(delivery) = subscription.next().await {
            let delivery = delivery?;
            delivery.ack().await?;
            if delivery.message().seq == seq {
                return Ok(delivery.message().content == Content::Payload(text.as_bytes().into()));
            }
        }
        Err(Failure::new("the server ended the subscription"))
    };
    match tokio::time::timeout(PATIENCE, delivered).await {
        Ok(Ok(true)) => {}
        Ok(Err(failure)) => return Err(failure),
        Ok(Ok(false)) | Err(_) => {
            return Err(Failure::new("the message did not come back as it was sent"));
        }
    }
    println!(
        "Connected by mutual TLS and logged in in {:.1} ms; published, consumed and acknowledged \
         a message in {:.1} ms.",
        connected.as_secs_f64() * 1e3,
        sent.elapsed().as_secs_f64() * 1e3
    );
    client.close();
    let program = std::env::args().next().unwrap_or_else(|| "gmq".to_owned());
    let server =
        if configured == profile.server { String::new() } else { format!(" --server {address}") };
    println!("\nTry it from another terminal:");
    println!("  {program} publish {QUEUE} hello --profile {}{server}", path.display());
    println!("  {program} consume {QUEUE} --profile {}{server}", path.display());
    Ok(())
}
