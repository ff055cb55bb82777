//! Changing. Each change is one transaction that holds the writer's place from its beginning and
//! raises the version, so that no server misses it.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, SqlitePool, Transaction};

use super::read::tenant_id;
use super::{AccountsError, NewUser, TenantChange, UserChange};
use crate::accounts::error::damaged;
use crate::accounts::random_identity;
use crate::types::{Grant, San, SettingsPatch, TenantName, UserId, UserName};

type Result<T> = std::result::Result<T, AccountsError>;

pub(super) async fn rehash(pool: &SqlitePool, id: UserId, old: &str, new: &str) -> Result<()> {
    sqlx::query("UPDATE users SET password = ?3 WHERE id = ?1 AND password = ?2")
        .bind(id.0.to_be_bytes().to_vec())
        .bind(old)
        .bind(new)
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn add_tenant(
    pool: &SqlitePool,
    name: &TenantName,
    change: TenantChange,
) -> Result<()> {
    let mut transaction = begin(pool).await?;
    let added = sqlx::query("INSERT INTO tenants (id, name) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(random_identity()?)
        .bind(name.as_str())
        .execute(&mut *transaction)
        .await?;
    if added.rows_affected() == 0 {
        return Err(AccountsError::TenantExists(name.clone()));
    }
    change_tenant(&mut transaction, name, change).await?;
    commit(transaction).await
}

pub(super) async fn set_tenant(
    pool: &SqlitePool,
    name: &TenantName,
    change: TenantChange,
) -> Result<()> {
    let mut transaction = begin(pool).await?;
    tenant_id(&mut transaction, name).await?;
    change_tenant(&mut transaction, name, change).await?;
    commit(transaction).await
}

async fn change_tenant(
    connection: &mut SqliteConnection,
    name: &TenantName,
    change: TenantChange,
) -> Result<()> {
    for (query, limit) in [
        ("UPDATE tenants SET max_queues = ?2 WHERE name = ?1", change.queues),
        ("UPDATE tenants SET max_messages = ?2 WHERE name = ?1", change.messages),
        ("UPDATE tenants SET max_bytes = ?2 WHERE name = ?1", change.bytes),
        ("UPDATE tenants SET max_connections = ?2 WHERE name = ?1", change.connections),
    ] {
        if let Some(limit) = limit {
            // More than a signed number holds is as good as the largest one.
            let limit = limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
            let query = sqlx::query(query).bind(name.as_str()).bind(limit);
            query.execute(&mut *connection).await?;
        }
    }
    if let Some(auto_create) = change.auto_create {
        let query = sqlx::query("UPDATE tenants SET auto_create = ?2 WHERE name = ?1");
        query.bind(name.as_str()).bind(auto_create).execute(&mut *connection).await?;
    }
    if change.defaults != SettingsPatch::default() {
        let named = serde_json::to_string(&change.defaults).map_err(damaged)?;
        // A null names a limit as taken away, so values are set one by one, not merged.
        let query = sqlx::query(
            "UPDATE tenants SET defaults = (
                SELECT json_group_object(key, json(value)) FROM (
                    SELECT key, json_quote(value) AS value FROM json_each(tenants.defaults)
                    WHERE key NOT IN (SELECT key FROM json_each(?2))
                    UNION ALL SELECT key, json_quote(value) FROM json_each(?2)
                )
             ) WHERE name = ?1",
        );
        query.bind(name.as_str()).bind(named).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn add_user(pool: &SqlitePool, user: NewUser) -> Result<()> {
    if user.require_certificate && user.certificate.is_none() {
        return Err(AccountsError::CertificateMissing);
    }
    let mut transaction = begin(pool).await?;
    let tenant = tenant_id(&mut transaction, &user.tenant).await?;
    let id = random_identity()?;
    free_certificate(&mut transaction, user.certificate.as_ref(), &[]).await?;
    let added = sqlx::query(
        "INSERT INTO users (id, tenant_id, name, password, certificate, require_certificate)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id, name) DO NOTHING",
    )
    .bind(&id)
    .bind(tenant.0.to_be_bytes().to_vec())
    .bind(user.name.as_str())
    .bind(user.password_hash.as_str())
    .bind(user.certificate.as_ref().map(San::to_string))
    .bind(user.require_certificate)
    .execute(&mut *transaction)
    .await?;
    if added.rows_affected() == 0 {
        return Err(AccountsError::UserExists { tenant: user.tenant, user: user.name });
    }
    insert_grants(&mut transaction, &id, &user.grants).await?;
    commit(transaction).await
}

pub(super) async fn change_user(
    pool: &SqlitePool,
    tenant: &TenantName,
    user: &UserName,
    change: UserChange,
) -> Result<()> {
    let mut transaction = begin(pool).await?;
    let id = user_id(&mut transaction, tenant, user).await?;
    match change {
        UserChange::Password(hash) => {
            let query = sqlx::query("UPDATE users SET password = ?2 WHERE id = ?1");
            query.bind(&id).bind(hash.as_str()).execute(&mut *transaction).await?;
            raise_credentials(&mut transaction, &id).await?;
        }
        UserChange::Disabled(disabled) => {
            let query = sqlx::query("UPDATE users SET disabled = ?2 WHERE id = ?1");
            query.bind(&id).bind(disabled).execute(&mut *transaction).await?;
            raise_credentials(&mut transaction, &id).await?;
        }
        UserChange::Certificate(certificate) => {
            set_certificate(&mut transaction, &id, certificate).await?;
            raise_credentials(&mut transaction, &id).await?;
        }
        UserChange::Grant(grants) => insert_grants(&mut transaction, &id, &grants).await?,
        UserChange::Revoke(grants) => delete_grants(&mut transaction, &id, &grants).await?,
    }
    commit(transaction).await
}

pub(super) async fn remove_user(
    pool: &SqlitePool,
    tenant: &TenantName,
    user: &UserName,
) -> Result<()> {
    let mut transaction = begin(pool).await?;
    let id = user_id(&mut transaction, tenant, user).await?;
    sqlx::query("DELETE FROM users WHERE id = ?").bind(id).execute(&mut *transaction).await?;
    commit(transaction).await
}

pub(super) async fn remove_tenant(pool: &SqlitePool, name: &TenantName) -> Result<()> {
    let mut transaction = begin(pool).await?;
    let id = tenant_id(&mut transaction, name).await?.0.to_be_bytes().to_vec();
    let query = "SELECT 1 FROM users WHERE tenant_id = ? LIMIT 1";
    if sqlx::query(query).bind(&id).fetch_optional(&mut *transaction).await?.is_some() {
        return Err(AccountsError::TenantHasUsers(name.clone()));
    }
    sqlx::query("DELETE FROM tenants WHERE id = ?").bind(id).execute(&mut *transaction).await?;
    commit(transaction).await
}

/// A certificate that is required cannot be taken away: the user could never log in again.
async fn set_certificate(
    connection: &mut SqliteConnection,
    id: &[u8],
    certificate: Option<San>,
) -> Result<()> {
    free_certificate(connection, certificate.as_ref(), id).await?;
    let changed = sqlx::query(
        "UPDATE users SET certificate = ?2
         WHERE id = ?1 AND (?2 IS NOT NULL OR NOT require_certificate)",
    )
    .bind(id)
    .bind(certificate.as_ref().map(San::to_string))
    .execute(connection)
    .await?;
    if changed.rows_affected() == 0 { Err(AccountsError::CertificateMissing) } else { Ok(()) }
}

/// Refuses an identity that a user other than `id` has.
async fn free_certificate(
    connection: &mut SqliteConnection,
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
    connection: &mut SqliteConnection,
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
    connection: &mut SqliteConnection,
    id: &[u8],
    grants: &[Grant],
) -> Result<()> {
    for grant in grants {
        let query = "INSERT INTO grants (user_id, action, pattern) VALUES (?, ?, ?)
                     ON CONFLICT DO NOTHING";
        let query = sqlx::query(query).bind(id).bind(grant.action.as_str());
        query.bind(grant.pattern.as_str()).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn delete_grants(
    connection: &mut SqliteConnection,
    id: &[u8],
    grants: &[Grant],
) -> Result<()> {
    for grant in grants {
        let query = "DELETE FROM grants WHERE user_id = ? AND action = ? AND pattern = ?";
        let query = sqlx::query(query).bind(id).bind(grant.action.as_str());
        let done = query.bind(grant.pattern.as_str()).execute(&mut *connection).await?;
        if done.rows_affected() == 0 {
            return Err(AccountsError::NoSuchGrant(grant.clone()));
        }
    }
    Ok(())
}

async fn raise_credentials(connection: &mut SqliteConnection, id: &[u8]) -> Result<()> {
    let query = "UPDATE users SET credentials_version = credentials_version + 1 WHERE id = ?";
    sqlx::query(query).bind(id).execute(connection).await?;
    Ok(())
}

/// Takes the writer's place at once, so that two changes never meet half way.
async fn begin(pool: &SqlitePool) -> Result<Transaction<'static, Sqlite>> {
    Ok(pool.begin_with("BEGIN IMMEDIATE").await?)
}

async fn commit(mut transaction: Transaction<'static, Sqlite>) -> Result<()> {
    sqlx::query("UPDATE accounts_version SET version = version + 1")
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}
