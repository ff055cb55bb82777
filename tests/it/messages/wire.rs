//! What the server says on the wire: `code`, what stands beside it, and the sentence.

use std::process::Command;

use gmq::engine::Refusal;
use serde_json::{Value, json};

use super::List;
use crate::harness::{Home, Server, Wire, run, text};

/// An error in one line; of numbers that depend on the moment only that they are there.
fn line(error: &Value) -> String {
    let mut said = error["code"].as_str().unwrap().to_owned();
    for (name, value) in error.as_object().unwrap() {
        match &**name {
            "code" | "message" => {}
            "retry_after_ms" => said += ", retry_after_ms N",
            _ => said += &format!(", {name} {value}"),
        }
    }
    format!("{said}\n{}", error["message"].as_str().unwrap())
}

impl List {
    /// The refusal of a line on a connection that goes on.
    fn refused(&mut self, wire: &mut Wire, request: &str) {
        wire.send(request);
        let reply = wire.next();
        assert_eq!(reply["ok"], false, "{request}: {reply}");
        self.add(request, &line(&reply["error"]));
        wire.ok(json!({"op": "ping"}));
    }

    /// The refusal of a line on a connection of its own that is then closed.
    fn refused_before_login(&mut self, server: &Server<'_>, request: &str) {
        let mut wire = server.connect();
        wire.send(request);
        self.last_refusal(&mut wire, request);
    }

    fn last_refusal(&mut self, wire: &mut Wire, request: &str) {
        let reply = wire.next();
        assert_eq!(reply["ok"], false, "{request}: {reply}");
        self.add(request, &line(&reply["error"]));
        wire.closes_with(reply["error"]["code"].as_str().unwrap());
    }
}

#[test]
fn every_message_of_the_wire_is_in_the_list() {
    let mut list = List::default();
    let home = Home::new();
    home.add_user("worker", "a good password", &["consume:tasks"]);
    let limits = [
        "--max-queues",
        "2",
        "--max-messages",
        "3",
        "--max-bytes",
        "1 KiB",
        "--max-connections",
        "1",
    ];
    home.admin(&[&["tenant", "add", "small"], &limits[..]].concat(), "");
    let add = ["user", "add", "eve", "--tenant", "small", "--password-stdin", "--grant", "all:#"];
    home.admin(&add, "a good password\n");
    let server = home.serve_with(&[("GMQ_AUTH__FAILURES_PER_MINUTE_USER", "1")]);
    list.group("frames");
    frames(&mut list, &server);
    list.group("requests");
    requests(&mut list, &mut server.login());
    list.group("messages");
    messages(&mut list, &mut server.login());
    list.group("queues");
    queues(&mut list, &mut server.login());
    list.group("what messages and queues can do");
    abilities(&mut list, &mut server.login());
    list.group("not supported yet");
    later(&mut list, &mut server.login());
    list.group("grants");
    grants(&mut list, &home, &server);
    list.group("quotas");
    quotas(&mut list, &server);
    list.group("logins");
    logins(&mut list, &home, &server);
    list.group("what is hard to provoke");
    for refusal in [Refusal::StorageUnavailable, Refusal::ShuttingDown] {
        list.add(&format!("{refusal:?}"), &refusal.to_string());
    }
    list.check("wire");
}

fn frames(list: &mut List, server: &Server<'_>) {
    let mut wire = server.login();
    for request in [
        "nonsense",
        r#"{"op":"ping"} more"#,
        "[1,2,3]",
        r#"{"op":"ping","id":"\ud800"}"#,
        &format!(r#"{{"op":"publish","queue":"q","body":{}{}}}"#, "[".repeat(65), "]".repeat(65)),
    ] {
        list.refused(&mut wire, request);
    }
    wire.send_raw(b"\xff\n");
    list.add("a byte that is no UTF-8", &line(&wire.next()["error"]));
    for _ in 0..99 {
        wire.send("nonsense");
        wire.next();
    }
    wire.send("nonsense");
    list.last_refusal(&mut wire, "the 101st bad frame in a row");
    let mut wire = server.login();
    wire.send_raw(&vec![b' '; 2 * 1024 * 1024 + 1]);
    list.last_refusal(&mut wire, "a frame that is too long");
    let mut wire = server.connect();
    wire.send_raw(&vec![b' '; 8 * 1024 + 1]);
    list.last_refusal(&mut wire, "a frame that is too long before the login");
}

fn requests(list: &mut List, wire: &mut Wire) {
    for request in [
        r#"{"op":"pong"}"#,
        r#"{"id":1}"#,
        r#"{"op":"ping","id":-1}"#,
        r#"{"op":"ping","queue":"q"}"#,
        r#"{"op":"ping","op":"ping"}"#,
        r#"{"op":"pull"}"#,
        r#"{"op":"pull","queue":7}"#,
        r#"{"op":"pull","queue":"a b"}"#,
        r#"{"op":"pull","queue":"q","max":1.0}"#,
        r#"{"op":"pull","queue":"q","wait_ms":60001}"#,
        r#"{"op":"consume","queue":"q","auto_ack":1}"#,
        r#"{"op":"cancel","sub":"1"}"#,
        r#"{"op":"cancel","sub":1}"#,
        r#"{"op":"ack"}"#,
        r#"{"op":"ack","tag":1,"up_to":1}"#,
        r#"{"op":"ack","tags":1}"#,
        r#"{"op":"ack","tags":["1"]}"#,
        r#"{"op":"ack","tags":[1]}"#,
        r#"{"op":"queue.list","pattern":"a*"}"#,
        &format!(r#"{{"op":"queue.list","after":"{}"}}"#, "x".repeat(201)),
        r#"{"op":"auth","user":"admin","password":"again"}"#,
    ] {
        list.refused(wire, request);
    }
}

fn messages(list: &mut List, wire: &mut Wire) {
    let headers =
        |text: &str| format!(r#"{{"op":"publish","queue":"q","headers":{text},"body":1}}"#);
    let many: serde_json::Map<_, _> = (0..65).map(|n| (format!("h{n}"), json!(""))).collect();
    for request in [
        r#"{"op":"publish","queue":"q"}"#,
        r#"{"op":"publish","queue":"q","body":1,"payload":""}"#,
        r#"{"op":"publish","queue":"q","payload":"?"}"#,
        r#"{"op":"publish","queue":"q","body":1,"reply_to":"_"}"#,
        &format!(
            r#"{{"op":"publish","queue":"q","body":1,"correlation_id":"{}"}}"#,
            "x".repeat(129)
        ),
        r#"{"op":"publish","queue":"q","body":1,"require":"paper"}"#,
        r#"{"op":"publish","queue":"q","body":1,"require":"replicated"}"#,
        r#"{"op":"publish","queue":"q","messages":{}}"#,
        r#"{"op":"publish","queue":"q","messages":[]}"#,
        r#"{"op":"publish","queue":"q","messages":[1]}"#,
        r#"{"op":"publish","queue":"q","messages":[{}]}"#,
        r#"{"op":"publish","queue":"q","messages":[{"boby":1}]}"#,
        r#"{"op":"publish","queue":"q","messages":[{"body":1}],"body":1}"#,
        &format!(r#"{{"op":"publish","queue":"q","body":"{}"}}"#, "x".repeat(1024 * 1024)),
        &headers("1"),
        &headers(r#"{"n":1}"#),
        &headers(r#"{"n":"1","n":"2"}"#),
        &headers(r#"{"gmq-dead-at":"1"}"#),
        &headers(&json!({"h": "x".repeat(8 * 1024)}).to_string()),
        &headers(&Value::from(many).to_string()),
    ] {
        list.refused(wire, request);
    }
}

fn queues(list: &mut List, wire: &mut Wire) {
    list.refused(wire, r#"{"op":"pull","queue":"nowhere"}"#);
    wire.ok(json!({"op": "queue.declare", "queue": "full", "settings": {"max_messages": 1}}));
    wire.ok(json!({"op": "publish", "queue": "full", "body": 1}));
    for request in [
        r#"{"op":"publish","queue":"full","body":1}"#,
        r#"{"op":"queue.delete","queue":"full","if_empty":true}"#,
        r#"{"op":"queue.declare","queue":"full","settings":{"max_messages":2}}"#,
        r#"{"op":"queue.declare","queue":"full","settings":{"storage":"memory"},"update":true}"#,
        r#"{"op":"queue.declare","queue":"q","settings":1}"#,
        r#"{"op":"queue.declare","queue":"q","settings":{"max_bites":1}}"#,
        r#"{"op":"queue.declare","queue":"q","settings":{"max_bytes":0}}"#,
        r#"{"op":"queue.declare","queue":"q","settings":{"ack_timeout_ms":0}}"#,
        r#"{"op":"queue.declare","queue":"q","settings":{"storage":"disk"}}"#,
        r#"{"op":"queue.declare","queue":"q","settings":{"overflow":"drop"}}"#,
    ] {
        list.refused(wire, request);
    }
}

fn abilities(list: &mut List, wire: &mut Wire) {
    wire.ok(json!({"op": "queue.declare", "queue": "there"}));
    for request in [
        r#"{"op":"publish","queue":"q","body":1,"priority":10}"#,
        r#"{"op":"publish","queue":"q","messages":[{"body":1,"key":""}]}"#,
        r#"{"op":"publish","queue":"q","topic":"t","body":1}"#,
        r#"{"op":"publish","body":1}"#,
        r#"{"op":"nack","tag":1,"reason":1}"#,
        r#"{"op":"nack","tag":1,"dead_letter":true,"delay_ms":5}"#,
        r#"{"op":"queue.declare","queue":"x","settings":{"overflow":"drop"}}"#,
        r#"{"op":"queue.declare","queue":"x","settings":{"ttl_ms":0}}"#,
        r#"{"op":"queue.declare","queue":"x","settings":{"max_attempts":3}}"#,
        r#"{"op":"queue.declare","queue":"x","settings":{"dead_letter":"x"}}"#,
        r#"{"op":"queue.declare","queue":"x","settings":{"exclusive":true,"storage":"memory"}}"#,
        r#"{"op":"queue.declare","queue":"there","settings":{"exclusive":true},"update":true}"#,
        r#"{"op":"queue.move","from":"there","to":"there"}"#,
        r#"{"op":"queue.move","from":"there","to":"nowhere"}"#,
        r#"{"op":"topic.bind","pattern":"a.**","queue":"there"}"#,
        r#"{"op":"topic.list","after":{"pattern":"a"}}"#,
    ] {
        list.refused(wire, request);
    }
}

fn later(list: &mut List, wire: &mut Wire) {
    for request in [
        r#"{"op":"auth","token":"gmq_x"}"#,
        r#"{"op":"auth","user":"u","password":"p","want_resume":true}"#,
    ] {
        list.refused(wire, request);
    }
}

fn grants(list: &mut List, home: &Home, server: &Server<'_>) {
    let mut wire = server.login_as("worker", "a good password");
    list.refused(&mut wire, r#"{"op":"publish","queue":"tasks","body":1}"#);
    server.login().ok(json!({"op": "queue.declare", "queue": "tasks"}));
    wire.send(r#"{"op":"pull","id":"waits","queue":"tasks","wait_ms":60000}"#);
    wire.ok(json!({"op": "ping"}));
    home.admin(&["user", "revoke", "worker", "consume:tasks"], "");
    let refused = wire.reply(&json!("waits"));
    list.add("a pull that waits while its grant is taken away", &line(&refused["error"]));
}

fn quotas(list: &mut List, server: &Server<'_>) {
    let mut wire = server.login_to("small", "eve", "a good password");
    wire.ok(json!({"op": "queue.declare", "queue": "p"}));
    wire.ok(json!({"op": "queue.declare", "queue": "q"}));
    list.refused(&mut wire, r#"{"op":"queue.declare","queue":"r"}"#);
    wire.ok(json!({"op": "publish", "queue": "q", "messages": vec![json!({"body": 1}); 3]}));
    list.refused(&mut wire, r#"{"op":"publish","queue":"q","body":1}"#);
    wire.ok(json!({"op": "queue.purge", "queue": "q"}));
    let long = json!({"op": "publish", "queue": "q", "body": "x".repeat(1024)});
    list.refused(&mut wire, &long.to_string());
    for _ in 0..1_000 {
        wire.send(r#"{"op":"consume","queue":"q"}"#);
        wire.send(r#"{"op":"pull","queue":"p","wait_ms":60000}"#);
    }
    list.refused(&mut wire, r#"{"op":"consume","queue":"q"}"#);
    list.refused(&mut wire, r#"{"op":"pull","queue":"p","wait_ms":60000}"#);
    let login = r#"{"op":"auth","tenant":"small","user":"eve","password":"a good password"}"#;
    list.refused_before_login(server, login);
}

fn logins(list: &mut List, home: &Home, server: &Server<'_>) {
    for request in [
        r#"{"op":"ping"}"#,
        r#"{"op":"auth","user":"admin"}"#,
        r#"{"op":"auth","user":"Admin","password":"x"}"#,
        r#"{"op":"auth","tenant":"","user":"admin","password":"x"}"#,
        r#"{"op":"auth","user":"admin","password":""}"#,
        r#"{"op":"auth","token":"gmq_x"}"#,
        r#"{"op":"auth","user":"nobody","password":"wrong"}"#,
        r#"{"op":"auth","user":"nobody","password":"once more"}"#,
    ] {
        list.refused_before_login(server, request);
    }
    too_many_logins(list);
    take_the_accounts_away(home);
    list.refused_before_login(
        server,
        r#"{"op":"auth","user":"admin","password":"without accounts to look at"}"#,
    );
}

fn take_the_accounts_away(home: &Home) {
    let mut python = Command::new("python3");
    python.arg("-c").arg(
        "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('ALTER TABLE users RENAME TO u')",
    );
    python.arg(home.path("data/accounts.db"));
    let output = run(python, "");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// More logins than may wait, each of which takes long.
fn too_many_logins(list: &mut List) {
    let home = Home::new();
    let server = home.serve_with(&[
        ("GMQ_AUTH__ARGON2__ITERATIONS", "100"),
        ("GMQ_AUTH__ARGON2__MEMORY_KIB", "65536"),
        ("GMQ_AUTH__ARGON2__WORKERS", "1"),
    ]);
    let login = r#"{"op":"auth","user":"nobody","password":"as the hundredth at a time"}"#;
    let mut wires: Vec<_> = (0..100)
        .map(|_| {
            let mut wire = server.connect();
            wire.send(login);
            wire
        })
        .collect();
    list.last_refusal(wires.last_mut().unwrap(), login);
}
