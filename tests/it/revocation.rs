//! Section "Authentication", last rule: what the administration changes reaches live connections
//! within a second.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Home, Server, Wire, eventually};

const PASSWORD: &str = "a good password";

fn worker(home: &Home) {
    home.add_user("worker", PASSWORD, &["all:jobs"]);
}

/// Closed with `revoked` within a second of the change, and what was in hand returns.
fn is_revoked(server: &Server<'_>, mut wire: Wire, change: impl FnOnce()) {
    server.login().ok(json!({"op": "publish", "queue": "jobs", "body": 1}));
    wire.ok(json!({"op": "consume", "queue": "jobs"}));
    wire.message();
    change();
    let start = Instant::now();
    wire.closes_with("revoked");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let back = server.login().ok(json!({"op": "pull", "queue": "jobs", "wait_ms": 60_000}));
    assert_eq!(back["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn a_disabled_user_is_closed_while_it_consumes() {
    let home = Home::new();
    worker(&home);
    let server = home.serve();
    let wire = server.login_as("worker", PASSWORD);
    is_revoked(&server, wire, || drop(home.admin(&["user", "disable", "worker"], "")));
    let mut wire = server.connect();
    let auth = json!({"op": "auth", "id": 1, "user": "worker", "password": PASSWORD}).to_string();
    wire.refused_and_closed(&auth, "auth_failed");
    home.admin(&["user", "enable", "worker"], "");
    eventually("the user enabled again", || {
        let mut wire = server.connect();
        wire.send(&auth);
        (wire.next()["ok"] == true).then_some(())
    });
}

#[test]
fn a_removed_user_is_closed_and_one_of_the_same_name_inherits_nothing() {
    let home = Home::new();
    worker(&home);
    let server = home.serve();
    let wire = server.login_as("worker", PASSWORD);
    is_revoked(&server, wire, || drop(home.admin(&["user", "remove", "worker"], "")));
    home.add_user("worker", "a new password", &["publish:jobs"]);
    let auth = json!({"op": "auth", "id": 1, "user": "worker", "password": PASSWORD}).to_string();
    server.connect().refused_and_closed(&auth, "auth_failed");
    let mut wire = server.login_as("worker", "a new password");
    assert_eq!(wire.refused(json!({"op": "pull", "queue": "jobs"}))["code"], "forbidden");
}

#[test]
fn a_changed_password_closes_connections_opened_with_the_old_one() {
    let home = Home::new();
    worker(&home);
    let server = home.serve();
    let wire = server.login_as("worker", PASSWORD);
    let passwd = ["user", "passwd", "worker", "--password-stdin"];
    is_revoked(&server, wire, || drop(home.admin(&passwd, "a new password\n")));
    server.login_as("worker", "a new password");
}

#[test]
fn narrowed_grants_hold_at_once_and_the_connection_stays() {
    let home = Home::new();
    worker(&home);
    let server = home.serve();
    let mut admin = server.login();
    let mut wire = server.login_as("worker", PASSWORD);
    admin.ok(json!({"op": "publish", "queue": "jobs", "body": 1}));
    let sub = wire.ok(json!({"op": "consume", "queue": "jobs"}))["sub"].clone();
    wire.message();
    wire.send(r#"{"op":"pull","id":"waits","queue":"jobs","wait_ms":60000}"#);
    wire.ok(json!({"op": "ping"}));
    home.admin(&["user", "revoke", "worker", "all:jobs"], "");
    let pull = wire.reply(&json!("waits"));
    assert_eq!(pull["error"]["code"], "forbidden");
    let cancelled = wire.next();
    assert_eq!(cancelled, json!({"event": "cancelled", "sub": sub, "reason": "forbidden"}));
    assert_eq!(wire.refused(json!({"op": "pull", "queue": "jobs"}))["code"], "forbidden");
    let back = admin.ok(json!({"op": "pull", "queue": "jobs", "wait_ms": 60_000}));
    assert_eq!(back["messages"].as_array().unwrap().len(), 1, "what was in hand returned");
}

#[test]
fn widened_grants_hold_at_once() {
    let home = Home::new();
    worker(&home);
    let server = home.serve();
    let mut wire = server.login_as("worker", PASSWORD);
    let publish = json!({"op": "publish", "queue": "other", "body": 1});
    assert_eq!(wire.refused(publish.clone())["code"], "forbidden");
    home.admin(&["user", "grant", "worker", "all:other"], "");
    let granted: Value = eventually("the new grant", || {
        Some(wire.request(publish.clone())).filter(|r| r["ok"] == true)
    });
    assert_eq!(granted["seq"], 1);
}

#[test]
fn quotas_that_change_hold_at_once() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    home.admin(&["tenant", "set", "default", "--max-messages", "1"], "");
    eventually("the new quota", || {
        let quotas = wire.ok(json!({"op": "whoami"}))["quotas"].clone();
        (quotas["messages"]["limit"] == 1).then_some(())
    });
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    let error = wire.refused(json!({"op": "publish", "queue": "q", "body": 1}));
    assert_eq!(error["code"], "quota_exceeded");
}

#[test]
fn a_tenants_connections_are_bounded_after_the_credentials_were_verified() {
    let home = Home::new();
    home.admin(&["tenant", "set", "default", "--max-connections", "1"], "");
    let server = home.serve();
    let first = server.login();
    let auth = json!({"op":"auth","id":1,"user":"admin","password":home.password()}).to_string();
    server.connect().refused_and_closed(&auth, "too_many_connections");
    let wrong = json!({"op": "auth", "id": 1, "user": "admin", "password": "x"}).to_string();
    server.connect().refused_and_closed(&wrong, "auth_failed");
    first.cut();
    eventually("the place given back", || {
        let mut wire = server.connect();
        wire.send(&auth);
        (wire.next()["ok"] == true).then_some(())
    });
}
