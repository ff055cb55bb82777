//! Accounts in one SQLite file: write-ahead log, flushed at each commit, one writer at a time and
//! any number of readers, over processes too.

mod open;
mod read;
mod write;

use std::path::Path;

use sqlx::SqlitePool;

use super::{
    Accounts, AccountsError, Answer, NewUser, TenantChange, TenantRecord, UserChange, UserRecord,
};
use crate::types::{TenantName, UserId, UserName};

/// See the module.
pub struct SqliteAccounts {
    pool: SqlitePool,
}

impl SqliteAccounts {
    /// Opens the file, making it (0600, in a folder 0700) where there is none. A database that is
    /// behind is brought up to date if `migrate`, refused otherwise.
    pub async fn open(path: &Path, migrate: bool) -> Result<Self, AccountsError> {
        Ok(Self { pool: open::open(path, migrate).await? })
    }

    /// Copies all accounts, as they are at one moment, into a file that does not exist yet.
    pub async fn copy_to(&self, path: &Path) -> Result<(), AccountsError> {
        open::copy(&self.pool, path).await
    }
}

impl Accounts for SqliteAccounts {
    fn version(&self) -> Answer<'_, u64> {
        Box::pin(read::version(&self.pool))
    }

    fn user<'a>(
        &'a self,
        tenant: &'a TenantName,
        user: &'a UserName,
    ) -> Answer<'a, Option<UserRecord>> {
        Box::pin(read::user(&self.pool, tenant, user))
    }

    fn user_by_id(&self, id: UserId) -> Answer<'_, Option<UserRecord>> {
        Box::pin(read::user_by_id(&self.pool, id))
    }

    fn any_user(&self) -> Answer<'_, bool> {
        Box::pin(read::any_user(&self.pool))
    }

    fn rehash<'a>(&'a self, id: UserId, old: &'a str, new: &'a str) -> Answer<'a, ()> {
        Box::pin(write::rehash(&self.pool, id, old, new))
    }

    fn tenants(&self) -> Answer<'_, Vec<TenantRecord>> {
        Box::pin(read::tenants(&self.pool))
    }

    fn add_tenant<'a>(&'a self, name: &'a TenantName, change: TenantChange) -> Answer<'a, ()> {
        Box::pin(write::add_tenant(&self.pool, name, change))
    }

    fn set_tenant<'a>(&'a self, name: &'a TenantName, change: TenantChange) -> Answer<'a, ()> {
        Box::pin(write::set_tenant(&self.pool, name, change))
    }

    fn users<'a>(&'a self, tenant: Option<&'a TenantName>) -> Answer<'a, Vec<UserRecord>> {
        Box::pin(read::users(&self.pool, tenant))
    }

    fn add_user(&self, user: NewUser) -> Answer<'_, ()> {
        Box::pin(write::add_user(&self.pool, user))
    }

    fn change_user<'a>(
        &'a self,
        tenant: &'a TenantName,
        user: &'a UserName,
        change: UserChange,
    ) -> Answer<'a, ()> {
        Box::pin(write::change_user(&self.pool, tenant, user, change))
    }

    fn remove_user<'a>(&'a self, tenant: &'a TenantName, user: &'a UserName) -> Answer<'a, ()> {
        Box::pin(write::remove_user(&self.pool, tenant, user))
    }

    fn remove_tenant<'a>(&'a self, name: &'a TenantName) -> Answer<'a, ()> {
        Box::pin(write::remove_tenant(&self.pool, name))
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.pool.close().await;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
