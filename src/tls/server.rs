//! The server's TLS configuration. Refuses, before anything listens, what clients would stumble
//! over or what would weaken the server. Sessions are never resumed: a resumed one is not checked
//! again for expiry, authority or revocation. Called by `server` at start and at reload.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ServerConfig, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use crate::config::{ClientAuth, MinVersion, Tls};

use super::certificate::{self, Certificate};
use super::client_verifier::ClientAuthVerifier;
use super::{ALPN, TlsError, pem, provider};

/// A server's TLS, whole: swapped as one at reload.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// What connections are accepted with.
    pub config: Arc<ServerConfig>,
    /// Whether the certificate, or an authority of clients, is quickstart's: for loopback only.
    pub is_quickstart: bool,
}

/// Builds the server's TLS from its files, all checked: readable, in their time, and fitting.
pub fn server_tls(settings: &Tls) -> Result<ServerTls, TlsError> {
    let certified = pem::certified_key(&settings.certificate, &settings.key)?;
    refuse_unfit_chain(&settings.certificate, &certified.cert)?;
    let authorities = match settings.client_auth {
        ClientAuth::Off => Vec::new(),
        ClientAuth::Optional | ClientAuth::Required => authorities(&settings.client_ca)?,
    };
    let is_quickstart =
        certified.cert.iter().chain(&authorities).any(|der| certificate::is_quickstart(der));

    let versions: &[_] = match settings.min_version {
        MinVersion::Tls12 => &[&TLS13, &TLS12],
        MinVersion::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        .with_client_cert_verifier(client_verifier(settings, authorities)?)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(ServerTls { config: Arc::new(config), is_quickstart })
}

fn client_verifier(
    settings: &Tls,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if settings.client_auth == ClientAuth::Off {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let unusable = || TlsError::BadCertificate(settings.client_ca.clone());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|_| unusable())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = match settings.client_auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Off | ClientAuth::Required => builder,
    };
    let verifier = builder.build().map_err(|_: VerifierBuilderError| unusable())?;
    Ok(Arc::new(ClientAuthVerifier::new(verifier)))
}

/// The chain that the server sends: every certificate in its time, the first one for servers.
fn refuse_unfit_chain(file: &Path, chain: &[CertificateDer<'static>]) -> Result<(), TlsError> {
    for (at, der) in chain.iter().enumerate() {
        let certificate = parse(file, der)?;
        certificate.refuse_outside_its_time(file, ", for example by `gmq certs server`")?;
        if at == 0 && !certificate.is_for_servers() {
            return Err(TlsError::NotForServers(file.to_owned()));
        }
    }
    Ok(())
}

/// The authorities of clients. A certificate that is none would become one: as a trust anchor its
/// basic constraints and its time are not looked at again, so both are here.
fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let authorities = pem::certificates(file)?;
    for der in &authorities {
        let certificate = parse(file, der)?;
        if !certificate.is_authority() {
            let (file, subject) = (file.to_owned(), certificate.subject());
            return Err(TlsError::NotAuthority { file, subject });
        }
        certificate.refuse_outside_its_time(file, " or take it out of the file")?;
    }
    Ok(authorities)
}

fn parse<'a>(file: &Path, der: &'a CertificateDer<'static>) -> Result<Certificate<'a>, TlsError> {
    Certificate::parse(der).map_err(|_| TlsError::BadCertificate(file.to_owned()))
}
