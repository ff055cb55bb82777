//! `gmq admin`: works on the accounts database, whether the server runs or not.

mod tenant;
mod user;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::serve::{accounts_path, load_config};
use super::{Failure, Outcome, accounts, database, limit, output, password};
use crate::accounts::{Accounts, SqliteAccounts};
use crate::config::{AccountsKind, Config, StoreKind};
use crate::mysql::{self, DatabaseError};

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

/// Bring the databases up to date; `serve` does so too where it is SQLite.
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
            migrate(&load_config(&config, None)?, status).await
        }
    }
}

async fn migrate(config: &Config, status: bool) -> Outcome {
    if config.accounts == AccountsKind::Sqlite {
        let path = accounts_path(config);
        SqliteAccounts::open(&path, !status).await?.close().await?;
        println!("the accounts database {} is up to date", path.display());
    }
    if config.accounts == AccountsKind::Mysql || config.store == StoreKind::Mysql {
        let address = database::address(config)?;
        let schema = if status {
            mysql::schema(&address, &mut address.connect().await?).await?
        } else {
            mysql::migrate(&address).await?
        };
        let (done, all) = (schema.done, schema.all);
        if done < all {
            return Err(DatabaseError::Behind(address.to_string()).into());
        }
        println!("the database {address} is up to date: {done} migrations");
    }
    Ok(())
}

/// The configuration and the accounts it names.
async fn open(config: &Path) -> Outcome<(Config, Arc<dyn Accounts>)> {
    let config = load_config(config, None)?;
    let accounts = accounts::open(&config).await?;
    Ok((config, accounts))
}
