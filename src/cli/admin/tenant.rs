//! `gmq admin tenant`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::limit::{self, Limit};
use super::output::{self, OutputFormat};
use super::{Failure, Outcome, open};
use crate::accounts::{AccountsError, TenantChange, TenantRecord};
use crate::protocol::{Request, request};
use crate::types::{SettingsPatch, TenantName};

/// Administer tenants.
#[derive(Debug, Args)]
pub(super) struct Tenant {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a tenant.
    #[command(after_help = "Example:\n  gmq admin tenant add acme --max-bytes '10 GiB'")]
    Add(Change),
    /// Change a tenant.
    #[command(after_help = "Example:\n  gmq admin tenant set acme --max-queues 50 \
                      --default ack_timeout_ms=60000 \\\n    \
                      --default max_attempts=5 --default dead_letter=dead")]
    Set(Change),
    /// Remove a tenant that has no users.
    #[command(after_help = "Example:\n  gmq admin tenant remove acme")]
    Remove {
        /// The tenant.
        name: TenantName,
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
        config: PathBuf,
    },
    /// One tenant, its limits and the settings of its queues.
    #[command(after_help = "Example:\n  gmq admin tenant show acme")]
    Show {
        /// The tenant.
        name: TenantName,
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
        config: PathBuf,
        /// The form.
        #[arg(long, value_enum)]
        output: Option<OutputFormat>,
    },
    /// The tenants and their limits; `-` is the server's default.
    #[command(after_help = "Example:\n  gmq admin tenant list --output json")]
    List {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
        config: PathBuf,
        /// The form of the list.
        #[arg(long, value_enum)]
        output: Option<OutputFormat>,
    },
}

#[derive(Debug, Args)]
struct Change {
    /// The tenant.
    name: TenantName,
    /// Queues; `default` for the server's limit.
    #[arg(long, value_name = "N", value_parser = count)]
    max_queues: Option<Limit>,
    /// Messages in all its queues; `default` for the server's limit.
    #[arg(long, value_name = "N", value_parser = count)]
    max_messages: Option<Limit>,
    /// Bytes of these, such as `10 GiB`; `default` for the server's limit.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<Limit>,
    /// Connections of its users; `default` for the server's limit.
    #[arg(long, value_name = "N", value_parser = count)]
    max_connections: Option<Limit>,
    /// Whether a publish makes a queue that is missing.
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    auto_create: Option<bool>,
    /// A setting of queues that leave it out, by its name in the protocol, such as
    /// ack_timeout_ms=60000, overflow=drop_oldest or ttl_ms=null; may be repeated.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = setting)]
    default: Vec<(String, Value)>,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
    config: PathBuf,
}

fn count(text: &str) -> Result<Limit, String> {
    limit::count(text, "default")
}

fn size(text: &str) -> Result<Limit, String> {
    limit::size(text, "default")
}

/// A value is JSON where it can be, else a text: so is a queue's name that looks like a number.
fn setting(text: &str) -> Result<(String, Value), String> {
    let (name, text) =
        text.split_once('=').ok_or_else(|| "must be written SETTING=VALUE".to_owned())?;
    let value = match serde_json::from_str(text) {
        Ok(value) if name != "dead_letter" || value == Value::Null || text.starts_with('"') => {
            value
        }
        _ => text.into(),
    };
    Ok((name.to_owned(), value))
}

pub(super) async fn run(command: Tenant) -> Outcome {
    match command.command {
        Command::Add(change) => {
            let (_, accounts) = open(&change.config).await?;
            let name = change.name.clone();
            let change = take(change)?;
            refuse_attempts_alone(&change.defaults)?;
            accounts.add_tenant(&name, change).await?;
            println!("added the tenant {name}");
        }
        Command::Set(change) => {
            let (_, accounts) = open(&change.config).await?;
            let name = change.name.clone();
            let change = take(change)?;
            let tenants = accounts.tenants().await?;
            if let Some(tenant) = tenants.iter().find(|tenant| tenant.name == name) {
                refuse_attempts_alone(&after(&tenant.defaults, &change.defaults)?)?;
            }
            accounts.set_tenant(&name, change).await?;
            println!("changed the tenant {name}; a running server follows within a second");
        }
        Command::Remove { name, config } => {
            let (_, accounts) = open(&config).await?;
            accounts.remove_tenant(&name).await?;
            println!("removed the tenant {name}");
        }
        Command::Show { name, config, output } => {
            let (_, accounts) = open(&config).await?;
            let tenants = accounts.tenants().await?;
            let found = tenants.iter().find(|tenant| tenant.name == name);
            let tenant = found.ok_or(AccountsError::NoSuchTenant(name))?;
            output::print(output, COLUMNS, &[row(tenant)])?;
        }
        Command::List { config, output } => {
            let (_, accounts) = open(&config).await?;
            let rows: Vec<_> = accounts.tenants().await?.iter().map(row).collect();
            output::print(output, COLUMNS, &rows)?;
        }
    }
    Ok(())
}

/// What is shown of a tenant.
const COLUMNS: [&str; 7] = [
    "tenant",
    "max_queues",
    "max_messages",
    "max_bytes",
    "max_connections",
    "auto_create",
    "defaults",
];

fn row(tenant: &TenantRecord) -> [String; 7] {
    let limit = |limit: Option<u64>| limit.map_or("-".to_owned(), |n| n.to_string());
    [
        tenant.name.to_string(),
        limit(tenant.quotas.queues),
        limit(tenant.quotas.messages),
        limit(tenant.quotas.bytes),
        limit(tenant.quotas.connections),
        tenant.auto_create.to_string(),
        serde_json::to_string(&tenant.defaults).unwrap_or_default(),
    ]
}

fn take(change: Change) -> Outcome<TenantChange> {
    Ok(TenantChange {
        queues: change.max_queues.map(|limit| limit.0),
        messages: change.max_messages.map(|limit| limit.0),
        bytes: change.max_bytes.map(|limit| limit.0),
        connections: change.max_connections.map(|limit| limit.0),
        auto_create: change.auto_create,
        defaults: settings(change.default)?,
    })
}

/// Settings are checked by the rules of the wire, so that a default is never one that a client
/// could not have named.
fn settings(named: Vec<(String, Value)>) -> Outcome<SettingsPatch> {
    let named: Map<String, Value> = named.into_iter().collect();
    let line = json!({"op": "queue.declare", "queue": "any", "settings": named}).to_string();
    let limits = request::Limits { max_message_bytes: 0 };
    match request::parse(line.as_bytes(), &limits) {
        Ok(parsed) => match parsed.request {
            Request::Declare { settings: SettingsPatch { exclusive: Some(_), .. }, .. } => {
                Err(Failure::new(
                    "no default of queues can be made of this: an exclusive queue ends with the \
                     connection that makes it, and so each is named as one; leave exclusive out",
                ))
            }
            Request::Declare { settings, .. } => Ok(settings),
            _ => Ok(SettingsPatch::default()),
        },
        Err(error) => {
            let text = error.message.replace("settings.", "");
            Err(Failure::new(format!("no default of queues can be made of this: {text}")))
        }
    }
}

/// The defaults of before with the new ones in their place.
fn after(before: &SettingsPatch, named: &SettingsPatch) -> Outcome<SettingsPatch> {
    let mut settings = fields(before)?;
    settings.extend(fields(named)?);
    Ok(serde_json::from_value(settings.into())?)
}

fn fields(settings: &SettingsPatch) -> Outcome<Map<String, Value>> {
    Ok(serde_json::from_value(serde_json::to_value(settings)?)?)
}

/// An attempt limit must not lose messages: the server would pass over it.
fn refuse_attempts_alone(defaults: &SettingsPatch) -> Outcome {
    let attempts = defaults.max_attempts.flatten().is_some();
    let dead_letter = defaults.dead_letter.as_ref().is_some_and(Option::is_some);
    if attempts && !dead_letter {
        return Err(Failure::new(
            "no default of queues can be made of this: max_attempts needs dead_letter, or messages \
             would be lost; give --default dead_letter=QUEUE too, or --default max_attempts=null",
        ));
    }
    Ok(())
}
