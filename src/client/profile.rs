//! Client profiles: where the server is, whom to trust and who one is. The file holds a password,
//! so it is refused where others can read it.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::types::{TenantName, UserName};

/// See the module.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// `HOST:PORT`, or several with commas between them, tried in turn.
    pub server: String,
    /// The authorities that the server's certificate must come from, PEM.
    pub ca: PathBuf,
    /// The client's certificate chain, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The tenant.
    #[serde(default)]
    pub tenant: TenantName,
    /// The user.
    pub user: UserName,
    /// The password, unless it stands in a file of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Zeroizing<String>>,
    /// A file whose first line is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be read.
    #[error(
        "the client profile {0} cannot be read: {1}; name another, such as the client.toml that \
         `gmq init` made"
    )]
    Read(PathBuf, std::io::Error),
    /// The password's file cannot be read.
    #[error("the password file {0} cannot be read: {1}; mend password_file in the client profile")]
    ReadPassword(PathBuf, std::io::Error),
    /// Others can read it.
    #[error("the client profile {0} can be read by others; run `chmod 600 {0}`")]
    Open(PathBuf),
    /// It is not written as it should be. The values are not repeated, one is a password.
    #[error("the client profile {file} is not right: {reason}; mend it{}", at_line(.line))]
    Syntax {
        /// The profile.
        file: PathBuf,
        /// What is wrong.
        reason: String,
        /// Where, from 1, if it is in one place.
        line: Option<usize>,
    },
    /// No password.
    #[error("the client profile {0} has neither password nor password_file; add one of them")]
    NoPassword(PathBuf),
}

fn at_line(line: &Option<usize>) -> String {
    line.map_or(String::new(), |line| format!(" at line {line}"))
}

impl Profile {
    /// Reads a profile; paths in it count from its folder.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let unreadable = |error| ProfileError::Read(path.to_owned(), error);
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(ProfileError::Open(path.to_owned()));
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(unreadable)?);
        let mut profile: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let reason = error.message().lines().collect::<Vec<_>>().join(", ");
            ProfileError::Syntax { file: path.to_owned(), reason, line }
        })?;
        profile.count_from(path.parent().unwrap_or(Path::new("")));
        if let (None, Some(file)) = (&profile.password, &profile.password_file) {
            let text = fs::read_to_string(file)
                .map_err(|error| ProfileError::ReadPassword(file.clone(), error))?;
            profile.password = text.lines().next().map(|line| Zeroizing::new(line.to_owned()));
        }
        if profile.password.is_none() {
            return Err(ProfileError::NoPassword(path.to_owned()));
        }
        Ok(profile)
    }

    /// The addresses in `server`.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.server.split(',').map(str::trim).filter(|address| !address.is_empty())
    }

    /// The text of a profile file.
    pub fn render(&self) -> Zeroizing<String> {
        Zeroizing::new(toml::to_string(self).expect("a profile has nothing that TOML lacks"))
    }

    fn count_from(&mut self, folder: &Path) {
        self.ca = folder.join(&self.ca);
        let others = [&mut self.certificate, &mut self.key, &mut self.password_file];
        for path in others.into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({}/{} at {})", self.tenant, self.user, self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    const GOOD: &str =
        "server = \"localhost:4884\"\nca = \"ca.pem\"\nuser = \"bob\"\npassword = \"canary\"\n";

    #[test]
    fn paths_count_from_the_file_and_the_password_is_not_shown() {
        let (folder, path) = file(GOOD, 0o600);
        let profile = Profile::load(&path).unwrap();
        assert_eq!(profile.ca, folder.path().join("ca.pem"));
        assert_eq!(profile.tenant.as_str(), "default");
        assert!(!format!("{profile:?}").contains("canary"));
    }

    #[test]
    fn a_profile_that_others_read_is_refused_with_the_mend() {
        let (_folder, path) = file(GOOD, 0o640);
        let error = Profile::load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn mistakes_are_told_without_the_password() {
        for bad in [
            format!("{GOOD}usr = \"x\"\n"),
            GOOD.replace("user", "usr"),
            GOOD.replace("\"canary\"", "\"canary"),
            GOOD.replace("\"canary\"", "[\"canary\"]"),
            GOOD.replace("password", "pass"),
        ] {
            let (_folder, path) = file(&bad, 0o600);
            let error = Profile::load(&path).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        }
    }
}
