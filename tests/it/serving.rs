//! What `gmq serve` refuses before it listens: one sentence that says what to do, and exit code 1.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use crate::harness::{Home, gmq, run, text};

fn serve(home: &Home, environment: &[(&str, &str)]) -> Output {
    let mut command = gmq();
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(home.path("gmq.toml"));
    command.envs(environment.iter().copied());
    run(command, "")
}

fn refused(output: &Output, with: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in with {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(output.stdout.is_empty(), "it listened");
}

#[test]
fn a_folder_in_use() {
    let home = Home::new();
    let _server = home.serve();
    refused(&serve(&home, &[]), &["another server uses the folder", "data_dir"]);
}

#[test]
fn a_key_that_others_can_read() {
    let home = Home::new();
    let key = home.path("certs/server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&serve(&home, &[]), &["server.key", "chmod 600"]);
}

#[test]
fn an_address_beyond_loopback_with_quickstarts_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("gmq-quickstart");
    let mut command = gmq();
    command.args(["quickstart", "--exit", "--listen", "127.0.0.1:0", "--dir"]).arg(&home);
    assert!(run(command, "").status.success());
    let mut command = gmq();
    command.args(["serve", "--listen", "0.0.0.0:0", "--config"]).arg(home.join("gmq.toml"));
    refused(&run(command, ""), &["quickstart", "gmq init"]);
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_what_was_meant() {
    let home = Home::new();
    let output = serve(&home, &[("GMQ_LIMITS__MAX_QUEUE", "5")]);
    refused(&output, &["GMQ_LIMITS__MAX_QUEUE", "did you mean GMQ_LIMITS__MAX_QUEUES?"]);
    let path = home.path("gmq.toml");
    let file = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("lisen = \"127.0.0.1:1\"\nstore = \"mysql\"\n{file}")).unwrap();
    let mut check = gmq();
    check.args(["config", "check", "--config"]).arg(&path);
    let output = run(check, "");
    refused(&output, &["lisen", "listen", "store"]);
}

#[test]
fn limits_that_do_not_fit_together() {
    let home = Home::new();
    let output = serve(&home, &[("GMQ_LIMITS__MAX_MESSAGE_BYTES", "2 MiB")]);
    refused(&output, &["max_frame_bytes", "max_message_bytes"]);
}
