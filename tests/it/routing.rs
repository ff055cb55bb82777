//! Where messages go: dead letters, full queues, moves, topics, exclusive queues. One test a rule of
//! `docs/protocol.md`; what must outlive the server is looked at after a kill.

use serde_json::{Value, json};

use crate::harness::{Home, Wire, eventually};

fn publish(wire: &mut Wire, queue: &str, body: impl Into<Value>) {
    wire.ok(json!({"op": "publish", "queue": queue, "body": body.into()}));
}

fn peek(wire: &mut Wire, queue: &str) -> Vec<Value> {
    let reply = wire.ok(json!({"op": "queue.peek", "queue": queue, "max": 1000}));
    reply["messages"].as_array().unwrap().clone()
}

fn bodies(wire: &mut Wire, queue: &str) -> Vec<Value> {
    peek(wire, queue).iter().map(|message| message["body"].clone()).collect()
}

fn take(wire: &mut Wire, queue: &str) -> Value {
    let reply = wire.ok(json!({"op": "pull", "queue": queue}));
    reply["messages"][0].clone()
}

#[test]
fn a_message_that_was_delivered_too_often_is_a_dead_letter_with_its_story() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("q", &json!({"max_attempts": 2, "dead_letter": "dead"}));
    wire.declare("dead", &json!({}));
    publish(&mut wire, "q", 1);
    let first = take(&mut wire, "q");
    wire.ok(json!({"op": "nack", "tag": first["tag"]}));
    drop(wire);
    drop(server);
    // The attempt is stored, but not waited for: the last one may be forgotten.
    let server = home.serve();
    let mut wire = server.login();
    let mut attempt = take(&mut wire, "q");
    while attempt["attempt"] != 2 {
        wire.ok(json!({"op": "nack", "tag": attempt["tag"]}));
        attempt = take(&mut wire, "q");
    }
    wire.ok(json!({"op": "nack", "tag": attempt["tag"], "reason": "why"}));
    // The move is not waited for.
    eventually("the move", || (!peek(&mut wire, "dead").is_empty()).then_some(()));
    let dead = &peek(&mut wire, "dead")[0];
    assert_eq!(dead["attempt"], 0);
    let headers = &dead["headers"];
    assert_eq!(headers["gmq-dead-reason"], "max_attempts");
    assert_eq!((&headers["gmq-dead-queue"], &headers["gmq-dead-seq"]), (&json!("q"), &json!("1")));
    assert_eq!(headers["gmq-dead-detail"], "why");
    let info = wire.ok(json!({"op": "queue.info", "queue": "q"}));
    assert_eq!((&info["dead_lettered"], &info["dead_waiting"]), (&json!(1), &json!(0)));
}

#[test]
fn a_dead_letter_waits_for_a_queue_that_is_full_or_missing_also_over_a_kill() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("q", &json!({"dead_letter": "dead"}));
    publish(&mut wire, "q", 1);
    let message = take(&mut wire, "q");
    wire.ok(json!({"op": "nack", "tag": message["tag"], "dead_letter": true, "reason": "no"}));
    let waiting = |wire: &mut Wire| {
        wire.ok(json!({"op": "queue.info", "queue": "q"}))["dead_waiting"].clone()
    };
    assert_eq!(waiting(&mut wire), 1);
    drop(wire);
    drop(server);
    let server = home.serve();
    let mut wire = server.login();
    assert_eq!(waiting(&mut wire), 1);
    assert!(wire.ok(json!({"op": "pull", "queue": "q"}))["messages"][0].is_null());
    wire.declare("dead", &json!({"max_messages": 1}));
    eventually("the move", || (!peek(&mut wire, "dead").is_empty()).then_some(()));
    assert_eq!(waiting(&mut wire), 0);
    assert_eq!(peek(&mut wire, "dead")[0]["headers"]["gmq-dead-detail"], "no");
    publish(&mut wire, "q", 2);
    let message = take(&mut wire, "q");
    wire.ok(json!({"op": "nack", "tag": message["tag"], "dead_letter": true}));
    assert_eq!(waiting(&mut wire), 1, "the other queue is full");
    wire.ok(json!({"op": "queue.purge", "queue": "dead"}));
    // It has left its queue before it can be seen in the other one.
    eventually("the move", || (!peek(&mut wire, "dead").is_empty()).then_some(()));
    assert_eq!(waiting(&mut wire), 0);
    assert_eq!(bodies(&mut wire, "dead"), [2]);
}

#[test]
fn without_a_dead_letter_queue_what_is_refused_is_dropped() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    publish(&mut wire, "q", 1);
    let message = take(&mut wire, "q");
    wire.ok(json!({"op": "nack", "tag": message["tag"], "dead_letter": true}));
    assert!(peek(&mut wire, "q").is_empty());
}

#[test]
fn a_chain_of_dead_letter_queues_has_at_most_4() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for n in 1..=4 {
        wire.declare(&format!("d{n}"), &json!({"dead_letter": format!("d{}", n + 1)}));
    }
    let settings = json!({"dead_letter": "d1"});
    let refused = wire.refused(json!({"op": "queue.declare", "queue": "d0", "settings": settings}));
    assert_eq!(
        (&refused["code"], &refused["field"]),
        (&json!("bad_request"), &json!("settings.dead_letter"))
    );
    let settings = json!({"dead_letter": "d6"});
    let refused = wire.refused(json!({"op": "queue.declare", "queue": "d5", "settings": settings}));
    assert_eq!(refused["field"], "settings.dead_letter");
}

#[test]
fn the_oldest_ready_messages_make_room_and_are_dead_letters_where_there_is_a_queue_for_them() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("q", &json!({"max_messages": 2, "overflow": "drop_oldest"}));
    (1..=3).for_each(|n| publish(&mut wire, "q", n));
    assert_eq!(bodies(&mut wire, "q"), [2, 3]);
    let held = take(&mut wire, "q");
    publish(&mut wire, "q", 4);
    assert_eq!(bodies(&mut wire, "q"), [2, 4], "what is in hand stays");
    let three = json!([{"body": 5}, {"body": 6}, {"body": 7}]);
    let refused = wire.refused(json!({"op": "publish", "queue": "q", "messages": three}));
    assert_eq!(refused["code"], "queue_full");
    wire.ok(json!({"op": "ack", "tag": held["tag"]}));
    let settings = json!({"dead_letter": "dead"});
    wire.ok(json!({"op": "queue.declare", "queue": "q", "settings": settings, "update": true}));
    publish(&mut wire, "q", 8);
    let refused = wire.refused(json!({"op": "publish", "queue": "q", "body": 9}));
    assert_eq!(refused["code"], "queue_full", "there is no queue for what would go");
    wire.declare("dead", &json!({}));
    publish(&mut wire, "q", 9);
    assert_eq!(bodies(&mut wire, "dead"), [4]);
}

#[test]
fn a_move_takes_ready_messages_without_the_story_of_their_death() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("a", &json!({"dead_letter": "dead"}));
    wire.declare("dead", &json!({}));
    (1..=3).for_each(|n| publish(&mut wire, "a", n));
    for _ in 0..3 {
        let message = take(&mut wire, "a");
        wire.ok(json!({"op": "nack", "tag": message["tag"], "dead_letter": true}));
    }
    let moved = wire.ok(json!({"op": "queue.move", "from": "dead", "to": "a", "max": 2}));
    assert_eq!((&moved["moved"], &moved["more"]), (&json!(2), &json!(true)));
    let there = peek(&mut wire, "a");
    assert_eq!(there.len(), 2);
    assert!(there.iter().all(|message| message.get("headers").is_none()), "{there:?}");
    drop(wire);
    drop(server);
    let server = home.serve();
    let mut wire = server.login();
    assert_eq!(bodies(&mut wire, "a"), [1, 2]);
    assert_eq!(bodies(&mut wire, "dead"), [3]);
    wire.declare("full", &json!({"max_messages": 1, "overflow": "drop_oldest"}));
    publish(&mut wire, "full", 0);
    let refused = wire.refused(json!({"op": "queue.move", "from": "a", "to": "full"}));
    assert_eq!(refused["code"], "queue_full");
}

#[test]
fn a_topic_reaches_every_queue_that_is_bound_once_and_all_or_none() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("a", &json!({}));
    wire.declare("b", &json!({"max_messages": 1}));
    for (pattern, queue) in [("x.#", "a"), ("x.*", "a"), ("*.y", "b")] {
        let bound = wire.ok(json!({"op": "topic.bind", "pattern": pattern, "queue": queue}));
        assert_eq!(bound["created"], true);
    }
    drop(wire);
    drop(server);
    let server = home.serve();
    let mut wire = server.login();
    let bound = wire.ok(json!({"op": "topic.bind", "pattern": "x.#", "queue": "a"}));
    assert_eq!(bound["created"], false);
    let to =
        |topic: &str| json!({"op": "publish", "topic": topic, "body": topic, "require": "disk"});
    let routed = wire.ok(to("x.y"));
    assert_eq!((&routed["routed"], &routed["level"]), (&json!(2), &json!("disk")));
    assert_eq!(peek(&mut wire, "a")[0]["topic"], "x.y");
    assert_eq!(wire.refused(to("x.y"))["code"], "queue_full");
    assert_eq!(bodies(&mut wire, "a"), ["x.y"], "none where not all");
    assert_eq!(wire.ok(to("x"))["routed"], 1);
    assert_eq!(wire.ok(to("nobody"))["routed"], 0);
    wire.ok(json!({"op": "queue.delete", "queue": "a"}));
    let listed = wire.ok(json!({"op": "topic.list"}));
    assert_eq!(listed["bindings"], json!([{"pattern": "*.y", "queue": "b"}]));
    assert_eq!(
        wire.ok(json!({"op": "topic.unbind", "pattern": "*.y", "queue": "b"}))["removed"],
        true
    );
    assert_eq!(
        wire.ok(json!({"op": "topic.unbind", "pattern": "*.y", "queue": "b"}))["removed"],
        false
    );
}

#[test]
fn a_publish_makes_at_most_100_000_copies() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for n in 0..11 {
        wire.declare(&format!("q{n}"), &json!({"storage": "memory"}));
        wire.ok(json!({"op": "topic.bind", "pattern": "t", "queue": format!("q{n}")}));
    }
    let messages = vec![json!({"body": 1}); 10_000];
    let refused = wire.refused(json!({"op": "publish", "topic": "t", "messages": messages}));
    assert_eq!((&refused["code"], &refused["quota"]), (&json!("quota_exceeded"), &json!("copies")));
}

#[test]
fn a_level_that_one_of_the_queues_cannot_give_stores_nothing() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("disk", &json!({}));
    wire.declare("memory", &json!({"storage": "memory"}));
    for queue in ["disk", "memory"] {
        wire.ok(json!({"op": "topic.bind", "pattern": "t", "queue": queue}));
    }
    let asked = json!({"op": "publish", "topic": "t", "body": 1, "require": "disk"});
    assert_eq!(wire.refused(asked)["field"], "require");
    assert!(peek(&mut wire, "disk").is_empty());
    let reply = wire.ok(json!({"op": "publish", "topic": "t", "body": 1, "require": "memory"}));
    assert_eq!((&reply["routed"], &reply["level"]), (&json!(2), &json!("memory")));
}

#[test]
fn an_exclusive_queue_is_its_connections_alone_but_for_publishes_and_ends_with_it() {
    let home = Home::new();
    let server = home.serve();
    let (mut owner, mut other) = (server.login(), server.login());
    owner.declare("mine", &json!({"exclusive": true}));
    publish(&mut other, "mine", "an answer");
    for op in ["consume", "pull", "queue.peek", "queue.purge", "queue.delete", "queue.info"] {
        let refused = other.refused(json!({"op": op, "queue": "mine"}));
        assert_eq!(refused["code"], "forbidden", "{op}");
    }
    let declared = other.refused(json!({"op": "queue.declare", "queue": "mine"}));
    assert_eq!(declared["code"], "forbidden");
    assert_eq!(other.ok(json!({"op": "queue.list"}))["queues"], json!([]));
    assert_eq!(take(&mut owner, "mine")["body"], "an answer");
    drop(owner);
    eventually("the queue's end", || {
        let reply = other.request(json!({"op": "queue.info", "queue": "mine"}));
        (reply["error"]["code"] == "no_such_queue").then_some(())
    });
}

#[test]
fn topics_moves_dead_letters_and_the_doctor_need_their_grants() {
    let home = Home::new();
    let grants = ["manage:mine.#", "consume:orders.*", "publish:out.#", "consume:mine.#"];
    home.add_user("worker", "a good password", &grants);
    let server = home.serve();
    let mut admin = server.login();
    admin.declare("mine.q", &json!({}));
    admin.declare("other", &json!({}));
    let mut wire = server.login_as("worker", "a good password");
    for allowed in [
        json!({"op": "publish", "topic": "out.a", "body": 1}),
        json!({"op": "topic.bind", "pattern": "orders.*", "queue": "mine.q"}),
        json!({"op": "topic.bind", "pattern": "orders.eu", "queue": "mine.q"}),
        json!({"op": "queue.doctor", "queue": "mine.q"}),
        json!({"op": "queue.declare", "queue": "mine.x", "settings": {"dead_letter": "out.d"}}),
    ] {
        wire.ok(allowed);
    }
    for denied in [
        json!({"op": "publish", "topic": "orders.a", "body": 1}),
        json!({"op": "topic.bind", "pattern": "orders.#", "queue": "mine.q"}),
        json!({"op": "topic.bind", "pattern": "orders.*", "queue": "other"}),
        json!({"op": "topic.unbind", "pattern": "orders.*", "queue": "other"}),
        json!({"op": "queue.move", "from": "mine.q", "to": "other"}),
        json!({"op": "queue.move", "from": "other", "to": "out.x"}),
        json!({"op": "queue.doctor", "queue": "other"}),
        json!({"op": "queue.declare", "queue": "mine.y", "settings": {"dead_letter": "other"}}),
    ] {
        assert_eq!(wire.refused(denied.clone())["code"], "forbidden", "{denied}");
    }
}

#[test]
fn the_doctor_says_why_nothing_comes() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let codes = |wire: &mut Wire| -> Vec<String> {
        let reply = wire.ok(json!({"op": "queue.doctor", "queue": "q"}));
        let findings = reply["findings"].as_array().unwrap();
        findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    };
    wire.declare("q", &json!({"max_messages": 4}));
    assert_eq!(codes(&mut wire), ["empty", "no_consumer"]);
    wire.ok(json!({"op": "publish", "queue": "q", "body": 1, "delay_ms": 3_600_000}));
    assert_eq!(codes(&mut wire), ["head_delayed", "no_consumer"]);
    let two = json!([{"body": 2, "group": "g"}, {"body": 3, "group": "g"}]);
    wire.ok(json!({"op": "publish", "queue": "q", "messages": two}));
    wire.ok(json!({"op": "consume", "queue": "q", "prefetch": 1}));
    assert_eq!(wire.next()["body"], 2);
    assert_eq!(codes(&mut wire), ["head_delayed", "all_in_hand", "group_blocked", "no_credit"]);
    publish(&mut wire, "q", 4);
    assert!(codes(&mut wire).contains(&"quota".to_owned()));
}

#[test]
fn a_dead_letter_keeps_its_priority_and_only_the_last_death_is_told() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.declare("last", &json!({}));
    wire.declare("next", &json!({"dead_letter": "last"}));
    wire.declare("first", &json!({"dead_letter": "next"}));
    let messages = json!([{"body": 1, "priority": 1}, {"body": 9, "priority": 9}]);
    wire.ok(json!({"op": "publish", "queue": "first", "messages": messages}));
    for (queue, reason) in [("first", "once"), ("next", "twice")] {
        let tags: Vec<_> = [(); 2].map(|()| take(&mut wire, queue)["tag"].clone()).into();
        wire.ok(json!({"op": "nack", "tags": tags, "dead_letter": true, "reason": reason}));
    }
    let dead = [take(&mut wire, "last"), take(&mut wire, "last")];
    assert_eq!((&dead[0]["body"], &dead[1]["body"]), (&json!(9), &json!(1)));
    let headers = dead[0]["headers"].as_object().unwrap();
    assert_eq!(headers["gmq-dead-queue"], "next");
    assert_eq!(headers["gmq-dead-detail"], "twice");
    assert_eq!(headers.len(), 5, "{headers:?}");
}

#[test]
fn a_queue_that_is_declared_later_cannot_close_a_circle_of_dead_letters() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    // It is named before it is there.
    wire.declare("a", &json!({"dead_letter": "b"}));
    wire.declare("b", &json!({"dead_letter": "c"}));
    let closing = json!({"op": "queue.declare", "queue": "c", "settings": {"dead_letter": "a"}});
    let refused = wire.refused(closing);
    assert_eq!(
        (&refused["code"], &refused["field"]),
        (&json!("bad_request"), &json!("settings.dead_letter"))
    );
    wire.declare("c", &json!({}));
    let closing = json!({
        "op": "queue.declare", "queue": "c", "settings": {"dead_letter": "a"}, "update": true,
    });
    assert_eq!(wire.refused(closing)["code"], "bad_request");
}

#[test]
fn bindings_are_listed_page_by_page_in_the_order_of_patterns_and_queues() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let mut all = Vec::new();
    for queue in ["q1", "q2"] {
        wire.declare(queue, &json!({}));
        for pattern in ["a.#", "a.*", "b", "#"] {
            wire.ok(json!({"op": "topic.bind", "queue": queue, "pattern": pattern}));
            all.push((pattern.to_owned(), queue.to_owned()));
        }
    }
    all.sort();
    let (mut seen, mut after) = (Vec::new(), json!(null));
    loop {
        let mut request = json!({"op": "topic.list", "limit": 3});
        if !after.is_null() {
            request["after"] = after;
        }
        let page = wire.ok(request);
        let bindings = page["bindings"].as_array().unwrap();
        let text = |binding: &Value, name: &str| binding[name].as_str().unwrap().to_owned();
        seen.extend(bindings.iter().map(|b| (text(b, "pattern"), text(b, "queue"))));
        after = bindings.last().unwrap().clone();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, all);
}
