//! The accounts that the configuration names.

use std::sync::Arc;

use super::serve::accounts_path;
use super::{Outcome, database};
use crate::accounts::{Accounts, MysqlAccounts, SqliteAccounts};
use crate::config::{AccountsKind, Config};

/// Opens them. A file is brought up to date; a database that others use is not.
pub(super) async fn open(config: &Config) -> Outcome<Arc<dyn Accounts>> {
    Ok(match config.accounts {
        AccountsKind::Sqlite => Arc::new(SqliteAccounts::open(&accounts_path(config), true).await?),
        AccountsKind::Mysql => Arc::new(MysqlAccounts::open(&database::address(config)?).await?),
    })
}
