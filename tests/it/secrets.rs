//! The canary: a password driven through every path at the most talkative log level appears in no
//! output of the program.

use serde_json::json;

use crate::harness::{Home, gmq, run, text};

const CANARY: &str = "canary-7f3a-sings-in-the-mine";

#[test]
fn a_password_appears_in_no_output() {
    let home = Home::new();
    let mut outputs = String::new();
    let mut note = |output: std::process::Output| {
        outputs += &text(&output.stdout);
        outputs += &text(&output.stderr);
    };
    let line = format!("{CANARY}\n");
    note(home.try_admin(&["user", "add", "bird", "--password-stdin", "--grant", "all:#"], &line));
    note(home.try_admin(&["user", "add", "bird", "--password-stdin"], &line));
    note(home.try_admin(&["user", "passwd", "nobody", "--password-stdin"], &line));
    note(home.try_admin(&["user", "passwd", "bird", "--password-stdin"], &line));
    note(home.try_admin(&["user", "list", "--output", "json"], ""));

    let server = home.serve_with(&[("GMQ_LOG__LEVEL", "trace")]);
    let auth = |user: &str, password: &str| {
        json!({"op": "auth", "id": 1, "user": user, "password": password}).to_string()
    };
    let mut told = String::new();
    for line in [
        auth("bird", CANARY),
        auth("bird", &format!("{CANARY}x")),
        auth("nobody", CANARY),
        auth("NOBODY", CANARY),
        format!(r#"{{"op":"auth","user":"bird","password":"{CANARY}","password":"{CANARY}"}}"#),
        format!(r#"{{"op":"auth","user":"bird","passwort":"{CANARY}"}}"#),
        format!(r#"{{"op":"auth","user":"bird","token":"{CANARY}"}}"#),
        format!(r#"{{"op":"auth","user":"bird","password":"{CANARY}"#),
        format!(r#"["{CANARY}"]"#),
        format!(r#"{{"op":"auth","user":"bird","password":["{CANARY}"]}}"#),
    ] {
        let mut wire = server.connect();
        wire.send(&line);
        told += &wire.next().to_string();
    }
    let mut wire = server.login_as("bird", CANARY);
    told += &wire.request(json!({"op":"auth","user":"bird","password":CANARY})).to_string();
    told += &wire.request(json!({"op":"whoami"})).to_string();
    assert!(!told.contains(CANARY), "a reply repeats it: {told}");

    home.edit_profile(&[
        ("user", "bird"),
        ("password", CANARY),
        ("server", &server.address.to_string()),
    ]);
    for arguments in [
        &["ping"][..],
        &["publish", "q", "hello"],
        &["consume", "q", "--max", "1"],
        &["queue", "list"],
        &["queue", "info", "none"],
        &["publish", "not a name", "hello"],
    ] {
        let mut command = gmq();
        command.args(arguments).arg("--profile").arg(home.path("client.toml"));
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
        note(run(command, ""));
    }
    let mut command = gmq();
    command.args(["config", "check", "--config"]).arg(home.path("gmq.toml"));
    command.env("GMQ_LIMITS__MAX_QUEUES", CANARY).env("GMQ_NOTHING__SUCH", CANARY);
    note(run(command, ""));

    server.signal("TERM");
    outputs += &home.log();
    assert!(outputs.contains("bird"), "the outputs are there at all");
    assert!(!outputs.contains(CANARY), "{outputs}");
}
