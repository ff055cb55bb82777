//! The tables: one statement a migration, for MySQL commits with each. `gmq admin migrate` runs
//! them; a server only looks whether they were.

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::mysql::MySqlConnection;
use sqlx::{Row, SqlSafeStr};

use super::error::is_denied;
use super::{Address, DatabaseError, Result};

/// One migration: its number and name, and its text.
macro_rules! migrations {
    ($($version:literal $name:literal),* $(,)?) => {
        [$(($version, $name, include_str!(concat!("../../migrations/mysql/", $name, ".sql")))),*]
    };
}

/// Where somebody else migrates, it is waited for so long. Unit: s.
const LOCK_SECONDS: i64 = 10;

/// How far a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Migrations that were run.
    pub done: usize,
    /// Migrations there are.
    pub all: usize,
}

fn migrator() -> Migrator {
    let texts = migrations![
        1 "0001_tenants",
        2 "0002_users",
        3 "0003_grants",
        4 "0004_accounts_version",
        5 "0005_first_version",
        11 "0011_owners",
        12 "0012_queues",
        13 "0013_messages",
        14 "0014_dedup_keys",
        15 "0015_bindings",
        16 "0016_queue_sizes",
        17 "0017_first_queue_sizes",
        18 "0018_known_without_sizes",
    ];
    let migration = |(version, name, text): (i64, &'static str, &'static str)| {
        let kind = MigrationType::Simple;
        Migration::new(version, name.into(), kind, text.into_sql_str(), true)
    };
    let mut migrator = Migrator::with_migrations(texts.into_iter().map(migration).collect());
    migrator.set_locking(false);
    migrator
}

/// How far the database is; an error where it is not as this version needs it, or can make it.
///
/// # Errors
///
/// A migration that was not finished, one that a newer version made, no connection.
pub async fn schema(address: &Address, connection: &mut MySqlConnection) -> Result<Schema> {
    let migrator = migrator();
    let table = migrator.table_name.clone();
    let all = migrator.iter().count();
    let there = "SELECT COUNT(*) FROM information_schema.TABLES
                 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?";
    let there = sqlx::query(there).bind(&*table).fetch_one(&mut *connection).await?;
    if there.try_get::<i64, _>(0)? == 0 {
        return Ok(Schema { done: 0, all });
    }
    let refused = |error| migration_error(error, address);
    if let Some(version) = connection.dirty_version(&table).await.map_err(refused)? {
        return Err(DatabaseError::Dirty { address: address.to_string(), version });
    }
    let applied = connection.list_applied_migrations(&table).await.map_err(refused)?;
    for one in &applied {
        let known = migrator.iter().find(|migration| migration.version == one.version);
        if known.is_none_or(|migration| migration.checksum != one.checksum) {
            return Err(DatabaseError::Newer(address.to_string()));
        }
    }
    Ok(Schema { done: applied.len(), all })
}

/// Runs the migrations that were not run yet.
///
/// # Errors
///
/// As [`schema`], and where somebody else is at it.
pub async fn migrate(address: &Address) -> Result<Schema> {
    let mut connection = address.connect().await?;
    let lock = sqlx::query("SELECT GET_LOCK(CONCAT('gmq.', DATABASE()), ?)").bind(LOCK_SECONDS);
    let locked: Option<i64> = lock.fetch_one(&mut connection).await?.try_get(0)?;
    if locked != Some(1) {
        return Err(DatabaseError::Locked(address.to_string()));
    }
    let found = schema(address, &mut connection).await?;
    if found.done == found.all {
        return Ok(found);
    }
    let run = migrator().run(&mut connection).await;
    run.map_err(|error| migration_error(error, address))?;
    schema(address, &mut connection).await
}

fn migration_error(error: MigrateError, address: &Address) -> DatabaseError {
    let address = address.to_string();
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => {
            DatabaseError::Newer(address)
        }
        MigrateError::Dirty(version) => DatabaseError::Dirty { address, version },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
            if is_denied(&error) =>
        {
            DatabaseError::Denied { address, reason: error.to_string() }
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => DatabaseError::Unreachable { address, reason: other.to_string() },
    }
}
