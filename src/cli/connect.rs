//! How client commands reach a server: the profile, and flags that go before its values.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Outcome};
use crate::client::{Client, Profile};
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
        Ok(Client::connect(&self.profile()?).await?)
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
