//! `gmq certs`: certificates of another client and another server, made, used and looked at.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Home, Wire, gmq, run, text, tls};

fn certs(home: &Home, arguments: &[&str]) -> Output {
    let mut command = gmq();
    command.arg("certs").args(arguments).arg("--dir").arg(home.path("certs"));
    run(command, "")
}

#[test]
fn a_client_certificate_made_here_is_its_users_second_factor() {
    let home = Home::new();
    let made = certs(&home, &["client", "web", "--san", "dns:web.acme.example"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let add = ["user", "add", "web", "--password-stdin", "--require-certificate"];
    let add = [&add[..], &["--certificate", "dns:web.acme.example"]].concat();
    home.admin(&add, "a good password\n");
    let server = home.serve();
    let login = json!({"op": "auth", "id": 1, "user": "web", "password": "a good password"});
    for (certificate, accepted) in [("web", true), ("client", false)] {
        let config = tls(&home.path("certs"), Some(certificate));
        let mut wire = Wire::open(server.address, config).unwrap();
        assert_eq!(wire.next()["event"], "hello");
        wire.send(&login.to_string());
        assert_eq!(wire.next()["ok"], accepted, "{certificate}");
    }
}

#[test]
fn nothing_is_overwritten_and_a_missing_authority_is_named() {
    let home = Home::new();
    let again = certs(&home, &["client", "client", "--san", "dns:x.example"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("client."), "{}", text(&again.stderr));
    let mut elsewhere = gmq();
    elsewhere.args(["certs", "server", "s", "--dir"]).arg(home.path("nowhere"));
    let output = run(elsewhere, "");
    assert!(text(&output.stderr).contains("gmq certs ca"), "{}", text(&output.stderr));
}

#[test]
fn a_certificate_is_described() {
    let home = Home::new();
    assert!(certs(&home, &["server", "two", "--host", "bus2.acme.example"]).status.success());
    let mut command = gmq();
    command.args(["certs", "show", "--output", "json"]).arg(home.path("certs/two.pem"));
    let output = run(command, "");
    let shown: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    let names = shown[0]["names"].as_str().unwrap();
    assert!(names.contains("dns:bus2.acme.example") && names.contains("ip:127.0.0.1"), "{names}");
    assert_eq!(shown[0]["usages"], "serverAuth");
}

#[test]
fn shells_and_man_get_their_descriptions() {
    for (arguments, part) in [
        (&["completions", "bash"][..], "quickstart"),
        (&["completions", "fish"], "quickstart"),
        (&["man"], "gmq publish"),
    ] {
        let mut command = gmq();
        command.args(arguments);
        let output = run(command, "");
        assert!(output.status.success());
        assert!(text(&output.stdout).replace("\\-", "-").contains(part), "{arguments:?}");
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    fn visit(path: &[String], missing: &mut Vec<String>) {
        let mut command = gmq();
        command.args(path).arg("--help");
        let said = text(&run(command, "").stdout);
        let commands: Vec<String> = said
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| line.starts_with("  "))
            .filter(|line| !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .filter(|name| name != "help")
            .collect();
        if commands.is_empty() && !said.contains("Example") {
            missing.push(path.join(" "));
        }
        for name in commands {
            visit(&[path, &[name]].concat(), missing);
        }
    }
    let mut missing = Vec::new();
    visit(&[], &mut missing);
    assert!(missing.is_empty(), "no example in the help of {missing:?}");
}
