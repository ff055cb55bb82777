//! Accounts: tenants, their users and the grants of these, in a database. One interface for every
//! database; servers read through it and poll its version, `gmq admin` changes through it, at the
//! same time where need be. Knows no passwords, only their hashes, and makes no decisions.

mod error;
mod mysql;
mod sqlite;
#[cfg(test)]
mod suite;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use zeroize::Zeroizing;

pub use error::AccountsError;
pub use mysql::MysqlAccounts;
pub use sqlite::SqliteAccounts;

use crate::types::{
    Grant, Grants, Quotas, San, SettingsPatch, TenantId, TenantName, UserId, UserName,
};

/// What a method of [`Accounts`] gives back.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, AccountsError>> + Send + 'a>>;

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRecord {
    /// Random, never used again.
    pub id: TenantId,
    /// The name.
    pub name: TenantName,
    /// Its own quotas; the server's defaults are not in them.
    pub quotas: Quotas,
    /// Whether a publish may make a queue.
    pub auto_create: bool,
    /// Settings of queues that leave them out.
    pub defaults: SettingsPatch,
}

/// One user.
#[derive(Clone)]
pub struct UserRecord {
    /// Random, never used again.
    pub id: UserId,
    /// The name within its tenant.
    pub name: UserName,
    /// Its tenant.
    pub tenant: TenantRecord,
    /// PHC string; never printed.
    pub password_hash: Zeroizing<String>,
    /// The certificate identity that is mapped to it.
    pub certificate: Option<San>,
    /// Whether a login needs that certificate.
    pub require_certificate: bool,
    /// Whether logins are refused.
    pub disabled: bool,
    /// Raised by every change of password, state, certificate or requirement.
    pub credentials_version: u64,
    /// What it may do.
    pub grants: Grants,
}

impl fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserRecord({}/{})", self.tenant.name, self.name)
    }
}

/// Changes of a tenant; `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantChange {
    /// Queues; `Some(None)` takes the limit away.
    pub queues: Option<Option<u64>>,
    /// Messages.
    pub messages: Option<Option<u64>>,
    /// Bytes of messages.
    pub bytes: Option<Option<u64>>,
    /// Connections.
    pub connections: Option<Option<u64>>,
    /// Whether a publish may make a queue.
    pub auto_create: Option<bool>,
    /// Settings that are named here are put over those that are there.
    pub defaults: SettingsPatch,
}

/// A user to be added.
pub struct NewUser {
    /// Its tenant.
    pub tenant: TenantName,
    /// Its name.
    pub name: UserName,
    /// PHC string.
    pub password_hash: Zeroizing<String>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// The certificate identity mapped to it.
    pub certificate: Option<San>,
    /// Whether a login needs that certificate.
    pub require_certificate: bool,
}

/// A change of one user.
pub enum UserChange {
    /// Another password, as a PHC string.
    Password(Zeroizing<String>),
    /// Logins refused or not.
    Disabled(bool),
    /// Another certificate identity, or none.
    Certificate(Option<San>),
    /// More grants; those that are there already stay.
    Grant(Vec<Grant>),
    /// Grants to be taken away; all must be there.
    Revoke(Vec<Grant>),
}

/// See the module. Names are data for it, never parts of SQL texts.
pub trait Accounts: Send + Sync {
    /// A number that every change raises.
    fn version(&self) -> Answer<'_, u64>;
    /// One user by its names.
    fn user<'a>(
        &'a self,
        tenant: &'a TenantName,
        user: &'a UserName,
    ) -> Answer<'a, Option<UserRecord>>;
    /// One user by its identity.
    fn user_by_id(&self, id: UserId) -> Answer<'_, Option<UserRecord>>;
    /// Whether there is any user at all.
    fn any_user(&self) -> Answer<'_, bool>;
    /// Puts another hash of the same password in place of `old`; changes nothing else.
    fn rehash<'a>(&'a self, id: UserId, old: &'a str, new: &'a str) -> Answer<'a, ()>;

    /// All tenants by name.
    fn tenants(&self) -> Answer<'_, Vec<TenantRecord>>;
    /// Adds a tenant.
    fn add_tenant<'a>(&'a self, name: &'a TenantName, change: TenantChange) -> Answer<'a, ()>;
    /// Changes a tenant.
    fn set_tenant<'a>(&'a self, name: &'a TenantName, change: TenantChange) -> Answer<'a, ()>;
    /// All users, or those of one tenant, by name.
    fn users<'a>(&'a self, tenant: Option<&'a TenantName>) -> Answer<'a, Vec<UserRecord>>;
    /// Adds a user.
    fn add_user(&self, user: NewUser) -> Answer<'_, ()>;
    /// Changes a user.
    fn change_user<'a>(
        &'a self,
        tenant: &'a TenantName,
        user: &'a UserName,
        change: UserChange,
    ) -> Answer<'a, ()>;
    /// Removes a user; its name made anew inherits nothing.
    fn remove_user<'a>(&'a self, tenant: &'a TenantName, user: &'a UserName) -> Answer<'a, ()>;
    /// Removes a tenant that has no users.
    fn remove_tenant<'a>(&'a self, name: &'a TenantName) -> Answer<'a, ()>;
    /// Ends in order.
    fn close(&self) -> Answer<'_, ()>;
}

/// A new identity of a tenant or a user.
fn random_identity() -> Result<Vec<u8>, AccountsError> {
    let mut bytes = vec![0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        AccountsError::Database(sqlx::Error::Io(std::io::Error::other(error.to_string())))
    })?;
    Ok(bytes)
}
