//! `gmq torture`: the crash tests on the user's own disk.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::{Failure, Outcome, init, progress};
use crate::tls::AUTHORITY_NAME;
use crate::torture::processes;
use crate::torture::simulation::{self, Tally};

/// What stands in the configuration; each run of the server takes a free port.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Crash gmq on this machine's disk, again and again, and see that nothing confirmed is lost.
///
/// First a server is simulated whose disk loses power at any write, fails and fills up; then a
/// real one is started in the folder, killed under load over TLS and started again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gmq torture --dir /var/lib/gmq-torture --cycles 100")]
pub(super) struct Torture {
    /// A folder that does not exist yet, on the disk to be tried; it is removed if all is well.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How often the real server is killed.
    #[arg(long, value_name = "N", default_value_t = 20)]
    cycles: u64,
    /// How many simulated lives.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    lives: u64,
    /// The seed of the first one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

pub(super) async fn run(command: Torture) -> Outcome {
    let Torture { dir, cycles, lives, seed } = command;
    if dir.exists() {
        let dir = dir.display();
        return Err(Failure::new(format!("{dir} exists already; give a folder that does not")));
    }
    let tally = tokio::task::spawn_blocking(move || simulate(seed, lives)).await??;
    println!(
        "{lives} simulated lives: {} power cuts, {} kills, {} starts cut off, {} faults of the \
         disk; {} messages and {} acks confirmed, none lost.",
        tally.power_cuts, tally.kills, tally.cut_starts, tally.faults, tally.confirmed, tally.acked
    );
    if cycles == 0 {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    init::make(&dir, &[], LISTEN, AUTHORITY_NAME).await?;
    let bar = progress::bar("kills of a real server", cycles)?;
    let report = processes::run(&program, &dir, cycles, |done| bar.set_position(done)).await;
    bar.finish_and_clear();
    let report = report.map_err(|error| {
        Failure::new(format!("{error}; what the server left is in {}", dir.display()))
    })?;
    println!(
        "{} kills of a real server under load: {} messages and {} acks confirmed, none lost; {} \
         messages came more than once, as they may after a crash.",
        cycles, report.confirmed, report.acked, report.repeated
    );
    fs::remove_dir_all(&dir)?;
    println!("Verdict: sound.");
    Ok(())
}

fn simulate(seed: u64, lives: u64) -> Outcome<Tally> {
    let bar = progress::bar("simulated lives", lives)?;
    let mut total = Tally::default();
    for life in 0..lives {
        total += simulation::run(seed.wrapping_add(life))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(total)
}
