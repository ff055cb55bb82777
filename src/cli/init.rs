//! `gmq init`: a folder from which a server can be started. Overwrites nothing.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::serve::{self, accounts_path, load_config};
use super::{Failure, Outcome, password};
use crate::accounts::{Accounts, NewUser, SqliteAccounts, TenantChange};
use crate::client::Profile;
use crate::config;
use crate::tls::{AUTHORITY_NAME, Authority, LOCAL_HOSTS};
use crate::types::{San, SanKind, TenantName, UserName};

/// Make a folder with a configuration, certificates, the user `admin` and a client profile.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  gmq init /etc/gmq --host bus.acme.example --listen 0.0.0.0:4884"
)]
pub(super) struct Init {
    /// The folder; nothing in it is overwritten.
    dir: PathBuf,
    /// A name or address by which clients reach the server, beside localhost; may be repeated.
    #[arg(long, value_name = "NAME_OR_IP")]
    host: Vec<String>,
    /// Where the server is to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4884",
          value_parser = serve::address)]
    listen: SocketAddr,
}

/// The user that `init` makes, and the name in its certificate.
const ADMIN: &str = "admin";

pub(super) async fn run(command: Init) -> Outcome {
    let Init { dir, host, listen } = command;
    make(&dir, &host, listen, AUTHORITY_NAME).await?;
    let shown = dir.display();
    println!("Made {shown}: gmq.toml, certs/, data/ and client.toml, which holds the password");
    println!("of the user `{ADMIN}`. Start the server with:");
    println!("  gmq serve --config {shown}/gmq.toml");
    println!("and try it from another terminal:");
    println!("  gmq ping --profile {shown}/client.toml");
    Ok(())
}

/// Makes the folder; `authority` is the name of its certificate authority.
pub(super) async fn make(
    dir: &Path,
    hosts: &[String],
    listen: SocketAddr,
    authority: &str,
) -> Outcome {
    for name in ["gmq.toml", "certs", "data", "client.toml"] {
        let path = dir.join(name);
        if path.exists() {
            let path = path.display();
            return Err(Failure::new(format!(
                "{path} exists already and is never overwritten; give another folder, or remove it"
            )));
        }
    }
    fs::create_dir_all(dir).map_err(|error| {
        let dir = dir.display();
        Failure::new(format!("{dir} cannot be made: {error}; give another folder"))
    })?;
    let certs = dir.join("certs");
    let mut names = LOCAL_HOSTS.to_vec();
    names.extend(hosts.iter().map(String::as_str));
    let authority = Authority::create(&certs, authority)?;
    authority.issue_server(&names)?.write(&certs, "server")?;
    let identity = San::new(SanKind::Dns, ADMIN)?;
    authority.issue_client(ADMIN, &identity)?.write(&certs, "client")?;
    write_new(&dir.join("gmq.toml"), 0o644, config::initial(listen).as_bytes())?;
    DirBuilder::new().mode(0o700).create(dir.join("data"))?;
    let password = password::generate()?;
    add_admin(dir, &password, identity).await?;
    let profile = profile(hosts, listen, password)?;
    write_new(&dir.join("client.toml"), 0o600, profile.render().as_bytes())
}

async fn add_admin(dir: &Path, password: &str, identity: San) -> Outcome {
    let config = load_config(&dir.join("gmq.toml"), None)?;
    let accounts = SqliteAccounts::open(&accounts_path(&config), true).await?;
    let tenant = TenantName::default();
    accounts.add_tenant(&tenant, TenantChange::default()).await?;
    let user = NewUser {
        tenant,
        name: UserName::new(ADMIN)?,
        password_hash: password::hash(&config, password)?,
        grants: vec!["all:#".parse()?],
        certificate: Some(identity),
        require_certificate: false,
    };
    accounts.add_user(user).await?;
    accounts.close().await?;
    Ok(())
}

fn profile(hosts: &[String], listen: SocketAddr, password: Zeroizing<String>) -> Outcome<Profile> {
    let server = match hosts.first() {
        Some(host) if listen.ip().is_unspecified() => format!("{host}:{}", listen.port()),
        _ if listen.ip().is_unspecified() => format!("localhost:{}", listen.port()),
        _ => listen.to_string(),
    };
    Ok(Profile {
        server,
        ca: "certs/ca.pem".into(),
        certificate: Some("certs/client.pem".into()),
        key: Some("certs/client.key".into()),
        tenant: TenantName::default(),
        user: UserName::new(ADMIN)?,
        password: Some(password),
        password_file: None,
    })
}

fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Outcome {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error: std::io::Error| {
        let path = path.display();
        Failure::new(format!("{path} cannot be written: {error}; mend that and begin anew"))
    })
}
