//! Tables of requests and what becomes of them.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { max_message_bytes: 1024 };

fn parsed(line: &str) -> Parsed {
    parse(line.as_bytes(), &LIMITS).unwrap_or_else(|error| panic!("{line}: {error:?}"))
}

fn refused(line: &str) -> ParseError {
    match parse(line.as_bytes(), &LIMITS) {
        Ok(parsed) => panic!("{line}: {parsed:?}"),
        Err(error) => error,
    }
}

fn field(line: &str) -> String {
    let error = refused(line);
    assert_eq!(error.code, ErrorCode::BadRequest, "{line}: {error:?}");
    error.field.unwrap_or_else(|| panic!("{line}: {}", error.message))
}

#[test]
fn requests_with_their_defaults() {
    let Request::Pull { max: 1, wait_ms: 0, auto_ack: false, .. } =
        parsed(r#"{"op":"pull","queue":"q"}"#).request
    else {
        panic!("pull");
    };
    let Request::Consume { prefetch: 100, auto_ack: false, .. } =
        parsed(r#"{"op":"consume","queue":"q"}"#).request
    else {
        panic!("consume");
    };
    let Request::List { pattern: None, after: None, limit: 100 } =
        parsed(r#"{"op":"queue.list"}"#).request
    else {
        panic!("list");
    };
    let Request::Peek { from_seq: Seq(0), max: 10, .. } =
        parsed(r#"{"op":"queue.peek","queue":"q"}"#).request
    else {
        panic!("peek");
    };
    let Request::Auth(auth) = parsed(r#"{"op":"auth","user":"u","password":"p"}"#).request else {
        panic!("auth");
    };
    assert_eq!(auth.tenant.as_str(), "default");
    assert!(
        !format!("{:?}", auth.password).contains('p'.to_ascii_uppercase().to_ascii_lowercase())
            || format!("{:?}", auth.password) == "Password(…)"
    );
}

#[test]
fn every_op_is_known_and_no_other() {
    for op in OPS {
        let line = format!(r#"{{"op":"{op}"}}"#);
        if let Err(error) = parse(line.as_bytes(), &LIMITS) {
            assert_eq!(error.code, ErrorCode::BadRequest, "{op}");
            assert_eq!(error.op, Some(op));
        }
    }
    assert_eq!(refused(r#"{"op":"Ping","id":7}"#).code, ErrorCode::UnknownOp);
    assert_eq!(refused(r#"{"op":"Ping","id":7}"#).id, Some(RequestId::Number(7)));
}

#[test]
fn the_id_is_found_wherever_it_stands() {
    let error = refused(r#"{"op":"pull","queue":1,"id":"x"}"#);
    assert_eq!(error.id, Some(RequestId::Text("\"x\"".into())));
    assert_eq!(refused(r#"{"op":"ping","id":-1}"#).id, None);
}

#[test]
fn places_are_named() {
    for (line, place) in [
        (
            r#"{"op":"publish","queue":"q","messages":[{"body":1},{"body":1,"priority":10}]}"#,
            "messages[1].priority",
        ),
        (r#"{"op":"publish","queue":"q","messages":[{"body":1},2]}"#, "messages[1]"),
        (r#"{"op":"publish","queue":"q","messages":[{"body":1,"body":2}]}"#, "messages[0].body"),
        (r#"{"op":"publish","queue":"q","messages":[{}]}"#, "messages[0].payload"),
        (r#"{"op":"publish","queue":"q","messages":[{"body":1}],"body":1}"#, "body"),
        (r#"{"op":"queue.declare","queue":"q","settings":{"ttl_ms":0}}"#, "settings.ttl_ms"),
        (r#"{"op":"queue.declare","queue":"q","settings":{"a":1}}"#, "settings.a"),
        (
            r#"{"op":"queue.declare","queue":"q","settings":{"max_bytes":1,"max_bytes":1}}"#,
            "settings.max_bytes",
        ),
        (r#"{"op":"queue.declare","queue":"q","settings":[]}"#, "settings"),
        (r#"{"op":"ack","tags":[1,-1]}"#, "tags"),
        (r#"{"op":"ack","tag":1,"up_to":1}"#, "up_to"),
        (r#"{"op":"ack"}"#, "tag"),
        (r#"{"op":"ping","op":"ping"}"#, "op"),
        (r#"{"op":"ping","id":1,"id":2}"#, "id"),
        (r#"{"queue":"q"}"#, "op"),
        (r#"{"op":"publish","qeue":"q","body":1}"#, "qeue"),
        (r#"{"op":"publish","topic":"t","queue":"q","body":1}"#, "topic"),
        (r#"{"op":"publish","queue":"q","body":1,"ttl_ms":0}"#, "ttl_ms"),
        (r#"{"op":"publish","queue":"q","body":1,"key":""}"#, "key"),
        (r#"{"op":"publish","body":1}"#, "queue"),
        (r#"{"op":"nack","tag":1,"reason":1}"#, "reason"),
        (r#"{"op":"nack","tag":1,"dead_letter":true,"delay_ms":1}"#, "dead_letter"),
        (r#"{"op":"queue.move"}"#, "from"),
        (r#"{"op":"queue.move","from":"a","to":"a"}"#, "to"),
        (r#"{"op":"topic.bind","queue":"q","pattern":"a..b"}"#, "pattern"),
        (r#"{"op":"topic.list","after":{"pattern":"a"}}"#, "after.queue"),
    ] {
        assert_eq!(field(line), place, "{line}");
    }
}

#[test]
fn numbers_from_the_wire_are_not_trusted() {
    for number in [
        "-1",
        "2147483648",
        "4294967296",
        "9223372036854775808",
        "18446744073709551616",
        "1e400",
        "1.0",
        "1e3",
        "00",
        "\"1\"",
        "null",
    ] {
        for line in [
            format!(r#"{{"op":"consume","queue":"q","prefetch":{number}}}"#),
            format!(r#"{{"op":"pull","queue":"q","max":{number}}}"#),
            format!(r#"{{"op":"pull","queue":"q","wait_ms":{number}}}"#),
            format!(r#"{{"op":"queue.list","limit":{number}}}"#),
            format!(r#"{{"op":"queue.peek","queue":"q","max":{number}}}"#),
            format!(r#"{{"op":"extend","tag":1,"lease_ms":{number}}}"#),
        ] {
            let error = refused(&line);
            let expected = if number == "00" { ErrorCode::BadFrame } else { ErrorCode::BadRequest };
            assert_eq!(error.code, expected, "{line}");
        }
    }
    parsed(r#"{"op":"ack","tag":18446744073709551615}"#);
    parsed(r#"{"op":"cancel","sub":0}"#);
}

#[test]
fn base64_is_strict() {
    let payload = |text: &str| format!(r#"{{"op":"publish","queue":"q","payload":"{text}"}}"#);
    for good in ["", "AA==", "AAA=", "AAAA", "+/+/"] {
        parsed(&payload(good));
    }
    for bad in ["A", "AA", "AAA", "AA=", "AA===", "AB==", "AAB=", "-_-_", "AAAA AAAA", "AA==AA=="] {
        assert_eq!(field(&payload(bad)), "payload", "{bad}");
    }
}

#[test]
fn a_frame_that_is_no_json_is_bad_frame_whatever_else_is_wrong() {
    for line in [r#"{"op":"nonsense","id":-1,}"#, r#"{"op":"ping","x":"\ud800"}"#, "[]", "", "1"] {
        let error = refused(line);
        assert_eq!((error.code, error.id), (ErrorCode::BadFrame, None), "{line}");
    }
}

#[test]
fn a_message_counts_its_content_and_headers() {
    let body = "x".repeat(1024 - 2 - 2);
    parsed(&format!(r#"{{"op":"publish","queue":"q","body":"{body}","headers":{{"a":"b"}}}}"#));
    let error = refused(&format!(
        r#"{{"op":"publish","queue":"q","body":"{body}x","headers":{{"a":"b"}}}}"#
    ));
    assert_eq!(error.code, ErrorCode::MessageTooLarge);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&bytes, &LIMITS);
    }

    #[test]
    fn any_fields_are_answered(
        op in proptest::sample::select(OPS.to_vec()),
        fields in proptest::collection::vec(
            (
                proptest::sample::select(vec!["queue", "body", "payload", "messages", "tag", "tags",
                    "settings", "headers", "max", "id", "user", "password"]),
                proptest::sample::select(vec!["1", "\"q\"", "null", "[]", "{}", "[1]", "[{}]",
                    "{\"a\":\"b\"}", "true", "-1.5e3", "\"\\u0041\""]),
            ),
            0..6,
        ),
    ) {
        let fields: String = fields.iter().map(|(n, v)| format!(",\"{n}\":{v}")).collect();
        let line = format!("{{\"op\":\"{op}\"{fields}}}");
        let code = parse(line.as_bytes(), &LIMITS).err().map(|error| error.code);
        prop_assert!(code != Some(ErrorCode::BadFrame) && code != Some(ErrorCode::UnknownOp));
    }
}
