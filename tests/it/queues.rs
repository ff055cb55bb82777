//! Section "Queues and topics": queues.

use serde_json::{Value, json};

use crate::harness::{Home, Wire};

fn declare(wire: &mut Wire, settings: Value) -> Value {
    wire.request(json!({"op": "queue.declare", "queue": "q", "settings": settings}))
}

#[test]
fn a_declare_makes_compares_or_updates() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    assert_eq!(declare(&mut wire, json!({"max_messages": 5}))["created"], true);
    assert_eq!(declare(&mut wire, json!({"max_messages": 5}))["created"], false);
    assert_eq!(declare(&mut wire, json!({}))["created"], false, "those left out are not compared");
    let differs = declare(&mut wire, json!({"max_messages": 6, "ack_timeout_ms": 1}));
    assert_eq!(differs["error"]["code"], "queue_exists");
    assert_eq!(differs["error"]["differences"], json!(["max_messages", "ack_timeout_ms"]));
    let update = json!({
        "op": "queue.declare", "queue": "q", "settings": {"max_messages": null}, "update": true
    });
    assert_eq!(wire.ok(update)["created"], false);
    let info = wire.ok(json!({"op": "queue.info", "queue": "q"}));
    assert_eq!(info["settings"]["max_messages"], Value::Null);
    assert_eq!(info["settings"]["ack_timeout_ms"], 30_000);
    let storage = json!({
        "op": "queue.declare", "queue": "q", "settings": {"storage": "memory"}, "update": true
    });
    let error = wire.refused(storage);
    assert_eq!(
        (&error["code"], &error["field"]),
        (&json!("bad_request"), &json!("settings.storage"))
    );
}

#[test]
fn the_settings_of_info_can_be_declared_again() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    declare(&mut wire, json!({}));
    let settings = wire.ok(json!({"op": "queue.info", "queue": "q"}))["settings"].clone();
    assert_eq!(declare(&mut wire, settings)["created"], false);
}

#[test]
fn the_tenants_defaults_hold_where_a_setting_is_left_out() {
    let home = Home::new();
    home.admin(
        &[
            "tenant",
            "set",
            "default",
            "--default",
            "ack_timeout_ms=5000",
            "--default",
            "max_bytes=9",
        ],
        "",
    );
    let server = home.serve();
    let mut wire = server.login();
    declare(&mut wire, json!({"max_bytes": null}));
    let settings = wire.ok(json!({"op": "queue.info", "queue": "q"}))["settings"].clone();
    assert_eq!((&settings["ack_timeout_ms"], &settings["max_bytes"]), (&json!(5000), &Value::Null));
}

#[test]
fn settings_have_their_ranges() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for (name, bad) in [
        ("max_messages", json!(0)),
        ("max_messages", json!("1")),
        ("max_bytes", json!(0)),
        ("ack_timeout_ms", json!(0)),
        ("ack_timeout_ms", json!(43_200_001)),
        ("ack_timeout_ms", Value::Null),
        ("storage", json!("disk")),
        ("storage", Value::Null),
        ("overflow", json!("drop")),
        ("max_attempts", json!(0)),
        ("ttl_ms", json!(0)),
        ("dedup_window_ms", json!(-1)),
        ("dedup_window_ms", json!(604_800_001)),
        ("expires_ms", json!(0)),
        ("exclusive", json!(1)),
        ("dead_letter", json!("")),
    ] {
        let error = declare(&mut wire, json!({name: bad}))["error"].clone();
        assert_eq!(error["code"], "bad_request", "{name} {bad}: {error}");
        assert_eq!(error["field"], format!("settings.{name}"));
    }
    assert_eq!(declare(&mut wire, json!({"ack_timeout_ms": 43_200_000}))["created"], true);
}

#[test]
fn a_delete_may_ask_for_an_empty_queue() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    let if_empty = json!({"op": "queue.delete", "queue": "q", "if_empty": true});
    assert_eq!(wire.refused(if_empty.clone())["code"], "queue_not_empty");
    wire.ok(json!({"op": "queue.purge", "queue": "q"}));
    wire.ok(if_empty.clone());
    assert_eq!(wire.refused(if_empty)["code"], "no_such_queue");
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    wire.ok(json!({"op": "queue.delete", "queue": "q"}));
    assert_eq!(wire.refused(json!({"op": "queue.info", "queue": "q"}))["code"], "no_such_queue");
}

#[test]
fn a_purge_takes_ready_and_delayed_ones_and_leaves_what_is_in_hand() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let messages = vec![json!({"body": 1}); 5];
    wire.ok(json!({"op": "publish", "queue": "q", "messages": messages}));
    let pulled = wire.ok(json!({"op": "pull", "queue": "q", "max": 2}));
    wire.ok(json!({"op":"nack","tag":pulled["messages"][1]["tag"],"delay_ms":60_000}));
    assert_eq!(wire.ok(json!({"op": "queue.purge", "queue": "q"}))["purged"], 4);
    let info = wire.ok(json!({"op": "queue.info", "queue": "q"}));
    assert_eq!(
        (&info["ready"], &info["delayed"], &info["in_hand"]),
        (&json!(0), &json!(0), &json!(1))
    );
    assert_eq!(wire.ok(json!({"op": "ack", "tag": pulled["messages"][0]["tag"]}))["acked"], 1);
}

#[test]
fn info_counts() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op":"publish","queue":"q","messages":vec![json!({"payload":"AAAA"}); 4]}));
    let pulled = wire.ok(json!({"op": "pull", "queue": "q", "max": 3}));
    let tags: Vec<_> = pulled["messages"].as_array().unwrap().iter().map(|m| &m["tag"]).collect();
    wire.ok(json!({"op": "ack", "tag": tags[0]}));
    wire.ok(json!({"op": "nack", "tag": tags[1]}));
    wire.ok(json!({"op": "pull", "queue": "q"}));
    wire.ok(json!({"op": "consume", "queue": "q"}));
    let info = wire.ok(json!({"op": "queue.info", "queue": "q"}));
    for (field, value) in [
        ("queue", json!("q")),
        ("ready", json!(0)),
        ("delayed", json!(0)),
        ("in_hand", json!(3)),
        ("bytes", json!(9)),
        ("consumers", json!(1)),
        ("dead_waiting", json!(0)),
        ("published", json!(4)),
        ("acked", json!(1)),
        ("delivered", json!(5)),
        ("redelivered", json!(1)),
        ("dead_lettered", json!(0)),
        ("expired", json!(0)),
        ("duplicates", json!(0)),
    ] {
        assert_eq!(info[field], value, "{field}: {info}");
    }
    assert!(info["oldest_age_ms"].is_u64());
}

#[test]
fn a_list_can_be_paged_and_filtered() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for n in 0..25 {
        wire.ok(json!({"op": "queue.declare", "queue": format!("a.{n:02}")}));
    }
    wire.ok(json!({"op": "queue.declare", "queue": "b"}));
    let names = |reply: &Value| -> Vec<String> {
        let queues = reply["queues"].as_array().unwrap();
        queues.iter().map(|q| q["queue"].as_str().unwrap().to_owned()).collect()
    };
    let page = wire.ok(json!({"op": "queue.list", "pattern": "a.*", "limit": 20}));
    assert_eq!((names(&page).len(), &page["more"]), (20, &json!(true)));
    let after = names(&page).pop().unwrap();
    let rest = wire.ok(json!({"op": "queue.list", "pattern": "a.*", "limit": 20, "after": after}));
    assert_eq!((names(&rest).len(), &rest["more"]), (5, &json!(false)));
    assert_eq!(names(&wire.ok(json!({"op": "queue.list", "pattern": "b"}))), ["b"]);
    assert_eq!(page["queues"][0]["settings"]["ack_timeout_ms"], 30_000, "each as in info");
}

#[test]
fn a_peek_changes_nothing() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op":"publish","queue":"q","messages":[{"body":0},{"body":1},{"body":2}]}));
    let before = wire.ok(json!({"op": "queue.info", "queue": "q"}));
    let peeked = wire.ok(json!({"op": "queue.peek", "queue": "q", "from_seq": 2, "max": 1}));
    assert_eq!(peeked["messages"].as_array().unwrap().len(), 1);
    let message = &peeked["messages"][0];
    assert_eq!((&message["seq"], &message["body"]), (&json!(2), &json!(1)));
    assert_eq!(message.get("tag"), None);
    let mut after = wire.ok(json!({"op": "queue.info", "queue": "q"}));
    after["oldest_age_ms"] = before["oldest_age_ms"].clone();
    after["id"] = before["id"].clone();
    assert_eq!(after, before);
}

#[test]
fn a_queue_made_anew_inherits_nothing() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    declare(&mut wire, json!({"max_messages": 1}));
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    let tag = wire.ok(json!({"op": "pull", "queue": "q"}))["messages"][0]["tag"].clone();
    wire.ok(json!({"op": "queue.delete", "queue": "q"}));
    declare(&mut wire, json!({}));
    assert_eq!(wire.refused(json!({"op": "ack", "tag": tag}))["code"], "unknown_tag");
    let info = wire.ok(json!({"op": "queue.info", "queue": "q"}));
    assert_eq!((&info["published"], &info["settings"]["max_messages"]), (&json!(0), &Value::Null));
}

#[test]
fn an_update_of_a_queue_that_is_missing_creates_it_and_a_refused_declare_changes_nothing() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let update = |settings: Value| {
        let mut request = json!({"op": "queue.declare", "queue": "q", "update": true});
        request["settings"] = settings;
        request
    };
    assert_eq!(wire.ok(update(json!({"max_messages": 5})))["created"], true);
    let refused = declare(&mut wire, json!({"max_messages": 6, "storage": "memory"}));
    assert_eq!(refused["error"]["differences"], json!(["storage", "max_messages"]));
    let mixed = wire.refused(update(json!({"max_messages": 6, "storage": "memory"})));
    assert_eq!(mixed["field"], "settings.storage");
    let same = update(json!({"storage": "default", "max_bytes": 9}));
    assert_eq!(wire.ok(same)["created"], false, "the storage that it has is no change");
    let settings = wire.ok(json!({"op": "queue.info", "queue": "q"}))["settings"].clone();
    assert_eq!((&settings["max_messages"], &settings["max_bytes"]), (&json!(5), &json!(9)));
}

#[test]
fn a_queue_with_messages_in_hand_or_delayed_is_not_empty() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    let if_empty = json!({"op": "queue.delete", "queue": "q", "if_empty": true});
    let tag = wire.ok(json!({"op": "pull", "queue": "q"}))["messages"][0]["tag"].clone();
    assert_eq!(wire.refused(if_empty.clone())["code"], "queue_not_empty", "in hand");
    wire.ok(json!({"op": "nack", "tag": tag, "delay_ms": 60_000}));
    assert_eq!(wire.refused(if_empty.clone())["code"], "queue_not_empty", "delayed");
    assert_eq!(wire.ok(json!({"op": "queue.info", "queue": "q"}))["delayed"], 1);
    wire.ok(json!({"op": "queue.purge", "queue": "q"}));
    wire.ok(if_empty);
}

#[test]
fn a_queue_is_deleted_with_all_it_has_unless_it_is_to_be_empty() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "publish", "queue": "q", "messages": vec![json!({"body": 1}); 3]}));
    wire.ok(json!({"op": "pull", "queue": "q"}));
    wire.ok(json!({"op": "queue.delete", "queue": "q", "if_empty": false}));
    let used = wire.ok(json!({"op": "whoami"}))["quotas"].clone();
    for quota in ["queues", "messages", "bytes"] {
        assert_eq!(used[quota]["used"], 0, "{quota}");
    }
    assert_eq!(wire.refused(json!({"op": "pull", "queue": "q"}))["code"], "no_such_queue");
}

#[test]
fn the_oldest_age_of_an_empty_queue_is_0() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    declare(&mut wire, json!({}));
    assert_eq!(wire.ok(json!({"op": "queue.info", "queue": "q"}))["oldest_age_ms"], 0);
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1}));
    crate::harness::eventually("the message's age", || {
        let info = wire.ok(json!({"op": "queue.info", "queue": "q"}));
        (info["oldest_age_ms"].as_u64().unwrap() > 0).then_some(())
    });
    wire.ok(json!({"op": "queue.purge", "queue": "q"}));
    assert_eq!(wire.ok(json!({"op": "queue.info", "queue": "q"}))["oldest_age_ms"], 0);
}

#[test]
fn a_list_has_100_queues_where_nothing_is_said_and_begins_behind_any_name() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for n in 0..101 {
        wire.send(&json!({"op": "queue.declare", "queue": format!("a.{n:03}")}).to_string());
    }
    let page = wire.ok(json!({"op": "queue.list"}));
    assert_eq!((page["queues"].as_array().unwrap().len(), &page["more"]), (100, &json!(true)));
    let rest = wire.ok(json!({"op": "queue.list", "after": "a.099"}));
    assert_eq!((&rest["queues"][0]["queue"], &rest["more"]), (&json!("a.100"), &json!(false)));
    for (after, count) in [("", 100), ("a.0995", 1), ("a.100", 0), ("zz top", 0)] {
        let page = wire.ok(json!({"op": "queue.list", "after": after}));
        assert_eq!(page["queues"].as_array().unwrap().len(), count, "{after}");
    }
    let error = wire.refused(json!({"op": "queue.list", "after": "x".repeat(201)}));
    assert_eq!((&error["code"], &error["field"]), (&json!("bad_request"), &json!("after")));
}

#[test]
fn a_list_stops_before_the_frame_limit_and_says_that_more_follow() {
    let home = Home::new();
    let server = home.serve_with(&[
        ("GMQ_LIMITS__MAX_MESSAGE_BYTES", "100 B"),
        ("GMQ_LIMITS__MAX_FRAME_BYTES", "66 KiB"),
    ]);
    let mut wire = server.login();
    let name = |n: u64| format!("{n:03}.{}", "x".repeat(196));
    for n in 0..200 {
        wire.send(&json!({"op": "queue.declare", "queue": name(n)}).to_string());
    }
    let (mut seen, mut after) = (0, String::new());
    let mut pages = 0;
    loop {
        let list = json!({"op": "queue.list", "id": 1, "limit": 1000, "after": after});
        wire.send(&list.to_string());
        let line = wire.line().unwrap().unwrap();
        assert!(line.len() <= 66 * 1024, "{}", line.len());
        let page: Value = serde_json::from_slice(&line).unwrap();
        let queues = page["queues"].as_array().unwrap();
        for queue in queues {
            assert_eq!(queue["queue"], name(seen));
            seen += 1;
        }
        pages += 1;
        after = queues.last().unwrap()["queue"].as_str().unwrap().to_owned();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, 200);
    assert!(pages > 1, "one reply has them all");
}
