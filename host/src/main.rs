//! The program `dormouse`. Everything is in the library.

use std::process::ExitCode;

/// Small allocations on many threads are a fifth of the processor time of a busy host.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    dormouse::cli::run()
}
