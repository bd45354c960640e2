//! The same turns for the store of the host and for other databases.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use dormouse::Retention;
use dormouse_store::embedded;
use dormouse_tests::load::report::{Figure, float};

use super::{Stand, WIDTHS, check, live};
use crate::fleet::{Choice, Fleet};
use crate::load::{Load, closed, fill};
use crate::options::Contender;
use crate::rivals::{self, Grouped};
use crate::target::{Dormouse, Target};
use crate::{machine, table};

/// The sessions that exist where only few do.
const FEW: u32 = 256;
/// The number of turns that is the same for all is taken in this time, or not at all.
const ROUND_TIMEOUT: Duration = Duration::from_secs(90);

/// The head of the table, and what is compared.
pub fn explain(quick: bool) {
    let (many, turns) = scale(quick);
    println!("the same turns for other databases");
    for line in rivals::RULES {
        println!("  {line}");
    }
    println!("  1, 32, 256 at a time, on sessions of their own, and among {}", table::count(many));
    println!(
        "  disk, closed, memory: after {turns} turns on 256 sessions; ÷ live data, each its own"
    );
    let columns =
        ["1", "32", "256", "1 among", "32 among", "256 among", "disk", "closed", "memory"];
    table::head("", &columns);
}

/// How many sessions exist, and how many turns are the same for all.
fn scale(quick: bool) -> (u32, u64) {
    if quick { (10_000, 20_000) } else { (100_000, 300_000) }
}

/// All turns of one contender.
pub(super) async fn measure(stand: Stand<'_>, contender: Contender) -> Result<()> {
    let world = &stand.world;
    let host = embedded::Options::default();
    let retention = Retention { snapshots: 1, ..host.retention };
    let newest = embedded::Options { retention, ..host.clone() };
    match contender {
        Contender::Dormouse => {
            let open = |directory: &Path| Dormouse::open(directory, world, newest.clone());
            bout(&stand, "Dormouse, the newest snapshot", open).await
        }
        Contender::DormouseHistory => {
            let name = format!("Dormouse, {} snapshots", host.retention.snapshots);
            bout(&stand, &name, |directory| Dormouse::open(directory, world, host.clone())).await
        }
        Contender::Sled => {
            let open =
                |directory: &Path| Grouped::start(rivals::sled::Sled::open(directory)?, world);
            bout(&stand, "sled, the plain form", open).await
        }
        #[cfg(feature = "rivals")]
        Contender::Fjall => {
            let open =
                |directory: &Path| Grouped::start(rivals::fjall::Fjall::open(directory)?, world);
            bout(&stand, "fjall", open).await
        }
        #[cfg(feature = "rivals")]
        Contender::Sqlite => {
            let open =
                |directory: &Path| Grouped::start(rivals::sqlite::Sqlite::open(directory)?, world);
            bout(&stand, "SQLite", open).await
        }
    }
}

async fn bout<T: Target>(
    stand: &Stand<'_>,
    name: &str,
    open: impl Fn(&Path) -> Result<T>,
) -> Result<()> {
    let (many, turns) = scale(stand.options.quick);
    // First, while the memory of the process is nobody's yet.
    let sizes = sizes(stand, turns, &open).await?;
    let mut columns = Vec::new();
    for (count, choice) in [(FEW, Choice::Own), (many, Choice::Any)] {
        let (target, fleet) = filled(open(&stand.directory)?, count).await?;
        for width in WIDTHS {
            let outcome = closed(&target, &fleet, stand.load(choice, width)).await?;
            columns.push(Figure::PerSecond(outcome.rate()).show());
        }
        check(&target, &fleet).await?;
        target.close().await?;
        drop(target);
        std::fs::remove_dir_all(&stand.directory)?;
    }
    columns.extend(sizes);
    table::line(name, &columns);
    Ok(())
}

/// What it takes after so many turns: the disk at once and after a close, and memory.
async fn sizes<T: Target>(
    stand: &Stand<'_>,
    turns: u64,
    open: impl Fn(&Path) -> Result<T>,
) -> Result<[String; 3]> {
    let before = machine::memory()?;
    let (target, fleet) = filled(open(&stand.directory)?, FEW).await?;
    let load = stand.load(Choice::Own, FEW);
    let load = Load { most: turns, period: ROUND_TIMEOUT, warm_up: Duration::ZERO, ..load };
    closed(&target, &fleet, load).await?;
    check(&target, &fleet).await?;
    let memory = machine::memory()?.saturating_sub(before);
    let live = float(live(&*target, &fleet));
    let at_once = machine::disk(&stand.directory)?;
    target.close().await?;
    drop(target);
    let closed = machine::disk(&stand.directory)?;
    std::fs::remove_dir_all(&stand.directory)?;
    if fleet.total() < turns {
        println!("    only {} turns when patience was at its end", fleet.total());
    }
    let [at_once, closed] =
        [at_once, closed].map(|bytes| Figure::Times(float(bytes) / live).show());
    Ok([at_once, closed, Figure::Bytes(float(memory)).show()])
}

async fn filled<T: Target>(target: T, count: u32) -> Result<(Arc<T>, Arc<Fleet>)> {
    let target = Arc::new(target);
    fill(&target, count).await?;
    Ok((target, Arc::new(Fleet::new(count))))
}
