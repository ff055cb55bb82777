//! `gmq admin user`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::{self, OutputFormat};
use super::password::{self, PasswordSource};
use super::{Failure, Outcome, open};
use crate::accounts::{AccountsError, NewUser, UserChange, UserRecord};
use crate::config::Config;
use crate::types::{Action, Grant, QueueName, San, TenantName, UserName};

/// Administer users.
#[derive(Debug, Args)]
pub(super) struct User {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a user; without a grant it may do nothing.
    #[command(
        after_help = "Example:\n  gmq admin user add web --generate --grant 'publish:orders.#'"
    )]
    Add(Add),
    /// Give a user another password; its connections are closed within a second.
    #[command(after_help = "Example:\n  gmq admin user passwd web --generate")]
    Passwd {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Let a user do more.
    #[command(after_help = "Example:\n  gmq admin user grant web publish:orders.# consume:replies")]
    Grant {
        #[command(flatten)]
        who: Who,
        /// What it may do: ACTION:PATTERN, ACTION one of publish, consume, manage, all.
        #[arg(required = true)]
        grants: Vec<Grant>,
    },
    /// Take grants away; live connections follow within a second.
    #[command(after_help = "Example:\n  gmq admin user revoke web consume:replies")]
    Revoke {
        #[command(flatten)]
        who: Who,
        /// The grants as `user list` shows them.
        #[arg(required = true)]
        grants: Vec<Grant>,
    },
    /// Refuse a user's logins and close its connections within a second.
    #[command(after_help = "Example:\n  gmq admin user disable web")]
    Disable(Who),
    /// Let a disabled user log in again.
    #[command(after_help = "Example:\n  gmq admin user enable web")]
    Enable(Who),
    /// Map a certificate identity to a user, or take it away.
    #[command(after_help = "Example:\n  gmq admin user certificate web dns:web.acme.example")]
    Certificate {
        #[command(flatten)]
        who: Who,
        /// The identity: dns:…, uri:… or email:….
        #[arg(required_unless_present = "none")]
        san: Option<San>,
        /// Take it away.
        #[arg(long, conflicts_with = "san")]
        none: bool,
    },
    /// Remove a user and close its connections within a second.
    #[command(after_help = "Example:\n  gmq admin user remove web")]
    Remove(Who),
    /// One user and its grants.
    #[command(after_help = "Example:\n  gmq admin user show web")]
    Show {
        #[command(flatten)]
        who: Who,
        /// The form.
        #[arg(long, value_enum)]
        output: Option<OutputFormat>,
    },
    /// Whether a user may do something, and the grant that decides.
    #[command(after_help = "Example:\n  gmq admin user why web publish orders.eu")]
    Why {
        /// The user.
        user: UserName,
        /// publish, consume or manage.
        #[arg(value_parser = action)]
        action: Action,
        /// The queue or topic.
        name: QueueName,
        /// The user's tenant.
        #[arg(long, default_value = "default")]
        tenant: TenantName,
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
        config: PathBuf,
    },
    /// The users and their grants.
    #[command(after_help = "Example:\n  gmq admin user list --tenant acme --output json")]
    List {
        /// Only those of this tenant.
        #[arg(long)]
        tenant: Option<TenantName>,
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
        config: PathBuf,
        /// The form of the list.
        #[arg(long, value_enum)]
        output: Option<OutputFormat>,
    },
}

#[derive(Debug, Args)]
struct Who {
    /// The user.
    name: UserName,
    /// Its tenant.
    #[arg(long, default_value = "default")]
    tenant: TenantName,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Add {
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    password: PasswordSource,
    /// What it may do: ACTION:PATTERN; may be repeated.
    #[arg(long, value_name = "ACTION:PATTERN")]
    grant: Vec<Grant>,
    /// The identity in its client certificate: dns:…, uri:… or email:….
    #[arg(long, value_name = "SAN")]
    certificate: Option<San>,
    /// It must present that certificate to log in.
    #[arg(long)]
    require_certificate: bool,
}

pub(super) async fn run(command: User) -> Outcome {
    match command.command {
        Command::Add(command) => add(command).await,
        Command::Passwd { who, password } => passwd(who, password).await,
        Command::Grant { who, grants } => change(who, UserChange::Grant(grants)).await,
        Command::Revoke { who, grants } => change(who, UserChange::Revoke(grants)).await,
        Command::Disable(who) => change(who, UserChange::Disabled(true)).await,
        Command::Enable(who) => change(who, UserChange::Disabled(false)).await,
        Command::Certificate { who, san, .. } => certificate(who, san).await,
        Command::Remove(who) => {
            let (_, accounts) = open(&who.config).await?;
            accounts.remove_user(&who.tenant, &who.name).await?;
            println!("removed the user {}", who.name);
            Ok(())
        }
        Command::Show { who, output } => show(who, output).await,
        Command::Why { user, action, name, tenant, config } => {
            let user = one(&Who { name: user, tenant, config }).await?;
            why(&user, action, &name);
            Ok(())
        }
        Command::List { tenant, config, output } => list(tenant, config, output).await,
    }
}

fn action(text: &str) -> Result<Action, String> {
    [Action::Publish, Action::Consume, Action::Manage]
        .into_iter()
        .find(|action| action.as_str() == text)
        .ok_or_else(|| "must be publish, consume or manage".to_owned())
}

/// One user; an error where there is none.
async fn one(who: &Who) -> Outcome<UserRecord> {
    let (_, accounts) = open(&who.config).await?;
    accounts.user(&who.tenant, &who.name).await?.ok_or_else(|| {
        AccountsError::NoSuchUser { tenant: who.tenant.clone(), user: who.name.clone() }.into()
    })
}

async fn show(who: Who, output: Option<OutputFormat>) -> Outcome {
    let user = one(&who).await?;
    output::print(output, COLUMNS, &[row(&user)])
}

fn why(user: &UserRecord, action: Action, name: &QueueName) {
    let (who, action_name) = (&user.name, action.as_str());
    match user.grants.deciding(action, name.as_str()) {
        _ if user.disabled => println!("no: the user {who} is disabled"),
        Some(grant) => println!("yes: the grant {grant} lets {who} {action_name} {name}"),
        None => println!(
            "no: no grant of {who} allows it; `gmq admin user grant {who} {action_name}:{name}` \
             would"
        ),
    }
}

async fn add(command: Add) -> Outcome {
    let Add { who, password: source, grant, certificate, require_certificate } = command;
    let (config, accounts) = open(&who.config).await?;
    refuse_other_kind(&config, certificate.as_ref())?;
    let password = source.take()?;
    let password_hash = password::hash(&config, &password)?;
    let unusable = grant.is_empty();
    let (tenant, name) = (who.tenant, who.name);
    let user = NewUser {
        tenant,
        name: name.clone(),
        password_hash,
        grants: grant,
        certificate,
        require_certificate,
    };
    accounts.add_user(user).await?;
    source.show(&password);
    eprintln!("added the user {name}");
    if unusable {
        eprintln!("it may do nothing yet; see `gmq admin user grant --help`");
    }
    Ok(())
}

async fn passwd(who: Who, source: PasswordSource) -> Outcome {
    let (config, accounts) = open(&who.config).await?;
    // Asked before anybody types a password in vain.
    one(&who).await?;
    let password = source.take()?;
    let hash = password::hash(&config, &password)?;
    accounts.change_user(&who.tenant, &who.name, UserChange::Password(hash)).await?;
    source.show(&password);
    eprintln!("the user {} has a new password", who.name);
    Ok(())
}

async fn change(who: Who, change: UserChange) -> Outcome {
    let (_, accounts) = open(&who.config).await?;
    accounts.change_user(&who.tenant, &who.name, change).await?;
    println!("changed the user {}; a running server follows within a second", who.name);
    Ok(())
}

async fn certificate(who: Who, san: Option<San>) -> Outcome {
    let (config, _) = open(&who.config).await?;
    refuse_other_kind(&config, san.as_ref())?;
    change(who, UserChange::Certificate(san)).await
}

/// The server looks at one kind of identity alone: another one would never match.
fn refuse_other_kind(config: &Config, san: Option<&San>) -> Outcome {
    let kind = config.tls.client_identity;
    match san {
        Some(san) if san.kind() != kind => Err(Failure::new(format!(
            "{san} would never match: tls.client_identity is \"{0}\"; give one that begins with \
             {0}:, or change that setting",
            kind.as_str()
        ))),
        _ => Ok(()),
    }
}

async fn list(
    tenant: Option<TenantName>,
    config: PathBuf,
    output: Option<OutputFormat>,
) -> Outcome {
    let (_, accounts) = open(&config).await?;
    let rows: Vec<_> = accounts.users(tenant.as_ref()).await?.iter().map(row).collect();
    output::print(output, COLUMNS, &rows)
}

/// What is shown of a user.
const COLUMNS: [&str; 5] = ["tenant", "user", "state", "certificate", "grants"];

fn row(user: &UserRecord) -> [String; 5] {
    let grants: Vec<_> = user.grants.iter().map(Grant::to_string).collect();
    let required = if user.require_certificate { " (required)" } else { "" };
    let certificate = user.certificate.as_ref().map_or(String::new(), San::to_string);
    [
        user.tenant.name.to_string(),
        user.name.to_string(),
        if user.disabled { "disabled" } else { "enabled" }.to_owned(),
        certificate + required,
        grants.join(" "),
    ]
}
