//! Section "Grants": the matrix of requests and grants, from one table.

use serde_json::{Value, json};

use crate::harness::Home;

/// A request and the only actions that allow it, on the queue `q`. Requests without a row here
/// need no grant.
fn table() -> Vec<(Value, &'static [&'static str])> {
    vec![
        (json!({"op": "publish", "queue": "q", "body": 1}), &["publish", "all"]),
        (json!({"op": "publish", "queue": "q", "messages": [{"body": 1}]}), &["publish", "all"]),
        (json!({"op": "consume", "queue": "q"}), &["consume", "all"]),
        (json!({"op": "pull", "queue": "q"}), &["consume", "all"]),
        (json!({"op": "queue.peek", "queue": "q"}), &["consume", "all"]),
        (json!({"op": "queue.declare", "queue": "q"}), &["manage", "all"]),
        (json!({"op": "queue.purge", "queue": "q"}), &["manage", "all"]),
        (json!({"op": "queue.info", "queue": "q"}), &["publish", "consume", "manage", "all"]),
        // The last one: it takes the queue away.
        (json!({"op": "queue.delete", "queue": "q"}), &["manage", "all"]),
    ]
}

#[test]
fn each_request_needs_its_grant_and_no_other_helps() {
    let home = Home::new();
    let actions = ["publish", "consume", "manage", "all"];
    for action in actions {
        home.add_user(action, "a good password", &[&format!("{action}:q")]);
        home.add_user(&format!("{action}-else"), "a good password", &[&format!("{action}:qx")]);
    }
    home.add_user("nothing", "a good password", &[]);
    let server = home.serve();
    let mut admin = server.login();
    for action in actions {
        let mut wire = server.login_as(action, "a good password");
        let mut elsewhere = server.login_as(&format!("{action}-else"), "a good password");
        for (request, allowed) in table() {
            admin.ok(json!({"op": "queue.declare", "queue": "q"}));
            let reply = wire.request(request.clone());
            if allowed.contains(&action) {
                assert_eq!(reply["ok"], true, "{action}: {request}: {reply}");
            } else {
                assert_eq!(reply["error"]["code"], "forbidden", "{action}: {request}: {reply}");
            }
            admin.ok(json!({"op": "queue.declare", "queue": "q"}));
            assert_eq!(elsewhere.refused(request)["code"], "forbidden", "another queue's grant");
        }
    }
}

#[test]
fn no_grant_allows_nothing_and_tells_nothing_of_what_exists() {
    let home = Home::new();
    home.add_user("nothing", "a good password", &[]);
    let server = home.serve();
    server.login().ok(json!({"op": "queue.declare", "queue": "q"}));
    let mut wire = server.login_as("nothing", "a good password");
    for (request, _) in table() {
        let exists = wire.refused(request.clone());
        let mut other = request.clone();
        other["queue"] = json!("none");
        assert_eq!(exists["code"], "forbidden");
        assert_eq!(wire.refused(other), exists, "{request}");
    }
    assert_eq!(wire.ok(json!({"op": "queue.list"}))["queues"], json!([]));
    wire.ok(json!({"op": "ping"}));
    assert_eq!(wire.ok(json!({"op": "whoami"}))["grants"], json!([]));
}

#[test]
fn info_and_list_show_only_queues_with_some_grant() {
    let home = Home::new();
    home.add_user("web", "a good password", &["publish:web.#", "consume:jobs.*"]);
    let server = home.serve();
    let mut admin = server.login();
    for queue in ["web", "web.a", "jobs", "jobs.a", "jobs.a.b", "other"] {
        admin.ok(json!({"op": "queue.declare", "queue": queue}));
    }
    let mut web = server.login_as("web", "a good password");
    let list = web.ok(json!({"op": "queue.list"}));
    let names: Vec<_> = list["queues"].as_array().unwrap().iter().map(|q| &q["queue"]).collect();
    assert_eq!(names, ["jobs.a", "web", "web.a"]);
    let page = web.ok(json!({"op": "queue.list", "limit": 2}));
    assert_eq!(page["more"], true);
    let rest = web.ok(json!({"op": "queue.list", "limit": 1, "after": "web"}));
    assert_eq!(rest["more"], false, "queues without a grant do not show by `more` either");
}

#[test]
fn what_is_ones_own_needs_no_grant() {
    let home = Home::new();
    home.add_user("nothing", "a good password", &[]);
    let server = home.serve();
    let mut wire = server.login_as("nothing", "a good password");
    for (op, field, code) in [
        ("ack", "tag", "unknown_tag"),
        ("nack", "tag", "unknown_tag"),
        ("extend", "tag", "unknown_tag"),
        ("cancel", "sub", "unknown_sub"),
    ] {
        let error = wire.refused(json!({"op": op, field: 1}));
        assert_eq!(error["code"], code, "{op}");
    }
    assert_eq!(wire.ok(json!({"op": "ack", "up_to": 1}))["acked"], 0);
    wire.ok(json!({"op": "ping"}));
    wire.ok(json!({"op": "whoami"}));
}

#[test]
fn a_grant_is_for_the_names_that_its_pattern_matches() {
    let home = Home::new();
    let grants = ["all:a.#", "all:b.*", "all:c", "publish:d.*.x"];
    home.add_user("worker", "a good password", &grants);
    let server = home.serve();
    let mut wire = server.login_as("worker", "a good password");
    for (queue, allowed) in [
        ("a", true),
        ("a.x", true),
        ("a.x.y", true),
        ("ab", false),
        ("b", false),
        ("b.x", true),
        ("b.x.y", false),
        ("c", true),
        ("c.x", false),
        ("C", false),
    ] {
        let reply = wire.request(json!({"op": "queue.declare", "queue": queue}));
        assert_eq!(reply["ok"], allowed, "{queue}: {reply}");
        if !allowed {
            assert_eq!(reply["error"]["code"], "forbidden", "{queue}");
        }
    }
    let publish = |queue: &str| json!({"op": "publish", "queue": queue, "body": 1});
    assert_eq!(wire.refused(publish("d.1.x"))["code"], "no_such_queue", "it may not manage it");
    assert_eq!(wire.refused(publish("d.x"))["code"], "forbidden");
}
