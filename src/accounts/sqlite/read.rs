//! Reading. A user is read with its tenant and grants in one transaction, so that what belongs
//! together is of one version.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, SqlitePool};
use zeroize::Zeroizing;

use super::{AccountsError, TenantRecord, UserRecord};
use crate::accounts::error::damaged;
use crate::types::{Grant, Grants, Quotas, TenantId, TenantName, UserId, UserName};

type Result<T> = std::result::Result<T, AccountsError>;

const SELECT_USERS: &str = "
    SELECT users.id AS user_id, users.name AS user_name, password, certificate,
           require_certificate, disabled, credentials_version,
           tenants.id AS tenant_id, tenants.name AS tenant_name, max_queues, max_messages,
           max_bytes, max_connections, auto_create, defaults
    FROM users JOIN tenants ON tenants.id = users.tenant_id
    WHERE (?1 IS NULL OR tenants.name = ?1) AND (?2 IS NULL OR users.name = ?2)
      AND (?3 IS NULL OR users.id = ?3)
    ORDER BY tenants.name, users.name";

pub(super) async fn version(pool: &SqlitePool) -> Result<u64> {
    let row = sqlx::query("SELECT version FROM accounts_version").fetch_one(pool).await?;
    number(&row, "version")
}

pub(super) async fn user(
    pool: &SqlitePool,
    tenant: &TenantName,
    user: &UserName,
) -> Result<Option<UserRecord>> {
    let mut found = select(pool, Some(tenant), Some(user), None).await?;
    Ok(found.pop())
}

pub(super) async fn user_by_id(pool: &SqlitePool, id: UserId) -> Result<Option<UserRecord>> {
    let mut found = select(pool, None, None, Some(id)).await?;
    Ok(found.pop())
}

pub(super) async fn users(
    pool: &SqlitePool,
    tenant: Option<&TenantName>,
) -> Result<Vec<UserRecord>> {
    if let Some(name) = tenant {
        let mut connection = pool.acquire().await?;
        tenant_id(&mut connection, name).await?;
    }
    select(pool, tenant, None, None).await
}

pub(super) async fn any_user(pool: &SqlitePool) -> Result<bool> {
    let found = sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(pool).await?;
    Ok(found.is_some())
}

pub(super) async fn tenants(pool: &SqlitePool) -> Result<Vec<TenantRecord>> {
    let query = "
        SELECT id AS tenant_id, name AS tenant_name, max_queues, max_messages, max_bytes,
               max_connections, auto_create, defaults
        FROM tenants ORDER BY name";
    sqlx::query(query).fetch_all(pool).await?.iter().map(tenant_record).collect()
}

/// The tenant's identity; an error where there is none of that name.
pub(super) async fn tenant_id(
    connection: &mut SqliteConnection,
    name: &TenantName,
) -> Result<TenantId> {
    let query = sqlx::query("SELECT id FROM tenants WHERE name = ?").bind(name.as_str());
    match query.fetch_optional(connection).await? {
        Some(row) => Ok(TenantId(identity(&row, "id")?)),
        None => Err(AccountsError::NoSuchTenant(name.clone())),
    }
}

async fn select(
    pool: &SqlitePool,
    tenant: Option<&TenantName>,
    user: Option<&UserName>,
    id: Option<UserId>,
) -> Result<Vec<UserRecord>> {
    let mut transaction = pool.begin().await?;
    let rows = sqlx::query(SELECT_USERS)
        .bind(tenant.map(TenantName::as_str))
        .bind(user.map(UserName::as_str))
        .bind(id.map(|id| id.0.to_be_bytes().to_vec()))
        .fetch_all(&mut *transaction)
        .await?;
    let mut users = Vec::with_capacity(rows.len());
    for row in &rows {
        let id = UserId(identity(row, "user_id")?);
        let grants = grants(&mut transaction, id).await?;
        users.push(user_record(row, id, grants)?);
    }
    transaction.rollback().await?;
    Ok(users)
}

async fn grants(connection: &mut SqliteConnection, id: UserId) -> Result<Grants> {
    let query =
        sqlx::query("SELECT action || ':' || pattern AS text FROM grants WHERE user_id = ?")
            .bind(id.0.to_be_bytes().to_vec());
    let rows = query.fetch_all(connection).await?;
    let grants: Result<Vec<Grant>> = rows.iter().map(|row| parsed(row, "text")).collect();
    Ok(Grants::new(grants?))
}

fn user_record(row: &SqliteRow, id: UserId, grants: Grants) -> Result<UserRecord> {
    let certificate: Option<String> = row.try_get("certificate")?;
    let certificate = certificate.map(|text| text.parse().map_err(damaged)).transpose()?;
    Ok(UserRecord {
        id,
        name: parsed(row, "user_name")?,
        tenant: tenant_record(row)?,
        password_hash: Zeroizing::new(row.try_get("password")?),
        certificate,
        require_certificate: row.try_get("require_certificate")?,
        disabled: row.try_get("disabled")?,
        credentials_version: number(row, "credentials_version")?,
        grants,
    })
}

fn tenant_record(row: &SqliteRow) -> Result<TenantRecord> {
    let defaults: String = row.try_get("defaults")?;
    Ok(TenantRecord {
        id: TenantId(identity(row, "tenant_id")?),
        name: parsed(row, "tenant_name")?,
        quotas: Quotas {
            queues: optional_number(row, "max_queues")?,
            messages: optional_number(row, "max_messages")?,
            bytes: optional_number(row, "max_bytes")?,
            connections: optional_number(row, "max_connections")?,
        },
        auto_create: row.try_get("auto_create")?,
        defaults: serde_json::from_str(&defaults).map_err(damaged)?,
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(row: &SqliteRow, name: &str) -> Result<T> {
    let text: String = row.try_get(name)?;
    text.parse().map_err(damaged)
}

fn identity(row: &SqliteRow, name: &str) -> Result<u128> {
    let bytes: Vec<u8> = row.try_get(name)?;
    let bytes = bytes.try_into().map_err(|_| damaged("an identity has not 16 bytes"))?;
    Ok(u128::from_be_bytes(bytes))
}

fn number(row: &SqliteRow, name: &str) -> Result<u64> {
    optional_number(row, name)?.ok_or_else(|| damaged(format_args!("{name} is missing")))
}

fn optional_number(row: &SqliteRow, name: &str) -> Result<Option<u64>> {
    let number: Option<i64> = row.try_get(name)?;
    number.map(|number| u64::try_from(number).map_err(damaged)).transpose()
}
