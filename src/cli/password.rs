//! Passwords on the command line: from standard input, made here, or asked for without echo; never
//! from the words of the command.

use std::io::{BufRead, IsTerminal, stdin};

use clap::Args;
use zeroize::Zeroizing;

use super::{Failure, Outcome};
use crate::auth::{Cost, hash_blocking};
use crate::config::Config;
use crate::protocol::Password;

/// Where a password comes from; asked for twice where neither is given.
#[derive(Debug, Args)]
pub(super) struct PasswordSource {
    /// Read the password from the first line of standard input.
    #[arg(long, conflicts_with = "generate")]
    password_stdin: bool,
    /// Make a password and print it, once.
    #[arg(long)]
    generate: bool,
}

/// Random bytes of a password that is made here.
const GENERATED_BYTES: usize = 18;

impl PasswordSource {
    /// The password; one that was made is to be shown to the operator.
    pub fn take(&self) -> Outcome<Zeroizing<String>> {
        let password = if self.generate {
            generate()?
        } else if self.password_stdin {
            first_line()?
        } else if stdin().is_terminal() {
            ask_twice()?
        } else {
            return Err(Failure::new(
                "there is no terminal to ask for the password; give --password-stdin or --generate",
            ));
        };
        if Password::new(password.as_str()).is_none() {
            return Err(Failure::new("a password has 1 to 1024 bytes; give another one"));
        }
        Ok(password)
    }

    /// Shows a password that was made here.
    pub fn show(&self, password: &str) {
        if self.generate {
            println!("{password}");
        }
    }
}

/// A password of 24 letters and digits, of more than 142 random bits. It has no `-`, so that no
/// program takes it for an option.
pub(super) fn generate() -> Outcome<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; GENERATED_BYTES]);
    loop {
        getrandom::fill(&mut bytes[..])
            .map_err(|error| Failure::new(format!("the machine has no randomness: {error}")))?;
        let text = Zeroizing::new(base64_simd::URL_SAFE_NO_PAD.encode_to_string(&bytes[..]));
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(text);
        }
    }
}

/// A password's hash at the configured cost.
pub(super) fn hash(config: &Config, password: &str) -> Outcome<Zeroizing<String>> {
    let argon2 = &config.auth.argon2;
    let cost = Cost::new(argon2.memory_kib, argon2.iterations, argon2.parallelism)?;
    Ok(Zeroizing::new(hash_blocking(cost, password)?))
}

fn first_line() -> Outcome<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    stdin().lock().read_line(&mut line).map_err(|error| {
        Failure::new(format!("the password cannot be read: {error}; give one line of UTF-8"))
    })?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn ask_twice() -> Outcome<Zeroizing<String>> {
    let first = Zeroizing::new(rpassword::prompt_password("Password: ")?);
    let second = Zeroizing::new(rpassword::prompt_password("The same again: ")?);
    if first == second {
        Ok(first)
    } else {
        Err(Failure::new("the two passwords differ; nothing was changed, try again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_made_here_is_letters_and_digits() {
        for _ in 0..1000 {
            let password = generate().unwrap_or_else(|_| panic!("no password"));
            assert_eq!(password.len(), 24);
            assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{}", *password);
        }
    }
}
