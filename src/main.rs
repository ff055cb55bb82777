//! The program `gmq`: arguments → configuration → run; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    gmq::cli::run()
}
