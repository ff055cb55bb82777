//! What the configuration promises, with files in temporary folders and made-up environments.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use super::*;
use crate::types::SanKind;

const EXAMPLE: &str = include_str!("../../config/gmq.toml");

/// A folder with `gmq.toml`, and what it makes with the environment given.
struct Case {
    folder: tempfile::TempDir,
    layers: Layers,
}

fn case(toml: &str, environment: &[(&str, &str)]) -> Case {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gmq.toml");
    std::fs::write(&file, toml).unwrap();
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    let layers = Layers::with_environment(Some(&file), environment, Overrides::default());
    Case { folder, layers }
}

fn load(toml: &str, environment: &[(&str, &str)]) -> Config {
    Config::load(&case(toml, environment).layers).unwrap()
}

/// Key and message of each problem.
fn problems(toml: &str, environment: &[(&str, &str)]) -> BTreeMap<String, String> {
    let problems = Config::check(&case(toml, environment).layers);
    problems.into_iter().map(|problem| (problem.key, problem.message)).collect()
}

fn problem(toml: &str, environment: &[(&str, &str)]) -> (String, String) {
    let mut all = problems(toml, environment);
    assert_eq!(all.len(), 1, "{all:?}");
    all.pop_first().unwrap()
}

#[test]
fn defaults_are_those_of_the_protocol() {
    let config = Config::default();
    assert_eq!(config.listen.to_string(), "127.0.0.1:4884");
    assert_eq!(config.store, StoreKind::File);
    assert_eq!(config.durability, Durability::Disk);
    assert_eq!(config.accounts, AccountsKind::Sqlite);
    assert_eq!(config.data_dir, PathBuf::from("data"));
    assert_eq!(config.tls.client_auth, ClientAuth::Required);
    assert_eq!(config.tls.client_identity, SanKind::Dns);
    assert_eq!(config.tls.min_version, MinVersion::Tls13);
    assert_eq!(config.auth.failures_per_minute_user, 20);
    assert_eq!(config.auth.failures_per_minute_address, 200);
    let Argon2 { memory_kib, iterations, parallelism, workers } = config.auth.argon2;
    assert_eq!((memory_kib, iterations, parallelism), (19_456, 2, 1));
    assert!(workers == Workers::Auto && workers.count() >= 1);
    let limits = config.limits;
    assert_eq!(limits.max_frame_bytes, ByteSize::mib(2));
    assert_eq!(limits.max_message_bytes, ByteSize::mib(1));
    assert_eq!(limits.max_outbox_bytes, ByteSize::mib(8));
    assert_eq!(limits.max_tenant_bytes, Some(ByteSize::gib(2)));
    assert_eq!(limits.max_queue_messages, None);
    assert_eq!((limits.max_connections, limits.max_pending_requests), (10_000, 10_000));
    assert_eq!(limits.handshake_timeout, Duration::from_secs(5));
    assert_eq!(limits.auth_timeout, Duration::from_secs(10));
    assert_eq!(limits.idle_timeout, None);
    assert_eq!(limits.write_timeout, Duration::from_secs(30));
    assert_eq!(limits.drain_timeout, Duration::from_secs(10));
    assert!(limits.allow_cidrs.is_empty());
}

#[test]
fn an_empty_file_is_the_defaults() {
    let case = case("", &[]);
    let config = Config::load(&case.layers).unwrap();
    assert_eq!(config, Config::default().relative_to(case.folder.path()));
}

#[test]
fn a_later_layer_wins_and_is_told() {
    let toml = "listen = '127.0.0.1:1'\nlimits.max_queues = 1\nlimits.max_connections = 5";
    let mut case = case(toml, &[("GMQ_LISTEN", "127.0.0.1:2"), ("GMQ_LIMITS__MAX_QUEUES", "2")]);
    case.layers = Layers::with_environment(
        Some(&case.folder.path().join("gmq.toml")),
        [("GMQ_LISTEN", "127.0.0.1:2"), ("GMQ_LIMITS__MAX_QUEUES", "2")]
            .map(|(name, value)| (name.into(), value.into())),
        Overrides { listen: Some("127.0.0.1:3".parse().unwrap()) },
    );
    let config = Config::load(&case.layers).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.limits.max_queues, Some(2));
    assert_eq!(config.limits.max_connections, 5);

    let rows = Config::show(&case.layers).unwrap();
    let row = |key| {
        let row = rows.iter().find(|row| row.key == key).unwrap();
        (row.value.as_str(), row.source.to_string())
    };
    let file = case.folder.path().join("gmq.toml").display().to_string();
    assert_eq!(row("listen"), ("\"127.0.0.1:3\"", "flag --listen".into()));
    assert_eq!(row("limits.max_queues"), ("2", "environment GMQ_LIMITS__MAX_QUEUES".into()));
    assert_eq!(row("limits.max_connections"), ("5", file));
    assert_eq!(row("limits.max_message_bytes"), ("\"1 MiB\"", "default".into()));
    assert_eq!(row("limits.idle_timeout"), ("\"off\"", "default".into()));
}

#[test]
fn relative_paths_count_from_the_files_folder() {
    let case = case("data_dir = 'd'\ntls.key = '/etc/k.pem'", &[("GMQ_TLS__CERTIFICATE", "c.pem")]);
    let config = Config::load(&case.layers).unwrap();
    assert_eq!(config.data_dir, case.folder.path().join("d"));
    assert_eq!(config.tls.key, PathBuf::from("/etc/k.pem"));
    assert_eq!(config.tls.certificate, case.folder.path().join("c.pem"));
    assert_eq!(config.tls.client_ca, case.folder.path().join("certs/ca.pem"));
}

#[test]
fn every_kind_of_value_is_read_from_file_and_environment() {
    let config = load(
        "limits.max_message_bytes = 1000\nlimits.max_queues = 'off'\nlimits.idle_timeout = '2h'\n\
         limits.allow_cidrs = ['10.0.0.0/8', '::1']\nauth.argon2.workers = 3\nlog.level = 'debug'",
        &[],
    );
    assert_eq!(config.limits.max_message_bytes, ByteSize(1000));
    assert_eq!(config.limits.max_queues, None);
    assert_eq!(config.limits.idle_timeout, Some(Duration::from_secs(7200)));
    assert_eq!(config.limits.allow_cidrs[1].to_string(), "::1/128");
    assert_eq!(config.auth.argon2.workers, Workers::Fixed(3));
    assert_eq!(config.log.level, LogLevel::Debug);

    let from_environment = load(
        "",
        &[
            ("GMQ_LIMITS__MAX_MESSAGE_BYTES", "1000"),
            ("GMQ_LIMITS__MAX_QUEUES", "off"),
            ("GMQ_LIMITS__IDLE_TIMEOUT", "2h"),
            ("GMQ_LIMITS__ALLOW_CIDRS", "10.0.0.0/8, ::1"),
            ("GMQ_AUTH__ARGON2__WORKERS", "3"),
            ("GMQ_LOG__LEVEL", "debug"),
            ("GMQ_DATA_DIR", "123"),
            ("GMQ_PROFILE", "the client's"),
            ("HOME", "/root"),
        ],
    );
    assert_eq!(from_environment.limits, config.limits);
    assert_eq!(from_environment.auth, config.auth);
    assert_eq!(from_environment.log, config.log);
    assert!(from_environment.data_dir.ends_with("123"));
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    for (toml, key, nearest) in [
        ("lisen = 'x'", "lisen", "listen"),
        ("[limits]\nmax_qeues = 1", "limits.max_qeues", "limits.max_queues"),
        ("max_queues = 1", "max_queues", "limits.max_queues"),
        ("[tls]\nclientauth = 'off'", "tls.clientauth", "tls.client_auth"),
        ("[limit]\nmax_queues = 1", "limit", "limits"),
        ("[limits]\nmax-queues = 1", "limits.max-queues", "limits.max_queues"),
        ("'limits.max_queues' = 1", "limits.max_queues", "limits.max_queues"),
    ] {
        let expected = format!("there is no such setting; did you mean {nearest}?");
        assert_eq!(problem(toml, &[]), (key.into(), expected), "{toml}");
    }
    for (name, nearest) in [
        ("GMQ_LIMITS_MAX_QUEUES", "GMQ_LIMITS__MAX_QUEUES"),
        ("GMQ_LISTN", "GMQ_LISTEN"),
        ("GMQ_TLS__CLIENT_AUHT", "GMQ_TLS__CLIENT_AUTH"),
    ] {
        let (_, message) = problem("", &[(name, "1")]);
        assert_eq!(message, format!("there is no such setting; did you mean {nearest}?"));
    }
    let (_, message) = problem("quite_another_thing = 1", &[]);
    assert!(message.contains("gmq init"), "{message}");
    let (_, message) = problem("limits = 3", &[]);
    assert!(message.contains("write [limits]"), "{message}");
}

#[test]
fn everything_wrong_is_told_at_once_with_its_source() {
    let case = case(
        "listen = 4884\nstor = 'memory'\nstore = 'mongo'\naccounts = 'ldap'\n\
         tls.client_auth = 'maybe'\nlimits.max_connections = 0\nlimits.write_timeout = 10\n\
         limits.max_message_bytes = '4 MiB'\nlimits.allow_cidrs = ['10.0.0.1/8']\n\
         auth.argon2.memory_kib = 8\ndata_dir = ''",
        &[("GMQ_LIMITS__AUTH_TIMEOUT", "soon"), ("GMQ_LIMITS__NO", "1")],
    );
    let problems = Config::check(&case.layers);
    let told: BTreeMap<_, _> = problems.iter().map(|p| (p.key.as_str(), p)).collect();
    let keys: Vec<_> = told.keys().copied().collect();
    assert_eq!(
        keys,
        [
            "accounts",
            "auth.argon2.memory_kib",
            "data_dir",
            "limits.allow_cidrs",
            "limits.auth_timeout",
            "limits.max_connections",
            "limits.max_frame_bytes",
            "limits.no",
            "limits.write_timeout",
            "listen",
            "stor",
            "store",
            "tls.client_auth",
        ]
    );
    let message = |key: &str| told[key].message.as_str();
    assert_eq!(message("store"), "must be \"memory\", \"file\" or \"mysql\"");
    assert_eq!(message("accounts"), "must be \"sqlite\" or \"mysql\"");
    assert_eq!(message("limits.max_connections"), "must be between 1 and 1000000");
    assert_eq!(message("tls.client_auth"), "must be \"off\", \"optional\" or \"required\"");
    assert!(message("limits.write_timeout").starts_with("must be a time such as \"10s\""));
    let environment = Source::Environment("GMQ_LIMITS__AUTH_TIMEOUT".into());
    assert_eq!(told["limits.auth_timeout"].source, environment);
    // The rule is broken by the message's limit, so that is where it is to be mended.
    let file = Source::File(case.folder.path().join("gmq.toml"));
    assert_eq!(told["limits.max_frame_bytes"].source, file);

    let text = Config::load(&case.layers).unwrap_err().to_string();
    assert_eq!(text.lines().count(), problems.len(), "{text}");
}

#[test]
fn later_works_keys_are_unknown_for_now() {
    for toml in ["[cluster]\npeers = ['a']", "tls.crl = 'crl.pem'"] {
        assert_eq!(problems(toml, &[]).len(), 1, "{toml}");
    }
}

#[test]
fn a_node_has_a_plain_name() {
    assert!(problems("cluster.node = 'bus-1.example_a'", &[]).is_empty());
    for name in ["", "bus 1", "büs", &"a".repeat(33)] {
        let found = problems(&format!("cluster.node = '{name}'"), &[]);
        assert!(found["cluster.node"].contains("1 to 32 letters"), "{found:?}");
    }
}

#[test]
fn no_problem_repeats_a_value() {
    const CANARY: &str = "hunter2-canary";
    let text: Vec<_> = settings().map(|setting| setting.name).collect();
    for name in text {
        let variable = format!("GMQ_{}", name.replace('.', "__").to_uppercase());
        let case = case(
            &format!("{name} = ['{CANARY}']\npassword = '{CANARY}'"),
            &[(&variable, CANARY), ("GMQ_DATABASE__PASSWORD", CANARY)],
        );
        for problem in Config::check(&case.layers) {
            assert!(!format!("{problem} {problem:?}").contains(CANARY), "{problem}");
        }
    }
    for toml in [
        format!("password = {CANARY}"),
        format!("password = '{CANARY}"),
        format!("password = '{CANARY}' x"),
        format!("a = '{CANARY}'\na = '{CANARY}'"),
    ] {
        let (_, message) = problem(&toml, &[]);
        assert!(message.starts_with("is not TOML at line ") && !message.contains(CANARY));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("gmq.toml");
    let layers = Layers::with_environment(Some(&missing), [], Overrides::default());
    let problems = Config::load(&layers).unwrap_err();
    assert_eq!(
        problems.to_string(),
        format!(
            "{}: there is no such file; name another with --config, or make one with `gmq init DIR`",
            missing.display()
        )
    );
    std::fs::write(&missing, [0xff, 0xfe]).unwrap();
    assert!(Config::load(&layers).unwrap_err().to_string().ends_with("must be UTF-8"));
}

#[test]
fn syntax_errors_name_line_and_column() {
    let (key, message) = problem("listen = '127.0.0.1:1'\n[limits\n", &[]);
    assert_eq!(key, "");
    assert!(message.starts_with("is not TOML at line 2, column 8: "), "{message}");
}

#[test]
fn a_frame_must_hold_a_message() {
    assert!(problems("limits.max_frame_bytes = 1463638", &[]).is_empty());
    let (key, message) = problem("limits.max_frame_bytes = 1463637", &[]);
    assert_eq!(key, "limits.max_frame_bytes");
    assert!(message.contains("limits.max_frame_bytes = \"1430 KiB\" or more"), "{message}");
}

#[test]
fn an_outbox_must_hold_a_frame() {
    let toml = "limits.max_outbox_bytes = '3 MiB'\nlimits.max_frame_bytes = ";
    assert!(problems(&format!("{toml}'3 MiB'"), &[]).is_empty());
    let (key, message) = problem(&format!("{toml}'4 MiB'"), &[]);
    assert_eq!(key, "limits.max_outbox_bytes");
    assert!(message.contains("limits.max_outbox_bytes = \"4 MiB\" or more"), "{message}");
}

#[test]
fn a_password_never_costs_less_than_owasp_asks() {
    let argon2 = |kib: u32, passes: u32| {
        problems(&format!("[auth.argon2]\nmemory_kib = {kib}\niterations = {passes}"), &[])
    };
    for (kib, passes) in [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5), (8_000, 9)]
    {
        assert!(argon2(kib, passes).is_empty(), "{kib} {passes}");
        let weaker = argon2(kib - 1, passes);
        assert!(kib == 8_000 || weaker.len() == 1, "{kib} {passes}");
    }
    let told = &argon2(9_000, 3)["auth.argon2.memory_kib"];
    assert!(told.contains("memory_kib = 12288 or more"), "{told}");
}

#[test]
fn settings_are_named_once_and_their_ranges_hold_their_defaults() {
    let mut names: Vec<_> = settings().map(|setting| setting.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for setting in settings() {
        (setting.read)(setting, &setting.default.into()).unwrap();
        for bound in setting.range.iter().flat_map(|(least, most)| [*least, *most]) {
            (setting.read)(setting, &bound.into()).unwrap();
        }
        let holds_a_secret =
            ["password", "secret", "token"].iter().any(|w| setting.name.contains(w));
        assert!(!holds_a_secret || setting.name.ends_with("_file"), "{}", setting.name);
    }
}

#[test]
fn the_example_documents_each_setting_with_its_default() {
    if std::env::var_os("UPDATE_EXAMPLE").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/gmq.toml");
        std::fs::write(file, example()).unwrap();
    }
    assert!(EXAMPLE == example(), "run twice: UPDATE_EXAMPLE=1 cargo test --lib config::tests");
    // The example says only what holds anyway, also with every # taken off its settings.
    assert_eq!(load(EXAMPLE, &[]).limits, Config::default().limits);
    let all_on: Vec<_> = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
        .collect();
    let case = case(&all_on.join("\n"), &[]);
    let config = Config::load(&case.layers).unwrap();
    assert_eq!(config, Config::default().relative_to(case.folder.path()));
    let rows = Config::show(&case.layers).unwrap();
    assert!(rows.iter().all(|row| row.source != Source::Default), "{rows:?}");
}

#[test]
fn what_init_writes_is_valid_and_says_what_init_made() {
    let listen = "127.0.0.1:14884".parse().unwrap();
    let case = case(&initial(listen), &[]);
    let config = Config::load(&case.layers).unwrap();
    assert_eq!(config.listen, listen);
    assert_eq!(config.tls.client_ca, case.folder.path().join("certs/ca.pem"));
    let rows = Config::show(&case.layers).unwrap();
    let set: Vec<_> =
        rows.iter().filter(|row| row.source != Source::Default).map(|row| row.key).collect();
    assert_eq!(
        set,
        [
            "listen",
            "data_dir",
            "tls.certificate",
            "tls.key",
            "tls.client_ca",
            "tls.client_auth",
            "tls.client_identity"
        ]
    );
}

#[test]
fn variables_of_the_scripts_around_the_server_are_left_alone() {
    let others = ["GMQ_BIN", "GMQ_START", "GMQ_CLASSES", "GMQ_PORT", "GMQ_CONTENT", "GMQ_PROFILE"];
    for name in others {
        assert_eq!(problems("", &[(name, "x")]).len(), 0, "{name}");
    }
    for name in ["GMQ_LISTN", "GMQ_STROE", "GMQ_LIMITS", "GMQ_LIMITS__X", "GMQ_A__B", "GMQ_DATADIR"]
    {
        assert_eq!(problems("", &[(name, "x")]).len(), 1, "{name}");
    }
}
