//! What README and `docs/` tell people to type.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::harness::{Home, eventually, gmq, run, text};

#[test]
fn quickstart_makes_the_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let quickstart = || {
        let mut command = gmq();
        command.args(["quickstart", "--exit", "--listen", "127.0.0.1:0", "--dir"]);
        command.arg(dir.path().join("gmq-quickstart"));
        run(command, "")
    };
    for time in ["first", "second"] {
        let start = Instant::now();
        let output = quickstart();
        assert!(output.status.success(), "{time}: {}", text(&output.stderr));
        let said = text(&output.stdout);
        assert!(said.contains(" ms"), "{time}: how long it took: {said}");
        assert!(said.contains("gmq publish") || said.contains(" publish "), "{time}: {said}");
        assert!(said.contains(" consume "), "{time}: {said}");
        assert!(start.elapsed().as_secs() < 20);
    }
}

#[test]
fn init_overwrites_nothing_and_its_keys_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let mode =
        |name: &str| std::fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
    for name in ["certs/ca.key", "certs/server.key", "certs/client.key", "client.toml"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    assert_eq!(mode("data"), 0o700);
    let before = std::fs::read(home.path("certs/ca.pem")).unwrap();
    let mut again = gmq();
    again.arg("init").arg(home.root());
    let output = run(again, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("exists"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(home.path("certs/ca.pem")).unwrap(), before);
}

#[test]
fn forty_lines_of_python_publish_consume_and_acknowledge() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/round_trip.py");
    assert!(std::fs::read_to_string(&script).unwrap().lines().count() <= 40);
    let home = Home::new();
    let server = home.serve();
    home.edit_profile(&[("server", &server.address.to_string())]);
    let mut command = Command::new("python3");
    command.arg(script).arg(home.path("client.toml"));
    let output = run(command, "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("consumed: {\"hello\": \"from Python\"}"), "{said}");
    assert!(said.contains("acknowledged: 1"), "{said}");
}

#[test]
fn the_command_line_publishes_and_consumes() {
    let home = Home::new();
    let server = home.serve();
    let client = |arguments: &[&str], input: &str| server.client(arguments, input);
    client(&["ping"], "");
    client(&["publish", "greetings", "hello", "again"], "");
    client(&["publish", "greetings", "-"], "from standard input");
    client(&["publish", "greetings", "--json", "{\"a\": 1}"], "");
    let listed = client(&["queue", "list", "--output", "json"], "");
    assert!(listed.contains("greetings"), "{listed}");
    let info = client(&["queue", "info", "greetings", "--output", "json"], "");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&info).unwrap()["ready"], 4);
    let raw = client(&["consume", "greetings", "--max", "4", "--output", "raw"], "");
    assert_eq!(raw, "hello\nagain\nfrom standard input\n{\"a\": 1}\n");
    let info = client(&["queue", "info", "greetings", "--output", "json"], "");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&info).unwrap()["ready"], 0);
}

#[test]
fn the_command_line_changes_queues() {
    let home = Home::new();
    let server = home.serve();
    let client = |arguments: &[&str]| server.try_client(arguments, "");
    let said = |arguments: &[&str]| server.client(arguments, "");
    let declare = ["queue", "declare", "jobs", "--max-messages", "3", "--ack-timeout", "1m"];
    assert_eq!(said(&declare), "created jobs\n");
    assert_eq!(said(&declare), "jobs exists with these settings\n");
    let differs = client(&["queue", "declare", "jobs", "--max-bytes", "1 KiB"]);
    assert_eq!(differs.status.code(), Some(1));
    assert!(text(&differs.stderr).contains("other settings"), "{}", text(&differs.stderr));
    said(&["queue", "declare", "jobs", "--max-messages", "off", "--update"]);
    said(&["publish", "jobs", "one", "two"]);
    assert_eq!(said(&["queue", "peek", "jobs", "--from-seq", "2"]), "two\n");
    let held = client(&["queue", "delete", "jobs", "--if-empty"]);
    assert!(text(&held.stderr).contains("has messages"), "{}", text(&held.stderr));
    assert_eq!(said(&["queue", "purge", "jobs"]), "2 messages removed from jobs\n");
    said(&["queue", "delete", "jobs", "--if-empty"]);
    let gone = client(&["queue", "info", "jobs"]);
    assert_eq!(gone.status.code(), Some(1));
    assert_eq!(client(&["queue", "info", "not a name"]).status.code(), Some(2), "wrong usage");
}

#[test]
fn lines_are_published_and_a_command_is_run_for_each_message() {
    let home = Home::new();
    let server = home.serve();
    let client = |arguments: &[&str], input: &str| server.client(arguments, input);
    let lines: String = (0..5_000).map(|n| format!("{n}\n")).collect();
    let said = client(&["publish", "numbers", "--lines"], &lines);
    assert_eq!(said, "published 5000 messages to numbers\n");
    let all = client(&["consume", "numbers"], "");
    assert_eq!(all, lines, "each once, in order");

    let folder = home.root();
    client(&["publish", "jobs", "good", "bad"], "");
    let command = format!("cat > {0}/in && grep -q good {0}/in", folder.display());
    client(&["consume", "jobs", "--exec", &command], "");
    let info = client(&["queue", "info", "jobs", "--output", "json"], "");
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!((&info["acked"], &info["ready"]), (&1.into(), &0.into()));
    assert_eq!(info["delayed"].as_u64().unwrap() + info["in_hand"].as_u64().unwrap(), 1, "{info}");
}

#[test]
fn each_bench_measures_something_and_leaves_nothing() {
    let home = Home::new();
    let server = home.serve();
    for bench in ["publish", "consume", "pipeline", "connect"] {
        let load = ["bench", bench, "--duration", "300ms", "--connections", "2"];
        let said =
            server.client(&[&load[..], &["--rate", "2000", "--output", "json"]].concat(), "");
        let result: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(result["bench"], bench);
        assert!(result["messages"].as_u64().unwrap() > 0, "{result}");
        assert!(result["latency_ms"]["p50"].as_f64().unwrap() > 0.0, "{result}");
    }
    let queues = server.login().ok(serde_json::json!({"op": "queue.list"}));
    assert_eq!(queues["queues"], serde_json::json!([]));
}

/// An example, built where this test was built; most often it is there already.
fn example(name: &str) -> Command {
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args(["build", "--quiet", "--locked", "--example", name]);
    assert!(build.status().unwrap().success(), "{name} does not compile");
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap().join("examples");
    Command::new(folder.join(name))
}

/// What an example prints that ends well.
fn example_said(home: &Home, name: &str) -> String {
    let mut command = example(name);
    command.arg(home.path("client.toml"));
    let output = run(command, "");
    assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_examples_in_rust_do_what_they_say() {
    let home = Home::new();
    let server = home.serve();
    home.edit_profile(&[("server", &server.address.to_string())]);
    for (name, part, times) in
        [("publisher", "confirmed, seq", 10), ("worker", "attempt 1 of {\"order\":", 10)]
    {
        let said = example_said(&home, name);
        assert_eq!(said.matches(part).count(), times, "{name}: {said}");
    }
}

#[test]
fn the_example_of_a_work_queue_tries_again_and_gives_up() {
    let home = Home::new();
    let server = home.serve();
    home.edit_profile(&[("server", &server.address.to_string())]);
    let said = example_said(&home, "work_queue");
    let mut lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], ["sent to ann, attempt 1", "sent to busy, attempt 2"]);
    lines[2..].sort_unstable();
    assert_eq!(
        lines[2..],
        ["dead: down, max_attempts, no detail", "dead: nobody, rejected, there is no such mailbox"]
    );
    let info = server.client(&["queue", "info", "mails", "--output", "json"], "");
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!((&info["dead_lettered"], &info["ready"]), (&2.into(), &0.into()));
}

#[test]
fn the_example_of_request_and_reply_gets_its_answers() {
    let home = Home::new();
    let server = home.serve();
    home.edit_profile(&[("server", &server.address.to_string())]);
    let said = example_said(&home, "request_reply");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], ["twice 1: Body(\"2\")", "twice 21: Body(\"42\")"]);
    assert!(lines[2].starts_with("nobody answered the request to \"questions\""), "{said}");
    let mut wire = server.login();
    eventually("the end of the reply queues", || {
        let told = wire.ok(serde_json::json!({"op": "whoami"}));
        (told["quotas"]["queues"]["used"] == 1).then_some(())
    });
}

#[test]
fn the_example_of_topics_copies_to_each_queue_that_listens() {
    let home = Home::new();
    let server = home.serve();
    home.edit_profile(&[("server", &server.address.to_string())]);
    let expected = "\
        shop.eu.created: 3 queues\n\
        shop.us.created: 2 queues\n\
        shop.eu.paid: 2 queues\n\
        elsewhere: 0 queues\n\
        fan-out.mails got order 7 of shop.eu.created\n\
        fan-out.mails got order 7 of shop.us.created\n\
        fan-out.stock-eu got order 7 of shop.eu.created\n\
        fan-out.stock-eu got order 7 of shop.eu.paid\n\
        fan-out.archive got order 7 of shop.eu.created\n\
        fan-out.archive got order 7 of shop.us.created\n\
        fan-out.archive got order 7 of shop.eu.paid\n";
    assert_eq!(example_said(&home, "fan_out"), expected);
}

#[test]
fn the_example_of_groups_keeps_each_customer_in_order() {
    let home = Home::new();
    let server = home.serve();
    home.edit_profile(&[("server", &server.address.to_string())]);
    let expected = ["ann", "bob", "eve"].map(|name| format!("{name}: created, paid, packed, sent"));
    assert_eq!(example_said(&home, "ordered").lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_example_of_an_effect_that_happens_once_pays_once() {
    let home = Home::new();
    let server = home.serve();
    home.edit_profile(&[("server", &server.address.to_string())]);
    let expected = "\
        published, duplicate: false\n\
        published, duplicate: true\n\
        the first worker begins: true\n\
        the second worker begins: true\n\
        the first worker pays: false\n\
        the second worker pays: true\n\
        the third worker begins: false\n\
        the balance is 100\n";
    assert_eq!(example_said(&home, "exactly_once"), expected);
}
