//! Section "Errors and closing".

use serde_json::json;

use crate::harness::{Home, Server, Wire, eventually};

#[test]
fn a_server_that_stops_tells_its_clients_and_returns_what_is_in_hand() {
    let home = Home::new();
    let mut server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    wire.ok(json!({"op": "consume", "queue": "q"}));
    wire.message();
    wire.send(r#"{"op":"pull","id":"waits","queue":"q","wait_ms":60000}"#);
    wire.ok(json!({"op": "ping"}));
    server.signal("TERM");
    assert_eq!(wire.reply(&json!("waits"))["messages"], json!([]), "what it took is answered");
    wire.closes_with("shutting_down");
    assert_eq!(server.wait(), Some(0));
}

/// A client that is owed 20 MiB and reads nothing.
fn stuck(server: &Server<'_>) -> Wire {
    let mut wire = server.login();
    let body = "x".repeat(1024 * 1024 - 2);
    for _ in 0..20 {
        wire.ok(json!({"op": "publish", "queue": "q", "body": body}));
    }
    wire.send(r#"{"op":"consume","id":1,"queue":"q"}"#);
    wire
}

#[test]
fn a_drain_ends_in_time_for_a_client_that_does_not_read() {
    let home = Home::new();
    let mut server = home.serve_with(&[("GMQ_LIMITS__DRAIN_TIMEOUT", "1s")]);
    let _stuck = stuck(&server);
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_second_signal_exits_at_once() {
    let home = Home::new();
    let mut server = home.serve_with(&[("GMQ_LIMITS__DRAIN_TIMEOUT", "1h")]);
    let _stuck = stuck(&server);
    server.signal("TERM");
    eventually("the drain", || home.log().contains("drain").then_some(()));
    server.signal("TERM");
    assert!(server.wait().is_some());
}

#[test]
fn a_client_that_reads_nothing_is_closed_and_gets_no_more_deliveries_meanwhile() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_LIMITS__WRITE_TIMEOUT", "500ms")]);
    let mut admin = server.login();
    let body = "x".repeat(1024 * 1024 - 2);
    for _ in 0..40 {
        admin.ok(json!({"op": "publish", "queue": "q", "body": body}));
    }
    let mut stuck = server.login();
    stuck.send(r#"{"op":"consume","id":1,"queue":"q"}"#);
    let in_hand = eventually("deliveries", || {
        let info = admin.ok(json!({"op": "queue.info", "queue": "q"}));
        info["in_hand"].as_u64().filter(|count| *count > 0)
    });
    assert!(in_hand < 40, "bounded by max_outbox_bytes");
    eventually("everything returned", || {
        let info = admin.ok(json!({"op": "queue.info", "queue": "q"}));
        (info["ready"] == 40 && info["consumers"] == 0).then_some(())
    });
    assert!(home.log().contains("too_slow"));
}

#[test]
fn an_idle_connection_is_closed_where_that_is_asked_for() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_LIMITS__IDLE_TIMEOUT", "200ms")]);
    server.login().closes_with("idle");
}

#[test]
fn the_servers_own_limit_of_connections_is_told_instead_of_a_greeting() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_LIMITS__MAX_CONNECTIONS", "1")]);
    let first = server.login();
    server.connect_ungreeted().closes_with("too_many_connections");
    first.cut();
    eventually("the place given back", || {
        let mut wire = server.connect_ungreeted();
        (wire.next()["event"] == "hello").then_some(())
    });
}

#[test]
fn a_connection_that_only_receives_is_not_idle() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_LIMITS__IDLE_TIMEOUT", "1s")]);
    let mut wire = server.login();
    wire.ok(json!({"op": "publish", "queue": "q", "messages": vec![json!({"body": 1}); 12]}));
    let pulled = wire.ok(json!({"op": "pull", "queue": "q", "max": 12}));
    // They come one by one over far more than a second, and nothing is sent meanwhile.
    for (message, n) in pulled["messages"].as_array().unwrap().iter().zip(1..) {
        wire.ok(json!({"op": "nack", "tag": message["tag"], "delay_ms": 150 * n}));
    }
    wire.ok(json!({"op": "consume", "queue": "q", "auto_ack": true}));
    for _ in 0..12 {
        wire.message();
    }
    wire.closes_with("idle");
}

#[test]
fn the_end_of_the_stream_without_close_notify_ends_the_connection() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "publish", "queue": "q", "messages": [{"body": 1}, {"body": 2}]}));
    wire.ok(json!({"op": "pull", "queue": "q"}));
    wire.send_raw(b"{\"op\":\"queue.delete\",\"queue\":\"q\"");
    wire.stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
    let mut other = server.login();
    let back = eventually("both messages", || {
        let info = other.ok(json!({"op": "queue.info", "queue": "q"}));
        (info["ready"] == 2).then_some(info)
    });
    assert_eq!(back["in_hand"], 0, "the half line was dropped");
}
