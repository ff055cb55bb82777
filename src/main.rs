//! The program `gmq`: arguments → configuration → run; nothing else.

use std::process::ExitCode;

/// A message takes and gives several small pieces of memory, in different threads: the system's
/// allocator took a quarter of the server's time, and kept what was free (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gmq::cli::run()
}
