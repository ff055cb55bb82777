//! What can go wrong with accounts; each sentence says what to do next.

use std::path::PathBuf;

use crate::types::{Grant, San, TenantName, UserName};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// A tenant that is not there.
    #[error("there is no tenant {0}; `gmq admin tenant list` shows those there are")]
    NoSuchTenant(TenantName),
    /// A tenant that is there already.
    #[error("the tenant {0} exists already; `gmq admin tenant set {0}` changes it")]
    TenantExists(TenantName),
    /// A tenant that is not empty.
    #[error(
        "the tenant {0} has users; remove them first with `gmq admin user remove NAME --tenant {0}`"
    )]
    TenantHasUsers(TenantName),
    /// A user that is not there.
    #[error(
        "there is no user {user} of the tenant {tenant}; `gmq admin user list` shows those there are"
    )]
    NoSuchUser {
        /// The tenant.
        tenant: TenantName,
        /// The user.
        user: UserName,
    },
    /// A user that is there already.
    #[error(
        "the tenant {tenant} has a user {user} already; `gmq admin user passwd {user}` gives it \
         another password"
    )]
    UserExists {
        /// The tenant.
        tenant: TenantName,
        /// The user.
        user: UserName,
    },
    /// An identity that is another user's.
    #[error(
        "the certificate identity {0} is mapped to another user; take it away there first with \
         `gmq admin user certificate USER --none`"
    )]
    CertificateTaken(San),
    /// A certificate is required of a user that has none.
    #[error(
        "a user that must present its certificate needs one; give it with --certificate, for \
         example --certificate dns:worker-7.acme.example"
    )]
    CertificateMissing,
    /// A grant to be taken away that is not there.
    #[error("the user has no grant {0}; `gmq admin user list` shows those it has")]
    NoSuchGrant(Grant),
    /// A database that an older version made.
    #[error("the accounts database {0} is behind this version; run `gmq admin migrate`")]
    Behind(PathBuf),
    /// A database that a newer version made.
    #[error(
        "the accounts database {0} was written by a newer version of gmq; use that version, or \
         restore a copy from before it"
    )]
    Newer(PathBuf),
    /// Files that cannot be made or protected.
    #[error(
        "the accounts database {path} cannot be opened: {reason}; check data_dir and who owns it"
    )]
    Files {
        /// The database's file or folder.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// A value in the database that this program would not have written.
    #[error("the accounts database is damaged: {0}; restore a copy of it")]
    Damaged(String),
    /// The database of several servers.
    #[error(transparent)]
    Mysql(#[from] crate::mysql::DatabaseError),
    /// Anything else that the database says.
    #[error(
        "the accounts database cannot be used: {0}; try again, and if it stays so restore a copy of \
         it (data_dir/accounts.db, or the database of database.url)"
    )]
    Database(#[from] sqlx::Error),
}

/// A value that this program would not have written.
pub(super) fn damaged(error: impl std::fmt::Display) -> AccountsError {
    AccountsError::Damaged(error.to_string())
}
