//! Section "Requests and replies".

use serde_json::{Value, json};

use crate::harness::{Home, Wire};

fn refused_field(wire: &mut Wire, line: &str, field: &str) {
    wire.send(line);
    let reply = wire.next();
    assert_eq!(reply["error"]["code"], "bad_request", "{line}: {reply}");
    assert_eq!(reply["error"]["field"], field, "{line}: {reply}");
    wire.ok(json!({"op": "ping"}));
}

#[test]
fn an_id_is_echoed_as_it_came() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for id in ["0", "18446744073709551615", "\"\"", "\"é\"", "\"\\u00e9\\n\\\"\"", "\"7\""] {
        wire.send(&format!(r#"{{"op":"ping","id":{id}}}"#));
        let reply = wire.next();
        assert_eq!(reply["id"], serde_json::from_str::<Value>(id).unwrap());
    }
    wire.send(&format!(r#"{{"op":"ping","id":"{}"}}"#, "x".repeat(64)));
    assert_eq!(wire.next()["ok"], true);
}

#[test]
fn a_bad_id_is_refused_and_not_echoed() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let long = format!("\"{}\"", "x".repeat(65));
    let bad = ["-1", "1.0", "1e3", "18446744073709551616", "null", "true", "[]", "{}", &long];
    for id in bad {
        wire.send(&format!(r#"{{"op":"ping","id":{id}}}"#));
        let reply = wire.next();
        assert_eq!(reply["error"]["code"], "bad_request", "{id}");
        assert_eq!(reply["error"]["field"], "id", "{id}");
        assert_eq!(reply.get("id"), None, "{id}");
    }
}

#[test]
fn without_id_success_is_silent_and_failure_names_the_op() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.send(r#"{"op":"ping"}"#);
    wire.send(r#"{"op":"publish","queue":"q","body":1}"#);
    wire.send(r#"{"op":"queue.purge","queue":"none"}"#);
    let failure = wire.next();
    assert_eq!(failure["ok"], false);
    assert_eq!(failure["op"], "queue.purge");
    assert_eq!(failure["error"]["code"], "no_such_queue");
    assert_eq!(failure.get("id"), None);
}

#[test]
fn an_unknown_op_is_told() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for op in ["", "PING", "pin", "ping ", "queue", "quit"] {
        assert_eq!(wire.refused(json!({"op": op}))["code"], "unknown_op", "{op}");
    }
    wire.ok(json!({"op": "ping"}));
}

#[test]
fn unknown_duplicate_missing_and_mistyped_fields_are_refused_by_name() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for (line, field) in [
        (r#"{"id":1}"#, "op"),
        (r#"{"op":1}"#, "op"),
        (r#"{"op":"ping","op":"ping"}"#, "op"),
        (r#"{"op":"ping","id":1,"id":1}"#, "id"),
        (r#"{"op":"ping","queue":"q"}"#, "queue"),
        (r#"{"op":"publish","body":1}"#, "queue"),
        (r#"{"op":"publish","queue":1,"body":1}"#, "queue"),
        (r#"{"op":"publish","queue":"q","queue":"q","body":1}"#, "queue"),
        (r#"{"op":"publish","quue":"q","body":1}"#, "quue"),
        (r#"{"op":"publish","queue":"q","messages":[{"body":1},{"boby":1}]}"#, "messages[1].boby"),
        (r#"{"op":"publish","queue":"q","messages":{}}"#, "messages"),
        (r#"{"op":"consume","queue":"q","prefetch":0}"#, "prefetch"),
        (r#"{"op":"consume","queue":"q","prefetch":65536}"#, "prefetch"),
        (r#"{"op":"consume","queue":"q","prefetch":"1"}"#, "prefetch"),
        (r#"{"op":"consume","queue":"q","auto_ack":1}"#, "auto_ack"),
        (r#"{"op":"pull","queue":"q","max":10001}"#, "max"),
        (r#"{"op":"pull","queue":"q","wait_ms":60001}"#, "wait_ms"),
        (r#"{"op":"ack","tag":"1"}"#, "tag"),
        (r#"{"op":"nack","tag":1,"delay_ms":315360000001}"#, "delay_ms"),
        (r#"{"op":"extend","tag":1,"lease_ms":0}"#, "lease_ms"),
        (r#"{"op":"extend","tag":1,"lease_ms":43200001}"#, "lease_ms"),
        (r#"{"op":"queue.list","limit":1001}"#, "limit"),
        (r#"{"op":"queue.peek","queue":"q","max":1001}"#, "max"),
        (
            r#"{"op":"queue.declare","queue":"q","settings":{"ack_timeout_ms":0}}"#,
            "settings.ack_timeout_ms",
        ),
        (r#"{"op":"queue.declare","queue":"q","settings":{"max_bites":1}}"#, "settings.max_bites"),
    ] {
        refused_field(&mut wire, line, field);
    }
}

#[test]
fn an_integer_has_no_fraction_no_exponent_and_no_sign() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let numbers =
        ["-1", "-0", "1.0", "1e3", "1E0", "1e400", "18446744073709551616", "9".repeat(400).leak()];
    for number in numbers {
        for (op, field) in [
            (r#""op":"consume","queue":"q","prefetch":"#, "prefetch"),
            (r#""op":"pull","queue":"q","max":"#, "max"),
            (r#""op":"ack","tag":"#, "tag"),
            (r#""op":"ack","up_to":"#, "up_to"),
            (r#""op":"cancel","sub":"#, "sub"),
        ] {
            refused_field(&mut wire, &format!("{{{op}{number}}}"), field);
        }
    }
}

#[test]
fn what_comes_with_later_work_is_refused_by_name_and_never_ignored() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for (line, field) in [
        (r#"{"op":"auth","token":"gmq_x"}"#, "token"),
        (r#"{"op":"auth","certificate":true}"#, "certificate"),
        (r#"{"op":"auth","resume":"x"}"#, "resume"),
        (r#"{"op":"auth","user":"u","password":"p","want_resume":true}"#, "want_resume"),
    ] {
        wire.send(line);
        let reply = wire.next();
        assert_eq!(reply["error"]["code"], "bad_request", "{line}: {reply}");
        assert_eq!(reply["error"]["field"], field, "{line}: {reply}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains("not supported yet"), "{line}: {message}");
    }
    let queues = wire.ok(json!({"op": "queue.list"}));
    assert_eq!(queues["queues"], json!([]), "refused requests did nothing");
}

#[test]
fn requests_of_one_connection_take_effect_in_the_order_sent() {
    let home = Home::new();
    // On a disk a message could be pulled only once it is flushed.
    let server = home.serve_with(&[("GMQ_STORE", "memory")]);
    let mut wire = server.login();
    let mut lines = String::new();
    for n in 0..2000 {
        lines += &format!("{{\"op\":\"publish\",\"id\":{n},\"queue\":\"q\",\"body\":{n}}}\n");
    }
    lines += "{\"op\":\"pull\",\"id\":\"all\",\"queue\":\"q\",\"max\":10000}\n";
    wire.send_raw(lines.as_bytes());
    let pulled = wire.reply(&json!("all"));
    let bodies: Vec<_> =
        pulled["messages"].as_array().unwrap().iter().map(|m| &m["body"]).collect();
    assert_eq!(bodies.len(), 2000);
    assert!(bodies.iter().enumerate().all(|(n, body)| **body == json!(n)));
}

#[test]
fn a_client_that_sends_much_before_it_reads_is_served() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let line = format!("{{\"op\":\"ping\",\"id\":\"{}\"}}\n", "x".repeat(64));
    // Far more than the sockets' buffers hold in either direction.
    wire.send_raw(line.repeat(40_000).as_bytes());
    for _ in 0..40_000 {
        assert_eq!(wire.next()["ok"], true);
    }
}

#[test]
fn requests_without_id_are_all_taken_however_few_may_wait() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_LIMITS__MAX_PENDING_REQUESTS", "1")]);
    let mut silent = server.login();
    silent.send_raw(b"{\"op\":\"publish\",\"queue\":\"q\",\"body\":1}\n".repeat(50).as_slice());
    let mut other = server.login();
    crate::harness::eventually("all fifty", || {
        let reply = other.request(json!({"op": "queue.info", "queue": "q"}));
        (reply["published"] == 50).then_some(())
    });
}

#[test]
fn a_failure_has_the_id_or_the_name_of_the_request_and_never_both() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for (request, op) in [
        (r#""op":"pull""#, "pull"),
        (r#""op":"ack","tag":9"#, "ack"),
        (r#""op":"queue.info","queue":"none""#, "queue.info"),
        (r#""op":"queue.move","from":"a","to":"b""#, "queue.move"),
        (r#""op":"auth","user":"admin","password":"x""#, "auth"),
    ] {
        wire.send(&format!(r#"{{{request},"id":5}}"#));
        let reply = wire.next();
        assert_eq!((&reply["id"], &reply["ok"]), (&json!(5), &json!(false)), "{request}: {reply}");
        assert_eq!(reply.get("op"), None, "{request}");
        assert!(reply["error"]["message"].is_string());
        wire.send(&format!("{{{request}}}"));
        let reply = wire.next();
        assert_eq!((&reply["op"], &reply["ok"]), (&json!(op), &json!(false)), "{request}: {reply}");
        assert_eq!(reply.get("id"), None, "{request}");
    }
}

#[test]
fn numbers_are_in_range_from_their_least_to_their_greatest() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "queue.declare", "queue": "q"}));
    for (request, field, least, greatest) in [
        (json!({"op": "pull", "queue": "q"}), "max", 1, 10_000),
        (json!({"op": "pull", "queue": "q"}), "wait_ms", 0, 60_000),
        (json!({"op": "consume", "queue": "q"}), "prefetch", 1, 65_535),
        (json!({"op": "nack", "tags": []}), "delay_ms", 0, 315_360_000_000),
        (json!({"op": "extend", "tags": []}), "lease_ms", 1, 43_200_000),
        (json!({"op": "queue.list"}), "limit", 1, 1_000),
        (json!({"op": "queue.peek", "queue": "q"}), "max", 1, 1_000),
        (json!({"op": "queue.peek", "queue": "q"}), "from_seq", 0, u64::MAX),
    ] {
        let with = |number: u64| {
            let mut request = request.clone();
            request[field] = json!(number);
            request
        };
        for good in [least, greatest] {
            // That wait would have to be waited for.
            if (field, good) != ("wait_ms", 60_000) {
                wire.ok(with(good));
            }
        }
        for bad in [least.checked_sub(1), greatest.checked_add(1)].into_iter().flatten() {
            let error = wire.refused(with(bad));
            assert_eq!(error["code"], "bad_request", "{field} {bad}");
            assert_eq!(error["field"], field, "{bad}");
        }
    }
    wire.ok(json!({"op": "ping"}));
}

#[test]
fn at_the_limit_of_waiting_requests_no_more_are_read() {
    let home = Home::new();
    let server = home.serve_with(&[("GMQ_LIMITS__MAX_PENDING_REQUESTS", "2")]);
    let (mut wire, mut other) = (server.login(), server.login());
    wire.ok(json!({"op": "queue.declare", "queue": "q"}));
    for id in 1..=2 {
        let pull = json!({"op": "pull", "id": id, "queue": "q", "wait_ms": 60_000});
        wire.send(&pull.to_string());
    }
    wire.send(r#"{"op":"publish","id":3,"queue":"r","body":1}"#);
    crate::harness::eventually("both pulls", || {
        let info = other.ok(json!({"op": "queue.info", "queue": "q"}));
        (info["consumers"] == 2).then_some(())
    });
    let unseen = other.refused(json!({"op": "queue.info", "queue": "r"}));
    assert_eq!(unseen["code"], "no_such_queue");
    other.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    assert_eq!(wire.next()["messages"].as_array().unwrap().len(), 1, "one place is free");
    assert_eq!(wire.reply(&json!(3))["seq"], 1);
}
