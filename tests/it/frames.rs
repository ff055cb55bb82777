//! Section "Connection": frames.

use serde_json::json;

use crate::harness::Home;

#[test]
fn a_carriage_return_before_the_line_end_is_dropped_and_empty_lines_are_ignored() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.send_raw(b"\n\r\n\n{\"op\":\"ping\",\"id\":1}\r\n");
    assert_eq!(wire.next(), json!({"id": 1, "ok": true}));
}

#[test]
fn a_frame_may_come_in_pieces_and_many_may_come_at_once() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for byte in b"{\"op\":\"ping\",\"id\":\"slow\"}\n" {
        wire.send_raw(&[*byte]);
    }
    assert_eq!(wire.next()["id"], "slow");
    let many: String = (0..1000).map(|n| format!("{{\"op\":\"ping\",\"id\":{n}}}\n")).collect();
    wire.send_raw(many.as_bytes());
    for n in 0..1000 {
        assert_eq!(wire.next()["id"], n);
    }
}

#[test]
fn a_frame_of_the_limit_is_taken_and_one_byte_more_closes() {
    let home = Home::new();
    let server = home.serve();
    let limit = 2 * 1024 * 1024;
    let frame = |bytes: usize| {
        let empty = r#"{"op":"publish","id":1,"queue":"q","body":""}"#.len();
        format!(r#"{{"op":"publish","id":1,"queue":"q","body":"{}"}}"#, "x".repeat(bytes - empty))
    };
    let mut wire = server.login();
    wire.send(&frame(limit));
    assert_eq!(wire.next()["error"]["code"], "message_too_large", "the frame itself was taken");
    wire.ok(json!({"op": "ping"}));
    wire.send(&frame(limit + 1));
    assert_eq!(wire.next()["error"]["code"], "frame_too_large");
    wire.closes_with("frame_too_large");
}

#[test]
fn the_limit_holds_while_reading() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.send_raw(&vec![b'x'; 2 * 1024 * 1024 + 1]);
    assert_eq!(wire.next()["error"]["code"], "frame_too_large");
    wire.closes_with("frame_too_large");
}

#[test]
fn before_authentication_the_limit_is_8_kib() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.connect();
    wire.send_raw(&vec![b' '; 8 * 1024 + 1]);
    assert_eq!(wire.next()["error"]["code"], "frame_too_large");
    wire.closes_with("frame_too_large");

    let mut wire = server.connect();
    let auth = format!(r#"{{"op":"auth","id":1,"user":"admin","password":"{}"}}"#, home.password());
    wire.send(&format!("{auth}{}", " ".repeat(8 * 1024 - auth.len())));
    assert_eq!(wire.next()["ok"], true);
}

#[test]
fn what_is_no_json_object_is_bad_frame_and_the_connection_stays() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let deep_value = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let deep = format!(r#"{{"op":"publish","id":1,"queue":"q","body":{deep_value}}}"#);
    let deep_in_batch =
        format!(r#"{{"op":"publish","id":1,"queue":"q","messages":[{{"body":{deep_value}}}]}}"#);
    let bad: Vec<&[u8]> = vec![
        b"nonsense",
        b"[]",
        b"1",
        b"\"op\"",
        b"null",
        b"{",
        b"{}{}",
        b"{\"op\":\"ping\"} x",
        b"{\"op\":\"ping\",}",
        b"{'op':'ping'}",
        b"\xef\xbb\xbf{\"op\":\"ping\"}",
        b"{\"op\":\"p\xffng\"}",
        b"{\"op\":\"\xed\xa0\x80\"}",
        br#"{"op":"ping","id":"\ud800"}"#,
        br#"{"op":"publish","queue":"q","body":"\udc00"}"#,
        br#"{"op":"publish","queue":"q","body":01}"#,
        br#"{"op":"publish","queue":"q","body":NaN}"#,
        b"{\"op\":\"ping\",\"id\":\"\x01\"}",
        deep.as_bytes(),
        deep_in_batch.as_bytes(),
    ];
    for frame in bad {
        wire.send_raw(frame);
        wire.send_raw(b"\n");
        let reply = wire.next();
        let shown = String::from_utf8_lossy(frame).into_owned();
        assert_eq!(reply["error"]["code"], "bad_frame", "{shown}: {reply}");
        assert_eq!(reply["ok"], false);
        wire.ok(json!({"op": "ping"}));
    }
}

#[test]
fn a_body_is_64_levels_deep_at_most() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let body = format!("{}{}", "[".repeat(64), "]".repeat(64));
    wire.send(&format!(r#"{{"op":"publish","id":1,"queue":"q","body":{body}}}"#));
    assert_eq!(wire.next()["ok"], true);
    wire.send(&format!(r#"{{"op":"publish","id":2,"queue":"q","messages":[{{"body":{body}}}]}}"#));
    assert_eq!(wire.next()["ok"], true);
}

#[test]
fn the_101st_bad_frame_in_a_row_closes() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for _ in 0..100 {
        wire.send("nonsense");
        assert_eq!(wire.next()["error"]["code"], "bad_frame");
    }
    wire.ok(json!({"op": "ping"}));
    for _ in 0..100 {
        wire.send("nonsense");
        assert_eq!(wire.next()["error"]["code"], "bad_frame");
    }
    wire.refused_and_closed("nonsense", "too_many_errors");
}

#[test]
fn bad_frames_that_are_never_read_end_at_a_limit() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    // Most of it is never looked at: the server closes at the 101st.
    wire.send_raw(&b"x\n".repeat(5_000));
    for _ in 0..100 {
        assert_eq!(wire.next()["error"]["code"], "bad_frame");
    }
    assert_eq!(wire.next()["error"]["code"], "too_many_errors");
    wire.closes_with("too_many_errors");
}

#[test]
fn the_line_end_is_not_counted() {
    let home = Home::new();
    let server = home.serve_with(&[
        ("GMQ_LIMITS__MAX_MESSAGE_BYTES", "100 B"),
        ("GMQ_LIMITS__MAX_FRAME_BYTES", "66 KiB"),
    ]);
    let limit = 66 * 1024;
    let mut wire = server.connect_ungreeted();
    assert_eq!(wire.next()["max_frame_bytes"], limit, "the greeting tells what is configured");
    let password = home.password();
    wire.ok(json!({"op": "auth", "user": "admin", "password": password}));
    let ping = r#"{"op":"ping","id":1}"#;
    for line_end in ["\n", "\r\n"] {
        let padded = format!("{ping}{}{line_end}", " ".repeat(limit - ping.len()));
        wire.send_raw(padded.as_bytes());
        assert_eq!(wire.next(), json!({"id": 1, "ok": true}));
    }
    wire.send(&format!("{ping}{}", " ".repeat(limit + 1 - ping.len())));
    assert_eq!(wire.next()["error"]["code"], "frame_too_large");
    wire.closes_with("frame_too_large");
}

#[test]
fn what_was_sent_before_a_line_that_is_too_long_is_answered() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.send_raw(b"{\"op\":\"publish\",\"id\":1,\"queue\":\"q\",\"body\":1}\n");
    wire.send_raw(&vec![b'x'; 2 * 1024 * 1024 + 1]);
    assert_eq!(wire.reply(&json!(1))["seq"], 1);
    wire.closes_with("frame_too_large");

    let mut wire = server.login();
    wire.send_raw(b"{\"op\":\"pull\",\"id\":2,\"queue\":\"other\",\"wait_ms\":60000}\n");
    wire.send_raw(&vec![b'x'; 2 * 1024 * 1024 + 1]);
    let waited = wire.reply(&json!(2));
    assert_eq!(waited["error"]["code"], "no_such_queue", "{waited}");
    wire.closes_with("frame_too_large");

    let mut other = server.login();
    assert_eq!(other.ok(json!({"op": "queue.info", "queue": "q"}))["ready"], 1);
}

#[test]
fn a_frames_own_fields_nest_64_levels_counted_from_the_frame() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for (field, levels, code) in [
        ("x", 63, "bad_request"),
        ("x", 64, "bad_frame"),
        ("headers", 63, "bad_request"),
        ("headers", 64, "bad_frame"),
        ("messages", 63, "bad_request"),
        ("messages", 64, "bad_frame"),
    ] {
        let value = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        wire.send(&format!(r#"{{"op":"publish","id":1,"queue":"q","{field}":{value}}}"#));
        let reply = wire.next();
        assert_eq!(reply["error"]["code"], code, "{field}, {levels}: {reply}");
        assert_eq!(reply.get("id").is_some(), code == "bad_request", "{field}, {levels}");
        wire.ok(json!({"op": "ping"}));
    }
}
