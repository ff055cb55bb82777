//! The command line: one file for each group of commands. Exit codes: 0 done; 1 refused or failed,
//! with one sentence on standard error that says what to do; 2 wrong usage.

mod accounts;
mod admin;
mod bench;
mod certs;
mod config;
mod connect;
mod consume;
mod database;
mod failure;
mod init;
mod limit;
mod manual;
mod node;
mod output;
mod password;
mod progress;
mod publish;
mod queue;
mod quickstart;
mod serve;
mod storage;
mod store;
mod topic;
mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::{Failure, Outcome};

/// A message bus that is secure before it is anything else.
#[derive(Debug, Parser)]
#[command(name = "gmq", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(quickstart::Quickstart),
    Init(init::Init),
    Serve(serve::Serve),
    Certs(certs::Certs),
    Config(config::ConfigCommand),
    Admin(admin::Admin),
    Publish(publish::Publish),
    Consume(consume::Consume),
    Queue(queue::Queue),
    Topic(topic::Topic),
    Ping(connect::Ping),
    Bench(bench::Bench),
    Store(store::Store),
    Torture(torture::Torture),
    Completions(manual::Completions),
    Man(manual::Man),
}

/// Runs the program with its arguments.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("gmq: the machine has no room for its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(dispatch(cli.command));
    // A prompt or a read of standard input may never come back.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("gmq: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Quickstart(command) => quickstart::run(command).await,
        Command::Init(command) => init::run(command).await,
        Command::Serve(command) => serve::run(command).await,
        Command::Certs(command) => certs::run(command).await,
        Command::Config(command) => config::run(command),
        Command::Admin(command) => admin::run(command).await,
        Command::Publish(command) => publish::run(command).await,
        Command::Consume(command) => consume::run(command).await,
        Command::Queue(command) => queue::run(command).await,
        Command::Topic(command) => topic::run(command).await,
        Command::Ping(command) => connect::ping(command).await,
        Command::Bench(command) => bench::run(command).await,
        Command::Store(command) => store::run(command).await,
        Command::Torture(command) => torture::run(command).await,
        Command::Completions(command) => manual::completions(command),
        Command::Man(command) => manual::man(command),
    }
}
