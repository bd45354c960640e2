//! Measures the store of the host by itself, through its trait, beside other embedded databases.
//! `tests/bench --only store` builds and runs it.
//!
//! ```text
//!  run ──▶ a process for each stage, so that its memory is its own
//!            measures/   what is measured: load, store, table
//!            load        turns at full speed, or by a schedule
//!            target      what takes the turns: the store of the host …
//!            rivals/     … or another database behind a group commit
//!            fleet       how far each session is
//!            world       what is in a session, a turn, a snapshot: functions of a few numbers
//! ```
//!
//! The load is in the process of the store, as the host is, and takes its share of the processors.
//! Everything is bounded in count and in time, on a disk, and removed in the end. No figure is right
//! or wrong; a turn that is lost ends the run with an error.

#![expect(clippy::disallowed_methods, reason = "to read the clock is what measuring is")]

mod fleet;
mod load;
mod machine;
mod measures;
mod options;
mod rivals;
mod run;
mod table;
mod target;
mod world;

use clap::Parser;
use tokio::runtime::Builder;

use options::Options;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // As in the program.
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match options.stage {
            Some(stage) => measures::stage(&options, stage).await,
            None => run::run(&options).await,
        }
    })
}
