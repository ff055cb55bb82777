//! Sections "Messages" and "Publishing".

use serde_json::{Value, json};

use crate::harness::{Home, Wire};

fn field_of(wire: &mut Wire, request: Value) -> String {
    let error = wire.refused(request.clone());
    assert_eq!(error["code"], "bad_request", "{request}: {error}");
    error["field"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_publish_tells_the_seq_and_a_batch_tells_all() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let single = wire.request(json!({"op":"publish","id":7,"queue":"orders","payload":"aGk="}));
    assert_eq!(single, json!({"id": 7, "ok": true, "seq": 1}));
    let batch = wire.request(json!({
        "op":"publish","id":8,"queue":"orders","messages":[{"payload":"aGk="},{"body":{}}]
    }));
    assert_eq!(batch, json!({"id": 8, "ok": true, "seqs": [2, 3]}));
    let batch_of_one = wire.ok(json!({"op":"publish","queue":"orders","messages":[{"body":1}]}));
    assert_eq!(batch_of_one["seqs"], json!([4]));
}

#[test]
fn a_message_has_exactly_one_content() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let publish = |more: Value| {
        let mut request = json!({"op": "publish", "queue": "q"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    for bad in [
        json!({}),
        json!({"payload": "", "body": 1}),
        json!({"body": 1, "messages": [{"body": 1}]}),
        json!({"messages": []}),
        json!({"messages": [{}]}),
        json!({"messages": [{"body": 1, "payload": ""}]}),
        json!({"payload": 1}),
        json!({"payload": null}),
    ] {
        assert_eq!(wire.refused(publish(bad.clone()))["code"], "bad_request", "{bad}");
    }
    let too_many = vec![json!({"body": 1}); 10_001];
    assert_eq!(field_of(&mut wire, publish(json!({"messages": too_many}))), "messages");
    wire.ok(publish(json!({"messages": vec![json!({"body": 1}); 10_000]})));
}

#[test]
fn a_payload_is_standard_base64_with_padding() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for good in ["", "AA==", "AAA=", "AAAA", "+/+/", "aGVsbG8gd29ybGQ="] {
        wire.ok(json!({"op": "publish", "queue": "q", "payload": good}));
        let pulled = wire.ok(json!({"op": "pull", "queue": "q", "auto_ack": true}));
        assert_eq!(pulled["messages"][0]["payload"], good);
    }
    for bad in
        ["A", "AA", "AAA", "AA=", "AA===", "AB==", "AAB=", "-_-_", "AA==\n", " AAAA", "é", "A=AA"]
    {
        let request = json!({"op": "publish", "queue": "q", "payload": bad});
        assert_eq!(field_of(&mut wire, request), "payload", "{bad}");
    }
}

#[test]
fn a_body_is_delivered_byte_for_byte() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for body in [
        r#"{"b":1,"a":2,"b":3}"#,
        "1.50",
        "1e400",
        "-0",
        "123456789012345678901234567890",
        r#""\u0041\/é\n""#,
        r#"{ "spaced" :  [ 1 , 2 ] }"#,
        "null",
        "[]",
        r#""\ud83d\ude00""#,
    ] {
        wire.send(&format!(r#"{{"op":"publish","id":1,"queue":"q","body": {body} }}"#));
        assert_eq!(wire.next()["ok"], true, "{body}");
        wire.send(r#"{"op":"pull","id":2,"queue":"q","auto_ack":true}"#);
        let line = String::from_utf8(wire.line().unwrap().unwrap()).unwrap();
        assert!(line.contains(&format!(r#""body":{body}"#)), "{body}: {line}");
    }
}

#[test]
fn what_a_message_was_published_with_is_delivered() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({
        "op": "publish", "queue": "q", "body": 1, "headers": {"a": "1", "é\n": "\"\\"},
        "reply_to": "answers.web", "correlation_id": "c\u{1}-1"
    }));
    let message = wire.ok(json!({"op": "pull", "queue": "q"}))["messages"][0].clone();
    assert_eq!(message["headers"], json!({"a": "1", "é\n": "\"\\"}));
    assert_eq!(message["reply_to"], "answers.web");
    assert_eq!(message["correlation_id"], "c\u{1}-1");
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    let plain = wire.ok(json!({"op": "pull", "queue": "q"}))["messages"][0].clone();
    for absent in ["headers", "reply_to", "correlation_id", "priority", "key", "group", "topic"] {
        assert_eq!(plain.get(absent), None, "{absent}");
    }
}

#[test]
fn headers_have_their_bounds() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let with = |headers: Value| json!({"op":"publish","queue":"q","body":1,"headers":headers});
    let many = |n: usize| -> Value {
        (0..n).map(|n| (format!("h{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
    };
    wire.ok(with(many(64)));
    wire.ok(with(json!({"h": "x".repeat(8 * 1024 - 1)})));
    wire.ok(with(json!({})));
    for bad in [
        many(65),
        json!({"h": "x".repeat(8 * 1024)}),
        json!({"gmq-dead-reason": "x"}),
        json!({"h": 1}),
        json!({"h": null}),
        json!([]),
        json!("h"),
    ] {
        assert!(field_of(&mut wire, with(bad)).starts_with("headers"));
    }
    wire.send(r#"{"op":"publish","id":1,"queue":"q","body":1,"headers":{"a":"1","a":"2"}}"#);
    assert_eq!(wire.next()["error"]["code"], "bad_request", "a duplicate");
}

#[test]
fn reply_to_and_correlation_id_have_their_bounds() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let publish = |name: &str, value: &str| json!({"op":"publish","queue":"q","body":1,name:value});
    wire.ok(publish("correlation_id", &"x".repeat(128)));
    assert_eq!(field_of(&mut wire, publish("correlation_id", &"x".repeat(129))), "correlation_id");
    assert_eq!(field_of(&mut wire, publish("reply_to", "_server")), "reply_to");
}

#[test]
fn a_message_of_the_limit_is_taken_and_a_longer_one_is_message_too_large() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let publish = |text: usize, header: usize| {
        json!({"op": "publish", "queue": "q", "body": "x".repeat(text - 2),
            "headers": {"h": "v".repeat(header - 1)}})
    };
    wire.ok(publish(1024 * 1024 - 10, 10));
    assert_eq!(wire.refused(publish(1024 * 1024 - 9, 10))["code"], "message_too_large");
    wire.ok(json!({"op": "ping"}));
    let info = wire.ok(json!({"op": "queue.info", "queue": "q"}));
    assert_eq!((&info["ready"], &info["bytes"]), (&json!(1), &json!(1024 * 1024)));
}

#[test]
fn a_batch_is_stored_whole_or_not_at_all() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "queue.declare", "queue": "q", "settings": {"max_messages": 3}}));
    let batch =
        |n: usize| json!({"op":"publish","queue":"q","messages":vec![json!({"body":1}); n]});
    wire.ok(batch(2));
    assert_eq!(wire.refused(batch(2))["code"], "queue_full");
    assert_eq!(wire.ok(json!({"op": "queue.info", "queue": "q"}))["ready"], 2);
    let bad = json!({"op":"publish","queue":"q","messages":[{"body":1},{"body":1,"x":1}]});
    assert_eq!(field_of(&mut wire, bad), "messages[1].x");
    assert_eq!(wire.ok(json!({"op": "queue.info", "queue": "q"}))["ready"], 2);
    wire.ok(batch(1));
}

#[test]
fn a_full_queue_refuses_by_messages_and_by_bytes_counting_those_in_hand() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "queue.declare", "queue": "q", "settings": {"max_messages": 1}}));
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    let pulled = wire.ok(json!({"op": "pull", "queue": "q"}));
    let full = wire.refused(json!({"op": "publish", "queue": "q", "body": 1}));
    assert_eq!(full["code"], "queue_full");
    wire.ok(json!({"op": "ack", "tag": pulled["messages"][0]["tag"]}));
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));

    wire.ok(json!({"op": "queue.declare", "queue": "b", "settings": {"max_bytes": 10}}));
    wire.ok(json!({"op": "publish", "queue": "b", "payload": "AAAAAAAA"}));
    let full = wire.refused(json!({"op": "publish", "queue": "b", "payload": "AAAAAAA="}));
    assert_eq!(full["code"], "queue_full");
    wire.ok(json!({"op": "publish", "queue": "b", "payload": "AAAAAA=="}));
}

#[test]
fn a_queue_is_created_by_the_first_publish_if_tenant_and_user_may() {
    let home = Home::new();
    home.add_user("sender", "a good password", &["publish:#"]);
    let server = home.serve();
    let publish = json!({"op": "publish", "queue": "new", "body": 1});
    let mut sender = server.login_as("sender", "a good password");
    assert_eq!(sender.refused(publish.clone())["code"], "no_such_queue");
    let mut admin = server.login();
    admin.ok(publish.clone());
    sender.ok(publish.clone());
    home.admin(&["tenant", "set", "default", "--auto-create", "false"], "");
    crate::harness::eventually("the tenant's new setting", || {
        let reply = admin.request(json!({"op": "publish", "queue": "other", "body": 1}));
        if reply["ok"] == true {
            admin.ok(json!({"op": "queue.delete", "queue": "other"}));
            return None;
        }
        assert_eq!(reply["error"]["code"], "no_such_queue");
        Some(())
    });
}

#[test]
fn require_tells_the_level_reached_or_refuses() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let publish = |level: &str| json!({"op":"publish","queue":"q","body":1,"require":level});
    wire.ok(json!({"op":"queue.declare","queue":"q","settings":{"storage":"memory"}}));
    assert_eq!(wire.ok(publish("memory"))["level"], "memory");
    for more in ["os", "disk", "replicated"] {
        assert_eq!(field_of(&mut wire, publish(more)), "require");
    }
    assert_eq!(field_of(&mut wire, publish("paper")), "require");
    assert_eq!(wire.ok(json!({"op":"queue.info","queue":"q"}))["ready"], 1);
}

#[test]
fn the_tenants_quotas_hold() {
    let home = Home::new();
    home.admin(
        &[
            "tenant",
            "set",
            "default",
            "--max-queues",
            "1",
            "--max-messages",
            "2",
            "--max-bytes",
            "10",
        ],
        "",
    );
    let server = home.serve();
    let mut wire = server.login();
    let quota = |wire: &mut Wire, request: Value| {
        let error = wire.refused(request);
        assert_eq!(error["code"], "quota_exceeded", "{error}");
        error["quota"].as_str().unwrap().to_owned()
    };
    let payload = |text: &str| json!({"op": "publish", "queue": "q", "payload": text});
    wire.ok(payload("AAAAAAAA"));
    assert_eq!(quota(&mut wire, json!({"op": "publish", "queue": "r", "body": 1})), "queues");
    assert_eq!(quota(&mut wire, json!({"op": "queue.declare", "queue": "r"})), "queues");
    assert_eq!(quota(&mut wire, payload("AAAAAAA=")), "bytes");
    wire.ok(payload(""));
    assert_eq!(quota(&mut wire, payload("")), "messages");
    let used = wire.ok(json!({"op": "whoami"}))["quotas"].clone();
    assert_eq!(used["messages"], json!({"used": 2, "limit": 2}));
    assert_eq!(used["bytes"], json!({"used": 6, "limit": 10}));
    wire.ok(json!({"op": "queue.purge", "queue": "q"}));
    wire.ok(payload("AAAAAAAA"));
}

#[test]
fn the_three_limits_of_2015_hold() {
    let home = Home::new();
    let server = home.serve_with(&[
        ("GMQ_LIMITS__MAX_QUEUES", "1"),
        ("GMQ_LIMITS__MAX_QUEUE_MESSAGES", "2"),
        ("GMQ_LIMITS__MAX_MESSAGE_BYTES", "3"),
    ]);
    let mut wire = server.login();
    let publish = |queue: &str, body: u64| json!({"op": "publish", "queue": queue, "body": body});
    assert_eq!(wire.refused(publish("q", 1000))["code"], "message_too_large");
    wire.ok(publish("q", 100));
    assert_eq!(wire.refused(publish("r", 1))["code"], "quota_exceeded");
    wire.ok(publish("q", 1));
    assert_eq!(wire.refused(publish("q", 1))["code"], "queue_full");
}

#[test]
fn a_fault_in_a_batch_is_named_by_its_place_and_nothing_is_stored() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let batch = |bad: Value| {
        let good = json!({"body": 1});
        json!({"op": "publish", "queue": "q", "messages": [good, good, good, bad]})
    };
    for (bad, field) in [
        (json!({"body": 1, "headers": {"h": 1}}), "messages[3].headers"),
        (json!({"payload": "?"}), "messages[3].payload"),
        (json!({"body": 1, "reply_to": ""}), "messages[3].reply_to"),
        (json!({"body": 1, "correlation_id": 1}), "messages[3].correlation_id"),
        (json!({}), "messages[3].payload"),
        (json!({"body": 1, "queue": "r"}), "messages[3].queue"),
        (json!({"body": 1, "require": "memory"}), "messages[3].require"),
        (json!(1), "messages[3]"),
        (json!(null), "messages[3]"),
        (json!([]), "messages[3]"),
    ] {
        assert_eq!(field_of(&mut wire, batch(bad)), field);
    }
    let long = json!({"body": "x".repeat(1024 * 1024)});
    assert_eq!(wire.refused(batch(long))["code"], "message_too_large");
    assert_eq!(wire.refused(json!({"op":"queue.info","queue":"q"}))["code"], "no_such_queue");
}

#[test]
fn the_size_of_a_payload_is_that_of_its_bytes() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    // 1 MiB is one more than a multiple of three: two signs for the last byte.
    let most = format!("{}AA==", "AAAA".repeat(1024 * 1024 / 3));
    let beyond = format!("{}AAA=", "AAAA".repeat(1024 * 1024 / 3));
    wire.ok(json!({"op": "publish", "queue": "q", "payload": most}));
    let error = wire.refused(json!({"op": "publish", "queue": "q", "payload": beyond}));
    assert_eq!(error["code"], "message_too_large");
    let info = wire.ok(json!({"op": "queue.info", "queue": "q"}));
    assert_eq!((&info["ready"], &info["bytes"]), (&json!(1), &json!(1024 * 1024)));
}

#[test]
fn a_seq_is_never_used_twice_for_one_queue() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let publish = json!({"op": "publish", "queue": "q", "body": 1});
    wire.ok(json!({"op": "queue.declare", "queue": "q", "settings": {"max_messages": 2}}));
    assert_eq!(wire.ok(publish.clone())["seq"], 1);
    wire.ok(json!({"op": "queue.purge", "queue": "q"}));
    let second = wire.ok(publish.clone())["seq"].as_u64().unwrap();
    assert!(second > 1, "after a purge");
    let tag = wire.ok(json!({"op": "pull", "queue": "q"}))["messages"][0]["tag"].clone();
    wire.ok(json!({"op": "ack", "tag": tag}));
    let batch = json!({"op":"publish","queue":"q","messages":vec![json!({"body": 1}); 3]});
    assert_eq!(wire.refused(batch)["code"], "queue_full");
    assert!(wire.ok(publish)["seq"].as_u64().unwrap() > second, "after an ack and a refusal");
}

#[test]
fn a_publish_that_is_refused_creates_no_queue() {
    let home = Home::new();
    home.admin(&["tenant", "set", "default", "--default", "max_messages=1"], "");
    let server = home.serve();
    let mut wire = server.login();
    let batch = json!({"op": "publish", "queue": "q", "messages": [{"body": 1}, {"body": 2}]});
    assert_eq!(wire.refused(batch)["code"], "queue_full");
    let require = json!({"op": "publish", "queue": "q", "body": 1, "require": "replicated"});
    assert_eq!(field_of(&mut wire, require), "require");
    assert_eq!(wire.ok(json!({"op": "queue.list"}))["queues"], json!([]));
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
}
