//! Accounts in a real MariaDB.

use std::sync::Arc;

use super::super::suite::{Site, runs_the_suite, with_acme};
use super::*;
use crate::mysql::testing;

struct Database(Address);

impl Site for Database {
    async fn open(&self) -> Arc<dyn Accounts> {
        with_acme(Arc::new(MysqlAccounts::open(&self.0).await.unwrap())).await
    }
}

runs_the_suite!(Database(testing::database("accounts").await));

#[tokio::test]
async fn a_database_without_tables_is_refused_and_not_changed() {
    let address = testing::empty_database("accounts").await;
    let Err(error) = MysqlAccounts::open(&address).await else { panic!("it opens") };
    assert!(error.to_string().contains("gmq admin migrate"), "{error}");
    let mut connection = address.connect().await.unwrap();
    let schema = crate::mysql::schema(&address, &mut connection).await.unwrap();
    assert_eq!(schema.done, 0);
}
