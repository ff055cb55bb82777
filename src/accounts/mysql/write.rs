//! Changing. Each change is one transaction that raises the version first: that row lets one writer
//! at a time, and no server misses a change. Where two meet all the same, as at two nodes of a
//! cluster, the database ends one of them, which is then tried again.

use std::time::Duration;

use sqlx::Row;
use sqlx::mysql::{MySqlConnection, MySqlPool};

use super::read::tenant_id;
use super::{AccountsError, NewUser, TenantChange, UserChange};
use crate::accounts::error::damaged;
use crate::accounts::random_identity;
use crate::mysql::is_collision;
use crate::types::{Grant, San, SettingsPatch, TenantId, TenantName, UserId, UserName};

type Result<T> = std::result::Result<T, AccountsError>;

/// A change that meets another one is tried so often, with a pause that grows by this.
const ATTEMPTS_MAX: u32 = 6;
const PAUSE: Duration = Duration::from_millis(20);

/// One change.
pub(super) enum Change<'a> {
    AddTenant(&'a TenantName, TenantChange),
    SetTenant(&'a TenantName, TenantChange),
    RemoveTenant(&'a TenantName),
    AddUser(NewUser),
    SetUser(&'a TenantName, &'a UserName, UserChange),
    RemoveUser(&'a TenantName, &'a UserName),
}

/// Makes a change.
pub(super) async fn change(pool: &MySqlPool, change: Change<'_>) -> Result<()> {
    for attempt in 1.. {
        match try_change(pool, &change).await {
            Err(AccountsError::Database(error))
                if attempt < ATTEMPTS_MAX && is_collision(&error) =>
            {
                tokio::time::sleep(PAUSE * attempt).await;
            }
            done => return done,
        }
    }
    Ok(())
}

async fn try_change(pool: &MySqlPool, change: &Change<'_>) -> Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::query("UPDATE accounts_version SET version = version + 1")
        .execute(&mut *transaction)
        .await?;
    match change {
        Change::AddTenant(name, change) => add_tenant(&mut transaction, name, change).await?,
        Change::SetTenant(name, change) => {
            let id = tenant_id(&mut transaction, name).await?;
            change_tenant(&mut transaction, id, change).await?;
        }
        Change::RemoveTenant(name) => remove_tenant(&mut transaction, name).await?,
        Change::AddUser(user) => add_user(&mut transaction, user).await?,
        Change::SetUser(tenant, user, change) => {
            change_user(&mut transaction, tenant, user, change).await?;
        }
        Change::RemoveUser(tenant, user) => {
            let id = user_id(&mut transaction, tenant, user).await?;
            let query = sqlx::query("DELETE FROM users WHERE id = ?").bind(id);
            query.execute(&mut *transaction).await?;
        }
    }
    Ok(transaction.commit().await?)
}

pub(super) async fn rehash(pool: &MySqlPool, id: UserId, old: &str, new: &str) -> Result<()> {
    sqlx::query("UPDATE users SET password = ? WHERE id = ? AND password = ?")
        .bind(new)
        .bind(id.0.to_be_bytes().to_vec())
        .bind(old)
        .execute(pool)
        .await?;
    Ok(())
}

async fn add_tenant(
    connection: &mut MySqlConnection,
    name: &TenantName,
    change: &TenantChange,
) -> Result<()> {
    let taken = sqlx::query("SELECT 1 FROM tenants WHERE name = ?").bind(name.as_str());
    if taken.fetch_optional(&mut *connection).await?.is_some() {
        return Err(AccountsError::TenantExists(name.clone()));
    }
    let id = random_identity()?;
    sqlx::query("INSERT INTO tenants (id, name, defaults) VALUES (?, ?, '{}')")
        .bind(&id)
        .bind(name.as_str())
        .execute(&mut *connection)
        .await?;
    let id = tenant_id(connection, name).await?;
    change_tenant(connection, id, change).await
}

async fn change_tenant(
    connection: &mut MySqlConnection,
    id: TenantId,
    change: &TenantChange,
) -> Result<()> {
    let id = id.0.to_be_bytes().to_vec();
    for (query, limit) in [
        ("UPDATE tenants SET max_queues = ? WHERE id = ?", change.queues),
        ("UPDATE tenants SET max_messages = ? WHERE id = ?", change.messages),
        ("UPDATE tenants SET max_bytes = ? WHERE id = ?", change.bytes),
        ("UPDATE tenants SET max_connections = ? WHERE id = ?", change.connections),
    ] {
        if let Some(limit) = limit {
            // More than a signed number holds is as good as the largest one.
            let limit = limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
            sqlx::query(query).bind(limit).bind(&id).execute(&mut *connection).await?;
        }
    }
    if let Some(auto_create) = change.auto_create {
        let query = sqlx::query("UPDATE tenants SET auto_create = ? WHERE id = ?");
        query.bind(auto_create).bind(&id).execute(&mut *connection).await?;
    }
    if change.defaults == SettingsPatch::default() {
        return Ok(());
    }
    let row = sqlx::query("SELECT defaults FROM tenants WHERE id = ?").bind(&id);
    let row = row.fetch_one(&mut *connection).await?;
    // A null names a limit as taken away, so values are set one by one.
    let mut merged = object(&row.try_get::<String, _>(0)?)?;
    let named = serde_json::to_string(&change.defaults).map_err(damaged)?;
    merged.extend(object(&named)?);
    let merged = serde_json::to_string(&merged).map_err(damaged)?;
    let query = sqlx::query("UPDATE tenants SET defaults = ? WHERE id = ?");
    query.bind(merged).bind(&id).execute(connection).await?;
    Ok(())
}

fn object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(text).map_err(damaged)
}

async fn remove_tenant(connection: &mut MySqlConnection, name: &TenantName) -> Result<()> {
    let id = tenant_id(connection, name).await?.0.to_be_bytes().to_vec();
    let users = sqlx::query("SELECT 1 FROM users WHERE tenant_id = ? LIMIT 1").bind(&id);
    if users.fetch_optional(&mut *connection).await?.is_some() {
        return Err(AccountsError::TenantHasUsers(name.clone()));
    }
    sqlx::query("DELETE FROM tenants WHERE id = ?").bind(id).execute(connection).await?;
    Ok(())
}

async fn add_user(connection: &mut MySqlConnection, user: &NewUser) -> Result<()> {
    if user.require_certificate && user.certificate.is_none() {
        return Err(AccountsError::CertificateMissing);
    }
    let tenant = tenant_id(connection, &user.tenant).await?.0.to_be_bytes().to_vec();
    let id = random_identity()?;
    free_certificate(connection, user.certificate.as_ref(), &[]).await?;
    let taken = sqlx::query("SELECT 1 FROM users WHERE tenant_id = ? AND name = ?").bind(&tenant);
    if taken.bind(user.name.as_str()).fetch_optional(&mut *connection).await?.is_some() {
        let (tenant, user) = (user.tenant.clone(), user.name.clone());
        return Err(AccountsError::UserExists { tenant, user });
    }
    sqlx::query(
        "INSERT INTO users (id, tenant_id, name, password, certificate, require_certificate)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&id)
    .bind(tenant)
    .bind(user.name.as_str())
    .bind(user.password_hash.as_str())
    .bind(user.certificate.as_ref().map(San::to_string))
    .bind(user.require_certificate)
    .execute(&mut *connection)
    .await?;
    insert_grants(connection, &id, &user.grants).await
}

async fn change_user(
    connection: &mut MySqlConnection,
    tenant: &TenantName,
    user: &UserName,
    change: &UserChange,
) -> Result<()> {
    let id = user_id(connection, tenant, user).await?;
    match change {
        UserChange::Password(hash) => {
            let query = sqlx::query("UPDATE users SET password = ? WHERE id = ?");
            query.bind(hash.as_str()).bind(&id).execute(&mut *connection).await?;
            raise_credentials(connection, &id).await
        }
        UserChange::Disabled(disabled) => {
            let query = sqlx::query("UPDATE users SET disabled = ? WHERE id = ?");
            query.bind(disabled).bind(&id).execute(&mut *connection).await?;
            raise_credentials(connection, &id).await
        }
        UserChange::Certificate(certificate) => {
            set_certificate(connection, &id, certificate.as_ref()).await?;
            raise_credentials(connection, &id).await
        }
        UserChange::Grant(grants) => insert_grants(connection, &id, grants).await,
        UserChange::Revoke(grants) => delete_grants(connection, &id, grants).await,
    }
}

/// A certificate that is required cannot be taken away: the user could never log in again.
async fn set_certificate(
    connection: &mut MySqlConnection,
    id: &[u8],
    certificate: Option<&San>,
) -> Result<()> {
    free_certificate(connection, certificate, id).await?;
    let certificate = certificate.map(San::to_string);
    let changed = sqlx::query(
        "UPDATE users SET certificate = ? WHERE id = ? AND (? IS NOT NULL OR require_certificate = 0)",
    )
    .bind(&certificate)
    .bind(id)
    .bind(&certificate)
    .execute(connection)
    .await?;
    if changed.rows_affected() == 0 { Err(AccountsError::CertificateMissing) } else { Ok(()) }
}

/// Refuses an identity that a user other than `id` has.
async fn free_certificate(
    connection: &mut MySqlConnection,
    certificate: Option<&San>,
    id: &[u8],
) -> Result<()> {
    let Some(certificate) = certificate else { return Ok(()) };
    let taken = sqlx::query("SELECT 1 FROM users WHERE certificate = ? AND id <> ?")
        .bind(certificate.to_string())
        .bind(id)
        .fetch_optional(connection)
        .await?;
    match taken {
        Some(_) => Err(AccountsError::CertificateTaken(certificate.clone())),
        None => Ok(()),
    }
}

async fn user_id(
    connection: &mut MySqlConnection,
    tenant: &TenantName,
    user: &UserName,
) -> Result<Vec<u8>> {
    let tenant_id = tenant_id(connection, tenant).await?;
    let found: Option<(Vec<u8>,)> =
        sqlx::query_as("SELECT id FROM users WHERE tenant_id = ? AND name = ?")
            .bind(tenant_id.0.to_be_bytes().to_vec())
            .bind(user.as_str())
            .fetch_optional(connection)
            .await?;
    let missing = || AccountsError::NoSuchUser { tenant: tenant.clone(), user: user.clone() };
    found.map(|(id,)| id).ok_or_else(missing)
}

async fn insert_grants(
    connection: &mut MySqlConnection,
    id: &[u8],
    grants: &[Grant],
) -> Result<()> {
    for grant in grants {
        let query = "INSERT IGNORE INTO `grants` (user_id, action, pattern) VALUES (?, ?, ?)";
        let query = sqlx::query(query).bind(id).bind(grant.action.as_str());
        query.bind(grant.pattern.as_str()).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn delete_grants(
    connection: &mut MySqlConnection,
    id: &[u8],
    grants: &[Grant],
) -> Result<()> {
    for grant in grants {
        let query = "DELETE FROM `grants` WHERE user_id = ? AND action = ? AND pattern = ?";
        let query = sqlx::query(query).bind(id).bind(grant.action.as_str());
        let done = query.bind(grant.pattern.as_str()).execute(&mut *connection).await?;
        if done.rows_affected() == 0 {
            return Err(AccountsError::NoSuchGrant(grant.clone()));
        }
    }
    Ok(())
}

async fn raise_credentials(connection: &mut MySqlConnection, id: &[u8]) -> Result<()> {
    let query = "UPDATE users SET credentials_version = credentials_version + 1 WHERE id = ?";
    sqlx::query(query).bind(id).execute(connection).await?;
    Ok(())
}
