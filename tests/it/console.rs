//! Pages with a terminal on them, typed again: `$` lines, and the `>` lines that go on with them, are
//! run by a shell in a new folder, and what they print must be what stands below them. `…` stands for
//! any text.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{eventually, text};

/// A command and the lines that it is to print.
struct Step {
    command: String,
    expected: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), line.strip_prefix("> "), steps.last_mut()) {
                (Some(command), ..) => {
                    steps.push(Step { command: command.to_owned(), expected: Vec::new() });
                }
                (None, Some(more), Some(step)) => step.command += &format!("\n{more}"),
                (None, None, Some(step)) => step.expected.push(line.to_owned()),
                (None, _, None) => panic!("a command first: {line}"),
            },
        }
    }
    steps
}

/// Whether a line is what the page shows.
fn matches(expected: &str, actual: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = actual.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The terminal of one page.
struct Terminal {
    folder: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
}

impl Terminal {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_gmq"), folder.path().join("bin/gmq")).unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder, port, server: None }
    }

    fn home(&self) -> std::path::PathBuf {
        self.folder.path().join("home")
    }

    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("sh");
        let path = std::env::var("PATH").unwrap();
        let bin = self.folder.path().join("bin");
        shell.args(["-c", &command.replace("4884", &self.port.to_string())]);
        shell.env("PATH", format!("{}:{path}", bin.display())).env("HOME", self.home());
        shell.env("LC_ALL", "C").current_dir(self.home());
        shell
    }

    /// What a command prints, errors behind the rest.
    fn run(&mut self, command: &str) -> Vec<String> {
        if let Some(command) = command.strip_suffix(" &") {
            return self.start(command);
        }
        if command.starts_with("pkill") {
            // The page's own server alone, whatever else runs on this machine.
            let mut server = self.server.take().expect("a server to stop");
            let signal = command.split_whitespace().nth(1).expect("a signal");
            let id = server.id().to_string();
            let _ = Command::new("kill").args([signal, &id]).status();
            eventually("the server's end", || server.try_wait().unwrap());
            return Vec::new();
        }
        let output = self.shell(command).stdin(Stdio::null()).output().unwrap();
        if command.starts_with("gmq init") {
            self.use_own_port();
        }
        let said = text(&output.stdout) + &text(&output.stderr);
        said.replace(&self.port.to_string(), "4884").lines().map(str::to_owned).collect()
    }

    /// The page has the default port, which something else on this machine may have too.
    fn use_own_port(&self) {
        for name in ["gmq.toml", "client.toml"] {
            let path = self.home().join("bus").join(name);
            let file = fs::read_to_string(&path).unwrap();
            fs::write(path, file.replace("4884", &self.port.to_string())).unwrap();
        }
    }

    fn start(&mut self, command: &str) -> Vec<String> {
        let log = File::options().create(true).append(true).open(self.home().join("server.log"));
        let mut server = self
            .shell(&format!("exec {command}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        self.server = Some(server);
        vec![line.trim_end().replace(&self.port.to_string(), "4884")]
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Types a page and compares.
pub fn type_page(page: &str) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let mut terminal = Terminal::new();
    let mut differences = Vec::new();
    let steps = steps(&page);
    assert!(steps.len() > 2, "a page with a terminal");
    for Step { command, expected } in steps {
        let actual = terminal.run(&command);
        let same = expected.len() == actual.len()
            && expected.iter().zip(&actual).all(|(expected, actual)| matches(expected, actual));
        if !same {
            let (expected, actual) = (expected.join("\n"), actual.join("\n"));
            differences.push(format!("$ {command}\n-- page:\n{expected}\n-- seen:\n{actual}\n"));
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn the_first_hour_is_as_it_is_written_down() {
    type_page("docs/first-hour.md");
}

#[test]
fn a_person_can_log_in_and_publish_with_openssl_alone() {
    type_page("docs/clients.md");
}

#[test]
fn a_page_that_is_wrong_is_noticed() {
    assert!(matches("a … c", "a b c") && matches("…", "") && matches("a …", "a "));
    assert!(!matches("a … c", "a b d") && !matches("a", "ab") && !matches("… b", "a c"));
}
