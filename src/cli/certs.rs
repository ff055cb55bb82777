//! `gmq certs`: a small certificate authority for those who have none.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::{self, OutputFormat};
use super::{Failure, Outcome};
use crate::tls::{AUTHORITY_NAME, Authority, Description, LOCAL_HOSTS, describe_file};
use crate::types::San;

/// Make certificates and look at them.
#[derive(Debug, Args)]
pub(super) struct Certs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an authority: ca.pem and ca.key.
    #[command(after_help = "Example:\n  gmq certs ca --dir bus/certs")]
    Ca {
        /// The folder; nothing in it is overwritten.
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
    },
    /// Make a server's certificate: NAME.pem and NAME.key.
    #[command(
        after_help = "Example:\n  gmq certs server bus2 --dir bus/certs --host bus2.acme.example"
    )]
    Server {
        /// The name of the two files.
        name: String,
        /// The folder of the authority.
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
        /// A name or address of the server, beside localhost; may be repeated.
        #[arg(long, value_name = "NAME_OR_IP")]
        host: Vec<String>,
    },
    /// Make a client's certificate: NAME.pem and NAME.key.
    #[command(
        after_help = "Example:\n  gmq certs client web --dir bus/certs --san dns:web.acme.example\n  \
                      gmq admin user certificate web dns:web.acme.example --config bus/gmq.toml"
    )]
    Client {
        /// The name of the two files.
        name: String,
        /// The folder of the authority.
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
        /// The identity in it: dns:…, uri:… or email:….
        #[arg(long)]
        san: San,
    },
    /// What a certificate holds and when it ends.
    #[command(after_help = "Example:\n  gmq certs show bus/certs/client.pem")]
    Show {
        /// A PEM file.
        file: PathBuf,
        /// The form.
        #[arg(long, value_enum)]
        output: Option<OutputFormat>,
    },
}

pub(super) async fn run(command: Certs) -> Outcome {
    match command.command {
        Command::Ca { dir } => {
            Authority::create(&dir, AUTHORITY_NAME)?;
            println!(
                "made {0}/ca.pem and {0}/ca.key; keep ca.key away from servers",
                dir.display()
            );
        }
        Command::Server { name, dir, host } => {
            let mut hosts = LOCAL_HOSTS.to_vec();
            hosts.extend(host.iter().map(String::as_str));
            authority(&dir)?.issue_server(&hosts)?.write(&dir, &name)?;
            println!("made {0}/{name}.pem and {0}/{name}.key", dir.display());
        }
        Command::Client { name, dir, san } => {
            authority(&dir)?.issue_client(&name, &san)?.write(&dir, &name)?;
            println!("made {0}/{name}.pem and {0}/{name}.key for {san}", dir.display());
            println!("map it to a user with: gmq admin user certificate USER {san}");
        }
        Command::Show { file, output } => show(&describe_file(&file)?, output)?,
    }
    Ok(())
}

fn authority(dir: &std::path::Path) -> Outcome<Authority> {
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    if !certificate.exists() {
        return Err(Failure::new(format!(
            "there is no authority in {0}; make one with `gmq certs ca --dir {0}`",
            dir.display()
        )));
    }
    Ok(Authority::load(&certificate, &key)?)
}

fn show(certificates: &[Description], output: Option<OutputFormat>) -> Outcome {
    let rows: Vec<_> = certificates
        .iter()
        .map(|certificate| {
            [
                certificate.subject.clone(),
                certificate.issuer.clone(),
                certificate.names.join(" "),
                certificate.usages.join(" "),
                certificate.not_before.clone(),
                certificate.not_after.clone(),
                certificate.sha256.clone(),
            ]
        })
        .collect();
    let names = ["subject", "issuer", "names", "usages", "not_before", "not_after", "sha256"];
    output::print(output, names, &rows)
}
