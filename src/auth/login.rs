//! A login by password, from what the peer claims and what the accounts hold to a [`Principal`].
//! Refuses, after exactly one argon2 and without telling the peer why, an unknown tenant or user, a
//! disabled user, a wrong password, a wrong certificate and a damaged hash; and without any argon2
//! who failed too often, or whom the pool has no room for. Called by `server`, which looks the user
//! up between [`Authenticator::throttled`] and [`Authenticator::login`].

use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use zeroize::Zeroizing;

use super::password::{Cost, Verdict};
use super::pool::{Busy, Pool, PoolError};
use super::principal::Principal;
use super::throttle::{Claimant, Throttle};
use crate::types::{Grants, San, TenantId, TenantName, UserId, UserName};

/// What a peer claims.
pub struct Attempt<'a> {
    /// The tenant it names.
    pub tenant: &'a TenantName,
    /// The user it names.
    pub user: &'a UserName,
    /// Its password.
    pub password: Zeroizing<String>,
    /// Where it comes from: canonical, of IPv6 masked to its /64.
    pub address: IpAddr,
    /// The name in the client certificate that TLS verified, if it presented one.
    pub certificate: Option<&'a San>,
}

/// The user of that name, as the accounts hold it.
pub struct Candidate {
    /// The tenant's identity.
    pub tenant_id: TenantId,
    /// The tenant's name.
    pub tenant_name: TenantName,
    /// The user's identity.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: UserName,
    /// A PHC string.
    pub password_hash: Zeroizing<String>,
    /// Whether the user, or its tenant, may not log in now.
    pub disabled: bool,
    /// The name in the client certificate that is mapped to the user.
    pub certificate: Option<San>,
    /// Whether the password holds only together with that certificate.
    pub require_certificate: bool,
    /// Raised by every change of password, state, certificate or requirement.
    pub credentials_version: u64,
    /// What the user may do.
    pub grants: Grants,
}

/// A login that succeeded.
#[derive(Debug)]
pub struct Accepted {
    /// Who the connection acts for now.
    pub principal: Principal,
    /// Whether the stored hash costs less than is configured: store
    /// [`Authenticator::rehash`]'s once the peer has its reply.
    pub weaker_hash: bool,
}

/// A login that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// `auth_failed`.
    Failed(Cause),
    /// `auth_throttled`.
    Throttled {
        /// When the next attempt is verified: 1 to 60,000 ms.
        retry_after_ms: u64,
    },
    /// `slow_down`.
    Busy {
        /// When there will be room, about. Unit: ms.
        retry_after_ms: u64,
    },
}

/// Why a login failed: for the log alone, never for the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No such tenant, or no such user in it.
    UnknownUser,
    /// The user or its tenant is disabled.
    Disabled,
    /// Not its password.
    WrongPassword,
    /// It needs a certificate, and presented none or another.
    WrongCertificate,
    /// Its stored hash cannot be verified; setting its password anew mends that.
    DamagedHash,
}

impl Cause {
    /// The cause's name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::UnknownUser => "unknown_user",
            Cause::Disabled => "disabled",
            Cause::WrongPassword => "wrong_password",
            Cause::WrongCertificate => "wrong_certificate",
            Cause::DamagedHash => "damaged_hash",
        }
    }
}

/// Verifies logins by password; one for the server.
pub struct Authenticator {
    pool: Pool,
    throttle: Mutex<Throttle>,
}

impl Authenticator {
    /// Starts a pool of `workers` threads; takes how many failures a minute are let through of one
    /// user from one address, and of one address.
    pub fn new(
        cost: Cost,
        workers: usize,
        per_user: u32,
        per_address: u32,
    ) -> Result<Self, PoolError> {
        let throttle = Mutex::new(Throttle::new(per_user, per_address));
        Ok(Self { pool: Pool::new(cost, workers)?, throttle })
    }

    /// Whether an attempt would be refused unverified, and for how many ms: to ask before the user
    /// is looked up.
    pub fn throttled(&self, tenant: &TenantName, user: &UserName, address: IpAddr) -> Option<u64> {
        let claimant = Claimant { tenant: tenant.clone(), user: user.clone(), address };
        self.throttle().check(Instant::now(), &claimant).err()
    }

    /// Verifies an attempt against the user that the accounts hold under the names it claims; None
    /// if they hold none.
    pub async fn login(
        &self,
        attempt: Attempt<'_>,
        candidate: Option<Candidate>,
    ) -> Result<Accepted, Denied> {
        let Attempt { tenant, user, password, address, certificate } = attempt;
        let claimant = Claimant { tenant: tenant.clone(), user: user.clone(), address };
        self.throttle()
            .check(Instant::now(), &claimant)
            .map_err(|retry_after_ms| Denied::Throttled { retry_after_ms })?;
        let stored = candidate.as_ref().map(|candidate| candidate.password_hash.clone());
        let verdict = self
            .pool
            .verify(address, password, stored)
            .await
            .map_err(|Busy { retry_after_ms }| Denied::Busy { retry_after_ms })?;
        judge(verdict, candidate, certificate).map_err(|cause| {
            self.throttle().failed(Instant::now(), &claimant);
            Denied::Failed(cause)
        })
    }

    /// Hashes a password anew with the configured cost, when no login waits.
    pub async fn rehash(&self, password: Zeroizing<String>) -> Result<String, Busy> {
        self.pool.rehash(password).await
    }

    /// How often argon2 ran.
    pub fn runs(&self) -> u64 {
        self.pool.runs()
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().expect("nothing panics while it counts failures")
    }
}

/// Everything is known by now; this takes no time that could tell one cause from another.
fn judge(
    verdict: Verdict,
    candidate: Option<Candidate>,
    certificate: Option<&San>,
) -> Result<Accepted, Cause> {
    let candidate = candidate.ok_or(Cause::UnknownUser)?;
    if candidate.disabled {
        return Err(Cause::Disabled);
    }
    let weaker_hash = match verdict {
        Verdict::Match { weaker } => weaker,
        Verdict::Mismatch => return Err(Cause::WrongPassword),
        Verdict::Damaged => return Err(Cause::DamagedHash),
    };
    // A user that needs a certificate and has none mapped to it is refused, not let in.
    let presented = certificate.is_some() && certificate == candidate.certificate.as_ref();
    if candidate.require_certificate && !presented {
        return Err(Cause::WrongCertificate);
    }
    Ok(Accepted { principal: candidate.into_principal(), weaker_hash })
}

impl Candidate {
    fn into_principal(self) -> Principal {
        Principal::new(
            (self.tenant_id, self.tenant_name),
            (self.user_id, self.user_name),
            self.credentials_version,
            self.grants,
        )
    }
}

impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attempt({}/{} from {})", self.tenant, self.user, self.address)
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidate({}/{})", self.tenant_name, self.user_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::hash_blocking;
    use crate::types::Action;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const PASSWORD: &str = "canary-password";

    fn cost(memory_kib: u32) -> Cost {
        Cost::new(memory_kib, 1, 1).unwrap()
    }

    fn authenticator(per_user: u32, per_address: u32) -> Authenticator {
        Authenticator::new(cost(16), 1, per_user, per_address).unwrap()
    }

    fn alice() -> Candidate {
        Candidate {
            tenant_id: TenantId(1),
            tenant_name: TenantName::default(),
            user_id: UserId(2),
            user_name: UserName::new("alice").unwrap(),
            password_hash: Zeroizing::new(hash_blocking(cost(16), PASSWORD).unwrap()),
            disabled: false,
            certificate: Some("dns:alice.example".parse().unwrap()),
            require_certificate: false,
            credentials_version: 7,
            grants: Grants::new(vec!["publish:jobs".parse().unwrap()]),
        }
    }

    async fn login(
        authenticator: &Authenticator,
        (password, address, certificate): (&str, IpAddr, Option<&str>),
        candidate: Option<Candidate>,
    ) -> Result<Accepted, Denied> {
        let certificate = certificate.map(|text| text.parse::<San>().unwrap());
        let attempt = Attempt {
            tenant: &TenantName::default(),
            user: &UserName::new("alice").unwrap(),
            password: Zeroizing::new(password.to_owned()),
            address,
            certificate: certificate.as_ref(),
        };
        authenticator.login(attempt, candidate).await
    }

    #[tokio::test]
    async fn a_login_yields_the_user_that_the_accounts_hold() {
        let authenticator = authenticator(1, 1);
        let accepted = login(&authenticator, (PASSWORD, ADDRESS, None), Some(alice()));
        let Accepted { principal, weaker_hash } = accepted.await.unwrap();
        assert_eq!((principal.tenant_id(), principal.user_id()), (TenantId(1), UserId(2)));
        assert_eq!(principal.user_name().as_str(), "alice");
        assert_eq!(principal.credentials_version(), 7);
        assert!(principal.grants().allow(Action::Publish, "jobs") && !weaker_hash);
        assert_eq!(authenticator.runs(), 1);
    }

    #[tokio::test]
    async fn every_failure_costs_one_argon2() {
        let damaged =
            || Zeroizing::new("$argon2id$v=19$m=1048576,t=2,p=1$c2FsdHNhbHQ$aGFzaA".into());
        let needs = || Candidate { require_certificate: true, ..alice() };
        let unmapped = || Candidate { certificate: None, ..needs() };
        let other = Some("dns:bob.example");
        for (password, certificate, candidate, cause) in [
            (PASSWORD, None, None, Cause::UnknownUser),
            (PASSWORD, None, Some(Candidate { disabled: true, ..alice() }), Cause::Disabled),
            ("wrong", None, Some(alice()), Cause::WrongPassword),
            ("wrong", Some("dns:alice.example"), Some(needs()), Cause::WrongPassword),
            (PASSWORD, None, Some(needs()), Cause::WrongCertificate),
            (PASSWORD, other, Some(needs()), Cause::WrongCertificate),
            (PASSWORD, Some("uri:alice.example"), Some(needs()), Cause::WrongCertificate),
            (PASSWORD, None, Some(unmapped()), Cause::WrongCertificate),
            (PASSWORD, other, Some(unmapped()), Cause::WrongCertificate),
            (
                PASSWORD,
                None,
                Some(Candidate { password_hash: damaged(), ..alice() }),
                Cause::DamagedHash,
            ),
        ] {
            let authenticator = authenticator(1, 100);
            let denied =
                login(&authenticator, (password, ADDRESS, certificate), candidate).await.err();
            assert_eq!(denied, Some(Denied::Failed(cause)));
            assert_eq!(authenticator.runs(), 1, "{cause:?}");
            let next = login(&authenticator, (PASSWORD, ADDRESS, None), Some(alice())).await.err();
            assert!(matches!(next, Some(Denied::Throttled { .. })), "{cause:?} counts");
        }
    }

    #[tokio::test]
    async fn a_certificate_matters_only_where_it_is_required() {
        let authenticator = authenticator(1, 1);
        for (required, certificate) in
            [(false, None), (false, Some("dns:bob.example")), (true, Some("dns:alice.example"))]
        {
            let candidate = Candidate { require_certificate: required, ..alice() };
            let accepted =
                login(&authenticator, (PASSWORD, ADDRESS, certificate), Some(candidate)).await;
            assert!(accepted.is_ok(), "{required} {certificate:?}");
        }
    }

    #[tokio::test]
    async fn a_throttled_attempt_verifies_nothing_and_others_go_on() {
        let authenticator = authenticator(2, 100);
        let (tenant, user) = (TenantName::default(), UserName::new("alice").unwrap());
        for _ in 0..2 {
            assert_eq!(authenticator.throttled(&tenant, &user, ADDRESS), None);
            let denied = login(&authenticator, ("wrong", ADDRESS, None), Some(alice())).await.err();
            assert_eq!(denied, Some(Denied::Failed(Cause::WrongPassword)));
        }
        let told = login(&authenticator, (PASSWORD, ADDRESS, None), Some(alice())).await.err();
        let Some(Denied::Throttled { retry_after_ms }) = told else { panic!("{told:?}") };
        assert!((1..=60_000).contains(&retry_after_ms));
        assert!(authenticator.throttled(&tenant, &user, ADDRESS).is_some());
        assert_eq!(authenticator.runs(), 2);
        let elsewhere = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(authenticator.throttled(&tenant, &user, elsewhere), None);
        assert!(login(&authenticator, (PASSWORD, elsewhere, None), Some(alice())).await.is_ok());
    }

    #[tokio::test]
    async fn a_weaker_hash_is_told_and_its_rehash_is_not_weaker() {
        let authenticator = authenticator(1, 1);
        let weak = Zeroizing::new(hash_blocking(cost(8), PASSWORD).unwrap());
        let candidate = Candidate { password_hash: weak, ..alice() };
        let accepted = login(&authenticator, (PASSWORD, ADDRESS, None), Some(candidate)).await;
        assert!(accepted.unwrap().weaker_hash);
        let anew = authenticator.rehash(Zeroizing::new(PASSWORD.into())).await.unwrap();
        let candidate = Candidate { password_hash: Zeroizing::new(anew), ..alice() };
        let accepted = login(&authenticator, (PASSWORD, ADDRESS, None), Some(candidate)).await;
        assert!(!accepted.unwrap().weaker_hash);
    }

    #[tokio::test]
    async fn debug_hides_password_and_hash() {
        let attempt = Attempt {
            tenant: &TenantName::default(),
            user: &UserName::new("alice").unwrap(),
            password: Zeroizing::new(PASSWORD.into()),
            address: ADDRESS,
            certificate: None,
        };
        assert_eq!(format!("{attempt:?}"), "Attempt(default/alice from 192.0.2.1)");
        assert_eq!(format!("{:?}", alice()), "Candidate(default/alice)");
        let accepted = login(&authenticator(1, 1), (PASSWORD, ADDRESS, None), Some(alice())).await;
        let shown = format!("{:?}", accepted.unwrap());
        assert_eq!(shown, "Accepted { principal: Principal(default/alice), weaker_hash: false }");
    }
}
