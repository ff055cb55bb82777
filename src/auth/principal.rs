//! Who an authenticated connection acts for. Only this room makes one, so that holding a
//! [`Principal`] is the proof of a login; refuses to print anything but the names. Every connection
//! carries one, and the administration's changes reach it through [`Principal::replace_grants`].

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::types::{Grants, TenantId, TenantName, UserId, UserName};

/// An authenticated user.
pub struct Principal {
    tenant_id: TenantId,
    tenant_name: TenantName,
    user_id: UserId,
    user_name: UserName,
    credentials_version: u64,
    grants: ArcSwap<Grants>,
}

impl Principal {
    pub(super) fn new(
        (tenant_id, tenant_name): (TenantId, TenantName),
        (user_id, user_name): (UserId, UserName),
        credentials_version: u64,
        grants: Grants,
    ) -> Self {
        let grants = ArcSwap::from_pointee(grants);
        Self { tenant_id, tenant_name, user_id, user_name, credentials_version, grants }
    }

    /// One that nobody logged in as, for the tests of other rooms.
    #[cfg(test)]
    pub(crate) fn for_tests(tenant: &str, user: &str, grants: &[&str]) -> Self {
        let grants =
            grants.iter().map(|grant| grant.parse().expect("a test names it well")).collect();
        Self::new(
            (TenantId(1), TenantName::new(tenant).expect("a test names it well")),
            (UserId(2), UserName::new(user).expect("a test names it well")),
            1,
            Grants::new(grants),
        )
    }

    /// The tenant's identity.
    pub fn tenant_id(&self) -> TenantId {
        self.tenant_id
    }

    /// The tenant's name.
    pub fn tenant_name(&self) -> &TenantName {
        &self.tenant_name
    }

    /// The user's identity.
    pub fn user_id(&self) -> UserId {
        self.user_id
    }

    /// The user's name.
    pub fn user_name(&self) -> &UserName {
        &self.user_name
    }

    /// The version of the credentials that the login was verified against; a higher one in the
    /// accounts ends the connection.
    pub fn credentials_version(&self) -> u64 {
        self.credentials_version
    }

    /// What the user may do now.
    pub fn grants(&self) -> Arc<Grants> {
        self.grants.load_full()
    }

    /// Widens or narrows what the user may do, from the next request on.
    pub fn replace_grants(&self, grants: Grants) {
        self.grants.store(Arc::new(grants));
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({}/{})", self.tenant_name, self.user_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Action;

    #[test]
    fn replaced_grants_hold_at_once() {
        let principal = Principal::for_tests("acme", "alice", &["publish:jobs"]);
        let before = principal.grants();
        principal.replace_grants(Grants::default());
        assert!(!principal.grants().allow(Action::Publish, "jobs"));
        assert!(before.allow(Action::Publish, "jobs"), "a request under way keeps what it loaded");
    }

    #[test]
    fn debug_shows_names_only() {
        let principal = Principal::for_tests("acme", "alice", &["publish:jobs"]);
        assert_eq!(format!("{principal:?}"), "Principal(acme/alice)");
    }
}
