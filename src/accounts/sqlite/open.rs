//! Opening the file, with its modes and migrations.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlSafeStr, SqlitePool};

use super::AccountsError;

/// Another process may hold the one place of the writer so long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections to the file; logins and the poll read beside an administrative write.
const CONNECTIONS_MAX: u32 = 4;

pub(super) async fn open(path: &Path, migrate: bool) -> Result<SqlitePool, AccountsError> {
    protect(path).map_err(|reason| AccountsError::Files { path: path.to_owned(), reason })?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    let pool =
        SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
    bring_up_to_date(&pool, path, migrate).await?;
    Ok(pool)
}

/// Copies the database, as it is at one moment, into a file that does not exist yet.
pub(super) async fn copy(pool: &SqlitePool, path: &Path) -> Result<(), AccountsError> {
    let name = path.to_str().ok_or_else(|| AccountsError::Files {
        path: path.to_owned(),
        reason: std::io::ErrorKind::InvalidFilename.into(),
    })?;
    sqlx::query("VACUUM INTO ?").bind(name).execute(pool).await?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|reason| AccountsError::Files { path: path.to_owned(), reason })
}

/// The folder 0700 and the file 0600, before anything is in them.
fn protect(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn migrator() -> Migrator {
    let sql = include_str!("../../../migrations/sqlite/0001_accounts.sql").into_sql_str();
    let kind = MigrationType::Simple;
    Migrator::with_migrations(vec![Migration::new(1, "accounts".into(), kind, sql, false)])
}

async fn bring_up_to_date(
    pool: &SqlitePool,
    path: &Path,
    migrate: bool,
) -> Result<(), AccountsError> {
    let migrator = migrator();
    let mut connection = pool.acquire().await?;
    if !migrate {
        let table = migrator.table_name.clone();
        let refused = |error| migration_error(error, path);
        connection.ensure_migrations_table(&table).await.map_err(refused)?;
        let applied = connection.list_applied_migrations(&table).await.map_err(refused)?;
        if applied.len() < migrator.iter().count() {
            return Err(AccountsError::Behind(path.to_owned()));
        }
    }
    migrator.run(&mut *connection).await.map_err(|error| migration_error(error, path))
}

fn migration_error(error: MigrateError, path: &Path) -> AccountsError {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => {
            AccountsError::Newer(path.to_owned())
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => AccountsError::Damaged(other.to_string()),
    }
}
