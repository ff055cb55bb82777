//! Settings whose values are words: each an enum that the rooms match on. Refuses words it does not
//! know. Called by `settings`.

use super::value::{Value, expected, quoted};
use crate::types::SanKind;

/// An enum whose values are written as words.
macro_rules! words {
    (
        $(#[$about:meta])*
        $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// The word that stands for it in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl Value for $name {
            fn expected() -> String {
                let words: &[&str] = &[$(concat!("\"", $word, "\"")),+];
                let (last, others) = words.split_last().expect("there is a word");
                if others.is_empty() {
                    (*last).to_owned()
                } else {
                    format!("{} or {last}", others.join(", "))
                }
            }
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(expected::<Self>()),
                }
            }
            fn to_toml(&self) -> String {
                quoted(self.as_str())
            }
        }
    };
}

words! {
    /// Where messages are kept.
    StoreKind {
        /// In memory: they end with the server.
        Memory = "memory",
        /// In files of the data folder.
        File = "file",
        /// In the database that `database.url` names.
        Mysql = "mysql",
    }
}

words! {
    /// What a reply to a durable publish has waited for.
    Durability {
        /// The flush to the disk.
        Disk = "disk",
        /// The operating system, which flushes a little later.
        Os = "os",
    }
}

words! {
    /// Where tenants, users and grants are kept.
    AccountsKind {
        /// A SQLite database in the data folder.
        Sqlite = "sqlite",
        /// The database that `database.url` names.
        Mysql = "mysql",
    }
}

words! {
    /// Whether something is so.
    Answer {
        /// It is.
        Yes = "yes",
        /// It is not.
        No = "no",
    }
}

words! {
    /// Whether clients present certificates.
    ClientAuth {
        /// They are not asked for one.
        Off = "off",
        /// They may; one that does not verify is refused.
        Optional = "optional",
        /// They must.
        Required = "required",
    }
}

words! {
    /// The oldest TLS version that is spoken.
    MinVersion {
        /// TLS 1.2 and 1.3.
        Tls12 = "1.2",
        /// TLS 1.3 only.
        Tls13 = "1.3",
    }
}

words! {
    /// How log lines are written.
    LogFormat {
        /// One JSON object a line.
        Json = "json",
        /// For reading at a terminal.
        Text = "text",
    }
}

words! {
    /// The least important log lines that are written.
    LogLevel {
        /// What stopped working.
        Error = "error",
        /// What someone should look at.
        Warn = "warn",
        /// What happened.
        Info = "info",
        /// What is needed to find a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

impl Value for SanKind {
    fn expected() -> String {
        "\"dns\", \"uri\" or \"email\"".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| expected::<Self>())
    }
    fn to_toml(&self) -> String {
        quoted(self.as_str())
    }
}
