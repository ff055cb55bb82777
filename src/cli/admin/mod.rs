//! `gmq admin`: works on the accounts database, whether the server runs or not.

mod tenant;
mod user;

use std::path::Path;

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
}

pub(super) async fn run(command: Admin) -> Outcome {
    match command.command {
        Command::Tenant(command) => tenant::run(command).await,
        Command::User(command) => user::run(command).await,
    }
}

/// The configuration and the accounts it names.
async fn open(config: &Path) -> Outcome<(Config, SqliteAccounts)> {
    let config = load_config(config, None)?;
    let accounts = SqliteAccounts::open(&accounts_path(&config), true).await?;
    Ok((config, accounts))
}
