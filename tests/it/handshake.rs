//! Section "Connection": TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};
use serde_json::json;

use crate::harness::{Home, PATIENCE, Wire, tls};

fn greets(home: &Home, server: &crate::harness::Server<'_>, config: ClientConfig) -> bool {
    let _ = home;
    Wire::open(server.address, config).is_ok_and(|mut wire| {
        matches!(wire.line(), Ok(Some(line)) if line.starts_with(b"{\"event\":\"hello\""))
    })
}

#[test]
fn a_client_without_alpn_is_accepted_and_one_with_others_only_is_not() {
    let home = Home::new();
    let server = home.serve();
    let config = |alpn: &[&str]| {
        let mut config = tls(&home.path("certs"), Some("client"));
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    };
    assert!(greets(&home, &server, config(&[])));
    assert!(greets(&home, &server, config(&["gmq/1"])));
    assert!(greets(&home, &server, config(&["h2", "gmq/1"])));
    assert!(!greets(&home, &server, config(&["h2", "http/1.1"])));
    assert!(!greets(&home, &server, config(&["gmq/2"])));
}

#[test]
fn a_required_certificate_that_is_missing_or_of_another_authority_fails_the_handshake() {
    let home = Home::new();
    let stranger = Home::new();
    let server = home.serve();
    assert!(!greets(&home, &server, tls(&home.path("certs"), None)));
    let mut mixed = tls(&stranger.path("certs"), Some("client"));
    let trusted = tls(&home.path("certs"), None);
    mixed.dangerous().set_certificate_verifier(
        rustls::client::WebPkiServerVerifier::builder_with_provider(
            {
                let mut roots = rustls::RootCertStore::empty();
                use rustls::pki_types::pem::PemObject;
                let pem = home.path("certs").join("ca.pem");
                roots.add(rustls::pki_types::CertificateDer::from_pem_file(pem).unwrap()).unwrap();
                Arc::new(roots)
            },
            Arc::clone(trusted.crypto_provider()),
        )
        .build()
        .unwrap(),
    );
    assert!(!greets(&home, &server, mixed), "the rogue authority has the same names");
    assert!(greets(&home, &server, tls(&home.path("certs"), Some("client"))));
}

#[test]
fn where_certificates_are_optional_a_wrong_one_still_fails() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_TLS__CLIENT_AUTH", "optional")]);
    assert!(greets(&home, &server, tls(&home.path("certs"), None)));
    assert!(greets(&home, &server, tls(&home.path("certs"), Some("client"))));
    assert!(!greets(&home, &server, tls(&home.path("certs"), Some("server"))), "not a client's");
}

#[test]
fn tls_1_2_is_refused_unless_allowed() {
    let home = Home::new();
    for (minimum, accepted) in [("1.3", false), ("1.2", true)] {
        let server = home.serve_with(&[("GMQ_TLS__MIN_VERSION", minimum)]);
        // An old client, by hand: the crate's own TLS 1.2 is not compiled in everywhere.
        let hello = client_hello_1_2();
        let mut tcp = TcpStream::connect(server.address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.write_all(&hello).unwrap();
        let mut answer = [0; 1];
        tcp.read_exact(&mut answer).unwrap();
        const ALERT: u8 = 21;
        const HANDSHAKE: u8 = 22;
        assert_eq!(answer[0], if accepted { HANDSHAKE } else { ALERT }, "{minimum}");
    }
}

/// A TLS 1.2 ClientHello with ECDHE-ECDSA-AES128-GCM-SHA256, P-256 and ecdsa_secp256r1_sha256.
fn client_hello_1_2() -> Vec<u8> {
    let mut extensions = vec![];
    extensions.extend([0, 10, 0, 4, 0, 2, 0, 23]); // supported_groups: secp256r1
    extensions.extend([0, 11, 0, 2, 1, 0]); // ec_point_formats: uncompressed
    extensions.extend([0, 13, 0, 4, 0, 2, 4, 3]); // signature_algorithms
    extensions.extend([0, 23, 0, 0]); // extended_master_secret
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0xc0, 0x2b]);
    body.extend([1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut handshake = vec![1, 0];
    handshake.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    handshake.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(handshake.len()).unwrap().to_be_bytes());
    record.extend(handshake);
    record
}

#[test]
fn a_plaintext_client_gets_no_answer_but_an_alert() {
    let home = Home::new();
    let server = home.serve();
    let mut tcp = TcpStream::connect(server.address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(b"{\"op\":\"ping\",\"id\":1}\n").unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer);
    assert!(!answer.contains(&b'{'), "{answer:?}");
}

#[test]
fn a_half_handshake_ends_at_its_deadline() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_LIMITS__HANDSHAKE_TIMEOUT", "300ms")]);
    let config = Arc::new(tls(&home.path("certs"), Some("client")));
    let name = rustls::pki_types::ServerName::from(server.address.ip());
    let mut half = ClientConnection::new(config, name).unwrap();
    let mut tcp = TcpStream::connect(server.address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    half.write_tls(&mut tcp).unwrap();
    // The server's flight comes, ours is never sent, and the connection ends.
    let mut all = Vec::new();
    let _ = tcp.read_to_end(&mut all);
    server.login().ok(json!({"op": "ping"}));
}

#[test]
fn no_session_is_resumed() {
    let home = Home::new();
    let server = home.serve();
    let config = tls(&home.path("certs"), Some("client"));
    for _ in 0..2 {
        let mut wire = Wire::open(server.address, config.clone()).unwrap();
        assert_eq!(wire.next()["event"], "hello");
        assert_eq!(wire.stream.conn.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(wire.stream.conn.tls13_tickets_received(), 0);
    }
}
