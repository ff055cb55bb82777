//! `gmq serve`: the server in the foreground.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Outcome, accounts, database, storage};
use crate::accounts::Accounts;
use crate::config::{Config, Layers, Overrides};
use crate::server::Server;
use crate::{telemetry, tls};

/// Serve until SIGTERM or Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gmq serve --config /etc/gmq/gmq.toml --listen 127.0.0.1:0")]
pub(super) struct Serve {
    /// The configuration, as `gmq init` writes it.
    #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
    config: PathBuf,
    /// Listen there instead; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Wait for the database that the configuration names instead of ending where it is not there.
    #[arg(long)]
    wait: bool,
}

/// Where to listen, as it is typed.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port such as 127.0.0.1:4884".to_owned())
}

pub(super) async fn run(command: Serve) -> Outcome {
    let config = load_config(&command.config, command.listen)?;
    telemetry::init(&config.log)?;
    let mut signals = Signals::new()?;
    if command.wait {
        tokio::select! {
            reached = database::wait(&config) => reached?,
            () = signals.next() => return Ok(()),
        }
    }
    let prepared = prepare(&config).await?;
    let address = prepared.server.address()?;
    println!(r#"{{"event":"listening","address":"{address}"}}"#);
    tokio::select! {
        ended = prepared.run_until(async { signals.next().await }) => ended,
        () = second_signal() => Err(Failure::new("stopped at once by a second signal")),
    }
}

/// The configuration from the file, the environment and the flag.
pub(super) fn load_config(file: &Path, listen: Option<SocketAddr>) -> Outcome<Config> {
    Ok(Config::load(&Layers::new(Some(file), Overrides { listen }))?)
}

/// The accounts in the data folder.
pub(super) const ACCOUNTS: &str = "accounts.db";

/// Where the accounts are.
pub(super) fn accounts_path(config: &Config) -> PathBuf {
    config.data_dir.join(ACCOUNTS)
}

/// A server with what it holds while it runs.
pub(super) struct Prepared {
    pub server: Server,
    accounts: Arc<dyn Accounts>,
    /// Held for the life of the server: one server a folder.
    _lock: File,
}

impl Prepared {
    /// Serves until `stop`.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Outcome {
        self.server.run(stop).await?;
        self.accounts.close().await?;
        Ok(())
    }
}

/// Everything that can be refused is refused here, before a client is served.
pub(super) async fn prepare(config: &Config) -> Outcome<Prepared> {
    let tls = tls::server_tls(&config.tls)?;
    let lock = lock(&config.data_dir)?;
    let accounts = accounts::open(config).await?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        let listen = config.listen;
        Failure::new(format!("cannot listen on {listen}: {error}; give another --listen ADDR"))
    })?;
    let store = storage::open(config).await?;
    let server = Server::new(listener, config, tls, Arc::clone(&accounts), store).await?;
    Ok(Prepared { server, accounts, _lock: lock })
}

/// Takes the data folder for this process alone.
pub(super) fn lock(data_dir: &Path) -> Outcome<File> {
    let path = data_dir.join("lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(|error| storage::cannot_use(data_dir, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(format!(
            "another server uses the folder {}; stop it, or give this one a data_dir of its own",
            data_dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// SIGTERM and Ctrl-C.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn new() -> Outcome<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Done at the second signal.
async fn second_signal() {
    let Ok(mut signals) = Signals::new() else { return std::future::pending().await };
    signals.next().await;
    signals.next().await;
}
