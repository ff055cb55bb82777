//! The database that the configuration names, for the rooms that keep something in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Failure, Outcome};
use crate::config::{AccountsKind, Config, StoreKind};
use crate::mysql::Address;

/// Between two looks for a database that is not there.
const WAIT: Duration = Duration::from_secs(1);

/// Where it is and as whom.
pub(super) fn address(config: &Config) -> Outcome<Address> {
    let database = &config.database;
    let Some(url) = &database.url else {
        return Err(Failure::new(
            "no database is named; set database.url = \"mysql://USER@HOST:PORT/DATABASE\"",
        ));
    };
    let password = database.password_file.as_deref().map(password).transpose()?;
    Ok(Address::new(&url.0, password, database.ca.as_deref())?)
}

/// Comes back once the database can be reached, or at once where none is used.
pub(super) async fn wait(config: &Config) -> Outcome {
    if config.store != StoreKind::Mysql && config.accounts != AccountsKind::Mysql {
        return Ok(());
    }
    let address = address(config)?;
    while let Err(error) = address.connect().await {
        tracing::warn!(%error, "waiting for the database");
        tokio::time::sleep(WAIT).await;
    }
    Ok(())
}

/// The first line of a file that nobody else can read.
fn password(path: &Path) -> Outcome<Zeroizing<String>> {
    let shown = path.display();
    let cannot = |error: std::io::Error| {
        Failure::new(format!("cannot read database.password_file {shown}: {error}"))
    };
    let mode = fs::metadata(path).map_err(cannot)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::new(format!(
            "database.password_file {shown} can be read by others: `chmod 600 {shown}`"
        )));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(cannot)?);
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::new(format!("database.password_file {shown} holds no password")));
    }
    Ok(Zeroizing::new(line.to_owned()))
}
