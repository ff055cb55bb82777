//! `gmq store`: the message store of a data folder, looked at and copied.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use super::output::{self, OutputFormat};
use super::{Failure, Outcome, progress, serve, storage};
use crate::accounts::{Accounts, SqliteAccounts};
use crate::store::file::disk::{Disk, Folder};
use crate::store::file::{Contents, FileContents, QueueContents, backup, check, stat};
use crate::types::TenantId;

/// The message store of a data folder: copy it, check it, see what is in it.
#[derive(Debug, Args)]
pub(super) struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copies messages and accounts while the server runs, and reads the copy back. To restore,
    /// start a server whose data_dir is the copy.
    #[command(after_help = "Example:\n  gmq store backup /var/lib/gmq --to /backup/gmq-2026-11-23")]
    Backup {
        /// The data folder.
        dir: PathBuf,
        /// The copy: a folder that does not exist yet.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Reads every byte of a store that no server uses, and says what is damaged.
    #[command(after_help = "Example:\n  gmq store check /var/lib/gmq")]
    Check {
        /// The data folder.
        dir: PathBuf,
    },
    /// Says what is in a store: its queues, or the files of its journal.
    #[command(after_help = "Example:\n  gmq store stat /var/lib/gmq --files --output table")]
    Stat {
        /// The data folder.
        dir: PathBuf,
        /// The journal's files instead of the queues.
        #[arg(long)]
        files: bool,
        /// The form of the list.
        #[arg(long)]
        output: Option<OutputFormat>,
    },
}

pub(super) async fn run(command: Store) -> Outcome {
    match command.command {
        Command::Backup { dir, to } => make_backup(&dir, &to).await,
        Command::Check { dir } => check_store(&dir),
        Command::Stat { dir, files, output } => print_stat(&dir, files, output).await,
    }
}

async fn make_backup(dir: &Path, to: &Path) -> Outcome {
    let from = open(dir)?;
    if to.exists() {
        let to = to.display();
        return Err(Failure::new(format!("{to} exists already; give a folder that does not")));
    }
    let messages = storage::folder(to);
    for folder in [to, &messages] {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(folder);
        made.map_err(|error| storage::cannot_use(folder, &error))?;
    }
    let copy: Arc<dyn Disk> = Arc::new(Folder::open(&messages)?);
    let bar = progress::bar("files", 0)?;
    let contents = backup(&*from, &copy, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let contents = contents.map_err(|error| cannot_read(dir, &error.to_string()))?;
    copy_accounts(dir, to).await?;
    sound(dir, &contents)?;
    println!("Copied {} to {}, and read it back.", summary(&contents), to.display());
    println!("To restore it, start a server whose data_dir is {}.", to.display());
    Ok(())
}

async fn copy_accounts(dir: &Path, to: &Path) -> Outcome {
    let name = serve::ACCOUNTS;
    if !dir.join(name).exists() {
        return Ok(());
    }
    let accounts = SqliteAccounts::open(&dir.join(name), false).await?;
    accounts.copy_to(&to.join(name)).await?;
    accounts.close().await?;
    Ok(())
}

fn check_store(dir: &Path) -> Outcome {
    let disk = open(dir)?;
    let _lock = serve::lock(dir).map_err(|_| {
        Failure::new(format!(
            "a server uses {}: stop it, or check a copy that `gmq store backup` makes",
            dir.display()
        ))
    })?;
    let contents = check(disk).map_err(|error| cannot_read(dir, &error.to_string()))?;
    for note in &contents.notes {
        println!("{note}");
    }
    sound(dir, &contents)?;
    println!("Sound: {} in {} files.", summary(&contents), contents.files.len());
    Ok(())
}

/// Refuses a store in which something is damaged, with all that is.
fn sound(dir: &Path, contents: &Contents) -> Outcome {
    if contents.damage.is_empty() {
        return Ok(());
    }
    let mut said = format!("the store in {} is damaged; all else can be read:", dir.display());
    for damage in &contents.damage {
        said.push_str(&format!("\n  {damage}"));
    }
    Err(Failure::new(said))
}

async fn print_stat(dir: &Path, files: bool, output: Option<OutputFormat>) -> Outcome {
    let disk = open(dir)?;
    let contents = stat(&*disk).map_err(|error| cannot_read(dir, &error.to_string()))?;
    if files {
        let row = |file: &FileContents| {
            let FileContents { name, length, written, messages, live } = file.clone();
            [name, length.to_string(), written.to_string(), messages.to_string(), live.to_string()]
        };
        let rows: Vec<_> = contents.files.iter().map(row).collect();
        return output::print(output, ["file", "bytes", "written", "messages", "live"], &rows);
    }
    let tenants = tenant_names(dir).await?;
    let row = |queue: &QueueContents| {
        let known = tenants.iter().find(|(id, _)| *id == queue.tenant);
        let tenant = known.map_or_else(|| queue.tenant.to_string(), |(_, name)| name.clone());
        let (messages, bytes) = (queue.messages.to_string(), queue.bytes.to_string());
        [tenant, queue.name.to_string(), messages, bytes]
    };
    let rows: Vec<_> = contents.queues.iter().map(row).collect();
    output::print(output, ["tenant", "queue", "messages", "bytes"], &rows)
}

async fn tenant_names(dir: &Path) -> Outcome<Vec<(TenantId, String)>> {
    let path = dir.join(serve::ACCOUNTS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let accounts = SqliteAccounts::open(&path, false).await?;
    let tenants = accounts.tenants().await?;
    accounts.close().await?;
    Ok(tenants.into_iter().map(|tenant| (tenant.id, tenant.name.to_string())).collect())
}

/// The store of a data folder.
fn open(dir: &Path) -> Outcome<Arc<dyn Disk>> {
    let folder = storage::folder(dir);
    if !folder.is_dir() {
        return Err(Failure::new(format!(
            "there is no message store in {}: give the data_dir of a server whose store is \"file\"",
            dir.display()
        )));
    }
    storage::own(&folder)?;
    Ok(Arc::new(Folder::open(&folder)?))
}

fn cannot_read(dir: &Path, error: &str) -> Failure {
    Failure::new(format!("cannot read the message store in {}: {error}", dir.display()))
}

fn summary(contents: &Contents) -> String {
    format!(
        "{} messages ({}) in {} queues",
        contents.messages(),
        ByteSize(contents.bytes()).display().iec(),
        contents.queues.len()
    )
}
