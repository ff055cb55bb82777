//! The database that the configuration names, for the rooms that keep something in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::{Failure, Outcome};
use crate::config::Config;
use crate::mysql::Address;

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
