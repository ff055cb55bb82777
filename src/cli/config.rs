//! `gmq config`: what holds, and what is wrong.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::{self, OutputFormat};
use super::{Failure, Outcome};
use crate::config::{AccountsKind, Config, Layers, Overrides, StoreKind};

/// Look at the configuration.
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say everything that is wrong with it at once.
    #[command(after_help = "Example:\n  gmq config check --config /etc/gmq/gmq.toml")]
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
        config: PathBuf,
    },
    /// Print every value with its source.
    #[command(after_help = "Example:\n  gmq config show --config /etc/gmq/gmq.toml --output json")]
    Show {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "gmq.toml")]
        config: PathBuf,
        /// The form of the list.
        #[arg(long, value_enum)]
        output: Option<OutputFormat>,
    },
}

pub(super) fn run(command: ConfigCommand) -> Outcome {
    match command.command {
        Command::Check { config } => {
            let problems = Config::check(&Layers::new(Some(&config), Overrides::default()));
            if problems.is_empty() {
                println!("{} is right", config.display());
                let config = Config::load(&Layers::new(Some(&config), Overrides::default()))?;
                let in_database =
                    (config.store == StoreKind::Mysql, config.accounts == AccountsKind::Mysql);
                if let (true, false) | (false, true) = in_database {
                    println!(
                        "store and accounts are not both \"mysql\": this server works alone, and none \
                         can stand by for it"
                    );
                }
                return Ok(());
            }
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Err(Failure::new(lines.join("\n")))
        }
        Command::Show { config, output } => {
            let rows = Config::show(&Layers::new(Some(&config), Overrides::default()))?;
            let rows: Vec<_> = rows
                .iter()
                .map(|row| [row.key.to_owned(), row.value.clone(), row.source.to_string()])
                .collect();
            output::print(output, ["key", "value", "source"], &rows)
        }
    }
}
