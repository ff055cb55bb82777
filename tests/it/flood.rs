//! What a peer that is not authenticated can do: hold a bounded amount of memory and time, and
//! not keep others from logging in.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Home, Server, Wire, tls};

/// A real client logs in within a second.
fn logs_in_within_a_second(server: &Server<'_>) {
    let password = server.home.password();
    let start = Instant::now();
    let mut wire = server.login_as("admin", &password);
    wire.ok(json!({"op": "ping"}));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn silent_connections_keep_nobody_out() {
    let home = Home::new();
    let server = home.serve();
    let silent: Vec<_> = (0..500).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    logs_in_within_a_second(&server);
    drop(silent);
}

#[test]
fn half_handshakes_and_half_logins_keep_nobody_out() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_LIMITS__MAX_UNAUTHENTICATED_PER_ADDRESS", "50")]);
    let config = tls(&home.path("certs"), Some("client"));
    let half_handshakes: Vec<_> = (0..100)
        .map(|_| {
            let mut tcp = TcpStream::connect(server.address).unwrap();
            // The beginning of a record that never goes on.
            let _ = tcp.write_all(&[22, 3, 1, 2, 0, 1, 0, 1]);
            tcp
        })
        .collect();
    let half_logins: Vec<_> = (0..100)
        .filter_map(|_| {
            let mut wire = Wire::open(server.address, config.clone()).ok()?;
            wire.stream.write_all(b"{\"op\":\"auth\",").ok()?;
            Some(wire)
        })
        .collect();
    logs_in_within_a_second(&server);
    drop((half_handshakes, half_logins));
}

#[test]
fn endless_bytes_without_a_line_end_hold_a_bounded_amount_of_memory() {
    let home = Home::new();
    let server = home.serve();
    logs_in_within_a_second(&server);
    let before = server.memory_bytes();
    let config = tls(&home.path("certs"), Some("client"));
    for _ in 0..20 {
        let mut wire = Wire::open(server.address, config.clone()).unwrap();
        let start = Instant::now();
        // The server has closed long before this ends.
        for _ in 0..4096 {
            if wire.stream.write_all(&[b'x'; 16 * 1024]).is_err() {
                break;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes more");
    logs_in_within_a_second(&server);
}

#[test]
fn wrong_passwords_do_not_keep_a_real_client_out() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_AUTH__FAILURES_PER_MINUTE_ADDRESS", "100000")]);
    let wrong: Vec<_> = (0..10)
        .map(|n| {
            let mut wire = server.connect();
            wire.send(&format!(r#"{{"op":"auth","id":1,"user":"nobody{n}","password":"x"}}"#));
            wire
        })
        .collect();
    let mut wire = server.connect();
    wire.send(&json!({"op":"auth","id":1,"user":"admin","password":home.password()}).to_string());
    assert_eq!(wire.next()["ok"], true);
    for mut wire in wrong {
        assert_eq!(wire.next()["error"]["code"], "auth_failed");
    }
}
