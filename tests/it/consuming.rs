//! Section "Consuming".

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Home, Wire, eventually};

fn publish(wire: &mut Wire, queue: &str, bodies: std::ops::Range<u64>) {
    let messages: Vec<_> = bodies.map(|body| json!({"body": body})).collect();
    wire.ok(json!({"op": "publish", "queue": queue, "messages": messages}));
}

fn consume(wire: &mut Wire, queue: &str, prefetch: u64) -> u64 {
    let reply = wire.ok(json!({"op": "consume", "queue": queue, "prefetch": prefetch}));
    reply["sub"].as_u64().unwrap()
}

fn pull(wire: &mut Wire, queue: &str, max: u64) -> Vec<Value> {
    let reply = wire.ok(json!({"op": "pull", "queue": queue, "max": max}));
    reply["messages"].as_array().unwrap().clone()
}

fn bodies(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["body"].as_u64().unwrap()).collect()
}

fn info(wire: &mut Wire, queue: &str) -> Value {
    wire.ok(json!({"op": "queue.info", "queue": queue}))
}

#[test]
fn a_subscription_gets_messages_as_events() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "publish", "queue": "orders", "payload": "aGk="}));
    let subscribed = wire.request(json!({"op":"consume","id":9,"queue":"orders","prefetch":100}));
    assert_eq!(subscribed, json!({"id": 9, "ok": true, "sub": 1}));
    let event = wire.message();
    for (field, value) in [
        ("sub", json!(1)),
        ("queue", json!("orders")),
        ("tag", json!(1)),
        ("seq", json!(1)),
        ("attempt", json!(1)),
        ("payload", json!("aGk=")),
    ] {
        assert_eq!(event[field], value, "{event}");
    }
    assert!(event["fence"].as_u64().unwrap() < 1 << 53);
    assert!(event["published_at"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(event.get("id"), None);
}

#[test]
fn prefetch_bounds_what_is_unacknowledged() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..5);
    consume(&mut wire, "q", 2);
    let first = wire.message();
    let second = wire.message();
    wire.no_message();
    assert_eq!(info(&mut wire, "q")["in_hand"], 2);
    wire.ok(json!({"op": "ack", "tag": second["tag"]}));
    assert_eq!(wire.message()["body"], 2);
    wire.ok(json!({"op": "nack", "tag": first["tag"]}));
    let again = wire.message();
    assert_eq!((&again["body"], &again["attempt"]), (&json!(0), &json!(2)));
    wire.no_message();
}

#[test]
fn auto_ack_settles_before_sending() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..5);
    wire.ok(json!({"op": "consume", "queue": "q", "prefetch": 1, "auto_ack": true}));
    for body in 0..5 {
        let message = wire.message();
        assert_eq!(message["body"], body);
        let error = wire.refused(json!({"op": "ack", "tag": message["tag"]}));
        assert_eq!(error["code"], "unknown_tag");
    }
    let info = info(&mut wire, "q");
    assert_eq!(
        (&info["ready"], &info["in_hand"], &info["acked"]),
        (&json!(0), &json!(0), &json!(5))
    );
}

#[test]
fn a_cancelled_subscription_gets_no_more_and_what_is_in_hand_can_be_acknowledged() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..3);
    let sub = consume(&mut wire, "q", 1);
    let message = wire.message();
    wire.ok(json!({"op": "cancel", "sub": sub}));
    assert_eq!(wire.refused(json!({"op": "cancel", "sub": sub}))["code"], "unknown_sub");
    assert_eq!(wire.ok(json!({"op": "ack", "tag": message["tag"]}))["acked"], 1);
    wire.no_message();
    assert_eq!(info(&mut wire, "q")["ready"], 2);
}

#[test]
fn a_deleted_queue_cancels_its_subscriptions_and_waiting_pulls() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..1);
    let sub = consume(&mut wire, "q", 10);
    let message = wire.message();
    wire.send(r#"{"op":"pull","id":"waits","queue":"q","wait_ms":60000}"#);
    server.login().ok(json!({"op": "queue.delete", "queue": "q"}));
    let refused = wire.reply(&json!("waits"));
    assert_eq!(refused["error"]["code"], "no_such_queue");
    let event = wire.next();
    assert_eq!(event, json!({"event": "cancelled", "sub": sub, "reason": "queue_deleted"}));
    assert_eq!(wire.refused(json!({"op": "ack", "tag": message["tag"]}))["code"], "unknown_tag");
}

#[test]
fn consumers_share_and_no_two_have_one_message() {
    let home = Home::new();
    let server = home.serve();
    let mut wires: Vec<_> = (0..3).map(|_| server.login()).collect();
    wires[0].ok(json!({"op": "queue.declare", "queue": "q"}));
    for wire in &mut wires {
        consume(wire, "q", 10);
    }
    publish(&mut server.login(), "q", 0..30);
    let mut all = Vec::new();
    for wire in &mut wires {
        let own: Vec<_> = (0..10).map(|_| wire.message()).collect();
        wire.no_message();
        all.extend(bodies(&own));
    }
    all.sort_unstable();
    assert_eq!(all, (0..30).collect::<Vec<_>>());
}

#[test]
fn a_pull_answers_at_once_or_waits_for_the_first() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "queue.declare", "queue": "q"}));
    let empty = wire.request(json!({"op":"pull","id":11,"queue":"q","max":10}));
    assert_eq!(empty, json!({"id": 11, "ok": true, "messages": []}));
    wire.send(r#"{"op":"pull","id":"waits","queue":"q","max":10,"wait_ms":60000}"#);
    wire.ok(json!({"op": "ping"}));
    publish(&mut server.login(), "q", 7..8);
    let reply = wire.reply(&json!("waits"));
    assert_eq!(bodies(reply["messages"].as_array().unwrap()), [7]);
    let message = &reply["messages"][0];
    assert_eq!((message.get("event"), message.get("sub")), (None, None));
    assert_eq!(message["queue"], "q");
    let start = Instant::now();
    let reply = wire.ok(json!({"op": "pull", "queue": "q", "wait_ms": 50}));
    assert_eq!(reply["messages"], json!([]));
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_pull_takes_at_most_max_in_order() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..10);
    assert_eq!(bodies(&pull(&mut wire, "q", 4)), [0, 1, 2, 3]);
    assert_eq!(bodies(&pull(&mut wire, "q", 10_000)), [4, 5, 6, 7, 8, 9]);
    let reply = wire.ok(json!({"op": "pull", "queue": "q"}));
    assert_eq!(reply["messages"], json!([]));
}

#[test]
fn a_reply_stops_before_the_frame_limit_with_at_least_one_message() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let body = "x".repeat(1024 * 1024 - 2);
    for _ in 0..3 {
        wire.ok(json!({"op": "publish", "queue": "q", "body": body}));
    }
    for op in ["pull", "queue.peek"] {
        wire.send(&json!({"op": op, "id": 1, "queue": "q", "max": 10}).to_string());
        let line = wire.line().unwrap().unwrap();
        assert!(line.len() <= 2 * 1024 * 1024, "{op}: {}", line.len());
        let reply: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(reply["messages"].as_array().unwrap().len(), 1, "{op}");
    }
}

#[test]
fn an_ack_names_a_tag_a_list_or_all_up_to_one() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..10);
    let tags: Vec<_> = pull(&mut wire, "q", 10).iter().map(|m| m["tag"].clone()).collect();
    assert_eq!(wire.ok(json!({"op": "ack", "tag": tags[9]}))["acked"], 1);
    assert_eq!(wire.ok(json!({"op": "ack", "tags": [tags[0], tags[5]]}))["acked"], 2);
    assert_eq!(wire.ok(json!({"op": "ack", "up_to": tags[6]}))["acked"], 5);
    assert_eq!(wire.ok(json!({"op": "ack", "up_to": tags[6]}))["acked"], 0);
    assert_eq!(info(&mut wire, "q")["in_hand"], 2);
    for bad in [
        json!({"op": "ack"}),
        json!({"op": "ack", "tag": 1, "tags": [1]}),
        json!({"op": "ack", "tag": 1, "up_to": 1}),
        json!({"op": "ack", "tags": [1, "2"]}),
    ] {
        assert_eq!(wire.refused(bad)["code"], "bad_request");
    }
}

#[test]
fn unknown_tags_are_listed_and_the_others_are_done_all_the_same() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for op in ["ack", "nack", "extend"] {
        publish(&mut wire, op, 0..2);
        let tags: Vec<_> = pull(&mut wire, op, 2).iter().map(|m| m["tag"].clone()).collect();
        wire.ok(json!({"op": "ack", "tag": tags[0]}));
        let error = wire.refused(json!({"op": op, "tags": [tags[0], 1_000_000, tags[1]]}));
        assert_eq!(error["code"], "unknown_tag");
        assert_eq!(error["tags"], json!([tags[0], 1_000_000]), "{op}");
        let now = info(&mut wire, op);
        let in_hand = i32::from(op == "extend");
        assert_eq!(now["in_hand"], in_hand, "{op}: {now}");
    }
}

#[test]
fn tags_belong_to_their_connection() {
    let home = Home::new();
    let server = home.serve();
    let (mut one, mut other) = (server.login(), server.login());
    publish(&mut one, "q", 0..1);
    let message = pull(&mut one, "q", 1).remove(0);
    assert_eq!(other.refused(json!({"op": "ack", "tag": message["tag"]}))["code"], "unknown_tag");
    assert_eq!(one.ok(json!({"op": "ack", "tag": message["tag"]}))["acked"], 1);
}

#[test]
fn a_nack_returns_at_once_or_after_its_delay_in_its_place() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..3);
    let first = pull(&mut wire, "q", 1).remove(0);
    assert_eq!(wire.ok(json!({"op": "nack", "tag": first["tag"]}))["nacked"], 1);
    let again = pull(&mut wire, "q", 1).remove(0);
    assert_eq!((&again["body"], &again["attempt"]), (&json!(0), &json!(2)));
    assert!(again["fence"].as_u64() > first["fence"].as_u64());
    wire.ok(json!({"op": "nack", "tag": again["tag"], "delay_ms": 100}));
    let now = info(&mut wire, "q");
    assert_eq!((&now["ready"], &now["delayed"]), (&json!(2), &json!(1)));
    assert_eq!(bodies(&pull(&mut wire, "q", 10)), [1, 2]);
    let late = wire.ok(json!({"op": "pull", "queue": "q", "wait_ms": 60_000}));
    assert_eq!(late["messages"][0]["body"], 0);
    assert_eq!(late["messages"][0]["attempt"], 3);
}

#[test]
fn a_lease_that_ran_out_returns_the_message() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op":"queue.declare","queue":"q","settings":{"ack_timeout_ms":50}}));
    publish(&mut wire, "q", 0..1);
    let first = pull(&mut wire, "q", 1).remove(0);
    let again = wire.ok(json!({"op": "pull", "queue": "q", "wait_ms": 60_000}));
    assert_eq!(again["messages"][0]["attempt"], 2);
    let error = wire.refused(json!({"op": "ack", "tag": first["tag"]}));
    assert_eq!(error["code"], "unknown_tag");
}

#[test]
fn a_lease_can_be_extended() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op":"queue.declare","queue":"q","settings":{"ack_timeout_ms":200}}));
    publish(&mut wire, "q", 0..2);
    let messages = pull(&mut wire, "q", 2);
    let extended = wire.ok(json!({"op":"extend","tag":messages[0]["tag"],"lease_ms":3_600_000}));
    assert_eq!(extended["extended"], 1);
    let returned = wire.ok(json!({"op": "pull", "queue": "q", "max": 2, "wait_ms": 60_000}));
    assert_eq!(bodies(returned["messages"].as_array().unwrap()), [1]);
    assert_eq!(wire.ok(json!({"op": "ack", "tag": messages[0]["tag"]}))["acked"], 1);
}

#[test]
fn a_lease_that_ran_out_fills_the_prefetch_until_its_tag_is_named() {
    let home = Home::new();
    let server = home.serve();
    let (mut hung, mut other) = (server.login(), server.login());
    hung.ok(json!({"op":"queue.declare","queue":"q","settings":{"ack_timeout_ms":50}}));
    publish(&mut hung, "q", 0..2);
    consume(&mut hung, "q", 1);
    let first = hung.message();
    let both = eventually("both messages at the other consumer", || {
        let reply = other.ok(json!({"op": "pull", "queue": "q", "max": 2}));
        let messages = reply["messages"].as_array().unwrap().clone();
        other.request(
            json!({"op": "nack", "tags": messages.iter().map(|m| &m["tag"]).collect::<Vec<_>>()}),
        );
        (messages.len() == 2).then_some(messages)
    });
    assert_eq!(bodies(&both), [0, 1]);
    hung.no_message();
    let error = hung.refused(json!({"op": "ack", "tag": first["tag"]}));
    assert_eq!(error["code"], "unknown_tag");
    hung.message();
}

#[test]
fn what_a_lost_connection_had_in_hand_returns() {
    let home = Home::new();
    let server = home.serve();
    let mut stays = server.login();
    publish(&mut stays, "q", 0..2);
    let mut goes = server.login();
    consume(&mut goes, "q", 10);
    assert_eq!(
        (goes.message()["body"].clone(), goes.message()["body"].clone()),
        (json!(0), json!(1))
    );
    goes.cut();
    let back = stays.ok(json!({"op": "pull", "queue": "q", "max": 2, "wait_ms": 60_000}));
    assert_eq!(bodies(back["messages"].as_array().unwrap())[0], 0);
    assert_eq!(back["messages"][0]["attempt"], 2);
}

#[test]
fn a_half_closed_client_is_answered_and_then_the_server_closes() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..3);
    consume(&mut wire, "q", 2);
    wire.message();
    wire.message();
    wire.ok(json!({"op": "queue.declare", "queue": "empty"}));
    wire.send_raw(
        b"{\"op\":\"pull\",\"id\":\"waits\",\"queue\":\"empty\",\"wait_ms\":60000}\n\
          {\"op\":\"ping\",\"id\":\"last\"}\n{\"op\":\"ping\",\"id\":\"half a line",
    );
    wire.half_close();
    assert_eq!(wire.reply(&json!("last"))["ok"], true);
    assert_eq!(wire.reply(&json!("waits"))["messages"], json!([]));
    assert!(matches!(wire.line(), Ok(None)), "the server closes too, with nothing more to say");
    let back = server.login().ok(json!({"op":"pull","queue":"q","max":3,"wait_ms":60000}));
    assert_eq!(bodies(back["messages"].as_array().unwrap()), [0, 1, 2]);
}

#[test]
fn fences_grow_over_queues_deletions_and_restarts() {
    let home = Home::new();
    let mut last = 0;
    for _ in 0..2 {
        let server = home.serve();
        let mut wire = server.login();
        for queue in ["a", "b", "a"] {
            publish(&mut wire, queue, 0..1);
            let message = pull(&mut wire, queue, 1).remove(0);
            let fence = message["fence"].as_u64().unwrap();
            assert!(fence > last, "{fence} after {last}");
            last = fence;
            wire.ok(json!({"op": "queue.delete", "queue": queue}));
        }
    }
}

#[test]
fn subscriptions_and_waiting_pulls_of_a_connection_are_bounded() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "queue.declare", "queue": "q"}));
    for _ in 0..1000 {
        wire.send(r#"{"op":"consume","queue":"q"}"#);
        wire.send(r#"{"op":"pull","queue":"q","wait_ms":60000}"#);
    }
    let consume = wire.refused(json!({"op": "consume", "queue": "q"}));
    assert_eq!(
        (&consume["code"], &consume["quota"]),
        (&json!("quota_exceeded"), &json!("subscriptions"))
    );
    let pull = wire.refused(json!({"op": "pull", "queue": "q", "wait_ms": 1}));
    assert_eq!((&pull["code"], &pull["quota"]), (&json!("quota_exceeded"), &json!("pulls")));
}

#[test]
fn what_speaks_of_messages_in_a_queue_that_is_missing_is_no_such_queue() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for request in [
        json!({"op": "consume", "queue": "q"}),
        json!({"op": "consume", "queue": "q", "auto_ack": true}),
        json!({"op": "pull", "queue": "q"}),
        json!({"op": "pull", "queue": "q", "wait_ms": 60_000}),
        json!({"op": "queue.peek", "queue": "q"}),
        json!({"op": "queue.purge", "queue": "q"}),
        json!({"op": "queue.delete", "queue": "q"}),
        json!({"op": "queue.delete", "queue": "q", "if_empty": true}),
        json!({"op": "queue.info", "queue": "q"}),
    ] {
        assert_eq!(wire.refused(request.clone())["code"], "no_such_queue", "{request}");
        wire.ok(json!({"op": "ping"}));
    }
    assert_eq!(wire.ok(json!({"op": "queue.list"}))["queues"], json!([]), "none was made");
}

#[test]
fn prefetch_is_100_where_left_out_and_pull_takes_one() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..150);
    assert_eq!(
        bodies(wire.ok(json!({"op": "pull", "queue": "q"}))["messages"].as_array().unwrap()),
        [0]
    );
    wire.ok(json!({"op": "consume", "queue": "q"}));
    for body in 1..=100 {
        assert_eq!(wire.message()["body"], body);
    }
    wire.no_message();
    assert_eq!(info(&mut wire, "q")["in_hand"], 101);
}

#[test]
fn a_pull_with_auto_ack_leaves_nothing_to_settle() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..3);
    let pulled = wire.ok(json!({"op": "pull", "queue": "q", "max": 2, "auto_ack": true}));
    assert_eq!(bodies(pulled["messages"].as_array().unwrap()), [0, 1]);
    let now = info(&mut wire, "q");
    assert_eq!((&now["ready"], &now["in_hand"], &now["acked"]), (&json!(1), &json!(0), &json!(2)));
    for op in ["ack", "nack", "extend"] {
        let error = wire.refused(json!({"op": op, "tag": pulled["messages"][0]["tag"]}));
        assert_eq!(error["code"], "unknown_tag", "{op}");
    }
    wire.ok(json!({"op": "ping"}));
}

#[test]
fn a_tag_is_unique_within_its_connection() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let mut tags = Vec::new();
    for queue in ["a", "b"] {
        publish(&mut wire, queue, 0..4);
        let messages = pull(&mut wire, queue, 2);
        wire.ok(json!({"op": "nack", "tag": messages[0]["tag"]}));
        tags.extend(messages.iter().chain(&pull(&mut wire, queue, 1)).map(|m| m["tag"].as_u64()));
        consume(&mut wire, queue, 2);
        tags.extend([wire.message()["tag"].as_u64(), wire.message()["tag"].as_u64()]);
    }
    let given = tags.len();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!((tags.len(), given), (10, 10), "{tags:?}");
    assert_eq!(wire.ok(json!({"op": "ack", "up_to": tags[9]}))["acked"], 8, "of both queues");
}

#[test]
fn ack_nack_and_extend_take_exactly_one_of_tag_tags_and_up_to() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for (op, count) in [("ack", "acked"), ("nack", "nacked"), ("extend", "extended")] {
        for (bad, field) in [
            (json!({"op": op}), "tag"),
            (json!({"op": op, "tag": 1, "tags": [1]}), "tags"),
            (json!({"op": op, "tag": 1, "up_to": 1}), "up_to"),
            (json!({"op": op, "tags": [1], "up_to": 1}), "tags"),
            (json!({"op": op, "tags": 1}), "tags"),
            (json!({"op": op, "tags": [1, -1]}), "tags"),
            (json!({"op": op, "tags": [null]}), "tags"),
            (json!({"op": op, "up_to": [1]}), "up_to"),
            (json!({"op": op, "queue": "q", "tag": 1}), "queue"),
        ] {
            let error = wire.refused(bad.clone());
            assert_eq!((&error["code"], &error["field"]), (&json!("bad_request"), &json!(field)));
        }
        publish(&mut wire, op, 0..5);
        let tags: Vec<_> = pull(&mut wire, op, 5).iter().map(|m| m["tag"].clone()).collect();
        assert_eq!(wire.ok(json!({"op": op, "tag": tags[3]}))[count], 1, "{op}");
        assert_eq!(wire.ok(json!({"op": op, "tags": [tags[4], tags[0]]}))[count], 2, "{op}");
        let rest = if op == "extend" { 3 } else { 2 };
        assert_eq!(wire.ok(json!({"op": op, "up_to": tags[2]}))[count], rest, "{op}");
        wire.request(json!({"op": "ack", "up_to": 1_000_000}));
    }
}

#[test]
fn an_extend_without_lease_ms_gives_the_queues_length() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op":"queue.declare","queue":"q","settings":{"ack_timeout_ms":3_600_000}}));
    publish(&mut wire, "q", 0..1);
    let message = pull(&mut wire, "q", 1).remove(0);
    let update = json!({"ack_timeout_ms": 50});
    wire.ok(json!({"op": "queue.declare", "queue": "q", "settings": update, "update": true}));
    assert_eq!(wire.ok(json!({"op": "extend", "tag": message["tag"]}))["extended"], 1);
    let again = wire.ok(json!({"op": "pull", "queue": "q", "wait_ms": 60_000}));
    assert_eq!(again["messages"][0]["attempt"], 2);
}

#[test]
fn a_subscription_is_that_of_its_connection_alone() {
    let home = Home::new();
    let server = home.serve();
    let (mut one, mut other) = (server.login(), server.login());
    publish(&mut one, "q", 0..1);
    let sub = consume(&mut one, "q", 1);
    for unknown in [sub, 0, u64::MAX] {
        let error = other.refused(json!({"op": "cancel", "sub": unknown}));
        assert_eq!(error["code"], "unknown_sub", "{unknown}");
    }
    other.ok(json!({"op": "ping"}));
    one.message();
    let second = consume(&mut one, "q", 1);
    assert_ne!(sub, second);
    one.ok(json!({"op": "cancel", "sub": sub}));
    publish(&mut one, "q", 1..2);
    assert_eq!(one.message()["sub"], second);
}

#[test]
fn what_comes_back_keeps_its_place() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..6);
    let tags: Vec<_> = pull(&mut wire, "q", 4).iter().map(|m| m["tag"].clone()).collect();
    for place in [2, 0, 3] {
        wire.ok(json!({"op": "nack", "tag": tags[place]}));
    }
    assert_eq!(bodies(&pull(&mut wire, "q", 10)), [0, 2, 3, 4, 5]);
}

#[test]
fn a_waiting_pull_takes_what_came_back() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 0..1);
    let message = pull(&mut wire, "q", 1).remove(0);
    wire.send(r#"{"op":"pull","id":"waits","queue":"q","wait_ms":60000}"#);
    wire.ok(json!({"op": "ping"}));
    wire.ok(json!({"op": "nack", "tag": message["tag"]}));
    let reply = wire.reply(&json!("waits"));
    assert_eq!(reply["messages"][0]["attempt"], 2);
    assert_eq!(info(&mut wire, "q")["redelivered"], 1);
}
