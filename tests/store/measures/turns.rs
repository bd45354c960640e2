//! Durable turns: how many a second, and how long each takes at a part of that.

use std::sync::Arc;

use anyhow::Result;

use super::{Stand, WIDTHS, check};
use crate::fleet::{Choice, Fleet};
use crate::load::{Load, closed, fill, scheduled};
use crate::table;
use crate::target::{Dormouse, Target};

/// Only these sessions exist.
const FEW: u32 = 256;

/// On few sessions, each with a worker.
pub async fn hot(stand: Stand<'_>) -> Result<()> {
    let store = stand.open()?;
    fill(&store, FEW).await?;
    let fleet = Arc::new(Fleet::new(FEW));
    for large in [false, true] {
        let title =
            if large { "turns, 1 of 100 states large" } else { "turns, only these sessions" };
        series(&stand, &store, &fleet, Choice::Own, large, title).await?;
    }
    store.close().await
}

/// On sessions at random of very many.
pub async fn among(stand: Stand<'_>, count: u32) -> Result<()> {
    let store = stand.open()?;
    let fleet = Arc::new(Fleet::new(count));
    let of = table::count(count);
    series(&stand, &store, &fleet, Choice::Any, false, &format!("turns among {of}")).await?;
    if stand.options.counts().first() == Some(&count) {
        let title = format!("turns among {of}, 1 of 100 large");
        series(&stand, &store, &fleet, Choice::Any, true, &title).await?;
    }
    store.close().await
}

/// At full speed with each width, and with the largest at parts of its rate.
async fn series(
    stand: &Stand<'_>,
    store: &Arc<Dormouse>,
    fleet: &Arc<Fleet>,
    choice: Choice,
    large: bool,
    title: &str,
) -> Result<()> {
    table::head_of_turns(title);
    let (mut rate, mut widest) = (0.0, None);
    for width in WIDTHS {
        let load = Load { large, ..stand.load(choice, width) };
        let outcome = closed(store, fleet, load).await?;
        table::turns(&format!("{width} at a time"), &outcome);
        (rate, widest) = (outcome.rate(), Some(load));
    }
    if let Some(load) = widest {
        for part in [0.25, 0.5, 1.0] {
            let outcome = scheduled(store, fleet, load, rate * part).await?;
            table::turns(&format!("by schedule, {:.0} % of that rate", part * 100.0), &outcome);
        }
    }
    check(store, fleet).await
}
