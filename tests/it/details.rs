//! Section "Details": the small print that a client or a test may meet.

use serde_json::{Value, json};

use crate::harness::{Home, Wire};

/// The answer to a line as it is, and the connection goes on.
fn answer(wire: &mut Wire, line: &str) -> String {
    wire.send(line);
    let answer = String::from_utf8(wire.line().unwrap().unwrap()).unwrap();
    wire.ok(json!({"op": "ping"}));
    answer
}

/// What the refusal of a line names: its code where that is not `bad_request`, else the field.
fn fault(wire: &mut Wire, line: &str) -> String {
    let reply: Value = serde_json::from_str(&answer(wire, line)).unwrap();
    let error = &reply["error"];
    let told = if error["code"] == "bad_request" { &error["field"] } else { &error["code"] };
    told.as_str().unwrap_or_else(|| panic!("{line}: {reply}")).to_owned()
}

#[test]
fn faults_are_looked_for_in_the_documented_order() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for (line, first) in [
        // The syntax of the whole frame, then `id`, then `op`.
        (r#"{"op":"pong","id":-1} x"#, "bad_frame"),
        (r#"{"op":"pong","id":-1,"x":1}"#, "id"),
        (r#"{"id":true}"#, "id"),
        (r#"{"op":"pong","x":1}"#, "unknown_op"),
        (r#"{"x":1}"#, "op"),
        // Values before unknown, later, missing and doubled fields.
        (r#"{"op":"pull","queue":"q","x":1,"max":0}"#, "max"),
        (r#"{"op":"pull","max":0}"#, "max"),
        (r#"{"op":"pull","queue":"q","queue":"q","max":0}"#, "max"),
        (r#"{"op":"consume","auto_ack":1}"#, "auto_ack"),
        (r#"{"op":"nack","delay_ms":-1}"#, "delay_ms"),
        (r#"{"op":"extend","lease_ms":0}"#, "lease_ms"),
        (r#"{"op":"queue.delete","if_empty":0}"#, "if_empty"),
        (r#"{"op":"queue.declare","settings":{"ttl_ms":0}}"#, "settings.ttl_ms"),
        (r#"{"op":"queue.peek","max":0}"#, "max"),
        (r#"{"op":"publish","require":"paper","body":1}"#, "require"),
        (r#"{"op":"publish","payload":"?"}"#, "payload"),
        (r#"{"op":"publish","queue":"q","headers":1}"#, "headers"),
        (r#"{"op":"publish","queue":"q","priority":1,"reply_to":"_"}"#, "reply_to"),
        (r#"{"op":"publish","messages":[{"payload":"?"}]}"#, "messages[0].payload"),
        (r#"{"op":"publish","queue":"q","messages":[{"headers":1}]}"#, "messages[0].headers"),
        // Unknown ones and those of later work before missing and doubled ones.
        (r#"{"op":"pull","quue":"q"}"#, "quue"),
        (r#"{"op":"pull","queue":"q","queue":"q","x":1}"#, "x"),
        (r#"{"op":"ack","tga":1}"#, "tga"),
        (r#"{"op":"auth","user":"u","token":"k"}"#, "token"),
        (r#"{"op":"publish","queue":"q","bdy":1}"#, "bdy"),
        (r#"{"op":"publish","queue":"q","messages":[{"bdy":1}]}"#, "messages[0].bdy"),
        // The first of several.
        (r#"{"op":"ping","a":1,"b":2}"#, "a"),
    ] {
        assert_eq!(fault(&mut wire, line), first, "{line}");
    }
}

#[test]
fn white_space_around_tokens_is_allowed_and_a_line_of_it_alone_is_bad_frame() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let spaced = " \t{ \"op\"\t: \"ping\" ,\r \"id\" : 7 } \r";
    assert_eq!(answer(&mut wire, spaced), r#"{"id":7,"ok":true}"#);
    for spaces in [" ", "\t", "\r\r", " \r"] {
        assert_eq!(fault(&mut wire, spaces), "bad_frame", "{spaces:?}");
    }
}

#[test]
fn names_of_fields_may_be_written_with_escapes_and_mean_the_same() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let escaped = r#"{"\u006fp":"ping","\u0069\u0064":7}"#;
    assert_eq!(answer(&mut wire, escaped), r#"{"id":7,"ok":true}"#);
    assert_eq!(answer(&mut wire, r#"{"op":"p\u0069ng","id":7}"#), r#"{"id":7,"ok":true}"#);
    assert_eq!(fault(&mut wire, r#"{"op":"ping","\u006fp":"ping"}"#), "op", "doubled");
    assert_eq!(fault(&mut wire, r#"{"op":"ping","\u0071":1}"#), "q", "unknown");
}

#[test]
fn a_string_id_is_echoed_as_it_was_written() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for id in [r#""\u00e9""#, r#""é""#, r#""\/""#, r#""/""#, r#""\ud83d\ude00""#, "007"] {
        let reply = answer(&mut wire, &format!(r#"{{"op":"ping","id":{id}}}"#));
        match id {
            // No JSON: nothing begins with a zero.
            "007" => assert!(reply.contains("bad_frame"), "{reply}"),
            _ => assert_eq!(reply, format!(r#"{{"id":{id},"ok":true}}"#)),
        }
    }
    // The limit of 64 bytes is that of the text, not of its escapes.
    let id = format!("\"{}\"", r"\u0061".repeat(64));
    let reply = answer(&mut wire, &format!(r#"{{"op":"ping","id":{id}}}"#));
    assert_eq!(reply, format!(r#"{{"id":{id},"ok":true}}"#));
    let line = format!(r#"{{"op":"ping","id":"{}"}}"#, r"\u0061".repeat(65));
    assert_eq!(fault(&mut wire, &line), "id");
}

#[test]
fn of_an_unknown_fields_name_at_most_64_bytes_are_repeated() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let long = "x".repeat(1000);
    assert_eq!(fault(&mut wire, &format!(r#"{{"op":"ping","{long}":1}}"#)), long[..64]);
    // Never a part of a character: 63 bytes and one of two.
    let odd = format!("{}é", "x".repeat(63));
    assert_eq!(fault(&mut wire, &format!(r#"{{"op":"ping","{odd}":1}}"#)), odd[..63]);
    let reply = answer(&mut wire, &format!(r#"{{"op":"ping","id":1,"{long}":1}}"#));
    assert!(reply.len() < 512, "{reply}");
}

#[test]
fn null_is_a_value_and_not_absence() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for (line, field) in [
        (r#"{"op":"ping","id":null}"#, "id"),
        (r#"{"op":null}"#, "op"),
        (r#"{"op":"pull","queue":null}"#, "queue"),
        (r#"{"op":"pull","queue":"q","max":null}"#, "max"),
        (r#"{"op":"pull","queue":"q","auto_ack":null}"#, "auto_ack"),
        (r#"{"op":"publish","queue":"q","payload":null}"#, "payload"),
        (r#"{"op":"publish","queue":"q","body":1,"headers":null}"#, "headers"),
        (r#"{"op":"publish","queue":"q","body":1,"reply_to":null}"#, "reply_to"),
        (r#"{"op":"publish","queue":"q","body":1,"correlation_id":null}"#, "correlation_id"),
        (r#"{"op":"publish","queue":"q","body":1,"require":null}"#, "require"),
        (r#"{"op":"publish","queue":"q","messages":null}"#, "messages"),
        (r#"{"op":"ack","tag":null}"#, "tag"),
        (r#"{"op":"ack","tags":null}"#, "tags"),
        (r#"{"op":"extend","tag":1,"lease_ms":null}"#, "lease_ms"),
        (r#"{"op":"queue.declare","queue":"q","settings":null}"#, "settings"),
        (r#"{"op":"queue.declare","queue":"q","update":null}"#, "update"),
        (r#"{"op":"queue.declare","queue":"q","settings":{"overflow":null}}"#, "settings.overflow"),
        (r#"{"op":"queue.list","pattern":null}"#, "pattern"),
        (r#"{"op":"queue.list","after":null}"#, "after"),
        (r#"{"op":"queue.peek","queue":"q","from_seq":null}"#, "from_seq"),
    ] {
        assert_eq!(fault(&mut wire, line), field, "{line}");
    }
    let nullable = r#"{"op":"queue.declare","id":1,"queue":"q","settings":{"max_messages":null,"max_bytes":null,"max_attempts":null,"dead_letter":null,"ttl_ms":null,"expires_ms":null}}"#;
    assert_eq!(answer(&mut wire, nullable), r#"{"id":1,"ok":true,"created":true}"#);
    assert_eq!(wire.ok(json!({"op":"publish","queue":"q","body":null}))["seq"], 1, "a body may");
}

#[test]
fn an_empty_list_of_tags_settles_nothing() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    wire.ok(json!({"op": "pull", "queue": "q"}));
    for (op, count) in [("ack", "acked"), ("nack", "nacked"), ("extend", "extended")] {
        assert_eq!(wire.ok(json!({"op": op, "tags": []}))[count], 0);
    }
    assert_eq!(wire.ok(json!({"op": "queue.info", "queue": "q"}))["in_hand"], 1);
}

#[test]
fn a_message_keeps_the_order_of_its_headers_and_a_name_may_be_empty() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let headers = r#"{"z":"1","":"2","a":"3","Z":"4"}"#;
    wire.send(&format!(r#"{{"op":"publish","queue":"q","body":1,"headers":{headers}}}"#));
    let line = answer(&mut wire, r#"{"op":"pull","id":1,"queue":"q","wait_ms":5000}"#);
    assert!(line.contains(&format!(r#""headers":{headers}"#)), "{line}");
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1, "headers": {}}));
    let plain = wire.ok(json!({"op": "pull", "queue": "q"}))["messages"][0].clone();
    assert_eq!(plain.get("headers"), None, "none is the same as no field");
}

#[test]
fn a_peek_shows_all_messages_with_their_deliveries_so_far() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let messages: Vec<_> = (0..12).map(|n| json!({"body": n})).collect();
    wire.ok(json!({"op": "publish", "queue": "q", "messages": messages}));
    let pulled = wire.ok(json!({"op": "pull", "queue": "q", "max": 3}))["messages"].clone();
    wire.ok(json!({"op": "nack", "tag": pulled[1]["tag"]}));
    wire.ok(json!({"op": "nack", "tag": pulled[2]["tag"], "delay_ms": 60_000}));
    let peeked = wire.ok(json!({"op": "queue.peek", "queue": "q"}))["messages"].clone();
    let attempts: Vec<_> = peeked.as_array().unwrap().iter().map(|m| &m["attempt"]).collect();
    assert_eq!(attempts, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0], "the first ten, in hand and delayed too");
    for message in peeked.as_array().unwrap() {
        assert_eq!((message.get("tag"), message.get("fence")), (None, None));
        assert_eq!(message["queue"], "q");
    }
    let last =
        wire.ok(json!({"op": "queue.peek", "queue": "q", "from_seq": 12}))["messages"].clone();
    assert_eq!((last.as_array().unwrap().len(), &last[0]["body"]), (1, &json!(11)));
    let beyond = wire.ok(json!({"op": "queue.peek", "queue": "q", "from_seq": 13}));
    assert_eq!(beyond["messages"], json!([]));
}

#[test]
fn the_reply_to_consume_comes_before_the_first_message() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    wire.send(r#"{"op":"consume","id":9,"queue":"q"}"#);
    assert_eq!(wire.next(), json!({"id": 9, "ok": true, "sub": 1}));
    assert_eq!(wire.next()["event"], "message");
}
