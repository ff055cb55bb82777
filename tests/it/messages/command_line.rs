//! What the commands say: each mistake as somebody would type it in the folder that `gmq init`
//! made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gmq::client::Error;
use gmq::types::Seq;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

use super::List;
use crate::harness::{Home, gmq, run};

impl List {
    /// The failure of command lines, typed in the home's folder, where client.toml is the profile.
    pub(super) fn typed(&mut self, home: &Home, lines: &[&str]) {
        for line in lines {
            // A server that starts in spite of its mistake would never end.
            let mut command = Command::new("timeout");
            command.args(["20", "sh", "-c", line]).current_dir(home.root());
            let program = Path::new(env!("CARGO_BIN_EXE_gmq")).parent().unwrap().to_owned();
            let path = std::env::var("PATH").unwrap_or_default();
            for (name, _) in gmq().get_envs().filter(|(_, value)| value.is_none()) {
                command.env_remove(name);
            }
            command.env("PATH", format!("{}:{path}", program.display()));
            command.env("GMQ_PROFILE", "client.toml");
            // What would change how clap writes.
            command.env_remove("COLUMNS").env_remove("CLICOLOR_FORCE");
            self.add_failure(&format!("$ {line}"), &run(command, ""));
        }
    }
}

pub(super) fn list_at(home: &Home) -> List {
    let mut list = List::default();
    list.name_path(home.root().parent().unwrap(), "FOLDER");
    list
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn every_message_of_setting_up_is_in_the_list() {
    let home = Home::new();
    let mut list = list_at(&home);
    list.group("the command line");
    list.typed(&home, &["gmq publsh", "gmq consume", "gmq consume q --maxx 1", "gmq admin tenant"]);
    list.group("init and quickstart");
    list.typed(
        &home,
        &[
            "gmq init .",
            "gmq init gmq.toml/bus",
            "gmq init ../other --host 'a b'",
            "gmq init ../another --listen 4884",
            "mkdir ../half; cp -r certs ../half; gmq quickstart --exit --dir ../half",
        ],
    );
    list.group("certs");
    fs::create_dir(home.path("torn")).unwrap();
    fs::copy(home.path("certs/ca.pem"), home.path("torn/ca.pem")).unwrap();
    fs::copy(home.path("certs/client.key"), home.path("torn/ca.key")).unwrap();
    list.typed(
        &home,
        &[
            "gmq certs ca",
            "gmq certs ca --dir gmq.toml/certs",
            "gmq certs server two --dir elsewhere",
            "gmq certs server two --dir torn",
            "gmq certs server two --host '*.acme.example'",
            "gmq certs server ../two",
            "gmq certs client client --san dns:web.acme.example",
            "gmq certs client web --san web.acme.example",
            "gmq certs client web --san dns:",
            "gmq certs client web --san 'dns:a b'",
            "gmq certs client web --san 'dns:*.acme.example'",
            "gmq certs show nowhere.pem",
            "gmq certs show gmq.toml",
            "gmq certs show certs",
        ],
    );
    list.group("manual");
    list.typed(&home, &["gmq completions cmd.exe"]);
    list.check("setting_up");
}

/// Mistakes about tenants.
const TENANTS: [&str; 17] = [
    "gmq admin tenant add acme",
    "gmq admin tenant add Acme",
    "gmq admin tenant show nobody",
    "gmq admin tenant set nobody --max-queues 1",
    "gmq admin tenant remove nobody",
    "gmq admin tenant remove acme",
    "gmq admin tenant set acme --max-queues many",
    "gmq admin tenant set acme --max-bytes much",
    "gmq admin tenant set acme --auto-create maybe",
    "gmq admin tenant set acme --default ack_timeout_ms",
    "gmq admin tenant set acme --default ack_timeout_ms=0",
    "gmq admin tenant set acme --default ack_timeout=1",
    "gmq admin tenant set acme --default ttl_ms=0",
    "gmq admin tenant set acme --default overflow=drop",
    "gmq admin tenant set acme --default exclusive=false",
    "gmq admin tenant set acme --default max_attempts=5",
    "gmq admin tenant set acme --config nowhere.toml",
];

/// Mistakes about users.
const USERS: [&str; 27] = [
    "gmq admin user add web --generate",
    "gmq admin user add Web --generate",
    "gmq admin user add other --tenant nobody --generate",
    "gmq admin user add other --password secret",
    "gmq admin user add other",
    "gmq admin user add other --password-stdin",
    "head -c 2000 /dev/zero | tr '\\0' x | gmq admin user add other --password-stdin",
    "printf '\\377\\n' | gmq admin user add other --password-stdin",
    "gmq admin user add other --generate --grant publish",
    "gmq admin user add other --generate --grant read:a",
    "gmq admin user add other --generate --grant 'publish:a*'",
    "gmq admin user add other --generate --certificate email:a@acme.example",
    "gmq admin user add other --generate --certificate dns:admin",
    "gmq admin user add other --generate --require-certificate",
    "gmq admin user show nobody",
    "gmq admin user show web --tenant nobody",
    "gmq admin user passwd nobody --generate",
    "gmq admin user grant nobody all:a",
    "gmq admin user revoke web all:a",
    "gmq admin user disable nobody",
    "gmq admin user remove nobody",
    "gmq admin user certificate web admin",
    "gmq admin user certificate web dns:admin",
    "gmq admin user certificate web",
    "gmq admin user why web read a",
    "gmq admin user why nobody publish a",
    "gmq admin user list --tenant Acme",
];

#[test]
fn every_message_of_the_administration_is_in_the_list() {
    let home = Home::new();
    let mut list = list_at(&home);
    home.admin(&["tenant", "add", "acme"], "");
    home.add_user("web", "a good password", &["publish:a"]);
    let user = ["user", "add", "eve", "--tenant", "acme", "--password-stdin"];
    home.admin(&user, "a good password\n");
    list.group("tenants");
    list.typed(&home, &TENANTS);
    list.group("users");
    list.typed(&home, &USERS);
    list.group("the accounts database");
    let sql = |text: &str| {
        format!(
            "python3 -c \"import sqlite3; c = sqlite3.connect('data/accounts.db'); \
             c.execute('{text}'); c.commit()\"; gmq admin user list"
        )
    };
    list.typed(
        &home,
        &[
            "GMQ_DATA_DIR=gmq.toml gmq admin user list",
            "rm data/accounts.db*; echo no database >data/accounts.db; gmq admin user list",
            "rm data/accounts.db*; gmq admin migrate --status",
            "rm data/accounts.db*; gmq admin migrate && gmq admin user show admin",
            &sql("UPDATE _sqlx_migrations SET version = 9000"),
        ],
    );
    list.check("administration");
}

/// A certificate and its key as NAME.pem and NAME.key among the home's; it signs itself.
fn certificate(home: &Home, name: &str, change: impl FnOnce(&mut CertificateParams)) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2999, 1, 1);
    change(&mut params);
    let pem = params.self_signed(&key).unwrap().pem();
    fs::write(home.path(&format!("certs/{name}.pem")), pem).unwrap();
    let path = home.path(&format!("certs/{name}.key"));
    fs::write(&path, key.serialize_pem()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Certificates and keys of which no server can be made.
fn make_unfit_files(home: &Home) {
    certificate(home, "past", |params| params.not_after = date_time_ymd(2001, 1, 1));
    certificate(home, "future", |params| params.not_before = date_time_ymd(2998, 1, 1));
    certificate(home, "clients", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    for (name, text) in [
        ("empty.pem", String::new()),
        ("torn.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned()),
        ("odd.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
        ("odd.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned()),
        (
            "secret.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
                .to_owned(),
        ),
        ("two.key", fs::read_to_string(home.path("certs/server.key")).unwrap().repeat(2)),
        ("long.pem", "x".repeat(1024 * 1024 + 1)),
    ] {
        let path = home.path("certs").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn every_message_of_serving_is_in_the_list() {
    let home = Home::new();
    let mut list = list_at(&home);
    make_unfit_files(&home);
    list.group("certificates and keys");
    let serve = |setting: &str| format!("{setting} gmq serve --listen 127.0.0.1:0");
    for setting in [
        "GMQ_TLS__CERTIFICATE=certs/nowhere.pem",
        "GMQ_TLS__CERTIFICATE=certs",
        "GMQ_TLS__CERTIFICATE=certs/empty.pem",
        "GMQ_TLS__CERTIFICATE=certs/torn.pem",
        "GMQ_TLS__CERTIFICATE=certs/odd.pem",
        "GMQ_TLS__CERTIFICATE=certs/long.pem",
        "GMQ_TLS__CERTIFICATE=certs/past.pem GMQ_TLS__KEY=certs/past.key",
        "GMQ_TLS__CERTIFICATE=certs/future.pem GMQ_TLS__KEY=certs/future.key",
        "GMQ_TLS__CERTIFICATE=certs/clients.pem GMQ_TLS__KEY=certs/clients.key",
        "GMQ_TLS__KEY=certs/nowhere.key",
        "GMQ_TLS__KEY=certs/empty.pem",
        "GMQ_TLS__KEY=certs/odd.key",
        "GMQ_TLS__KEY=certs/two.key",
        "GMQ_TLS__KEY=certs/secret.key",
        "GMQ_TLS__KEY=certs/client.key",
        "chmod 644 certs/server.key;",
        "chmod 600 certs/server.key; GMQ_TLS__CLIENT_CA=certs/nowhere.pem",
        "GMQ_TLS__CLIENT_CA=certs/server.pem",
        "GMQ_TLS__CLIENT_CA=certs/empty.pem",
    ] {
        list.typed(&home, &[&serve(setting)]);
    }
    list.group("addresses and folders");
    let server = home.serve();
    list.name(server.address, "ADDRESS");
    list.typed(
        &home,
        &[
            "gmq serve --config nowhere.toml",
            "gmq serve --listen localhost",
            "gmq serve",
            "GMQ_DATA_DIR=certs gmq serve --listen 192.0.2.1:4884",
            "GMQ_DATA_DIR=gmq.toml gmq serve",
            &format!(
                "mkdir -m 700 spare; GMQ_DATA_DIR=spare gmq serve --listen {}",
                server.address
            ),
            "GMQ_DATA_DIR=spare gmq serve --listen 0.0.0.0:0",
            "gmq quickstart --dir tried --listen 127.0.0.1:0 --exit >tried.log && \
             gmq serve --config tried/gmq.toml --listen 0.0.0.0:0",
        ],
    );
    list.check("serving");
}

#[test]
fn every_message_of_a_client_that_cannot_connect_is_in_the_list() {
    let home = Home::new();
    let mut list = list_at(&home);
    let stranger = Home::new();
    fs::copy(stranger.path("certs/ca.pem"), home.path("certs/stranger.pem")).unwrap();
    let server = home.serve_with(&[("GMQ_AUTH__FAILURES_PER_MINUTE_USER", "1")]);
    list.name(server.address, "ADDRESS");
    home.edit_profile(&[("server", &server.address.to_string())]);
    profiles(&mut list, &home);
    list.group("the server");
    list.typed(
        &home,
        &[
            "gmq ping --server 127.0.0.1:1",
            "gmq ping --server 127.0.0.1",
            "gmq ping --server 'a b:4884'",
            "gmq ping --ca certs/nowhere.pem",
            "gmq ping --ca certs/stranger.pem",
            "gmq ping --certificate certs/client.pem",
            "gmq ping --certificate certs/client.pem --certificate-key certs/server.key",
            "gmq ping --certificate certs/server.pem --certificate-key certs/server.key",
        ],
    );
    list.group("the login");
    list.typed(
        &home,
        &["gmq ping --tenant Acme", "gmq ping --user nobody", "gmq ping --user nobody"],
    );
    drop(server);
    ends(&mut list, &home);
    list.check("connecting");
}

fn profiles(list: &mut List, home: &Home) {
    list.group("the profile");
    list.typed(
        home,
        &[
            "env -u GMQ_PROFILE HOME=$PWD XDG_CONFIG_HOME=$PWD gmq ping",
            "env -u GMQ_PROFILE -u HOME -u XDG_CONFIG_HOME gmq ping",
            "gmq ping --profile nowhere.toml",
            "gmq ping --profile certs",
            "cp client.toml open.toml; chmod 644 open.toml; gmq ping --profile open.toml",
        ],
    );
    for (name, from, to) in [
        ("torn.toml", "password = ", "password "),
        ("unknown.toml", "password = ", "pasword = "),
        ("none.toml", "user = ", "password_file = 'nowhere.txt'\nuser = "),
        ("file.toml", "password = ", "password_file = 'nowhere.txt'\n# "),
        ("bare.toml", "password = ", "# "),
        ("user.toml", "user = \"admin\"", "user = \"Admin\""),
        ("server.toml", "server = ", "server = \"\" # "),
    ] {
        fs::copy(home.path("client.toml"), home.path(name)).unwrap();
        replace(&home.path(name), from, to);
        if name != "none.toml" {
            list.typed(home, &[&format!("gmq ping --profile {name}")]);
        }
    }
}

fn ends(list: &mut List, home: &Home) {
    list.group("a server that has as many connections as it may");
    let full = home.serve_with(&[("GMQ_LIMITS__MAX_CONNECTIONS", "1")]);
    let first = full.login();
    list.name(full.address, "ADDRESS");
    list.typed(home, &[&format!("gmq ping --server {}", full.address)]);
    drop((first, full));
    list.group("the end of a connection");
    for error in [
        Error::Closed("idle".to_owned()),
        Error::Closed("auth_timeout".to_owned()),
        Error::Closed("frame_too_large".to_owned()),
        Error::Closed("revoked".to_owned()),
        Error::Closed("shutting_down".to_owned()),
        Error::Closed("too_slow".to_owned()),
        Error::Lost("the server ended it".to_owned()),
        Error::Returned,
        Error::NoAnswer { to: "prices".to_owned(), timeout: Duration::from_secs(5) },
        Error::NotRouted { topic: "prices.eu".to_owned() },
        Error::NoReplyTo { queue: "prices".to_owned(), seq: Seq(7) },
    ] {
        list.add(&format!("{error:?}"), &error.to_string());
    }
}

/// Mistakes about queues.
const QUEUES: [&str; 30] = [
    "gmq queue declare full --max-messages 2",
    "gmq queue declare full --storage memory --update",
    "gmq queue declare a --storage disk",
    "gmq queue declare a --max-messages many",
    "gmq queue declare a --max-messages 0",
    "gmq queue declare a --max-bytes much",
    "gmq queue declare a --ack-timeout soon",
    "gmq queue declare a --ack-timeout 13h",
    "gmq queue declare a --profile web.toml",
    "gmq queue delete full --if-empty",
    "gmq queue delete nowhere",
    "gmq queue purge nowhere",
    "gmq queue info nowhere",
    "gmq queue peek nowhere",
    "gmq queue peek full --max 5000",
    "gmq queue list 'a*'",
    "gmq queue declare a --overflow drop",
    "gmq queue declare a --max-attempts 5",
    "gmq queue declare a --max-attempts none",
    "gmq queue declare a --dead-letter a",
    "gmq queue declare a --dead-letter 'a b'",
    "gmq queue declare a --ttl none",
    "gmq queue declare a --dedup-window 8d",
    "gmq queue declare a --expires 0s",
    "gmq queue declare a --exclusive",
    "gmq queue move nowhere full",
    "gmq queue move full full",
    "gmq queue move full a --max 0",
    "gmq queue doctor nowhere",
    "gmq queue doctor full --profile web.toml",
];

/// Mistakes about topics.
const TOPICS: [&str; 5] = [
    "gmq topic bind 'orders.*.created'",
    "gmq topic bind 'orders*' full",
    "gmq topic bind orders nowhere",
    "gmq topic bind orders full --profile web.toml",
    "gmq topic unbind orders nowhere",
];

#[test]
fn every_message_of_a_client_that_is_refused_is_in_the_list() {
    let home = Home::new();
    let mut list = list_at(&home);
    home.add_user("web", "a good password", &["publish:a"]);
    let server = home.serve();
    home.edit_profile(&[("server", &server.address.to_string())]);
    fs::copy(home.path("client.toml"), home.path("web.toml")).unwrap();
    replace(&home.path("web.toml"), &home.password(), "a good password");
    replace(&home.path("web.toml"), "user = \"admin\"", "user = \"web\"");
    server.client(&["queue", "declare", "full", "--max-messages", "1"], "");
    server.client(&["publish", "full", "one"], "");
    list.group("publish");
    list.typed(
        &home,
        &[
            "gmq publish 'a b' hello",
            "gmq publish a",
            "gmq publish a --file nowhere.txt",
            "gmq publish a --json hello",
            "gmq publish a hello --header kind",
            "gmq publish a hello --header gmq-kind=x",
            "gmq publish full two",
            "printf 'two\\nthree\\n' | gmq publish full --lines",
            "printf 'two\\n' | gmq publish a --lines --json",
            "head -c 1100000 /dev/zero | gmq publish a -",
            "gmq publish b hello --profile web.toml",
            "gmq publish a hello --profile web.toml",
            "gmq publish --topic a",
            "gmq publish --topic 'a b' hello",
            "gmq publish --topic b hello --profile web.toml",
            "gmq publish --topic a hello --lines",
            "gmq publish a one two --key 7",
            "gmq publish a --lines --key 7",
            "gmq publish full two --key ''",
            "gmq publish full two --priority 10",
            "gmq publish full two --delay soon",
            "gmq publish full two --delay 11y",
            "gmq publish full two --ttl 0s",
        ],
    );
    list.group("consume");
    list.typed(
        &home,
        &[
            "gmq consume nowhere",
            "gmq consume a --profile web.toml",
            "gmq consume full --output xml",
            "gmq consume full --exec cat --no-ack",
        ],
    );
    list.group("queue");
    list.typed(&home, &QUEUES);
    list.group("topic");
    list.typed(&home, &TOPICS);
    list.group("bench");
    list.typed(
        &home,
        &[
            "gmq bench publish --size 1100000 --connections 1 --in-flight 1",
            "gmq bench publish --size 2GiB",
            "gmq bench publish --size much",
            "gmq bench publish --connections 0",
            "gmq bench publish --duration soon",
            "gmq bench publish --profile web.toml",
        ],
    );
    list.check("clients");
}
