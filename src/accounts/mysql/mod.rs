//! Accounts in a MySQL or MariaDB database, which several servers may share. Changes of `gmq admin`
//! are seen by all of them; a database beyond this one's reach is refused at the start.

mod read;
mod write;

use std::time::Duration;

use sqlx::mysql::MySqlPool;

use self::write::Change;
use super::{
    Accounts, AccountsError, Answer, NewUser, TenantChange, TenantRecord, UserChange, UserRecord,
};
use crate::mysql::{Address, DatabaseError, schema};
use crate::types::{TenantName, UserId, UserName};

/// Connections: logins and the poll read beside an administrative write.
const CONNECTIONS_MAX: u32 = 4;

/// A client that logs in is not kept waiting longer: it may find another server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// See the module.
pub struct MysqlAccounts {
    pool: MySqlPool,
}

impl MysqlAccounts {
    /// Looks whether the database can be used. It is never migrated here.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached, or is behind or ahead of this version.
    pub async fn open(address: &Address) -> Result<Self, AccountsError> {
        let schema = schema(address, &mut address.connect().await?).await?;
        if schema.done < schema.all {
            return Err(DatabaseError::Behind(address.to_string()).into());
        }
        Ok(Self { pool: address.pool(CONNECTIONS_MAX).await? })
    }

    fn change<'a>(&'a self, change: Change<'a>) -> Answer<'a, ()> {
        Box::pin(told(write::change(&self.pool, change)))
    }
}

/// What this database says is told in words of its own, and where it says nothing, that.
async fn told<T>(
    answer: impl Future<Output = Result<T, AccountsError>>,
) -> Result<T, AccountsError> {
    let Ok(answer) = tokio::time::timeout(ANSWER_TIMEOUT, answer).await else {
        let silence = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        return Err(AccountsError::Mysql(DatabaseError::Database(silence)));
    };
    answer.map_err(|error| match error {
        AccountsError::Database(error) => AccountsError::Mysql(DatabaseError::Database(error)),
        other => other,
    })
}

impl Accounts for MysqlAccounts {
    fn version(&self) -> Answer<'_, u64> {
        Box::pin(told(read::version(&self.pool)))
    }

    fn user<'a>(
        &'a self,
        tenant: &'a TenantName,
        user: &'a UserName,
    ) -> Answer<'a, Option<UserRecord>> {
        Box::pin(told(read::user(&self.pool, tenant, user)))
    }

    fn user_by_id(&self, id: UserId) -> Answer<'_, Option<UserRecord>> {
        Box::pin(told(read::user_by_id(&self.pool, id)))
    }

    fn any_user(&self) -> Answer<'_, bool> {
        Box::pin(told(read::any_user(&self.pool)))
    }

    fn rehash<'a>(&'a self, id: UserId, old: &'a str, new: &'a str) -> Answer<'a, ()> {
        Box::pin(told(write::rehash(&self.pool, id, old, new)))
    }

    fn tenants(&self) -> Answer<'_, Vec<TenantRecord>> {
        Box::pin(told(read::tenants(&self.pool)))
    }

    fn add_tenant<'a>(&'a self, name: &'a TenantName, change: TenantChange) -> Answer<'a, ()> {
        self.change(Change::AddTenant(name, change))
    }

    fn set_tenant<'a>(&'a self, name: &'a TenantName, change: TenantChange) -> Answer<'a, ()> {
        self.change(Change::SetTenant(name, change))
    }

    fn users<'a>(&'a self, tenant: Option<&'a TenantName>) -> Answer<'a, Vec<UserRecord>> {
        Box::pin(told(read::users(&self.pool, tenant)))
    }

    fn add_user(&self, user: NewUser) -> Answer<'_, ()> {
        self.change(Change::AddUser(user))
    }

    fn change_user<'a>(
        &'a self,
        tenant: &'a TenantName,
        user: &'a UserName,
        change: UserChange,
    ) -> Answer<'a, ()> {
        self.change(Change::SetUser(tenant, user, change))
    }

    fn remove_user<'a>(&'a self, tenant: &'a TenantName, user: &'a UserName) -> Answer<'a, ()> {
        self.change(Change::RemoveUser(tenant, user))
    }

    fn remove_tenant<'a>(&'a self, name: &'a TenantName) -> Answer<'a, ()> {
        self.change(Change::RemoveTenant(name))
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
