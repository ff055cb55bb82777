//! Every setting of the server: name, type, default, range, documentation. The doc comments stand
//! in `config/gmq.toml` too, so they are written for operators. Settings never hold a secret, only
//! the path of the file that does; that is why they can be printed. Called by `config` alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;

use crate::types::SanKind;

use super::section::{Section, Setting, section};
use super::value::{DatabaseUrl, NodeName, Workers};
use super::word::{
    AccountsKind, Answer, ClientAuth, Durability, LogFormat, LogLevel, MinVersion, StoreKind,
};

section! {
    /// The configuration of a gmq server.
    Config in "" named "" {
        /// Address and port to listen on; port 0 takes a free one. There is no plaintext listener.
        listen: SocketAddr = "127.0.0.1:4884";
        /// Where messages are kept: "file" is in files of data_dir; "mysql" in the database that
        /// database.url names; "memory" loses them when the server stops.
        store: StoreKind = "file";
        /// What a reply to a publish waits for where the store writes to disk: "disk" (flushed) or
        /// "os" (handed to the operating system). The memory store promises neither.
        durability: Durability = "disk";
        /// Folder of the accounts database and of the message store; 0700, one server at a time.
        data_dir: PathBuf = "data";
        /// Where tenants, users and grants are kept: "sqlite" is a database in data_dir, "mysql" the
        /// one that database.url names.
        accounts: AccountsKind = "sqlite";
    }
    sections {
        /// TLS.
        tls: Tls;
        /// Logins.
        auth: Auth;
        /// The database.
        database: Database;
        /// Several servers.
        cluster: Cluster;
        /// Limits.
        limits: Limits;
        /// Log lines.
        log: Log;
    }
}

section! {
    /// Who the server is and how clients prove who they are.
    Tls in "tls." named "tls" {
        /// The server's certificate chain, PEM, its own certificate first.
        certificate: PathBuf = "certs/server.pem";
        /// Its private key, PEM (PKCS#8, PKCS#1 or SEC1), not encrypted, mode 0600.
        key: PathBuf = "certs/server.key";
        /// The certificates of the authorities that client certificates must come from, PEM. The
        /// system's own list is never used.
        client_ca: PathBuf = "certs/ca.pem";
        /// Whether clients present a certificate: "required", "optional" or "off".
        client_auth: ClientAuth = "required";
        /// Which subject alternative name of a client certificate says who it is: "dns", "uri" or
        /// "email". It must hold exactly one of that kind; its common name never counts.
        client_identity: SanKind = "dns";
        /// The oldest TLS version that is spoken: "1.3" or "1.2".
        min_version: MinVersion = "1.3";
    }
}

section! {
    /// Logins by password.
    Auth in "auth." named "auth" {
        /// Wrong passwords a minute that one user may have from one address before its logins are
        /// put off.
        failures_per_minute_user: u32 = "20" in "1" to "1000000";
        /// Wrong passwords a minute from one address (IPv6: from one /64) before its logins are
        /// put off.
        failures_per_minute_address: u32 = "200" in "1" to "1000000";
    }
    sections {
        /// The cost of a password.
        argon2: Argon2;
    }
}

section! {
    /// The cost of one password check (argon2id). Less than what OWASP's Password Storage Cheat
    /// Sheet asks for is refused: 47104 KiB with 1 iteration, 19456 with 2, 12288 with 3, 9216 with
    /// 4 or 7168 with 5. Stored passwords move to new values as their users log in.
    Argon2 in "auth.argon2." named "auth.argon2" {
        /// Memory of one check, in KiB; each worker holds as much.
        memory_kib: u32 = "19456" in "7168" to "1048576";
        /// Passes over that memory.
        iterations: u32 = "2" in "1" to "100";
        /// Lanes of one check.
        parallelism: u32 = "1" in "1" to "16";
        /// Checks at the same time: a number, or "auto" (half of the cores, at least one).
        workers: Workers = "auto" in "1" to "1024";
    }
}

section! {
    /// The MySQL or MariaDB database where store or accounts is "mysql"; docs/mysql.md says how to
    /// prepare one.
    Database in "database." named "database" {
        /// Where it is and as whom, "mysql://gmq@db.example:3306/gmq"; the password stands in
        /// password_file. Beyond loopback the connection is TLS and the certificate is verified.
        url: Option<DatabaseUrl> = "off";
        /// The file that holds the password, mode 0600; "off": there is none.
        password_file: Option<PathBuf> = "off";
        /// The certificates of the authorities that the database's certificate must come from, PEM;
        /// "off": the system's list.
        ca: Option<PathBuf> = "off";
        /// Whether the database has each commit on several machines before it answers, as Galera
        /// does: "yes" lets publishes require the level "replicated", and be answered with it.
        replicated: Answer = "no";
    }
}

section! {
    /// Several servers on one database: one serves a tenant, the others stand by.
    Cluster in "cluster." named "cluster" {
        /// What the logs of the other servers call this one, for example "bus1"; "off": the first
        /// digits of data_dir/node.
        node: Option<NodeName> = "off";
        /// A server that shows no life for so long is taken over from.
        lease: Duration = "10s" in "2s" to "10m";
    }
}

section! {
    /// What one client, one tenant and all together may use.
    Limits in "limits." named "limits" {
        /// Longest frame (line) that a client may send once it is authenticated, and longest reply.
        /// At least 4/3 of max_message_bytes and 64 KiB, so that a message fits as base64.
        max_frame_bytes: ByteSize = "2 MiB" in "65 KiB" to "2 GiB";
        /// Longest message: its content with its header names and values.
        max_message_bytes: ByteSize = "1 MiB" in "1 B" to "1 GiB";
        /// Messages of a queue that sets no max_messages of its own; "off": the tenant's quota
        /// alone.
        max_queue_messages: Option<u64> = "off" in "1" to "1000000000000";
        /// Queues of a tenant that has no quota of its own.
        max_queues: Option<u64> = "10000" in "1" to "100000000";
        /// Messages of such a tenant in all its queues.
        max_tenant_messages: Option<u64> = "10000000" in "1" to "1000000000000";
        /// Bytes of these messages.
        max_tenant_bytes: Option<ByteSize> = "2 GiB" in "1 KiB" to "1024 TiB";
        /// Connections of such a tenant at the same time.
        max_tenant_connections: Option<u64> = "5000" in "1" to "1000000";
        /// Connections at the same time, of all tenants.
        max_connections: usize = "10000" in "1" to "1000000";
        /// Of these, the ones that have not authenticated yet.
        max_unauthenticated_connections: usize = "4096" in "1" to "1000000";
        /// Of these, the ones from one address (IPv6: from one /64).
        max_unauthenticated_per_address: usize = "1024" in "1" to "1000000";
        /// TLS handshakes under way at the same time.
        max_handshakes: usize = "2048" in "1" to "1000000";
        /// Requests of one connection that wait for their reply; it is read no further until some
        /// are answered.
        max_pending_requests: usize = "10000" in "1" to "1000000";
        /// Replies and deliveries that wait for a slow client; beyond it gets no deliveries and
        /// its requests are not read. At least max_frame_bytes.
        max_outbox_bytes: ByteSize = "8 MiB" in "65 KiB" to "16 GiB";
        /// Longest TLS handshake, from accept.
        handshake_timeout: Duration = "5s" in "10ms" to "10m";
        /// Longest time from accept to a successful login.
        auth_timeout: Duration = "10s" in "10ms" to "1h";
        /// A connection on which nothing was sent or received for so long is closed; "off": never.
        idle_timeout: Option<Duration> = "off" in "100ms" to "365days";
        /// A client that takes nothing for so long, or vanished, is closed.
        write_timeout: Duration = "30s" in "100ms" to "1h";
        /// How long a stopping server goes on answering what it took.
        drain_timeout: Duration = "10s" in "0s" to "1h";
        /// Networks from which connections are taken, checked before TLS; empty: from everywhere.
        allow_cidrs: Vec<IpNet> = "";
    }
}

section! {
    /// Log lines; they go to standard error.
    Log in "log." named "log" {
        /// How they are written: "json" (one object a line) or "text".
        format: LogFormat = "json";
        /// The least important that are written: "error", "warn", "info", "debug" or "trace".
        level: LogLevel = "info";
    }
}

/// All sections in the order of the example file.
pub(super) const SECTIONS: [&Section; 8] = [
    &Config::SECTION,
    &Tls::SECTION,
    &Auth::SECTION,
    &Argon2::SECTION,
    &Database::SECTION,
    &Cluster::SECTION,
    &Limits::SECTION,
    &Log::SECTION,
];

/// All settings in the order of the example file.
pub(super) fn settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.into_iter().flat_map(|section| section.settings)
}
