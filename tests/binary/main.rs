//! The real binary: started, played with, killed with -9, traced, started again.
//!
//! A test target of the package `dormouse`, because cargo tells only those where the binary is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backup;
mod blocks;
mod client;
mod command_line;
mod compile;
mod damage;
mod descriptors;
mod disk;
mod examples;
mod hostile;
mod keys;
mod listen;
mod logs;
mod metrics;
mod models;
mod operator;
mod other_services;
mod sim;
mod sync;
mod torture;
mod upgrades;
mod uploads;
mod worlds;

use std::path::Path;
use std::process::{Command, Output};

use dormouse_tests::process::without_settings;

/// The binary under test.
const DORMOUSE: &str = env!("CARGO_BIN_EXE_dormouse");

/// Run it to its end.
fn run(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(DORMOUSE);
    without_settings(&mut command);
    command.args(arguments).current_dir(directory).output().unwrap()
}
