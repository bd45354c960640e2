//! The real binary: started, played with, killed with -9, traced, started again.
//!
//! A test target of the package `dormouse`, because cargo tells only those where the binary is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod command_line;
mod sync;
mod torture;

/// The binary under test.
const DORMOUSE: &str = env!("CARGO_BIN_EXE_dormouse");
