//! The program `dormouse`. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    dormouse::cli::run()
}
