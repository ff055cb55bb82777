//! What is wrong with a configuration: a file, its environment, and what does not fit together.

use std::fs;

use super::List;
use crate::harness::{Home, gmq, run};

#[test]
fn every_message_of_the_configuration_is_in_the_list() {
    let home = Home::new();
    let mut list = List::default();
    list.name_path(home.root().parent().unwrap(), "FOLDER");
    list.group("files");
    for text in [
        "listen =",
        "lisen = '127.0.0.1:4884'",
        "colour = 'red'",
        "limits = 5",
        "max_queues = 5",
        "[limit]\nmax_queues = 5",
        "[limits]\nmax_queue = 5",
        "limits.max_queues = 2020-01-01",
        "listen = 4884",
        "listen = 'localhost:4884'",
        "store = 'mongo'",
        "store = 'disk'",
        "accounts = 'ldap'",
        "data_dir = ''",
        "tls.client_auth = true",
        "tls.min_version = 1.2",
        "tls.client_identity = 'ip'",
        "limits.max_queues = 0",
        "limits.max_queues = -1",
        "limits.max_queues = 1.5",
        "limits.max_connections = 'many'",
        "limits.max_tenant_bytes = 'much'",
        "limits.max_tenant_bytes = '1 B'",
        "limits.drain_timeout = '10'",
        "limits.drain_timeout = '2h'",
        "limits.allow_cidrs = ['10.0.0.1/8']",
        "limits.allow_cidrs = ['here']",
        "auth.argon2.workers = 'all'",
        "log.level = 'loud'",
        "limits.max_message_bytes = '2 MiB'",
        "limits.max_outbox_bytes = '1 MiB'",
        "auth.argon2.iterations = 1",
        "lisen = 1\nstore = 'disk'\nlimits.max_queues = 0",
    ] {
        fs::write(home.path("wrong.toml"), text).unwrap();
        let mut command = gmq();
        command.args(["config", "check", "--config", "wrong.toml"]).current_dir(home.root());
        list.add_failure(text, &run(command, ""));
    }
    fs::write(home.path("wrong.toml"), b"# \xff").unwrap();
    for file in ["wrong.toml", "nowhere.toml", "certs"] {
        let mut command = gmq();
        command.args(["config", "check", "--config", file]).current_dir(home.root());
        list.add_failure(&format!("the file {file}"), &run(command, ""));
    }
    list.group("environment and flags");
    for (name, value) in [
        ("GMQ_LISTN", "127.0.0.1:4884"),
        ("GMQ_LIMITS__MAX_QUEUE", "5"),
        ("GMQ_LIMITS__COLOUR", "red"),
        ("GMQ_LIMITS__MAX_QUEUES", "many"),
        ("GMQ_TLS__CLIENT_AUTH", "no"),
        ("GMQ_LIMITS__MAX_MESSAGE_BYTES", "2 MiB"),
    ] {
        let mut command = gmq();
        command.args(["config", "show"]).current_dir(home.root()).env(name, value);
        list.add_failure(&format!("{name}={value}"), &run(command, ""));
    }
    list.check("configuration");
}
