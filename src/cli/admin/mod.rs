//! `gmq admin`: works on the accounts database, whether the server runs or not.

mod tenant;
mod user;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::serve::{accounts_path, load_config};
use super::{Failure, Outcome, limit, output, password};
use crate::accounts::SqliteAccounts;
use crate::config::Config;

/// Administer tenants and users.
#[derive(Debug, Args)]
pub(super) struct Admin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Tenant(tenant::Tenant),
    User(user::User),
    Migrate(Migrate),
}

/// Bring the accounts database up to date; `serve` does so too where it is SQLite.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gmq admin migrate --status")]
struct Migrate {
    /// Only say whether it is.
    #[arg(long)]
    status: bool,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
    config: PathBuf,
}

pub(super) async fn run(command: Admin) -> Outcome {
    match command.command {
        Command::Tenant(command) => tenant::run(command).await,
        Command::User(command) => user::run(command).await,
        Command::Migrate(Migrate { status, config }) => {
            let path = accounts_path(&load_config(&config, None)?);
            SqliteAccounts::open(&path, !status).await?.close().await;
            println!("the accounts database {} is up to date", path.display());
            Ok(())
        }
    }
}

/// The configuration and the accounts it names.
async fn open(config: &Path) -> Outcome<(Config, SqliteAccounts)> {
    let config = load_config(config, None)?;
    let accounts = SqliteAccounts::open(&accounts_path(&config), true).await?;
    Ok((config, accounts))
}
