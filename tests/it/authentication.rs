//! Section "Authentication": passwords, and the client certificate as a second factor.

use std::time::Instant;

use serde_json::json;

use crate::harness::{Home, Wire, tls};

/// Every op of the protocol but `auth`.
const OPS: [&str; 23] = [
    "ping",
    "whoami",
    "publish",
    "consume",
    "cancel",
    "pull",
    "ack",
    "nack",
    "extend",
    "queue.declare",
    "queue.delete",
    "queue.purge",
    "queue.list",
    "queue.info",
    "queue.peek",
    "queue.move",
    "queue.doctor",
    "topic.bind",
    "topic.unbind",
    "topic.list",
    "hello",
    "",
    "x",
];

#[test]
fn the_greeting_lists_the_mechanisms_and_the_limit_and_nothing_else() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.connect_ungreeted();
    let hello = wire.next();
    assert_eq!(hello["event"], "hello");
    assert_eq!(hello["protocol"], 1);
    assert_eq!(hello["max_frame_bytes"], 2 * 1024 * 1024);
    assert_eq!(hello["auth"], json!(["password"]), "what this version can do");
    assert_eq!(hello.as_object().unwrap().len(), 4, "{hello}");
}

#[test]
fn a_login_tells_tenant_and_user() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.connect();
    let password = home.password();
    let reply = wire.request(json!({"op": "auth", "user": "admin", "password": password}));
    assert_eq!(reply["ok"], true);
    assert_eq!((&reply["tenant"], &reply["user"]), (&json!("default"), &json!("admin")));
}

#[test]
fn anything_before_auth_is_refused_and_closes() {
    let home = Home::new();
    let server = home.serve();
    for op in OPS {
        let code = if ["hello", "", "x"].contains(&op) { None } else { Some("not_authenticated") };
        let mut wire = server.connect();
        wire.send(&format!(r#"{{"op":"{op}","id":1,"queue":"q","body":1}}"#));
        let reply = wire.next();
        assert_eq!(reply["ok"], false, "{op}: {reply}");
        let told = reply["error"]["code"].as_str().unwrap().to_owned();
        if let Some(code) = code {
            assert!(told == code || told == "bad_request", "{op}: {reply}");
        }
        wire.closes_with(&told);
    }
    let mut wire = server.connect();
    wire.refused_and_closed(r#"{"op":"ping","id":1}"#, "not_authenticated");
}

#[test]
fn before_auth_every_error_closes() {
    let home = Home::new();
    let server = home.serve();
    server.connect().refused_and_closed("nonsense", "bad_frame");
    server.connect().refused_and_closed(r#"{"op":"auth","user":"admin"}"#, "bad_request");
    server
        .connect()
        .refused_and_closed(r#"{"op":"auth","user":"admin","password":""}"#, "bad_request");
    server
        .connect()
        .refused_and_closed(r#"{"op":"auth","user":"A!","password":"x"}"#, "bad_request");
}

#[test]
fn mechanisms_of_later_work_are_refused_by_name() {
    let home = Home::new();
    let server = home.serve();
    for (line, field) in [
        (r#"{"op":"auth","id":1,"token":"gmq_x"}"#, "token"),
        (r#"{"op":"auth","id":1,"certificate":true}"#, "certificate"),
        (r#"{"op":"auth","id":1,"resume":"x"}"#, "resume"),
        (r#"{"op":"auth","id":1,"user":"admin","password":"x","want_resume":true}"#, "want_resume"),
    ] {
        let mut wire = server.connect();
        wire.send(line);
        let error = wire.next()["error"].clone();
        assert_eq!((&error["code"], &error["field"]), (&json!("bad_request"), &json!(field)));
        assert!(error["message"].as_str().unwrap().contains("not supported yet"));
        wire.closes_with("bad_request");
    }
}

#[test]
fn a_second_auth_is_bad_request() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let again = json!({"op": "auth", "user": "admin", "password": home.password()});
    assert_eq!(wire.refused(again)["code"], "bad_request");
    wire.ok(json!({"op": "ping"}));
}

#[test]
fn every_failed_login_gives_the_same_answer() {
    let home = Home::new();
    home.add_user("sleeper", "a good password", &["all:#"]);
    home.admin(&["user", "disable", "sleeper"], "");
    let carded = ["user", "add", "carded", "--password-stdin", "--require-certificate"];
    home.admin(&[&carded[..], &["--certificate", "dns:elsewhere"]].concat(), "a good password\n");
    let server = home.serve();
    let mut answers = Vec::new();
    for (tenant, user, password) in [
        ("default", "admin", "wrong"),
        ("default", "nobody", "wrong"),
        ("nowhere", "admin", "wrong"),
        ("default", "sleeper", "a good password"),
        ("default", "carded", "a good password"),
    ] {
        let mut wire = server.connect();
        wire.send(
            &json!({"op":"auth","id":1,"tenant":tenant,"user":user,"password":password})
                .to_string(),
        );
        answers.push(wire.line().unwrap().unwrap());
        wire.closes_with("auth_failed");
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "an answer tells the cause");
}

#[test]
fn a_user_can_be_required_to_present_its_certificate_too() {
    let home = Home::new();
    // The client certificate of `init` goes from `admin` to `worker`.
    home.admin(&["user", "certificate", "admin", "--none"], "");
    let add = ["user", "add", "worker", "--password-stdin", "--require-certificate"];
    let with = |more: &[&'static str]| [&add[..], more].concat();
    home.admin(&with(&["--certificate", "dns:admin"]), "a good password\n");
    let server = home.serve_with(&[("GMQ_TLS__CLIENT_AUTH", "optional")]);
    let login = |wire: &mut Wire, password: &str| {
        wire.send(&json!({"op":"auth","id":1,"user":"worker","password":password}).to_string());
        wire.next()["ok"] == true
    };
    assert!(login(&mut server.connect(), "a good password"), "certificate and password");
    assert!(!login(&mut server.connect(), "wrong"), "certificate alone");
    let mut bare = Wire::open(server.address, tls(&home.path("certs"), None)).unwrap();
    bare.next();
    assert!(!login(&mut bare, "a good password"), "password alone");
}

#[test]
fn too_many_failures_are_throttled_for_that_user_and_address_alone() {
    let home = Home::new();
    home.add_user("victim", "a good password", &["all:#"]);
    let server = home.serve_with(&[("GMQ_AUTH__FAILURES_PER_MINUTE_USER", "3")]);
    let wrong = json!({"op":"auth","id":1,"user":"victim","password":"wrong"}).to_string();
    for _ in 0..3 {
        server.connect().refused_and_closed(&wrong, "auth_failed");
    }
    let mut wire = server.connect();
    wire.send(
        &json!({"op":"auth","id":1,"user":"victim","password":"a good password"}).to_string(),
    );
    let error = wire.next()["error"].clone();
    assert_eq!(error["code"], "auth_throttled");
    let retry_after_ms = error["retry_after_ms"].as_u64().unwrap();
    assert!((1..=60_000).contains(&retry_after_ms), "{error}");
    wire.closes_with("auth_throttled");
    server.login();
}

#[test]
fn what_is_sent_behind_a_login_is_judged_by_what_it_reached() {
    let home = Home::new();
    let server = home.serve();
    let auth = |password: &str| json!({"op":"auth","id":1,"user":"admin","password":password});
    let mut wire = server.connect();
    wire.send_raw(format!("{}\n{{\"op\":\"ping\",\"id\":2}}\n", auth(&home.password())).as_bytes());
    assert_eq!(wire.next()["id"], 1);
    assert_eq!(wire.next(), json!({"id": 2, "ok": true}));

    let mut wire = server.connect();
    wire.send_raw(
        format!("{}\n{{\"op\":\"publish\",\"id\":2,\"queue\":\"q\",\"body\":1}}\n", auth("wrong"))
            .as_bytes(),
    );
    assert_eq!(wire.next()["error"]["code"], "auth_failed");
    wire.closes_with("auth_failed");
    let reply = server.login().request(json!({"op": "queue.info", "queue": "q"}));
    assert_eq!(reply["error"]["code"], "no_such_queue");
}

#[test]
fn silence_after_the_handshake_is_closed_at_the_deadline() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_LIMITS__AUTH_TIMEOUT", "300ms")]);
    let start = Instant::now();
    let mut wire = server.connect();
    wire.closes_with("auth_timeout");
    assert!(start.elapsed().as_millis() >= 250, "too early: {:?}", start.elapsed());
}

#[test]
fn a_slow_trickle_of_bytes_does_not_move_the_deadline() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_LIMITS__AUTH_TIMEOUT", "500ms")]);
    let mut wire = server.connect();
    let start = Instant::now();
    // Sends as fast as the server answers nothing: the deadline is absolute.
    while start.elapsed().as_millis() < 400 {
        wire.send_raw(b" ");
        std::thread::yield_now();
    }
    wire.closes_with_any(&["auth_timeout", "frame_too_large"]);
}

#[test]
fn whoami_tells_grants_and_quotas() {
    let home = Home::new();
    home.add_user("web", "a good password", &["publish:orders.#", "consume:replies"]);
    home.admin(&["tenant", "set", "default", "--max-queues", "7"], "");
    let server = home.serve();
    let mut wire = server.login_as("web", "a good password");
    let reply = wire.ok(json!({"op": "whoami"}));
    assert_eq!((&reply["tenant"], &reply["user"]), (&json!("default"), &json!("web")));
    assert_eq!(reply["grants"], json!(["publish:orders.#", "consume:replies"]));
    assert_eq!(reply["quotas"]["queues"], json!({"used": 0, "limit": 7}));
    assert_eq!(reply["quotas"]["connections"]["used"], 1);
    for quota in ["queues", "messages", "bytes", "connections", "publish_rate", "publish_byte_rate"]
    {
        assert!(reply["quotas"][quota].is_object(), "{quota}: {reply}");
    }
}

#[test]
fn a_password_has_1_to_1024_bytes() {
    let home = Home::new();
    let password = "é".repeat(512);
    home.add_user("long", &password, &[]);
    let server = home.serve();
    let login = |password: &str| {
        json!({"op": "auth", "id": 1, "user": "long", "password": password}).to_string()
    };
    for bad in ["", &"x".repeat(1025), &format!("{password}x")] {
        let mut wire = server.connect();
        wire.send(&login(bad));
        let error = wire.next()["error"].clone();
        assert_eq!((&error["code"], &error["field"]), (&json!("bad_request"), &json!("password")));
        wire.closes_with("bad_request");
    }
    server.connect().refused_and_closed(&login(&"x".repeat(1024)), "auth_failed");
    server.login_as("long", &password);
}

#[test]
fn a_login_that_is_not_written_as_it_should_be_names_its_field_and_closes() {
    let home = Home::new();
    let server = home.serve();
    for (line, field) in [
        (r#"{"op":"auth","id":1}"#, "user"),
        (r#"{"op":"auth","id":1,"user":"admin"}"#, "password"),
        (r#"{"op":"auth","id":1,"password":"x"}"#, "user"),
        (r#"{"op":"auth","id":1,"password":""}"#, "password"),
        (r#"{"op":"auth","id":1,"user":1,"password":"x"}"#, "user"),
        (r#"{"op":"auth","id":1,"user":"admin","password":1}"#, "password"),
        (r#"{"op":"auth","id":1,"user":"admin","password":null}"#, "password"),
        (r#"{"op":"auth","id":1,"user":"admin","pasword":"x"}"#, "pasword"),
        (r#"{"op":"auth","id":1,"user":"admin","password":"x","queue":"q"}"#, "queue"),
        (r#"{"op":"auth","id":1,"user":"admin","user":"admin","password":"x"}"#, "user"),
        (r#"{"op":"auth","id":-1,"user":"admin","password":"x"}"#, "id"),
        (r#"{"id":1,"user":"admin","password":"x"}"#, "op"),
    ] {
        let mut wire = server.connect();
        wire.send(line);
        let reply = wire.next();
        let error = &reply["error"];
        assert_eq!((&error["code"], &error["field"]), (&json!("bad_request"), &json!(field)));
        assert_eq!(reply.get("id").is_some(), field != "id", "{reply}");
        wire.closes_with("bad_request");
    }
    server.login();
}

#[test]
fn before_auth_a_request_without_id_is_told_by_its_name() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.connect();
    wire.send(r#"{"op":"publish","queue":"q","body":1}"#);
    let reply = wire.next();
    assert_eq!(
        (&reply["op"], &reply["error"]["code"]),
        (&json!("publish"), &json!("not_authenticated"))
    );
    wire.closes_with("not_authenticated");
    let mut wire = server.connect();
    wire.send(&json!({"op": "auth", "user": "admin", "password": home.password()}).to_string());
    wire.ok(json!({"op": "ping"}));
}

#[test]
fn failures_are_counted_for_names_that_do_not_exist_too() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_AUTH__FAILURES_PER_MINUTE_USER", "2")]);
    for tenant in ["default", "nowhere"] {
        let login = json!({"op":"auth","id":1,"tenant":tenant,"user":"nobody","password":"x"});
        for code in ["auth_failed", "auth_failed", "auth_throttled"] {
            server.connect().refused_and_closed(&login.to_string(), code);
        }
    }
    server.login();
}

#[test]
fn too_many_failures_from_one_address_are_throttled_whatever_the_user() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_AUTH__FAILURES_PER_MINUTE_ADDRESS", "3")]);
    let login = |user: &str, password: &str| {
        json!({"op": "auth", "id": 1, "user": user, "password": password}).to_string()
    };
    for user in ["one", "two", "three"] {
        server.connect().refused_and_closed(&login(user, "wrong"), "auth_failed");
    }
    let mut wire = server.connect();
    wire.send(&login("admin", &home.password()));
    let error = wire.next()["error"].clone();
    assert_eq!(error["code"], "auth_throttled");
    assert!((1..=60_000).contains(&error["retry_after_ms"].as_u64().unwrap()), "{error}");
    wire.closes_with("auth_throttled");
}

#[test]
fn more_logins_than_may_wait_are_told_to_slow_down() {
    let home = Home::new();
    // Each check takes long, and one is done at a time.
    let server = home.serve_with(&[
        ("GMQ_AUTH__ARGON2__ITERATIONS", "100"),
        ("GMQ_AUTH__ARGON2__MEMORY_KIB", "65536"),
        ("GMQ_AUTH__ARGON2__WORKERS", "1"),
    ]);
    let login = json!({"op": "auth", "id": 1, "user": "nobody", "password": "x"}).to_string();
    let mut wires: Vec<_> = (0..100)
        .map(|_| {
            let mut wire = server.connect();
            wire.send(&login);
            wire
        })
        .collect();
    let last = wires.last_mut().unwrap();
    let error = last.next()["error"].clone();
    assert_eq!(error["code"], "slow_down");
    assert!(error["retry_after_ms"].as_u64().unwrap() > 0, "{error}");
    last.closes_with("slow_down");
}

#[test]
fn only_failed_passwords_are_counted() {
    let home = Home::new();
    let server = home.serve_with(&[
        ("GMQ_AUTH__FAILURES_PER_MINUTE_ADDRESS", "1"),
        ("GMQ_AUTH__FAILURES_PER_MINUTE_USER", "1"),
    ]);
    for (line, code) in [
        ("nonsense", "bad_frame"),
        (r#"{"op":"ping","id":1}"#, "not_authenticated"),
        (r#"{"op":"auth","id":1,"user":"admin","password":""}"#, "bad_request"),
        (r#"{"op":"pong","id":1}"#, "unknown_op"),
    ] {
        server.connect().refused_and_closed(line, code);
        server.login();
    }
}
