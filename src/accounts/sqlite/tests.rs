//! Accounts on real files.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::super::suite::{Site, runs_the_suite, with_acme};
use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("data").join("accounts.db")
    }
}

impl Site for Folder {
    async fn open(&self) -> Arc<dyn Accounts> {
        with_acme(Arc::new(SqliteAccounts::open(&self.path(), true).await.unwrap())).await
    }
}

runs_the_suite!(Folder::new());

#[tokio::test]
async fn files_are_private() {
    let folder = Folder::new();
    folder.open().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path()), 0o600);
    assert_eq!(mode(folder.path().parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_newer_database_and_one_that_is_behind_are_refused() {
    let folder = Folder::new();
    let Err(error) = SqliteAccounts::open(&folder.path(), false).await else { panic!("behind") };
    assert!(matches!(error, AccountsError::Behind(_)), "{error}");
    let accounts = SqliteAccounts::open(&folder.path(), true).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'of tomorrow', 1, x'00', 0)",
    )
    .execute(&accounts.pool)
    .await
    .unwrap();
    accounts.close().await.unwrap();
    for migrate in [true, false] {
        let Err(error) = SqliteAccounts::open(&folder.path(), migrate).await else {
            panic!("newer")
        };
        assert!(matches!(error, AccountsError::Newer(_)), "{error}");
    }
}
