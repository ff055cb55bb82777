//! The example configuration, made from the table of settings: each with its documentation and its
//! default. `config/gmq.toml` is [`example`], and `gmq init` writes [`initial`].

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::section::{Section, Setting};
use super::settings::SECTIONS;

const PREAMBLE: &str = "\
# Each setting stands here with its default: take the # off to change it.
# Times are written \"10s\", sizes \"1 MiB\"; a relative path counts from the folder of this file.
# The environment can set each too: GMQ_LIMITS__MAX_QUEUES=100 is max_queues of [limits].
# `gmq config check --config FILE` says what is wrong with this file, `gmq config show` what holds.
";

/// Every setting with its documentation, commented out with its default.
pub fn example() -> String {
    render(&[])
}

/// The file that `gmq init` writes: the example with what `init` made filled in. Every path is the
/// one that `init` gives the file, relative to the configuration's folder.
pub fn initial(listen: SocketAddr) -> String {
    let listen = listen.to_string();
    render(&[
        ("listen", &listen),
        ("data_dir", "data"),
        ("tls.certificate", "certs/server.pem"),
        ("tls.key", "certs/server.key"),
        ("tls.client_ca", "certs/ca.pem"),
        ("tls.client_auth", "required"),
        ("tls.client_identity", "dns"),
    ])
}

fn render(chosen: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for section in SECTIONS {
        write_heading(&mut text, section);
        for setting in section.settings {
            let value = chosen.iter().find(|(name, _)| *name == setting.name);
            write_setting(&mut text, setting, value.map(|(_, value)| *value));
        }
    }
    text
}

fn write_heading(text: &mut String, section: &Section) {
    if !section.name.is_empty() {
        text.push('\n');
    }
    write_about(text, section.about);
    if section.name.is_empty() {
        text.push_str(PREAMBLE);
    } else {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[{}]", section.name);
    }
}

fn write_setting(text: &mut String, setting: &Setting, value: Option<&str>) {
    let last_word = setting.name.rsplit('.').next().unwrap_or(setting.name);
    let toml = (setting.read)(setting, &value.unwrap_or(setting.default).into());
    let toml = toml.expect("defaults and what init chose are valid: a test reads them all");
    let off = if value.is_some() { "" } else { "# " };
    text.push('\n');
    write_about(text, setting.about);
    let _ = writeln!(text, "{off}{last_word} = {toml}");
}

fn write_about(text: &mut String, about: &[&str]) {
    for line in about {
        let _ = writeln!(text, "#{line}");
    }
}
