//! A MySQL or MariaDB database: how it is connected to, what must be true of it, and its schema.
//! Knows neither accounts nor messages; both are kept through it. Passwords come from files and are
//! never printed.

mod error;
mod schema;
#[cfg(test)]
pub(crate) mod testing;

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::{
    MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions, MySqlSslMode,
};
use sqlx::{ConnectOptions, Connection, Row};
use zeroize::Zeroizing;

pub use error::DatabaseError;
pub(crate) use error::{is_collision, is_refusal};
pub use schema::{Schema, migrate, schema};

type Result<T> = std::result::Result<T, DatabaseError>;

/// How long a connection may take, and a statement may wait for a free one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Session settings that every statement counts on: no silent cutting of values, no locks on gaps.
const SESSION: [&str; 2] = [
    "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// Where the database is, and who gmq is to it.
#[derive(Clone)]
pub struct Address {
    options: MySqlConnectOptions,
    /// For messages: without a password.
    shown: String,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Address {
    /// Reads `mysql://USER@HOST:PORT/DATABASE`. Beyond loopback the connection is TLS, and the
    /// server's certificate must be of an authority in `ca` (of the system's where `None`) and name
    /// the host.
    ///
    /// # Errors
    ///
    /// What is wrong with the address, and a password in it.
    pub fn new(url: &str, password: Option<Zeroizing<String>>, ca: Option<&Path>) -> Result<Self> {
        let wrong = |reason: &str| DatabaseError::Address(reason.to_owned());
        let options =
            MySqlConnectOptions::from_str(url).map_err(|error| wrong(&error.to_string()))?;
        let Some(database) = options.get_database().filter(|name| !name.is_empty()) else {
            return Err(wrong("it names no database"));
        };
        let authority = url.split_once("://").map_or("", |(_, rest)| rest);
        let user = authority.split_once('@').map_or("", |(user, _)| user);
        if user.contains(':') {
            return Err(wrong("it has a password in it: put that into database.password_file"));
        }
        if url.contains('?') {
            return Err(wrong("it has options (`?…`) in it, which are not taken"));
        }
        let (host, port) = (options.get_host().to_owned(), options.get_port());
        let shown = format!("mysql://{}@{host}:{port}/{database}", options.get_username());
        let mode =
            if is_loopback(&host) { MySqlSslMode::Preferred } else { MySqlSslMode::VerifyIdentity };
        let mut options = options
            .ssl_mode(mode)
            .charset("utf8mb4")
            .collation("utf8mb4_bin")
            .disable_statement_logging();
        if let Some(ca) = ca {
            std::fs::File::open(ca)
                .map_err(|reason| DatabaseError::Authority { path: ca.to_owned(), reason })?;
            options = options.ssl_ca(ca).ssl_mode(MySqlSslMode::VerifyIdentity);
        }
        if let Some(password) = password {
            options = options.password(&password);
        }
        Ok(Self { options, shown })
    }

    /// One connection.
    ///
    /// # Errors
    ///
    /// Where the database cannot be reached or does not let this user in.
    pub async fn connect(&self) -> Result<MySqlConnection> {
        let connecting = async {
            let mut connection = MySqlConnection::connect_with(&self.options).await?;
            prepare(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(reason)) => Err(DatabaseError::unreachable(self, &reason)),
            Err(_) => Err(DatabaseError::unreachable(self, &"it does not answer")),
        }
    }

    /// At most `connections` of them, made as they are needed; the first one now.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    pub async fn pool(&self, connections: u32) -> Result<MySqlPool> {
        self.connect().await?.close().await.ok();
        let options = MySqlPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            .after_connect(|connection, _| Box::pin(prepare(connection)));
        Ok(options.connect_lazy_with(self.options.clone()))
    }
}

async fn prepare(connection: &mut MySqlConnection) -> std::result::Result<(), sqlx::Error> {
    for statement in SESSION {
        sqlx::raw_sql(statement).execute(&mut *connection).await?;
    }
    // Where nodes replicate to each other, a read sees what was committed at any of them before.
    let known = "SHOW SESSION VARIABLES LIKE 'wsrep_sync_wait'";
    if sqlx::query(known).fetch_optional(&mut *connection).await?.is_some() {
        sqlx::raw_sql("SET SESSION wsrep_sync_wait = 1").execute(connection).await?;
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// What the server at the other end promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether a commit is flushed to disk before it is answered.
    pub flushes: bool,
    /// Longest statement. Unit: bytes.
    pub packet_bytes_max: u64,
    /// Whether it takes no writes.
    pub read_only: bool,
}

/// Asks for them.
///
/// # Errors
///
/// Where the connection fails.
pub async fn facts(connection: &mut MySqlConnection) -> Result<Facts> {
    let query = "SELECT CAST(@@innodb_flush_log_at_trx_commit AS SIGNED),
                        CAST(@@max_allowed_packet AS SIGNED), CAST(@@read_only AS SIGNED)";
    let row = sqlx::query(query).fetch_one(connection).await?;
    let (flush, packet, read_only): (i64, i64, i64) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(Facts {
        flushes: flush == 1,
        packet_bytes_max: packet.unsigned_abs(),
        read_only: read_only != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_a_password_and_takes_none() {
        let password = Some(Zeroizing::new("hunter2".to_owned()));
        let address = Address::new("mysql://gmq@db.example:3307/bus", password, None).unwrap();
        assert_eq!(
            format!("{address} {address:?}"),
            "mysql://gmq@db.example:3307/bus mysql://gmq@db.example:3307/bus"
        );
        for (url, says) in [
            ("mysql://gmq:pw@db.example/bus", "password_file"),
            ("mysql://gmq@db.example", "no database"),
            ("mysql://gmq@db.example/bus?ssl-mode=disabled", "options"),
            ("db.example", "relative URL"),
        ] {
            let error = Address::new(url, None, None).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("pw"), "{error}");
        }
    }

    #[test]
    fn an_authority_that_is_not_there_is_named() {
        let ca = Some(Path::new("/nowhere/ca.pem"));
        let error = Address::new("mysql://gmq@db.example/bus", None, ca).unwrap_err().to_string();
        assert!(error.contains("database.ca") && error.contains("/nowhere/ca.pem"), "{error}");
    }

    #[test]
    fn beyond_loopback_the_certificate_is_verified() {
        let mode = |url| Address::new(url, None, None).unwrap().options.get_ssl_mode();
        assert!(matches!(mode("mysql://gmq@db.example/bus"), MySqlSslMode::VerifyIdentity));
        assert!(matches!(mode("mysql://gmq@10.0.0.7/bus"), MySqlSslMode::VerifyIdentity));
        assert!(matches!(mode("mysql://gmq@127.0.0.1/bus"), MySqlSslMode::Preferred));
        assert!(matches!(mode("mysql://gmq@localhost/bus"), MySqlSslMode::Preferred));
    }
}
