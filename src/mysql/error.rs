//! What can go wrong with a database; each sentence says what to do next.

use std::fmt::Display;
use std::path::PathBuf;

use sqlx::mysql::MySqlDatabaseError;

use super::Address;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// `database.url`.
    #[error(
        "database.url cannot be used: {0}; write it as mysql://USER@HOST:PORT/DATABASE, the password \
         in a file that database.password_file names"
    )]
    Address(String),
    /// `database.ca`.
    #[error(
        "the authority of the database, database.ca = {path}, cannot be read: {reason}; it is a file of \
         PEM certificates"
    )]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// No connection.
    #[error(
        "the database {address} cannot be reached: {reason}; check that it runs, database.url, \
         database.password_file and, beyond loopback, database.ca"
    )]
    Unreachable {
        /// Which one.
        address: String,
        /// Why.
        reason: String,
    },
    /// Migrations that were not run yet.
    #[error("the database {0} is behind this version of gmq; run `gmq admin migrate`")]
    Behind(String),
    /// Migrations that this version does not know.
    #[error(
        "the database {0} was brought up to date by a newer version of gmq; use that version, or \
         restore a copy from before it"
    )]
    Newer(String),
    /// A migration that did not end.
    #[error(
        "migration {version} of the database {address} was begun and not finished: look what of \
         migrations/mysql is done, undo it, then run on that database \
         `DELETE FROM _sqlx_migrations WHERE version = {version}` and `gmq admin migrate`"
    )]
    Dirty {
        /// Which one.
        address: String,
        /// The migration.
        version: i64,
    },
    /// Somebody else migrates.
    #[error(
        "somebody else brings the database {0} up to date just now, and was not done in 10 s; try \
         again"
    )]
    Locked(String),
    /// A user that may not change tables.
    #[error(
        "the tables of the database {address} cannot be made: {reason}; run `gmq admin migrate` as a \
         user that may, with GMQ_DATABASE__URL and GMQ_DATABASE__PASSWORD_FILE (docs/mysql.md)"
    )]
    Denied {
        /// Which one, and as whom.
        address: String,
        /// What the database says.
        reason: String,
    },
    /// Commits that are not on disk.
    #[error(
        "the database {0} does not flush its log at each commit \
         (innodb_flush_log_at_trx_commit is not 1): set it to 1, or set durability = \"os\" here"
    )]
    NotFlushed(String),
    /// Statements that cannot hold a message.
    #[error(
        "the database {address} takes statements of at most {packet_bytes} bytes \
         (max_allowed_packet), and messages may be that long: set it to {needed_bytes} or more, or \
         lower limits.max_message_bytes"
    )]
    Packet {
        /// Which one.
        address: String,
        /// What it takes.
        packet_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// A replica, or one that is being looked after.
    #[error("the database {0} takes no writes (read_only): let database.url name one that does")]
    ReadOnly(String),
    /// Anything else that the database says.
    #[error("the database cannot be used: {0}; look into its own log")]
    Database(#[from] sqlx::Error),
}

impl DatabaseError {
    pub(super) fn unreachable(address: &Address, reason: &dyn Display) -> Self {
        DatabaseError::Unreachable { address: address.to_string(), reason: reason.to_string() }
    }
}

/// The transaction met another one and was rolled back: a deadlock, a wait for a lock, or at
/// another node of a cluster. It may be tried again.
pub(crate) fn is_collision(error: &sqlx::Error) -> bool {
    matches!(number_of(error), Some(1213 | 1205))
}

/// The database is well, and will never take this: a value out of range, a missing table or right.
/// Not so: it is read-only, shutting down, not in a quorum, out of room or of connections.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    const PASSING: [u16; 14] =
        [1021, 1040, 1041, 1047, 1053, 1114, 1158, 1159, 1160, 1161, 1290, 1836, 1927, 3169];
    number_of(error).is_some_and(|number| !PASSING.contains(&number)) && !is_collision(error)
}

/// The user has not the right.
pub(super) fn is_denied(error: &sqlx::Error) -> bool {
    matches!(number_of(error), Some(1044 | 1142))
}

fn number_of(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}
