//! Log lines: set up once by `main`, written to standard error. Texts of clients are logged only as
//! fields and only through [`clip`]: cut, and with nothing in them that could forge a line or move
//! a terminal's cursor. Messages' contents and secrets are never logged.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::config::{Log, LogFormat, LogLevel};

/// Longest part of a client's text in a log line, in bytes before escaping.
const CLIP_BYTES_MAX: usize = 128;

/// Logs to standard error from now on, for the whole process. Fails if something logs already.
pub fn init(settings: &Log) -> Result<(), SetGlobalDefaultError> {
    let has_colours = std::io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(settings, has_colours, std::io::stderr))
}

/// A client's text as a field of a log line: `tracing::info!(user = %clip(name), "…")`.
pub fn clip(text: &str) -> Clip<'_> {
    Clip(text)
}

/// A text of at most 128 bytes, the rest shown as `…`, control and invisible characters escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Clip<'a>(&'a str);

impl fmt::Display for Clip<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.floor_char_boundary(CLIP_BYTES_MAX);
        for character in self.0[..end].chars() {
            match character {
                '"' | '\'' => write!(f, "{character}")?,
                other => write!(f, "{}", other.escape_debug())?,
            }
        }
        if end < self.0.len() { f.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for Clip<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn subscriber<W>(settings: &Log, has_colours: bool, writer: W) -> impl Subscriber + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.with_ansi(has_colours).boxed(),
    };
    Registry::default().with(lines.with_filter(filter(settings.level)))
}

/// The level is gmq's own; libraries tell only what goes wrong, since what they trace is not
/// reviewed for secrets.
fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(own.min(LevelFilter::WARN)).with_target("gmq", own)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn log(format: LogFormat, level: LogLevel, act: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(&Log { format, level }, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, act);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line() {
        let lines = log(LogFormat::Json, LogLevel::Info, || {
            tracing::info!(user = %clip("eve\r\n{}\""), "login");
            tracing::debug!("not written");
        });
        assert_eq!(lines.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines).unwrap();
        assert_eq!(line["message"], "login");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["user"], "eve\\r\\n{}\"");
    }

    #[test]
    fn a_clients_text_cannot_forge_a_line_of_text() {
        let lines = log(LogFormat::Text, LogLevel::Info, || {
            tracing::info!(user = %clip("eve\n2026 INFO login user=root\u{1b}[31m"), "refused");
        });
        assert_eq!(lines.lines().count(), 1);
        assert!(!lines.contains('\u{1b}'), "{lines}");
    }

    #[test]
    fn the_level_is_gmqs_own_and_libraries_only_warn() {
        let lines = log(LogFormat::Text, LogLevel::Trace, || {
            tracing::trace!("own");
            tracing::info!(target: "sqlx::query", "a statement");
            tracing::warn!(target: "sqlx::query", "slow");
        });
        assert!(lines.contains("own") && lines.contains("slow"), "{lines}");
        assert!(!lines.contains("a statement"), "{lines}");
        let lines = log(LogFormat::Text, LogLevel::Error, || tracing::warn!(target: "x", "quiet"));
        assert_eq!(lines, "");
    }

    #[test]
    fn clips_are_cut_between_characters_and_harmless() {
        assert_eq!(clip("orders.eu").to_string(), "orders.eu");
        assert_eq!(clip(&"x".repeat(128)).to_string(), "x".repeat(128));
        assert_eq!(clip(&"x".repeat(129)).to_string(), format!("{}…", "x".repeat(128)));
        assert_eq!(clip(&"é".repeat(65)).to_string(), format!("{}…", "é".repeat(64)));
        assert_eq!(clip(&format!("x{}", "é".repeat(64))).to_string().chars().count(), 65);
        assert_eq!(
            clip("a\0\u{7}\u{1b}\u{202e}\u{2028}\\").to_string(),
            "a\\0\\u{7}\\u{1b}\\u{202e}\\u{2028}\\\\"
        );
        assert_eq!(format!("{:?}", clip("a\n")), "a\\n");
    }
}
