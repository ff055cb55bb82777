//! How client commands reach a server: the profile, and flags that go before its values.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::{Failure, Outcome};
use crate::client::{Client, Error, Profile, Reconnect};
use crate::types::{TenantName, UserName};

/// Where the server is, and who one is.
#[derive(Debug, Clone, Args)]
pub(super) struct Connect {
    /// The client profile; else client.toml in the user's configuration folder.
    #[arg(long, value_name = "FILE", env = "GMQ_PROFILE")]
    profile: Option<PathBuf>,
    /// The server, instead of the profile's.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// The authorities of the server, PEM, instead of the profile's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The client's certificate, PEM, instead of the profile's.
    #[arg(long, value_name = "FILE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// Its key, PEM. (`--key` is what a message has.)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_key: Option<PathBuf>,
    /// The tenant, instead of the profile's.
    #[arg(long)]
    tenant: Option<TenantName>,
    /// The user, instead of the profile's.
    #[arg(long)]
    user: Option<UserName>,
}

/// Measure a round trip to the server.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gmq ping --profile gmq-quickstart/client.toml")]
pub(super) struct Ping {
    #[command(flatten)]
    connect: Connect,
}

impl Connect {
    /// Connects and logs in.
    pub async fn client(self) -> Outcome<Client> {
        found(&self.profile()?, None).await
    }

    /// The same; when the connection is lost, it connects again.
    pub async fn lasting_client(self) -> Outcome<Client> {
        let reconnect = Reconnect { pause_max: PAUSE_MAX, ..Reconnect::default() };
        found(&self.profile()?, Some(reconnect)).await
    }

    fn profile(self) -> Outcome<Profile> {
        let path = match self.profile {
            Some(path) => path,
            None => default_path()?,
        };
        let mut profile = Profile::load(&path)?;
        profile.server = self.server.unwrap_or(profile.server);
        profile.ca = self.ca.unwrap_or(profile.ca);
        profile.certificate = self.certificate.or(profile.certificate);
        profile.key = self.certificate_key.or(profile.key);
        profile.tenant = self.tenant.unwrap_or(profile.tenant);
        profile.user = self.user.unwrap_or(profile.user);
        Ok(profile)
    }
}

/// A server that stands by takes over within this: the default `cluster.lease`, and some more.
const TAKEOVER: Duration = Duration::from_secs(15);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// The same where a connection was lost: somebody may be looking on.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Connects. Of several servers none may serve while one takes over from another: that is waited
/// for.
async fn found(profile: &Profile, reconnect: Option<Reconnect>) -> Outcome<Client> {
    let until = Instant::now() + TAKEOVER;
    let mut told = false;
    loop {
        let connected = match reconnect {
            Some(reconnect) => Client::connect_with(profile, reconnect).await,
            None => Client::connect(profile).await,
        };
        match connected {
            Err(error) if may_be_taken_over(profile, &error) && Instant::now() < until => {
                if !told {
                    eprintln!("gmq: {error}; trying all servers for {} s", TAKEOVER.as_secs());
                    told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            connected => return Ok(connected?),
        }
    }
}

fn may_be_taken_over(profile: &Profile, error: &Error) -> bool {
    let server_is_gone = matches!(error, Error::Connect { .. } | Error::Closed(_) | Error::Lost(_));
    let has_others = profile.addresses().nth(1).is_some();
    has_others && (server_is_gone || matches!(error, Error::Login(_))) && !error.is_final()
}

/// `$XDG_CONFIG_HOME/gmq/client.toml`, or the same under `~/.config`.
fn default_path() -> Outcome<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .ok_or_else(|| Failure::new("there is no home folder; give --profile FILE"))?;
    let path = folder.join("gmq").join("client.toml");
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "there is no client profile at {}; give --profile FILE, such as the client.toml that \
         `gmq init` made",
        path.display()
    )))
}

pub(super) async fn ping(command: Ping) -> Outcome {
    let client = command.connect.client().await?;
    let elapsed = client.ping().await?;
    println!("the server answered in {:.3} ms", elapsed.as_secs_f64() * 1e3);
    Ok(())
}
