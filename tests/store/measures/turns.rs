//! Durable turns: how many a second, and how long each takes at a part of that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dormouse::SessionQuery;
use dormouse_tests::load::report::Times;
use tokio::sync::watch;

use super::{Stand, WIDTHS, check};
use crate::fleet::{Choice, Dice, Fleet};
use crate::load::{Load, closed, fill, scheduled};
use crate::table;
use crate::target::{Dormouse, Target};

/// Who reads beside turns wakes so many sessions for each page that it lists.
const WAKES: usize = 20;
/// And rests so long after each.
const PAUSE: Duration = Duration::from_millis(2);
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
    let title = format!("turns among {of}");
    let rate = series(&stand, &store, &fleet, Choice::Any, false, &title).await?;
    beside_readers(&stand, &store, &fleet, rate / 4.0).await?;
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
) -> Result<f64> {
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
    check(store, fleet).await?;
    Ok(rate)
}

/// A quarter of what is borne, while somebody wakes sessions and lists those of an owner.
async fn beside_readers(
    stand: &Stand<'_>,
    store: &Arc<Dormouse>,
    fleet: &Arc<Fleet>,
    rate: f64,
) -> Result<()> {
    let (stop, mut stopped) = watch::channel(());
    let reader = {
        let (store, count) = (Arc::clone(store), fleet.len());
        tokio::spawn(async move {
            let (wakes, lists) = (Times::new(), Times::new());
            let mut dice = Dice::new(count);
            while !matches!(stopped.has_changed(), Ok(true) | Err(_)) {
                for _ in 0..WAKES {
                    let session = store.world.id(dice.below(count));
                    let since = Instant::now();
                    let woken = store.store.wake_state(session).await?;
                    wakes.note(since.elapsed());
                    ensure!(woken.is_some_and(|woken| woken.head.is_some()), "a state is lost");
                    let _ = tokio::time::timeout(PAUSE, stopped.changed()).await;
                }
                let owner = Some(store.world.owner(dice.below(count)));
                let query = SessionQuery { owner, limit: 50, ..SessionQuery::default() };
                let since = Instant::now();
                store.store.sessions(query).await?;
                lists.note(since.elapsed());
            }
            anyhow::Ok((wakes, lists))
        })
    };
    let load = stand.load(Choice::Any, WIDTHS[2]);
    let outcome = scheduled(store, fleet, load, rate).await?;
    drop(stop);
    let (wakes, lists) = reader.await??;
    table::turns("25 % of that, beside readers", &outcome);
    table::times("  wakes meanwhile", &wakes);
    table::times("  pages of an owner meanwhile", &lists);
    Ok(())
}
