//! What accounts are to do, whatever keeps them; each database runs all of it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::*;
use crate::types::{Grant, San, SettingsPatch};

/// Where accounts are kept.
pub(super) trait Site {
    /// Opens them, as another process would, with a tenant `acme`.
    async fn open(&self) -> Arc<dyn Accounts>;
}

/// Runs each test of the suite on a new site.
macro_rules! runs_the_suite {
    ($site:expr) => {
        $crate::accounts::suite::runs_the_suite! {
            $site =>
            a_user_is_found_with_its_tenant_and_grants,
            what_exists_and_what_does_not_is_said,
            credentials_have_a_version_that_grants_and_a_rehash_do_not_raise,
            an_identity_is_one_users_alone_and_a_required_one_stays,
            a_tenants_limits_are_set_and_taken_away_and_defaults_are_merged,
            two_processes_see_each_others_changes_and_write_in_turn,
            a_name_made_anew_inherits_nothing
        }
    };
    ($site:expr => $($name:ident),*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::accounts::suite::$name(&$site).await;
            }
        )*
    };
}
pub(super) use runs_the_suite;

/// Adds the tenant `acme` where it is not there yet.
pub(super) async fn with_acme(accounts: Arc<dyn Accounts>) -> Arc<dyn Accounts> {
    match accounts.add_tenant(&tenant("acme"), TenantChange::default()).await {
        Ok(()) | Err(AccountsError::TenantExists(_)) => accounts,
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn tenant(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn grant(text: &str) -> Grant {
    text.parse().unwrap()
}

fn new_user(name: &str) -> NewUser {
    NewUser {
        tenant: tenant("acme"),
        name: user(name),
        password_hash: Zeroizing::new("hash".to_owned()),
        grants: vec![grant("all:#"), grant("all:#"), grant("publish:a")],
        certificate: None,
        require_certificate: false,
    }
}

async fn change(accounts: &dyn Accounts, name: &str, change: UserChange) -> u64 {
    accounts.change_user(&tenant("acme"), &user(name), change).await.unwrap();
    record(accounts, name).await.credentials_version
}

async fn record(accounts: &dyn Accounts, name: &str) -> UserRecord {
    accounts.user(&tenant("acme"), &user(name)).await.unwrap().unwrap()
}

pub(super) async fn a_user_is_found_with_its_tenant_and_grants(site: &impl Site) {
    let accounts = site.open().await;
    assert!(!accounts.any_user().await.unwrap());
    accounts.add_user(new_user("bob")).await.unwrap();
    let bob = record(&*accounts, "bob").await;
    assert_eq!(bob.tenant.name, tenant("acme"));
    let grants: Vec<_> = bob.grants.iter().map(Grant::to_string).collect();
    assert_eq!(grants, ["publish:a", "all:#"]);
    assert!(accounts.any_user().await.unwrap());
    assert!(accounts.user(&tenant("acme"), &user("eve")).await.unwrap().is_none());
    assert!(accounts.user(&tenant("none"), &user("bob")).await.unwrap().is_none());
    assert_eq!(accounts.user_by_id(bob.id).await.unwrap().unwrap().name, user("bob"));
    assert!(!format!("{bob:?}").contains("hash"));
}

pub(super) async fn what_exists_and_what_does_not_is_said(site: &impl Site) {
    let accounts = site.open().await;
    accounts.add_user(new_user("bob")).await.unwrap();
    let error = accounts.add_user(new_user("bob")).await.unwrap_err();
    assert!(matches!(error, AccountsError::UserExists { .. }));
    let error = accounts.add_tenant(&tenant("acme"), TenantChange::default()).await.unwrap_err();
    assert!(matches!(error, AccountsError::TenantExists(_)));
    let error = accounts.set_tenant(&tenant("none"), TenantChange::default()).await.unwrap_err();
    assert!(matches!(error, AccountsError::NoSuchTenant(_)));
    let revoke = UserChange::Revoke(vec![grant("all:#"), grant("consume:z")]);
    let error = accounts.change_user(&tenant("acme"), &user("bob"), revoke).await.unwrap_err();
    assert!(matches!(error, AccountsError::NoSuchGrant(_)));
    assert_eq!(record(&*accounts, "bob").await.grants.iter().count(), 2, "all or none");
    let error = accounts
        .change_user(&tenant("acme"), &user("eve"), UserChange::Disabled(true))
        .await
        .unwrap_err();
    assert!(matches!(error, AccountsError::NoSuchUser { .. }));
}

pub(super) async fn credentials_have_a_version_that_grants_and_a_rehash_do_not_raise(
    site: &impl Site,
) {
    let accounts = site.open().await;
    accounts.add_user(new_user("bob")).await.unwrap();
    let first = record(&*accounts, "bob").await;
    let version = accounts.version().await.unwrap();
    let grants = UserChange::Grant(vec![grant("consume:b")]);
    assert_eq!(change(&*accounts, "bob", grants).await, first.credentials_version);
    accounts.rehash(first.id, "hash", "stronger").await.unwrap();
    accounts.rehash(first.id, "hash", "too late").await.unwrap();
    let now = record(&*accounts, "bob").await;
    assert_eq!(now.password_hash.as_str(), "stronger");
    assert_eq!(now.credentials_version, first.credentials_version);
    assert!(accounts.version().await.unwrap() > version, "the grant raised it");
    let mut last = first.credentials_version;
    let san: San = "dns:bob.example".parse().unwrap();
    for each in [
        UserChange::Password(Zeroizing::new("new".to_owned())),
        UserChange::Disabled(true),
        UserChange::Disabled(false),
        UserChange::Certificate(Some(san)),
        UserChange::Certificate(None),
    ] {
        let now = change(&*accounts, "bob", each).await;
        assert!(now > last);
        last = now;
    }
}

pub(super) async fn an_identity_is_one_users_alone_and_a_required_one_stays(site: &impl Site) {
    let accounts = site.open().await;
    let san: San = "dns:worker.example".parse().unwrap();
    let mut bob = new_user("bob");
    bob.require_certificate = true;
    let error = accounts.add_user(bob).await.unwrap_err();
    assert!(matches!(error, AccountsError::CertificateMissing));
    let certificate = Some(san.clone());
    let bob = NewUser { certificate, require_certificate: true, ..new_user("bob") };
    accounts.add_user(bob).await.unwrap();
    let eve = NewUser { certificate: Some(san), ..new_user("eve") };
    let error = accounts.add_user(eve).await.unwrap_err();
    assert!(matches!(error, AccountsError::CertificateTaken(_)));
    let none = UserChange::Certificate(None);
    let error = accounts.change_user(&tenant("acme"), &user("bob"), none).await.unwrap_err();
    assert!(matches!(error, AccountsError::CertificateMissing));
}

pub(super) async fn a_tenants_limits_are_set_and_taken_away_and_defaults_are_merged(
    site: &impl Site,
) {
    let accounts = site.open().await;
    let defaults = |text: &str| serde_json::from_str::<SettingsPatch>(text).unwrap();
    let change = TenantChange {
        queues: Some(Some(3)),
        auto_create: Some(false),
        defaults: defaults(r#"{"ack_timeout_ms":5,"max_bytes":7,"storage":"memory"}"#),
        ..TenantChange::default()
    };
    accounts.set_tenant(&tenant("acme"), change).await.unwrap();
    let change = TenantChange {
        queues: Some(None),
        messages: Some(Some(9)),
        defaults: defaults(r#"{"max_bytes":null}"#),
        ..TenantChange::default()
    };
    accounts.set_tenant(&tenant("acme"), change).await.unwrap();
    let acme = accounts.tenants().await.unwrap().remove(0);
    assert_eq!((acme.quotas.queues, acme.quotas.messages), (None, Some(9)));
    assert!(!acme.auto_create);
    let expected = r#"{"ack_timeout_ms":5,"max_bytes":null,"storage":"memory"}"#;
    assert_eq!(acme.defaults, defaults(expected));
}

pub(super) async fn two_processes_see_each_others_changes_and_write_in_turn(site: &impl Site) {
    let (one, other) = (site.open().await, site.open().await);
    let before = one.version().await.unwrap();
    let names: Vec<_> = (0..20).map(|n| format!("user{n}")).collect();
    let (mine, theirs) = names.split_at(10);
    let add = async |accounts: &dyn Accounts, names: &[String]| {
        for name in names {
            accounts.add_user(new_user(name)).await.unwrap();
        }
    };
    tokio::join!(add(&*one, mine), add(&*other, theirs));
    assert_eq!(other.version().await.unwrap(), before + 20);
    assert_eq!(one.users(Some(&tenant("acme"))).await.unwrap().len(), 20);
}

pub(super) async fn a_name_made_anew_inherits_nothing(site: &impl Site) {
    let accounts = site.open().await;
    accounts.add_user(new_user("bob")).await.unwrap();
    let first = record(&*accounts, "bob").await;
    let error = accounts.remove_tenant(&tenant("acme")).await.unwrap_err();
    assert!(matches!(error, AccountsError::TenantHasUsers(_)), "{error}");
    accounts.remove_user(&tenant("acme"), &user("bob")).await.unwrap();
    assert!(accounts.user_by_id(first.id).await.unwrap().is_none());
    let again = NewUser { grants: Vec::new(), ..new_user("bob") };
    accounts.add_user(again).await.unwrap();
    let second = record(&*accounts, "bob").await;
    assert_ne!(first.id, second.id);
    assert_eq!(second.grants.iter().count(), 0);
    accounts.remove_user(&tenant("acme"), &user("bob")).await.unwrap();
    accounts.remove_tenant(&tenant("acme")).await.unwrap();
    accounts.add_tenant(&tenant("acme"), TenantChange::default()).await.unwrap();
    assert_ne!(accounts.tenants().await.unwrap()[0].id, first.tenant.id);
}
