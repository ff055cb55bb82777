//! The number by which a database knows this data folder again, so that its next server need not
//! wait for the lease of the one before. It stands in the file `node`, together with what tells
//! that very file from a copy of it: two folders with one number would take tenants from each
//! other again and again. Called by `storage`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// See the module.
pub(super) type NodeNumber = u128;

/// The folder's number; a new one where it has none, or has it from another folder.
pub(super) fn number(data_dir: &Path) -> io::Result<NodeNumber> {
    let path = data_dir.join("node");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let mut file = options.open(&path)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let text = String::from_utf8_lossy(&content);
    let instance = instance(&file)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    if let [number, of] = words[..]
        && of == instance
        && let Ok(number) = NodeNumber::from_str_radix(number, 16)
    {
        return Ok(number);
    }
    if !words.is_empty() {
        tracing::info!(path = %path.display(), "the data folder is a copy: it has a new number now");
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let number = NodeNumber::from_be_bytes(bytes);
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{number:032x} {instance}")?;
    Ok(number)
}

/// What a copy of the file does not have: its place in the file system, and when it was made.
fn instance(file: &File) -> io::Result<String> {
    let facts = file.metadata()?;
    // Not every file system knows when; a copy has a place of its own all the same.
    let made = facts.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    Ok(format!("{}-{}", facts.ino(), made.map_or(0, |made| made.as_nanos())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_keeps_its_number_and_a_copy_has_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (one, copy) = (folder.path().join("one"), folder.path().join("copy"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&copy).unwrap();
        let first = number(&one).unwrap();
        assert_eq!(number(&one).unwrap(), first);
        fs::copy(one.join("node"), copy.join("node")).unwrap();
        let second = number(&copy).unwrap();
        assert_ne!(second, first);
        assert_eq!(number(&copy).unwrap(), second, "it is the copy's own from now on");
        assert_eq!(number(&one).unwrap(), first);
        let moved = folder.path().join("moved");
        fs::rename(&one, &moved).unwrap();
        assert_eq!(number(&moved).unwrap(), first, "a folder that is moved is the same");
    }

    #[test]
    fn a_damaged_number_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"x", b"00ff", b"zz 1-2", b"\xff\n"] {
            fs::write(folder.path().join("node"), content).unwrap();
            let number = number(folder.path()).unwrap();
            assert_eq!(super::number(folder.path()).unwrap(), number, "{content:?}");
        }
    }
}
