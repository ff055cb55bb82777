//! A server of its own process, with a way to its database that can be cut.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gmq::client::Profile;

use super::proxy::Proxy;

pub const GMQ: &str = env!("CARGO_BIN_EXE_gmq");

/// The shortest there is.
pub const LEASE: Duration = Duration::from_secs(2);

/// See the module.
pub struct Server {
    pub dir: PathBuf,
    /// The database server itself.
    pub upstream: String,
    pub database: String,
    /// More of the environment, which goes before what all servers have.
    pub settings: Vec<(&'static str, String)>,
    url: String,
    pub proxy: Proxy,
    child: Option<Child>,
    pub address: String,
}

impl Server {
    /// Makes a folder for one.
    pub fn init(dir: &Path) {
        let init = Command::new(GMQ).arg("init").arg(dir).stdout(Stdio::null()).status().unwrap();
        assert!(init.success());
    }

    /// One in that folder, which `gmq init` has made.
    pub async fn new(dir: PathBuf, upstream: &str, database: &str) -> Self {
        let host = upstream.rsplit('@').next().expect("a host").to_owned();
        let proxy = Proxy::start(host).await;
        let url = format!("mysql://root@{}/{database}", proxy.address);
        Self {
            dir,
            upstream: upstream.to_owned(),
            database: database.to_owned(),
            settings: Vec::new(),
            url,
            proxy,
            child: None,
            address: String::new(),
        }
    }

    /// The tenant and the user that the folder's client profile names.
    pub fn make_accounts(&self) -> Profile {
        let profile = Profile::load(&self.dir.join("client.toml")).unwrap();
        let password = profile.password.as_ref().unwrap().to_string();
        self.run(&["admin", "tenant", "add", "default"], "");
        let user = ["admin", "user", "add", "admin", "--grant", "all:#", "--password-stdin"];
        self.run(&user, &format!("{password}\n"));
        profile
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(GMQ);
        command
            .env("GMQ_STORE", "mysql")
            .env("GMQ_ACCOUNTS", "mysql")
            .env("GMQ_DATABASE__URL", &self.url)
            .env("GMQ_DATABASE__REPLICATED", "yes")
            .env("GMQ_CLUSTER__LEASE", format!("{}s", LEASE.as_secs()))
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    pub fn start_with(&mut self, flags: &[&str]) {
        let path = self.dir.join("server.log");
        let log = std::fs::File::options().create(true).append(true).open(path).unwrap();
        let listen = if self.address.is_empty() { "127.0.0.1:0" } else { &self.address };
        let mut command = self.command();
        command.args(["serve", "--listen", listen]).args(flags);
        command.arg("--config").arg(self.dir.join("gmq.toml"));
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("{}", std::fs::read_to_string(self.dir.join("server.log")).unwrap())
        });
        self.address = told["address"].as_str().unwrap().to_owned();
        self.child = Some(child);
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Resident memory. Unit: bytes.
    pub fn resident_bytes(&self) -> u64 {
        let id = self.child.as_ref().expect("it runs").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) {
        self.child.take().expect("it runs").wait().unwrap();
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Runs gmq with this server's settings, `input` on its standard input.
    pub fn run(&self, arguments: &[&str], input: &str) {
        use std::io::Write;
        let mut command = self.command();
        command.args(arguments).arg("--config").arg(self.dir.join("gmq.toml"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{arguments:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
