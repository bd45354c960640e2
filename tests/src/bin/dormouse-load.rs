//! Puts load on the release build of the host, and prints what it bears beside what it aims at.
//! `tests/bench` builds and runs it.

use dormouse_tests::load::{self, Options};

fn main() -> anyhow::Result<()> {
    let options = Options::from_command_line();
    // One thread: the rest of the machine is the host's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load::run(&options))
}
