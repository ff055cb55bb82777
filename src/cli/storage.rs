//! The message store that the configuration asks for. Refuses a folder that is not the server's
//! own, and says what damage was found in it.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Failure, Outcome, node};
use crate::config::{Answer, Config, Durability, StoreKind};
use crate::store::file::{FILE_BYTES, Options};
use crate::store::{FileStore, MemoryStore, MysqlStore, Store, mysql};
use crate::types::Level;

/// A journal file holds so many of the longest frames, so that no batch is too long for it.
const FRAMES_PER_FILE: u64 = 8;

/// Where the file store keeps messages, within the data folder.
pub(super) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("messages")
}

/// Opens the store, and logs what is damaged in it.
pub(super) async fn open(config: &Config) -> Outcome<Arc<dyn Store>> {
    match config.store {
        StoreKind::Memory => Ok(Arc::new(MemoryStore)),
        StoreKind::Mysql => {
            let address = super::database::address(config)?;
            let store = MysqlStore::open(&address, database_options(config)?).await?;
            Ok(Arc::new(store))
        }
        StoreKind::File => {
            let store = open_files(&folder(&config.data_dir), options(config))?;
            for damage in store.damage() {
                tracing::error!(%damage, "the store is damaged; all that can be read is served");
            }
            Ok(Arc::new(store))
        }
    }
}

/// What the store in a database is started with.
fn database_options(config: &Config) -> Outcome<mysql::Options> {
    let level = match config.durability {
        Durability::Disk => Level::Disk,
        Durability::Os => Level::Os,
    };
    let number = node::number(&config.data_dir);
    let number = number.map_err(|error| cannot_use(&config.data_dir, &error))?;
    let first_digits = || format!("{:08x}", number >> 96);
    Ok(mysql::Options {
        level,
        replicated: config.database.replicated == Answer::Yes,
        lease: config.cluster.lease,
        folder: number.to_be_bytes(),
        name: config.cluster.node.as_ref().map_or_else(first_digits, |name| name.0.clone()),
        message_bytes_max: config.limits.max_message_bytes.as_u64(),
    })
}

/// What the file store is started with.
fn options(config: &Config) -> Options {
    let level = match config.durability {
        Durability::Disk => Level::Disk,
        Durability::Os => Level::Os,
    };
    let least = config.limits.max_frame_bytes.as_u64().saturating_mul(FRAMES_PER_FILE);
    let file_bytes = u32::try_from(least).unwrap_or(u32::MAX).max(FILE_BYTES);
    Options { level, file_bytes }
}

fn open_files(folder: &Path, options: Options) -> Outcome<FileStore> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(cannot_use(folder, &error));
        }
        _ => own(folder)?,
    }
    FileStore::open(folder, options).map_err(|error| {
        Failure::new(format!("cannot open the message store in {}: {error}", folder.display()))
    })
}

/// Refuses a folder that belongs to somebody else.
pub(super) fn own(folder: &Path) -> Outcome {
    let owner = fs::metadata(folder).map_err(|error| cannot_use(folder, &error))?.uid();
    let user = rustix::process::geteuid().as_raw();
    if owner == user {
        return Ok(());
    }
    let shown = folder.display();
    Err(Failure::new(format!(
        "the folder {shown} belongs to user {owner}, and this is user {user}: run the server as \
         its owner, or `chown -R {user} {shown}`"
    )))
}

/// Why a folder cannot be written, with the mend.
pub(super) fn cannot_use(folder: &Path, error: &io::Error) -> Failure {
    let shown = folder.display();
    let mend = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => "mount its file system to be written".to_owned(),
        ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid().as_raw();
            format!("run the server as its owner, or `chown -R {user} {shown}`")
        }
        ErrorKind::NotFound => "make it, or set data_dir to a folder that is there".to_owned(),
        _ => "look at the disk, or set data_dir to another folder".to_owned(),
    };
    Failure::new(format!("cannot write in {shown}: {error}; {mend}"))
}
