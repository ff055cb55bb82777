//! Section "Names".

use serde_json::json;

use crate::harness::Home;

#[test]
fn queue_names_have_their_bytes_words_and_length() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for good in ["a", "A.b-c_d.9", "a._b", "-", &"x".repeat(200)] {
        wire.ok(json!({"op": "queue.declare", "queue": good}));
    }
    let long = "x".repeat(201);
    for bad in ["", ".", "a.", ".a", "a..b", "_a", "a b", "ä", "a/b", "a*", "#", "a\n", &long] {
        for op in [
            "queue.declare",
            "queue.delete",
            "queue.info",
            "queue.purge",
            "queue.peek",
            "consume",
            "pull",
        ] {
            let error = wire.refused(json!({"op": op, "queue": bad}));
            assert_eq!((&error["code"], &error["field"]), (&json!("bad_request"), &json!("queue")));
        }
    }
}

#[test]
fn names_of_the_same_letters_in_other_case_are_other_queues() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    wire.ok(json!({"op": "publish", "queue": "Orders", "body": 1}));
    assert_eq!(
        wire.refused(json!({"op": "queue.info", "queue": "orders"}))["code"],
        "no_such_queue"
    );
}

#[test]
fn lists_are_sorted_by_bytes() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for name in ["b", "a.b", "a-b", "B", "a_b", "a", "10", "9"] {
        wire.ok(json!({"op": "queue.declare", "queue": name}));
    }
    let list = wire.ok(json!({"op": "queue.list"}));
    let names: Vec<_> = list["queues"].as_array().unwrap().iter().map(|q| &q["queue"]).collect();
    assert_eq!(names, ["10", "9", "B", "a", "a-b", "a.b", "a_b", "b"]);
    assert_eq!(list["more"], false);
}

#[test]
fn no_field_of_any_request_reaches_another_tenant() {
    let home = Home::new();
    home.admin(&["tenant", "add", "acme"], "");
    let user = ["user", "add", "eve", "--tenant", "acme", "--password-stdin", "--grant", "all:#"];
    home.admin(&user, "a good password\n");
    let server = home.serve();
    let mut ours = server.login();
    ours.ok(json!({"op": "publish", "queue": "secret", "body": "ours"}));
    let mut theirs = server.login_to("acme", "eve", "a good password");
    for request in [
        json!({"op": "queue.info", "queue": "secret"}),
        json!({"op": "queue.peek", "queue": "secret"}),
        json!({"op": "queue.purge", "queue": "secret"}),
        json!({"op": "queue.delete", "queue": "secret"}),
        json!({"op": "pull", "queue": "secret"}),
        json!({"op": "consume", "queue": "secret"}),
    ] {
        assert_eq!(theirs.refused(request)["code"], "no_such_queue");
    }
    for op in ["publish", "pull", "queue.info", "queue.list", "whoami"] {
        let error = theirs.refused(json!({"op": op, "queue": "secret", "tenant": "default"}));
        assert_eq!(error["code"], "bad_request", "{op}");
    }
    assert_eq!(theirs.ok(json!({"op": "queue.list"}))["queues"], json!([]));
    assert_eq!(theirs.ok(json!({"op": "ack", "up_to": 100}))["acked"], 0);
    theirs.ok(json!({"op": "publish", "queue": "secret", "body": "theirs"}));
    let pulled = ours.ok(json!({"op": "pull", "queue": "secret", "max": 10}));
    assert_eq!(pulled["messages"].as_array().unwrap().len(), 1);
    assert_eq!(pulled["messages"][0]["body"], "ours");
}

#[test]
fn a_publish_needs_a_queue_name_too() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    let long = "x".repeat(201);
    for bad in ["", ".", "a.", "_a", "a b", "ä", "*", "a.#", &long] {
        for content in [json!({"body": 1}), json!({"messages": [{"body": 1}]})] {
            let mut request = json!({"op": "publish", "queue": bad});
            request.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
            let error = wire.refused(request);
            assert_eq!((&error["code"], &error["field"]), (&json!("bad_request"), &json!("queue")));
        }
        let reply_to = json!({"op": "publish", "queue": "q", "body": 1, "reply_to": bad});
        assert_eq!(wire.refused(reply_to)["field"], "reply_to", "{bad}");
    }
    assert_eq!(wire.ok(json!({"op": "queue.list"}))["queues"], json!([]));
}

#[test]
fn tenant_and_user_names_have_their_bytes_and_length() {
    let home = Home::new();
    let server = home.serve();
    let long = "x".repeat(65);
    for field in ["tenant", "user"] {
        for (name, code) in [
            ("A", "bad_request"),
            ("a b", "bad_request"),
            ("", "bad_request"),
            ("é", "bad_request"),
            ("a/b", "bad_request"),
            (long.as_str(), "bad_request"),
            (&long[..64], "auth_failed"),
            ("a.b_c-9", "auth_failed"),
            ("_", "auth_failed"),
        ] {
            let mut login = json!({"op": "auth", "id": 1, "user": "nobody", "password": "x"});
            login[field] = json!(name);
            let mut wire = server.connect();
            wire.send(&login.to_string());
            let error = wire.next()["error"].clone();
            assert_eq!(error["code"], code, "{field} {name:?}: {error}");
            if code == "bad_request" {
                assert_eq!(error["field"], field, "{name:?}");
            }
            wire.closes_with(code);
        }
    }
}

#[test]
fn a_pattern_consists_of_whole_words() {
    let home = Home::new();
    let server = home.serve();
    let mut wire = server.login();
    for name in ["a", "a.b", "a.b.c", "ab", "b.a"] {
        wire.ok(json!({"op": "queue.declare", "queue": name}));
    }
    for (pattern, matches) in [
        ("a", &["a"][..]),
        ("a.#", &["a", "a.b", "a.b.c"]),
        ("a.*", &["a.b"]),
        ("*", &["a", "ab"]),
        ("*.a", &["b.a"]),
        ("a.*.c", &["a.b.c"]),
        ("a.*.#", &["a.b", "a.b.c"]),
        ("#", &["a", "a.b", "a.b.c", "ab", "b.a"]),
        ("A.#", &[]),
    ] {
        let list = wire.ok(json!({"op": "queue.list", "pattern": pattern}));
        let queues = list["queues"].as_array().unwrap();
        let names: Vec<_> = queues.iter().map(|queue| queue["queue"].as_str().unwrap()).collect();
        assert_eq!(names, matches, "{pattern}");
    }
    let long = "x".repeat(201);
    for bad in ["", "a*", "**", "#.a", "a.#.b", "a..b", ".", "a#", "[a]", "a|b", "ä", &long] {
        let error = wire.refused(json!({"op": "queue.list", "pattern": bad}));
        assert_eq!((&error["code"], &error["field"]), (&json!("bad_request"), &json!("pattern")));
    }
    wire.ok(json!({"op": "queue.list", "pattern": "x".repeat(200)}));
}
