//! What messages can do besides being delivered: priorities, delays, expiry, groups, keys. One test
//! a rule of `docs/protocol.md`; what must outlive the server is looked at after a kill.

use serde_json::{Value, json};

use crate::harness::{Home, Server, Wire, eventually};

/// The bodies that a pull gives, with their tags.
fn pull(wire: &mut Wire, queue: &str, max: u32, wait_ms: u64) -> (Vec<Value>, Vec<Value>) {
    let reply = wire.ok(json!({"op": "pull", "queue": queue, "max": max, "wait_ms": wait_ms}));
    let messages = reply["messages"].as_array().unwrap();
    let field = |name: &str| messages.iter().map(|message| message[name].clone()).collect();
    (field("body"), field("tag"))
}

fn publish(wire: &mut Wire, queue: &str, messages: &Value) {
    wire.ok(json!({"op": "publish", "queue": queue, "messages": messages}));
}

fn info(wire: &mut Wire, queue: &str) -> Value {
    wire.ok(json!({"op": "queue.info", "queue": queue}))
}

/// Asks until the queue's info is as wanted.
fn wait_for(wire: &mut Wire, queue: &str, wanted: impl Fn(&Value) -> bool) {
    eventually("the queue's info", || wanted(&info(wire, queue)).then_some(()));
}

fn restarted<'a>(home: &'a Home, server: Server<'a>) -> (Server<'a>, Wire) {
    drop(server);
    let server = home.serve();
    let wire = server.login();
    (server, wire)
}

#[test]
fn the_highest_priority_goes_first_and_within_one_the_lowest_seq() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let messages = json!([
        {"body": 1, "priority": 0}, {"body": 2}, {"body": 3, "priority": 9},
        {"body": 4, "priority": 4}, {"body": 5, "priority": 9},
    ]);
    publish(&mut wire, "q", &messages);
    let (_server, mut wire) = restarted(&home, server);
    assert_eq!(pull(&mut wire, "q", 2, 0).0, [3, 5]);
    // What is returned keeps its place.
    wire.ok(json!({"op": "nack", "tags": [1, 2]}));
    let each = [3, 5, 2, 4, 1].map(|body| vec![Value::from(body)]);
    assert_eq!(each.clone().map(|_| pull(&mut wire, "q", 1, 0).0), each);
}

#[test]
fn a_delayed_message_is_not_delivered_before_its_time_nor_after_a_kill() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(
        &mut wire,
        "q",
        &json!([{"body": 1, "delay_ms": 3_600_000}, {"body": 2, "delay_ms": 50}]),
    );
    assert_eq!(pull(&mut wire, "q", 9, 30_000).0, [2]);
    let (_server, mut wire) = restarted(&home, server);
    let counted = info(&mut wire, "q");
    assert_eq!((&counted["delayed"], &counted["ready"]), (&json!(1), &json!(1)));
}

#[test]
fn what_is_over_is_not_delivered_but_counted() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", &json!([{"body": 1, "ttl_ms": 1}, {"body": 2}]));
    wait_for(&mut wire, "q", |info| info["expired"] == 1);
    assert_eq!(pull(&mut wire, "q", 9, 0).0, [2]);
    wire.declare("short", &json!({"ttl_ms": 1}));
    publish(&mut wire, "short", &json!([{"body": 1}, {"body": 2, "ttl_ms": 60_000}]));
    wait_for(&mut wire, "short", |info| info["expired"] == 2);
    assert_eq!(info(&mut wire, "short")["bytes"], 0);
}

#[test]
fn what_expires_while_it_is_in_hand_can_be_acknowledged_and_expires_if_it_returns() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("q", &json!({}));
    publish(&mut wire, "q", &json!([{"body": 1, "ttl_ms": 300}, {"body": 2, "ttl_ms": 300}]));
    let (bodies, tags) = pull(&mut wire, "q", 2, 0);
    assert_eq!(bodies, [1, 2]);
    publish(&mut wire, "clock", &json!([{"body": 0, "delay_ms": 400}]));
    assert_eq!(pull(&mut wire, "clock", 1, 30_000).0, [0]);
    assert_eq!(wire.ok(json!({"op": "ack", "tag": tags[0]}))["acked"], 1);
    assert_eq!(wire.ok(json!({"op": "nack", "tag": tags[1]}))["nacked"], 1);
    let counted = info(&mut wire, "q");
    assert_eq!((&counted["expired"], &counted["ready"]), (&json!(1), &json!(0)));
}

#[test]
fn a_queue_that_nobody_uses_is_deleted() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("q", &json!({"expires_ms": 1}));
    eventually("the queue's end", || {
        let reply = wire.request(json!({"op": "queue.info", "queue": "q"}));
        (reply["ok"] == false).then_some(())
    });
    wire.declare("used", &json!({"expires_ms": 200}));
    wire.ok(json!({"op": "consume", "queue": "used"}));
    publish(&mut wire, "clock", &json!([{"body": 0, "delay_ms": 600}]));
    assert_eq!(pull(&mut wire, "clock", 1, 30_000).0, [0]);
    wire.ok(json!({"op": "queue.info", "queue": "used"}));
}

#[test]
fn one_message_of_a_group_is_in_hand_and_the_others_wait_in_order() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let messages = json!([
        {"body": "a1", "group": "a"}, {"body": "a2", "group": "a", "priority": 9},
        {"body": "b1", "group": "b"}, {"body": "plain"},
    ]);
    publish(&mut wire, "q", &messages);
    let (server, mut wire) = restarted(&home, server);
    assert_eq!(pull(&mut wire, "q", 9, 0).0, ["a1", "b1", "plain"]);
    let mut other = server.login();
    assert!(pull(&mut other, "q", 9, 0).0.is_empty());
    // A delay of the first holds its group.
    wire.ok(json!({"op": "nack", "tag": 1, "delay_ms": 3_600_000}));
    assert!(pull(&mut other, "q", 9, 0).0.is_empty());
    drop(wire);
    drop(other);
    let (_server, mut wire) = restarted(&home, server);
    assert_eq!(pull(&mut wire, "q", 9, 0).0, ["b1", "plain"]);
}

#[test]
fn an_acknowledged_or_refused_message_lets_the_next_of_its_group_go() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let messages: Vec<_> = (1..=3).map(|n| json!({"body": n, "group": "g"})).collect();
    publish(&mut wire, "q", &json!(messages));
    wire.ok(json!({"op": "consume", "queue": "q"}));
    for n in 1..=3 {
        let event = wire.next();
        assert_eq!(event["body"], n);
        let how = match n {
            1 => json!({"op": "ack", "tag": event["tag"]}),
            _ => json!({"op": "nack", "tag": event["tag"], "dead_letter": true}),
        };
        wire.ok(how);
    }
}

#[test]
fn a_key_is_known_within_the_window_after_the_message_is_gone_and_after_a_kill() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("q", &json!({"dedup_window_ms": 3_600_000}));
    let request = json!({"op": "publish", "queue": "q", "body": 1, "key": "k"});
    assert_eq!(wire.ok(request.clone())["seq"], 1);
    let (_, tags) = pull(&mut wire, "q", 1, 0);
    wire.ok(json!({"op": "ack", "tags": tags}));
    let (_server, mut wire) = restarted(&home, server);
    let again = wire.ok(request);
    assert_eq!((&again["seq"], &again["duplicate"]), (&json!(1), &json!(true)));
    let batch = json!([{"body": 2, "key": "x"}, {"body": 3, "key": "k"}, {"body": 4, "key": "x"}]);
    let reply = wire.ok(json!({"op": "publish", "queue": "q", "messages": batch}));
    assert_eq!(reply["duplicates"], json!([1, 2]));
    assert_eq!(reply["seqs"][0], reply["seqs"][2]);
    assert_eq!(info(&mut wire, "q")["duplicates"], 3);
}

#[test]
fn without_a_window_keys_are_carried_and_not_looked_at() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for seq in 1..=2 {
        let request = json!({"op": "publish", "queue": "q", "body": 1, "key": "k"});
        let reply = wire.ok(request);
        assert_eq!((&reply["seq"], reply.get("duplicate")), (&json!(seq), None));
    }
    let pulled = wire.ok(json!({"op": "pull", "queue": "q"}));
    assert_eq!(pulled["messages"][0]["key"], "k");
}

#[test]
fn a_group_waits_for_a_message_that_returns_by_its_lease_or_with_its_connection() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("q", &json!({"ack_timeout_ms": 300}));
    publish(&mut wire, "q", &json!([{"body": 1, "group": "g"}, {"body": 2, "group": "g"}]));
    let mut other = server.login();
    assert_eq!(pull(&mut other, "q", 9, 0).0, [1]);
    // Its lease is over: it comes again, and not the one behind it.
    assert_eq!(pull(&mut wire, "q", 9, 30_000).0, [1]);
    wire.ok(json!({"op": "extend", "tag": 1, "lease_ms": 3_600_000}));
    assert!(pull(&mut other, "q", 9, 0).0.is_empty());
    drop(wire);
    let (bodies, tags) = pull(&mut other, "q", 9, 30_000);
    assert_eq!(bodies, [1]);
    other.ok(json!({"op": "ack", "tags": tags}));
    assert_eq!(pull(&mut other, "q", 9, 0).0, [2]);
}

#[test]
fn with_auto_ack_a_message_does_not_hold_its_group() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let messages: Vec<_> = (1..=3).map(|n| json!({"body": n, "group": "g"})).collect();
    publish(&mut wire, "q", &json!(messages));
    wire.ok(json!({"op": "consume", "queue": "q", "auto_ack": true}));
    let bodies: Vec<_> = (1..=3).map(|_| wire.next()["body"].clone()).collect();
    assert_eq!(bodies, [1, 2, 3]);
}

#[test]
fn a_batch_that_is_refused_stores_nothing_and_remembers_no_key() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("q", &json!({"dedup_window_ms": 3_600_000, "max_messages": 2}));
    let batch = json!([{"body": 1, "key": "a"}, {"body": 2, "key": "b"}, {"body": 3, "key": "c"}]);
    let refused = wire.refused(json!({"op": "publish", "queue": "q", "messages": batch}));
    assert_eq!(refused["code"], "queue_full");
    let reply = wire.ok(json!({"op": "publish", "queue": "q", "body": 1, "key": "a"}));
    assert_eq!((&reply["seq"], reply.get("duplicate")), (&json!(1), None));
}

#[test]
fn a_duplicate_needs_no_room() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("q", &json!({"dedup_window_ms": 3_600_000, "max_messages": 1}));
    let request = json!({"op": "publish", "queue": "q", "body": 1, "key": "a"});
    wire.ok(request.clone());
    assert_eq!(
        wire.refused(json!({"op": "publish", "queue": "q", "body": 2}))["code"],
        "queue_full"
    );
    let again = wire.ok(request);
    assert_eq!((&again["seq"], &again["duplicate"]), (&json!(1), &json!(true)));
}

#[test]
fn what_expires_while_the_server_is_down_is_never_delivered() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("short", &json!({"ttl_ms": 1}));
    let delayed = json!([{"body": 1, "delay_ms": 3_600_000}]);
    publish(&mut wire, "short", &delayed);
    let both = json!([{"body": 1, "ttl_ms": 400, "delay_ms": 300}, {"body": 2}]);
    publish(&mut wire, "q", &both);
    let published = std::time::Instant::now();
    drop(server);
    eventually("its end", || (published.elapsed().as_millis() > 400).then_some(()));
    let server = home.serve();
    let mut wire = server.login();
    assert_eq!(pull(&mut wire, "q", 9, 0).0, [2]);
    wait_for(&mut wire, "q", |info| info["delayed"] == 0 && info["ready"] == 0);
    wait_for(&mut wire, "short", |info| info["bytes"] == 0);
}

#[test]
fn a_delay_that_is_longer_than_the_ttl_ends_with_the_message() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", &json!([{"body": 1, "ttl_ms": 1, "delay_ms": 3_600_000}]));
    wait_for(&mut wire, "q", |info| info["expired"] == 1 && info["delayed"] == 0);
}

#[test]
fn the_tenants_defaults_are_those_of_new_queues_and_a_different_declare_names_what_differs() {
    let home = Home::new();
    let defaults = ["--default", "dedup_window_ms=60000", "--default", "ttl_ms=3600000"];
    let more = ["--default", "overflow=drop_oldest", "--default", "max_messages=2"];
    home.admin(&[&["tenant", "set", "default"], &defaults[..], &more[..]].concat(), "");
    let server = home.serve();
    let mut wire = server.login();
    for body in 1..=3 {
        wire.ok(json!({"op": "publish", "queue": "q", "body": body, "key": body.to_string()}));
    }
    let settings = info(&mut wire, "q")["settings"].clone();
    assert_eq!(settings["dedup_window_ms"], 60_000);
    assert_eq!(settings["ttl_ms"], 3_600_000);
    assert_eq!(settings["overflow"], "drop_oldest");
    assert_eq!(pull(&mut wire, "q", 9, 0).0, [2, 3]);
    let others = json!({
        "dedup_window_ms": 0, "ttl_ms": null, "overflow": "reject", "max_attempts": 3,
        "dead_letter": "dead", "expires_ms": 1_000, "max_messages": 2,
    });
    let declare = json!({"op": "queue.declare", "queue": "q", "settings": others});
    let refused = wire.refused(declare);
    assert_eq!(refused["code"], "queue_exists");
    let mut named: Vec<_> = refused["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    named.sort_unstable();
    let all =
        ["dead_letter", "dedup_window_ms", "expires_ms", "max_attempts", "overflow", "ttl_ms"];
    assert_eq!(named, all);
}
