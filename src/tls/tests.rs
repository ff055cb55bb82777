//! Handshakes in memory between the configurations that this room builds, and the files it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, ProtocolVersion,
    ServerConfig, ServerConnection,
};
use time::{Duration, OffsetDateTime};

use super::*;
use crate::config::{ClientAuth, Config, MinVersion, Tls};
use crate::types::San;

/// A folder as `gmq init` makes it.
struct Files {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path(), AUTHORITY_NAME).unwrap();
        authority.issue_server(&LOCAL_HOSTS).unwrap().write(folder.path(), "server").unwrap();
        let san: San = "dns:worker.acme.example".parse().unwrap();
        authority.issue_client("client", &san).unwrap().write(folder.path(), "client").unwrap();
        Self { folder, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> Tls {
        Tls {
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: self.path("ca.pem"),
            ..Config::default().tls
        }
    }

    fn server(&self) -> Arc<ServerConfig> {
        server_tls(&self.settings()).unwrap().config
    }

    fn client(&self, name: &str) -> Arc<ClientConfig> {
        let (certificate, key) =
            (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        client_config(&self.path("ca.pem"), Some((&certificate, &key))).unwrap()
    }

    fn stranger(&self) -> Arc<ClientConfig> {
        client_config(&self.path("ca.pem"), None).unwrap()
    }

    /// Signs what the authority itself would not make.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        issue(self.folder.path(), name, change);
    }
}

fn write_key(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    set_mode(file, 0o600);
}

fn set_mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

/// A client certificate signed by the authority in `folder`, after `change`.
fn issue(folder: &Path, name: &str, change: impl FnOnce(&mut CertificateParams)) {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let signer = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), signer).unwrap();
    let mut params = CertificateParams::new(vec!["worker.acme.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = OffsetDateTime::now_utc() - Duration::days(2);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(2);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    write_key(&folder.join(format!("{name}.key")), &key.serialize_pem());
}

/// The two ends after all that they had to say, or the first error with who had it.
fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), (&'static str, Error)> {
    let host = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), host).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &*bytes).unwrap();
        server.process_new_packets().map_err(|error| ("server", error))?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &*bytes).unwrap();
        client.process_new_packets().map_err(|error| ("client", error))?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn refusal(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (&'static str, Error) {
    match handshake(client, server) {
        Ok(_) => panic!("the handshake succeeded"),
        Err(refusal) => refusal,
    }
}

fn assert_refused(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    reason: CertificateError,
) {
    assert_eq!(refusal(client, server), ("server", Error::InvalidCertificate(reason)));
}

#[test]
fn both_sides_prove_themselves_and_speak_tls_1_3() {
    let files = Files::new();
    let (client, server) = handshake(&files.client("client"), &files.server()).unwrap();
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(server.alpn_protocol(), Some(ALPN));
    let der = &server.peer_certificates().unwrap()[0];
    let who = identity(der, crate::types::SanKind::Dns).unwrap();
    assert_eq!(who.to_string(), "dns:worker.acme.example");
}

#[test]
fn no_ticket_is_sent_and_no_session_kept() {
    let files = Files::new();
    let server = files.server();
    let mut resuming = ClientConfig::clone(&files.client("client"));
    resuming.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let resuming = Arc::new(resuming);
    for _ in 0..2 {
        let (client, server) = handshake(&resuming, &server).unwrap();
        assert_eq!(client.tls13_tickets_received(), 0);
        assert_eq!(server.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
    assert!(!server.session_storage.can_cache());
    assert!(!server.ticketer.enabled());
    assert_eq!(server.max_early_data_size, 0);
}

#[test]
fn no_session_is_resumed_with_tls_1_2_either() {
    let files = Files::new();
    let settings = Tls { min_version: MinVersion::Tls12, ..files.settings() };
    let server = server_tls(&settings).unwrap().config;
    let client = old_client(&files);
    for _ in 0..2 {
        let (client, server) = handshake(&client, &server).unwrap();
        assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_2));
        assert_eq!(server.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[test]
fn tls_1_2_is_refused_unless_configured() {
    let files = Files::new();
    let (who, error) = refusal(&old_client(&files), &files.server());
    assert_eq!(who, "server");
    assert!(matches!(error, Error::PeerIncompatible(_)), "{error}");
}

/// A client that speaks only TLS 1.2 and would resume sessions.
fn old_client(files: &Files) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pem::certificates(&files.path("ca.pem")).unwrap().remove(0)).unwrap();
    let certified = pem::certified_key(&files.path("client.pem"), &files.path("client.key"));
    let certified = rustls::sign::SingleCertAndKey::from(certified.unwrap());
    Arc::new(
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(certified)),
    )
}

#[test]
fn alpn_none_is_accepted_and_only_others_refused() {
    let files = Files::new();
    let server = files.server();
    let offering = |protocols: &[&str]| {
        let mut client = ClientConfig::clone(&files.client("client"));
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(client)
    };
    let (_, accepted) = handshake(&offering(&[]), &server).unwrap();
    assert_eq!(accepted.alpn_protocol(), None);
    let (_, accepted) = handshake(&offering(&["h2", "gmq/1"]), &server).unwrap();
    assert_eq!(accepted.alpn_protocol(), Some(ALPN));
    for others in [&["h2"][..], &["gmq/2", "http/1.1"]] {
        assert_eq!(refusal(&offering(others), &server), ("server", Error::NoApplicationProtocol));
    }
}

#[test]
fn client_certificates_are_required_optional_or_not_asked_for() {
    let files = Files::new();
    let with = |client_auth| server_tls(&Tls { client_auth, ..files.settings() }).unwrap().config;
    let (who, error) = refusal(&files.stranger(), &with(ClientAuth::Required));
    assert_eq!((who, error), ("server", Error::NoCertificatesPresented));
    let (_, server) = handshake(&files.stranger(), &with(ClientAuth::Optional)).unwrap();
    assert!(server.peer_certificates().is_none());
    let (_, server) = handshake(&files.client("client"), &with(ClientAuth::Optional)).unwrap();
    assert!(server.peer_certificates().is_some());
    let (_, server) = handshake(&files.client("client"), &with(ClientAuth::Off)).unwrap();
    assert!(server.peer_certificates().is_none());
}

#[test]
fn without_client_certificates_no_authority_is_needed() {
    let files = Files::new();
    fs::remove_file(files.path("ca.pem")).unwrap();
    let settings = Tls { client_auth: ClientAuth::Off, ..files.settings() };
    assert!(server_tls(&settings).is_ok());
    let settings = Tls { client_auth: ClientAuth::Optional, ..files.settings() };
    assert!(matches!(server_tls(&settings), Err(TlsError::Missing(_))));
}

#[test]
fn a_client_certificate_that_does_not_verify_fails_the_handshake() {
    let files = Files::new();
    let rogue = Files::new();
    for name in ["client.pem", "client.key"] {
        fs::copy(rogue.path(name), files.path(&name.replace("client", "rogue"))).unwrap();
    }
    for client_auth in [ClientAuth::Required, ClientAuth::Optional] {
        let server = server_tls(&Tls { client_auth, ..files.settings() }).unwrap().config;
        // The rogue authority has the same name as ours, and its client the same identity.
        let (who, error) = refusal(&files.client("rogue"), &server);
        assert_eq!(who, "server");
        assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
    }
}

#[test]
fn client_certificates_out_of_their_time_are_refused() {
    let files = Files::new();
    let now = OffsetDateTime::now_utc();
    files.issue("expired", |params| params.not_after = now - Duration::days(1));
    files.issue("early", |params| params.not_before = now + Duration::days(1));
    for name in ["expired", "early"] {
        let (who, error) = refusal(&files.client(name), &files.server());
        assert_eq!(who, "server");
        let is_about_time = matches!(
            error,
            Error::InvalidCertificate(
                CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYetContext { .. }
            )
        );
        assert!(is_about_time, "{error}");
    }
}

#[test]
fn client_certificates_must_be_for_clients() {
    let files = Files::new();
    files.issue("unlimited", |params| params.extended_key_usages.clear());
    files.issue("any", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]);
    assert_refused(&files.client("unlimited"), &files.server(), CertificateError::InvalidPurpose);
    for name in ["server", "any"] {
        let (who, error) = refusal(&files.client(name), &files.server());
        assert_eq!(who, "server");
        let is_about_usage = matches!(
            error,
            Error::InvalidCertificate(CertificateError::InvalidPurposeContext { .. })
        );
        assert!(is_about_usage, "{error}");
    }
}

#[test]
fn a_client_may_not_sign_others() {
    let files = Files::new();
    files.issue("between", |params| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    });
    let below = tempfile::tempdir().unwrap();
    for (from, to) in [("between.pem", "ca.pem"), ("between.key", "ca.key")] {
        fs::copy(files.path(from), below.path().join(to)).unwrap();
    }
    issue(below.path(), "leaf", |_| {});
    let chain = fs::read_to_string(below.path().join("leaf.pem")).unwrap()
        + &fs::read_to_string(files.path("between.pem")).unwrap();
    fs::write(files.path("leaf.pem"), chain).unwrap();
    fs::copy(below.path().join("leaf.key"), files.path("leaf.key")).unwrap();
    let (who, error) = refusal(&files.client("leaf"), &files.server());
    assert_eq!(who, "server");
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
}

#[test]
fn a_client_refuses_a_server_of_another_authority_or_name() {
    let files = Files::new();
    let (who, error) = refusal(&Files::new().client("client"), &files.server());
    assert_eq!(who, "client");
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");

    files
        .authority
        .issue_server(&["bus.example"])
        .unwrap()
        .write(files.folder.path(), "other")
        .unwrap();
    let settings = Tls {
        certificate: files.path("other.pem"),
        key: files.path("other.key"),
        ..files.settings()
    };
    let (who, error) = refusal(&files.client("client"), &server_tls(&settings).unwrap().config);
    assert_eq!(who, "client");
    let is_about_the_name =
        matches!(error, Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }));
    assert!(is_about_the_name, "{error}");
}

#[test]
fn the_peer_learns_why_by_an_alert() {
    let files = Files::new();
    let host = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(files.stranger(), host).unwrap();
    let mut server = ServerConnection::new(files.server()).unwrap();
    let mut seen = None;
    while seen.is_none() && (client.wants_write() || server.wants_write()) {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &*bytes).unwrap();
        // The refusal is queued as an alert before the error is returned.
        let _ = server.process_new_packets();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &*bytes).unwrap();
        seen = client.process_new_packets().err();
    }
    assert_eq!(seen, Some(Error::AlertReceived(AlertDescription::CertificateRequired)));
}

/// Breaks one file of a good folder and gives the sentence that the operator reads.
fn told(change: impl FnOnce(&Files, &mut Tls)) -> String {
    let files = Files::new();
    let mut settings = files.settings();
    change(&files, &mut settings);
    let text = server_tls(&settings).unwrap_err().to_string();
    text.replace(&*files.folder.path().to_string_lossy(), "certs")
}

#[test]
fn files_that_cannot_serve_are_refused_with_the_mend() {
    let missing = told(|_, tls| tls.certificate.set_file_name("none.pem"));
    assert_eq!(
        missing,
        "certs/none.pem does not exist; name an existing file, or make certificates with `gmq init \
         DIR`"
    );
    let mismatch = told(|_, tls| tls.key.set_file_name("client.key"));
    assert!(
        mismatch
            .starts_with("the key certs/client.key does not fit the certificate certs/server.pem"),
        "{mismatch}"
    );
    let open = told(|_, tls| set_mode(&tls.key, 0o640));
    assert_eq!(
        open,
        "certs/server.key can be read by others than its owner (mode 640); run `chmod 600 \
         certs/server.key`"
    );
    let no_certificate = told(|_, tls| tls.certificate.set_file_name("server.key"));
    assert!(no_certificate.starts_with("certs/server.key has no certificate"), "{no_certificate}");
    let no_key = told(|_, tls| write_key(&tls.key, "nothing"));
    assert!(no_key.starts_with("certs/server.key has no private key"), "{no_key}");
    let client = told(|_, tls| {
        tls.certificate.set_file_name("client.pem");
        tls.key.set_file_name("client.key");
    });
    assert!(client.starts_with("certs/client.pem holds a certificate that is not for servers"));
    let leaf = told(|_, tls| tls.client_ca.set_file_name("client.pem"));
    assert_eq!(
        leaf,
        "certs/client.pem holds a certificate that is no authority's (O=gmq, CN=client); leave \
         only certificates with basicConstraints CA:TRUE in it"
    );
    let empty = told(|_, tls| fs::write(&tls.client_ca, "").unwrap());
    assert!(empty.starts_with("certs/ca.pem has no certificate"), "{empty}");
    let folder = told(|files, tls| tls.certificate = files.folder.path().to_owned());
    assert!(folder.starts_with("certs cannot be read: "), "{folder}");
    let long = told(|_, tls| fs::write(&tls.certificate, " ".repeat(1024 * 1024 + 1)).unwrap());
    assert!(long.starts_with("certs/server.pem is longer than 1 MiB"), "{long}");
}

#[test]
fn certificates_out_of_their_time_are_refused_at_start() {
    let now = OffsetDateTime::now_utc();
    let server_from = |change: fn(&mut CertificateParams, OffsetDateTime)| {
        told(|files, tls| {
            files.issue("odd", |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                change(params, now);
            });
            tls.certificate.set_file_name("odd.pem");
            tls.key.set_file_name("odd.key");
        })
    };
    let expired = server_from(|params, now| params.not_after = now - Duration::hours(1));
    assert!(expired.starts_with("certs/odd.pem holds a certificate that ended at 2"), "{expired}");
    assert!(expired.ends_with("Z; replace it, for example by `gmq certs server`"), "{expired}");
    let early = server_from(|params, now| params.not_before = now + Duration::hours(1));
    assert!(early.contains("begins only at 2") && early.contains("clock"), "{early}");
    let authority = told(|files, tls| {
        files.issue("old", |params| {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
            params.not_after = now - Duration::hours(1);
        });
        tls.client_ca.set_file_name("old.pem");
    });
    assert!(authority.ends_with("Z; replace it or take it out of the file"), "{authority}");
}

#[test]
fn damaged_and_encrypted_keys_are_refused_without_showing_them() {
    const CANARY: &str = "Q0FOQVJZ";
    for (text, expected) in [
        (
            section("ENCRYPTED PRIVATE KEY", CANARY),
            "openssl pkey -in certs/server.key -out certs/server.key.plain",
        ),
        (
            section(
                "RSA PRIVATE KEY",
                &format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{CANARY}"),
            ),
            "openssl pkey -in certs/server.key",
        ),
        (format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n"), "certs/server.key is not PEM"),
        (
            format!("-----BEGIN PRIVATE KEY-----\n!{CANARY}\n-----END PRIVATE KEY-----\n"),
            "certs/server.key is not PEM",
        ),
        (
            format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"),
            "certs/server.key has a private key that cannot be used",
        ),
    ] {
        let told = told(|_, tls| write_key(&tls.key, &text));
        assert!(told.contains(expected) && !told.contains(CANARY), "{told}");
    }
    let twice = told(|_, tls| {
        let key = fs::read_to_string(&tls.key).unwrap();
        write_key(&tls.key, &key.repeat(2));
    });
    assert!(twice.starts_with("certs/server.key has several private keys"), "{twice}");
}

#[test]
fn keys_are_read_as_pkcs8_sec1_and_pkcs1() {
    let files = Files::new();
    // A P-256 key in PKCS#8 holds the same key as SEC1: SEQUENCE { 0, algorithm, OCTET STRING }.
    let pkcs8 = pem::private_key(&files.path("server.key")).unwrap();
    let der = pkcs8.secret_der();
    let at = der.windows(3).position(|w| w[0] == 0x04 && w[2] == 0x30).unwrap() + 2;
    let base64 = |der: &[u8]| base64_simd::STANDARD.encode_to_string(der);
    let sec1 = section("EC PRIVATE KEY", &base64(&der[at..]));
    write_key(&files.path("server.key"), &sec1);
    assert!(handshake(&files.client("client"), &files.server()).is_ok());

    write_key(&files.path("rsa.key"), &section("RSA PRIVATE KEY", &base64(b"an RSA key")));
    let key = pem::private_key(&files.path("rsa.key")).unwrap();
    assert!(matches!(key, rustls::pki_types::PrivateKeyDer::Pkcs1(_)));
}

fn section(label: &str, text: &str) -> String {
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[test]
fn a_chain_is_sent_whole_and_its_first_certificate_counts() {
    let files = Files::new();
    let chain = fs::read_to_string(files.path("server.pem")).unwrap()
        + &fs::read_to_string(files.path("ca.pem")).unwrap();
    fs::write(files.path("server.pem"), chain).unwrap();
    let (client, _) = handshake(&files.client("client"), &files.server()).unwrap();
    assert_eq!(client.peer_certificates().unwrap().len(), 2);
}

#[test]
fn the_quickstarts_certificates_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let quick = Authority::create(folder.path(), QUICKSTART_AUTHORITY_NAME).unwrap();
    quick.issue_server(&LOCAL_HOSTS).unwrap().write(folder.path(), "server").unwrap();
    let settings = Tls {
        certificate: folder.path().join("server.pem"),
        key: folder.path().join("server.key"),
        client_ca: folder.path().join("ca.pem"),
        ..Config::default().tls
    };
    assert!(server_tls(&settings).unwrap().is_quickstart);

    let files = Files::new();
    assert!(!server_tls(&files.settings()).unwrap().is_quickstart);
    // Also when only clients are from it: anyone with the try's folder could log in.
    let mixed = Tls { client_ca: folder.path().join("ca.pem"), ..files.settings() };
    assert!(server_tls(&mixed).unwrap().is_quickstart);
    assert!(!is_quickstart(b"no certificate"));
}

mod identities {
    use super::*;
    use crate::types::{SanError, SanKind};

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "cn.acme.example");
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(name.try_into().unwrap())
    }

    fn email(name: &str) -> SanType {
        SanType::Rfc822Name(name.try_into().unwrap())
    }

    #[test]
    fn exactly_one_name_of_the_kind_counts() {
        let der = certificate(vec![
            dns("worker.acme.example"),
            uri("spiffe://acme/worker"),
            email("alice@acme.example"),
            uri("spiffe://acme/other"),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ]);
        assert_eq!(identity(&der, SanKind::Dns).unwrap().to_string(), "dns:worker.acme.example");
        assert_eq!(identity(&der, SanKind::Email).unwrap().to_string(), "email:alice@acme.example");
        assert_eq!(identity(&der, SanKind::Uri), Err(IdentityError::Several(SanKind::Uri)));
        let twice = certificate(vec![dns("a.example"), dns("a.example")]);
        assert_eq!(identity(&twice, SanKind::Dns), Err(IdentityError::Several(SanKind::Dns)));
    }

    #[test]
    fn the_common_name_never_counts() {
        let der = certificate(vec![]);
        assert_eq!(identity(&der, SanKind::Dns), Err(IdentityError::None(SanKind::Dns)));
    }

    #[test]
    fn odd_names_are_refused() {
        let odd = |name: SanType, kind| identity(&certificate(vec![name]), kind).unwrap_err();
        assert_eq!(odd(dns("*.acme.example"), SanKind::Dns), SanError::Wildcard.into());
        assert_eq!(odd(dns("a\nb"), SanKind::Dns), SanError::Character.into());
        assert_eq!(odd(dns("a\0.example"), SanKind::Dns), SanError::Character.into());
        assert_eq!(odd(uri("spiffe://\u{1b}[31m"), SanKind::Uri), SanError::Character.into());
        assert_eq!(odd(email(""), SanKind::Email), SanError::Length.into());
        assert_eq!(odd(uri(&"x".repeat(4096)), SanKind::Uri), SanError::Length.into());
    }

    #[test]
    fn what_is_no_certificate_is_nobody() {
        assert_eq!(identity(b"", SanKind::Dns), Err(IdentityError::Malformed));
        let mut der = certificate(vec![dns("a.example")]);
        der.push(0);
        assert_eq!(identity(&der, SanKind::Dns), Err(IdentityError::Malformed));
        // Every prefix and every flipped byte is an answer, never a panic.
        let der = certificate(vec![dns("a.example")]);
        for at in 0..der.len() {
            assert!(identity(&der[..at], SanKind::Dns).is_err());
            let mut flipped = der.clone();
            flipped[at] ^= 0xff;
            let _ = (identity(&flipped, SanKind::Dns), describe(&flipped));
        }
    }

    #[test]
    fn a_name_that_is_not_ascii_is_refused() {
        let mut der = certificate(vec![dns("a.example")]);
        let at = memchr::memmem::find(&der, b"a.example").unwrap();
        der[at] = 0xff;
        assert_eq!(identity(&der, SanKind::Dns), Err(IdentityError::Malformed));
        der[at..at + 2].copy_from_slice("é".as_bytes());
        assert!(identity(&der, SanKind::Dns).is_err());
    }
}

mod authorities {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("new/certs");
        Authority::create(&folder, AUTHORITY_NAME).unwrap();
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&above.path().join("new")), 0o700);
        assert_eq!(mode(&folder.join("ca.key")), 0o600);
        assert!(fs::read_to_string(folder.join("ca.pem")).unwrap().starts_with("-----BEGIN CERT"));
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_half_written() {
        let files = Files::new();
        let before = fs::read(files.path("ca.key")).unwrap();
        let error = Authority::create(files.folder.path(), AUTHORITY_NAME).unwrap_err();
        assert!(error.to_string().contains("ca.key is there already"), "{error}");
        assert_eq!(fs::read(files.path("ca.key")).unwrap(), before);

        fs::write(files.path("half.pem"), "mine").unwrap();
        let issued = files.authority.issue_server(&["localhost"]).unwrap();
        let error = issued.write(files.folder.path(), "half").unwrap_err();
        assert!(matches!(error, AuthorityError::Exists(file) if file.ends_with("half.pem")));
        assert!(!files.path("half.key").exists());
        assert_eq!(fs::read_to_string(files.path("half.pem")).unwrap(), "mine");
    }

    #[test]
    fn an_authority_is_taken_up_again_from_its_files() {
        let files = Files::new();
        let again = Authority::load(&files.path("ca.pem"), &files.path("ca.key")).unwrap();
        let san: San = "uri:spiffe://acme/worker".parse().unwrap();
        again.issue_client("later", &san).unwrap().write(files.folder.path(), "later").unwrap();
        assert!(handshake(&files.client("later"), &files.server()).is_ok());
        assert!(!format!("{again:?}").contains("PRIVATE"));

        let refused = |certificate: &str, key: &str| {
            Authority::load(&files.path(certificate), &files.path(key)).unwrap_err().to_string()
        };
        assert!(refused("client.pem", "client.key").contains("no authority's"));
        assert!(refused("ca.pem", "client.key").contains("does not fit"));
        set_mode(&files.path("ca.key"), 0o644);
        assert!(refused("ca.pem", "ca.key").contains("chmod 600"));
    }

    #[test]
    fn certificates_say_what_they_are_for() {
        let files = Files::new();
        let of = |name: &str| describe_file(&files.path(name)).unwrap().remove(0);
        let (ca, server, client) = (of("ca.pem"), of("server.pem"), of("client.pem"));
        assert!(ca.is_authority && ca.usages.is_empty() && ca.names.is_empty());
        assert_eq!(ca.subject, "O=gmq, CN=gmq authority");
        assert!(!server.is_authority && !client.is_authority);
        assert_eq!((&server.issuer, &client.issuer), (&ca.subject, &ca.subject));
        assert_eq!(server.usages, ["serverAuth"]);
        assert_eq!(server.names, ["dns:localhost", "ip:127.0.0.1", "ip:::1"]);
        assert_eq!(client.usages, ["clientAuth"]);
        assert_eq!(client.names, ["dns:worker.acme.example"]);
        assert_eq!(client.subject, "O=gmq, CN=client");
        assert_eq!(server.sha256.len(), 32 * 3 - 1);
        assert_eq!(server.serial.len(), 16 * 3 - 1);
        assert_ne!(server.serial, client.serial);
        let years = |text: &str| text[..4].parse::<i32>().unwrap();
        assert_eq!(years(&ca.not_after) - years(&ca.not_before), 10);
        assert!(years(&server.not_after) - years(&server.not_before) <= 1);
    }

    #[test]
    fn x509_extensions_are_those_that_strict_clients_ask_for() {
        let files = Files::new();
        let pem = |name: &str| pem::certificates(&files.path(name)).unwrap().remove(0);
        let (ca, server) = (pem("ca.pem"), pem("server.pem"));
        let (_, ca) = x509_parser::parse_x509_certificate(&ca).unwrap();
        let (_, server) = x509_parser::parse_x509_certificate(&server).unwrap();
        let constraints = ca.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = ca.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
        let usage = server.key_usage().unwrap().unwrap();
        assert!(usage.value.digital_signature() && !usage.value.key_cert_sign());
        let has = |name: &str| {
            server
                .iter_extensions()
                .any(|extension| format!("{:?}", extension.parsed_extension()).starts_with(name))
        };
        assert!(has("AuthorityKeyIdentifier"));
    }

    #[test]
    fn odd_names_and_hosts_are_refused() {
        let files = Files::new();
        let san: San = "dns:a.example".parse().unwrap();
        for name in ["", "../x", ".x", "-x", "a b", "a/b", "ä", &"x".repeat(65)] {
            let refused = files.authority.issue_client(name, &san);
            assert!(matches!(refused, Err(AuthorityError::Name)), "{name}");
        }
        for host in ["", "a b", "*.example", "a\n", "bücher.example", "-", "http://x", "a:1"] {
            let refused = files.authority.issue_server(&[host]);
            assert!(matches!(refused, Err(AuthorityError::Host(_))), "{host:?}");
        }
        assert!(files.authority.issue_server(&[]).is_err());
        assert!(
            files.authority.issue_server(&["bus-1.example", "192.0.2.1", "2001:db8::1"]).is_ok()
        );
    }
}
