//! Very many sessions that sleep: what they cost, and how they are found and woken.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dormouse::Timestamp;
use dormouse_store::{Store, WakeState};
use dormouse_tests::load::report::{Aim, Figure, Times, float};

use super::{Stand, lists};
use crate::fleet::Dice;
use crate::load;
use crate::machine;
use crate::table;
use crate::target::Target;
use crate::world::{IDLE, is_hybrid, is_idle};

/// Things that are due and asked for at once.
const DUE: usize = 256;
/// How often the store is asked what is due.
const ASKED: usize = 100;

/// Create them.
pub async fn fill(mut stand: Stand<'_>, count: u32) -> Result<()> {
    stand.report.section(&format!("{} sleeping sessions", table::count(count)));
    let store = stand.open()?;
    let begun = Instant::now();
    load::fill(&store, count).await?;
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    stand.report.row("created, 256 in a commit", Figure::PerSecond(rate), Aim::None);
    store.close().await?;
    stand.report.note(&format!("on the disk: {}", machine::by_folder(&stand.directory)?));
    Ok(())
}

/// Look at them.
pub async fn measure(mut stand: Stand<'_>, count: u32) -> Result<()> {
    let before = machine::memory()?;
    let begun = Instant::now();
    let store = stand.open()?;
    let opened = begun.elapsed();
    let aim = Aim::Most(if count <= 100_000 { 0.5 } else { 3.0 });
    stand.report.row("open after a close in order", Figure::Time(opened), aim);
    let memory = machine::memory()?.saturating_sub(before);
    let stats = store.store.upkeep().map(|upkeep| upkeep.stats()).unwrap_or_default();
    let found = stats.sessions;
    ensure!(found == u64::from(count), "there are {found} sessions, not {count}");
    let each = |bytes: u64| Figure::Bytes(float(bytes) / f64::from(count));
    stand.report.row(
        "memory of a session: what the store says",
        each(stats.index_bytes),
        Aim::None,
    );
    stand.report.row("  what the process has grown by", each(memory), aim_of_memory(count));
    lists::pages(&stand.world, &*store.store, count).await?;
    lists::statistics(&stand.world, &*store.store, count).await?;
    deadlines(&mut stand, &*store.store, count).await?;
    wakes(&mut stand, &store, count).await?;
    let memory = machine::memory()?.saturating_sub(before);
    stand.report.row("memory of a session after all that", each(memory), Aim::None);
    store.close().await
}

/// With few sessions the memory of the process counts for more than theirs.
fn aim_of_memory(count: u32) -> Aim {
    if count < 100_000 { Aim::None } else { Aim::Most(200.0) }
}

async fn deadlines(stand: &mut Stand<'_>, store: &dyn Store, count: u32) -> Result<()> {
    // For half of those for which anything is due, it is due now.
    let now = stand.world.created_at(count / 2).after(IDLE);
    let is_due = |session: &u32| is_hybrid(*session) && !is_idle(*session);
    let (pages, next, mut seen, mut after) = (Times::new(), Times::new(), 0, None);
    for _ in 0..ASKED {
        let page = pages.time(store.due(after, now, DUE)).await?;
        ensure!(page.is_sorted(), "what is due is not in order");
        seen += page.len();
        after = page.last().copied().or(after);
        let upcoming = next.time(store.next_due(now)).await?;
        let expected = (count / 2 + 1..count).find(is_due);
        let expected = expected.map(|session| stand.world.created_at(session).after(IDLE));
        ensure!(upcoming == expected, "what is due next is {upcoming:?}, not {expected:?}");
    }
    let expected = (0..=count / 2).filter(is_due).count().min(ASKED * DUE);
    ensure!(seen == expected, "{seen} are due, not {expected}");
    stand.report.row(&format!("{DUE} of those due, p50"), Figure::Time(pages.at(0.5)), Aim::None);
    stand.report.row("what is due next, p50", Figure::Time(next.at(0.5)), Aim::None);
    let nothing = Times::new();
    for _ in 0..ASKED {
        let due = nothing.time(store.due(None, Timestamp(0), DUE)).await?;
        ensure!(due.is_empty(), "something is due before anything was created");
    }
    stand.report.row("nothing due, p50", Figure::Time(nothing.at(0.5)), Aim::None);
    Ok(())
}

async fn wakes(stand: &mut Stand<'_>, store: &crate::target::Dormouse, count: u32) -> Result<()> {
    let mut dice = Dice::new(count);
    for (what, wakes) in [("the first 1000 wakes", 1000), ("wakes after that", 20_000)] {
        let times = Times::new();
        for _ in 0..wakes {
            let session = dice.below(count);
            let woken = times.time(store.store.wake_state(stand.world.id(session))).await?;
            let WakeState { head, .. } =
                woken.with_context(|| format!("session {session} is lost"))?;
            ensure!(head.is_some(), "the state of session {session} is lost");
        }
        stand.report.times(what, &times, [Aim::Most(60e-6), Aim::Most(300e-6)]);
    }
    for _ in 0..1000 {
        store.check(dice.below(count), 0).await?;
    }
    Ok(())
}
