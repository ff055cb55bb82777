//! Kill -9 of a real server under load over TLS, again and again, on a real disk: what was
//! confirmed must be there, what was acknowledged must not come back, and nothing may appear that
//! nobody published.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::task::JoinSet;

use super::load::{Load, Seen, TortureError, failed};
use super::random::Random;
use crate::client::Profile;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

/// Kills a server `cycles` times in `dir`, which `gmq init` has made; `program` is gmq itself.
/// `told` is called after each cycle.
///
/// # Errors
///
/// The first promise that was broken.
pub async fn run(
    program: &Path,
    dir: &Path,
    cycles: u64,
    mut told: impl FnMut(u64),
) -> Result<Seen, TortureError> {
    let load = Load::default();
    let mut random = Random::new(7);
    for cycle in 0..cycles {
        let server = Server::start(program, dir)?;
        let mut clients = JoinSet::new();
        load.start(&mut clients, &server.profile);
        // From a moment after the start to some hundred flushes on.
        tokio::time::sleep(Duration::from_millis(20 + random.below(400))).await;
        drop(server);
        while clients.join_next().await.is_some() {}
        load.check()?;
        told(cycle + 1);
    }
    let server = Server::start(program, dir)?;
    load.finish(&server.profile).await
}

/// A server in a process of its own; dropping it is `kill -9`.
struct Server {
    child: Child,
    profile: Profile,
}

impl Server {
    fn start(program: &Path, dir: &Path) -> Result<Self, TortureError> {
        let config: PathBuf = dir.join("gmq.toml");
        let log = std::fs::File::create(dir.join("server.log")).map_err(failed)?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let output = child.stdout.take();
        let mut server =
            Self { child, profile: Profile::load(&dir.join("client.toml")).map_err(failed)? };
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = output.map(|output| BufReader::new(output).read_line(&mut line));
            // Nobody waits any more if the start took too long.
            let _ = sender.send(read.map(|_| line));
        });
        let line = receiver.recv_timeout(START).ok().flatten().unwrap_or_default();
        let listening: Option<serde_json::Value> = serde_json::from_str(&line).ok();
        let address = listening.as_ref().and_then(|line| line["address"].as_str());
        let Some(address) = address else {
            let log = dir.join("server.log");
            return Err(failed(format!("the server did not start; see {}", log.display())));
        };
        server.profile.server = address.to_owned();
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is gone already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
