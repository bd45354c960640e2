//! What is measured, each in a process of its own.

mod asleep;
pub mod contest;
mod kill;
mod lists;
mod sustained;
mod turns;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use dormouse::Timestamp;
use dormouse_store::embedded;
use dormouse_tests::load::report::Report;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::fleet::{Choice, Fleet};
use crate::load::Load;
use crate::options::{Options, Stage};
use crate::target::{Dormouse, Target};
use crate::world::{EVENTS, RECORD, STATE, TURN, World};

/// The widths at which turns are counted.
const WIDTHS: [u32; 3] = [1, 32, 256];
/// Sessions of which is checked what a store has of them.
const CHECKED: u32 = 1000;

/// Do this stage.
///
/// # Errors
/// Where a store fails or has lost something.
pub async fn stage(options: &Options, stage: Stage) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let epoch = options.epoch.context("a stage is told when the world began")?;
    let stand = Stand {
        options,
        directory: options.directory().join("data"),
        epoch,
        world: World::new(Timestamp(epoch)),
        report: Report::resumed(),
    };
    match stage {
        Stage::Hot => turns::hot(stand).await,
        Stage::Fill { count } => asleep::fill(stand, count).await,
        Stage::Asleep { count } => asleep::measure(stand, count).await,
        Stage::Among { count } => turns::among(stand, count).await,
        Stage::Sustained => sustained::measure(stand).await,
        Stage::Write { count } => kill::write(stand, count).await,
        Stage::Kill { count } => kill::measure(stand, count).await,
        Stage::Contest { contender } => contest::measure(stand, contender).await,
    }
}

/// What a stage works with.
struct Stand<'a> {
    options: &'a Options,
    /// Of the store.
    directory: PathBuf,
    epoch: i64,
    world: World,
    report: Report,
}

impl Stand<'_> {
    /// Open the store as the host does.
    fn open(&self) -> Result<Arc<Dormouse>> {
        let store = Dormouse::open(&self.directory, &self.world, embedded::Options::default())?;
        Ok(Arc::new(store))
    }

    fn load(&self, choice: Choice, width: u32) -> Load {
        let period = self.options.period();
        Load { choice, width, period, warm_up: period / 8, most: u64::MAX, large: false }
    }
}

/// Fails unless a store has of these sessions what it has acknowledged.
async fn check<T: Target>(target: &Arc<T>, fleet: &Fleet) -> Result<()> {
    let step = usize::try_from((fleet.len() / CHECKED).max(1))?;
    for session in (0..fleet.len()).step_by(step) {
        target.check(session, fleet.turns(session)).await?;
    }
    Ok(())
}

/// Bytes that a store has to keep, without a frame around them, where states were small.
fn live<T: Target>(target: &T, fleet: &Fleet) -> u64 {
    let (mut bytes, kept) = (0, target.kept());
    for session in 0..fleet.len() {
        let turns = u64::from(fleet.turns(session));
        // The one that it was created with counts as well.
        bytes += RECORD as u64 + (turns + 1).min(kept.snapshots as u64) * STATE as u64;
        bytes += turns.min(kept.turns) * TURN as u64;
    }
    // Two for each turn.
    bytes + (fleet.total() * 2).min(kept.events) * (EVENTS / 2) as u64
}

/// How long a store gets to put things in order when it has nothing else to do.
const REST: Duration = Duration::from_secs(20);
