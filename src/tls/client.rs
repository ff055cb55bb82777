//! The client's TLS configuration: trusts only the authorities in the file it is given, speaks only
//! TLS 1.3 and only `gmq/1`. Called by `client`.

use std::path::Path;
use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ConfigBuilder, RootCertStore, WantsVerifier};

use super::{ALPN, TlsError, pem, provider};

/// A client that trusts the authorities in the file `ca` and presents `identity`, a certificate and
/// its key, if it has one.
pub fn client_config(
    ca: &Path,
    identity: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(ca)? {
        roots.add(certificate).map_err(|_| TlsError::BadCertificate(ca.to_owned()))?;
    }
    let builder = builder().with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certified = pem::certified_key(certificate, key)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    // The server gives no tickets; a session that could be resumed would skip its checks.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has cipher suites for TLS 1.3")
}
