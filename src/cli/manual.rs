//! `gmq completions` and `gmq man`: the command line described for shells and for `man`.

use std::io::stdout;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome};

/// Print the completions of a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gmq completions bash > /etc/bash_completion.d/gmq")]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Print the manual page.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gmq man > /usr/local/share/man/man1/gmq.1")]
pub(super) struct Man {}

pub(super) fn completions(command: Completions) -> Outcome {
    let mut program = Cli::command();
    clap_complete::generate(command.shell, &mut program, "gmq", &mut stdout().lock());
    Ok(())
}

/// One page for the program and all of its commands.
pub(super) fn man(_command: Man) -> Outcome {
    page(Cli::command())
}

fn page(command: Command) -> Outcome {
    let subcommands: Vec<_> = command.get_subcommands().cloned().collect();
    let name = command.get_name().to_owned();
    clap_mangen::Man::new(command).render(&mut stdout().lock())?;
    for subcommand in subcommands.into_iter().filter(|command| command.get_name() != "help") {
        let full = format!("{name} {}", subcommand.get_name());
        page(subcommand.name(full))?;
    }
    Ok(())
}
