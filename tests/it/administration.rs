//! `gmq admin`, as an operator types it.

use serde_json::{Value, json};

use crate::harness::{Home, text};

fn listed(home: &Home, arguments: &[&str]) -> Value {
    let said = home.admin(&[arguments, &["--output", "json"]].concat(), "");
    serde_json::from_str(&said).unwrap()
}

#[test]
fn users_are_shown_explained_and_removed() {
    let home = Home::new();
    home.add_user("web", "a good password", &["publish:orders.#"]);
    let shown = listed(&home, &["user", "show", "web"]);
    assert_eq!(shown[0]["grants"], "publish:orders.#");
    assert_eq!(shown[0]["state"], "enabled");
    let why = |action: &str, name: &str| home.admin(&["user", "why", "web", action, name], "");
    assert!(why("publish", "orders.eu").starts_with("yes: the grant publish:orders.#"));
    assert!(why("consume", "orders.eu").starts_with("no: no grant"));
    home.admin(&["user", "disable", "web"], "");
    assert!(why("publish", "orders.eu").contains("disabled"));
    home.admin(&["user", "remove", "web"], "");
    let gone = home.try_admin(&["user", "show", "web"], "");
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("gmq admin user list"), "{}", text(&gone.stderr));
}

#[test]
fn tenants_are_shown_and_removed_when_they_are_empty() {
    let home = Home::new();
    home.admin(&["tenant", "add", "acme", "--max-bytes", "1 MiB", "--max-queues", "3"], "");
    let shown = listed(&home, &["tenant", "show", "acme"]);
    assert_eq!((&shown[0]["max_bytes"], &shown[0]["max_queues"]), (&json!("1048576"), &json!("3")));
    home.admin(&["tenant", "set", "acme", "--max-queues", "default"], "");
    assert_eq!(listed(&home, &["tenant", "show", "acme"])[0]["max_queues"], "-");
    let user = ["user", "add", "eve", "--tenant", "acme", "--generate"];
    let password = home.admin(&user, "");
    assert_eq!(password.trim().len(), 24, "the password alone, once: {password:?}");
    let held = home.try_admin(&["tenant", "remove", "acme"], "");
    assert!(text(&held.stderr).contains("gmq admin user remove"), "{}", text(&held.stderr));
    home.admin(&["user", "remove", "eve", "--tenant", "acme"], "");
    home.admin(&["tenant", "remove", "acme"], "");
    assert_eq!(listed(&home, &["tenant", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_setting_that_no_client_could_name_is_no_default() {
    let home = Home::new();
    for bad in ["ack_timeout_ms=0", "max_bites=1", "ttl_ms=0", "storage=disk", "exclusive=true"] {
        let refused = home.try_admin(&["tenant", "set", "default", "--default", bad], "");
        let name = bad.split('=').next().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{bad}");
        assert!(text(&refused.stderr).contains(name), "{bad}: {}", text(&refused.stderr));
    }
}

#[test]
fn an_identity_of_another_kind_than_the_server_looks_at_is_refused() {
    let home = Home::new();
    let refused = home.try_admin(&["user", "certificate", "admin", "email:a@acme.example"], "");
    assert!(text(&refused.stderr).contains("tls.client_identity"), "{}", text(&refused.stderr));
    home.admin(&["user", "certificate", "admin", "dns:other.example"], "");
}

#[test]
fn a_password_comes_from_nowhere_but_where_it_is_asked_for() {
    let home = Home::new();
    let refused = home.try_admin(&["user", "add", "web"], "typed\n");
    assert!(text(&refused.stderr).contains("--password-stdin"), "{}", text(&refused.stderr));
    let empty = home.try_admin(&["user", "add", "web", "--password-stdin"], "\n");
    assert!(text(&empty.stderr).contains("1 to 1024 bytes"), "{}", text(&empty.stderr));
}

#[test]
fn the_database_says_whether_it_is_up_to_date() {
    let home = Home::new();
    assert!(home.admin(&["migrate", "--status"], "").contains("up to date"));
    assert!(home.admin(&["migrate"], "").contains("up to date"));
}
