//! Very many sessions that sleep: what they cost, and how they are found and woken.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dormouse::{Pattern, Status, Timestamp};
use dormouse_store::{SessionQuery, Store, WakeState};
use dormouse_tests::load::report::{Aim, Figure, Times, float};

use super::Stand;
use crate::fleet::Dice;
use crate::load;
use crate::machine;
use crate::table;
use crate::target::Target;
use crate::world::{IDLE, OWNERS, TAGS, USERS, World, is_hybrid, is_idle};

/// Sessions on a page.
const PAGE: usize = 50;
/// Things that are due and asked for at once.
const DUE: usize = 256;
/// How often a listing is asked for, at most, and for how long.
const ASKED: usize = 100;
/// See [`ASKED`].
const ASKING: Duration = Duration::from_secs(2);

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
    listings(&mut stand, &*store.store, count).await?;
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

/// A filter, and whether a session passes it.
type Filter = (&'static str, SessionQuery, fn(u32) -> bool);

fn filters(world: &World) -> [Filter; 7] {
    let all = SessionQuery { limit: PAGE, ..SessionQuery::default() };
    let tag = |number: u32| format!("tag-{}", number % TAGS);
    [
        ("all", all.clone(), |_| true),
        ("an owner", SessionQuery { owner: Some(world.owner(7)), ..all.clone() }, |session| {
            session % OWNERS == 7
        }),
        ("a pattern", SessionQuery { pattern: Some(Pattern::Hybrid), ..all.clone() }, is_hybrid),
        ("a status", SessionQuery { status: Some(Status::Idle), ..all.clone() }, is_idle),
        (
            "a user",
            SessionQuery { user_id: Some("user-77".to_owned()), ..all.clone() },
            |session| session % USERS == 77,
        ),
        (
            "one of two tags",
            SessionQuery { tags: vec![tag(3), tag(4)], ..all.clone() },
            |session| [3, 4].contains(&(session % TAGS)),
        ),
        (
            "an owner, a pattern, a status",
            SessionQuery {
                owner: Some(world.owner(3)),
                pattern: Some(Pattern::Hybrid),
                status: Some(Status::Idle),
                ..all
            },
            |session| session % OWNERS == 3 && is_hybrid(session) && is_idle(session),
        ),
    ]
}

async fn listings(stand: &mut Stand<'_>, store: &dyn Store, count: u32) -> Result<()> {
    table::head("a page of 50", &["of", "first p50", "first max", "last p50", "last max"]);
    for (name, query, passes) in filters(&stand.world) {
        let expected = (0..count).filter(|session| passes(*session)).count();
        let mut columns = vec![expected.to_string()];
        for offset in [0, expected.saturating_sub(PAGE)] {
            let times = Times::new();
            let begun = Instant::now();
            for _ in 0..ASKED {
                let query = SessionQuery { offset, ..query.clone() };
                let page = times.time(store.sessions(query)).await?;
                ensure!(page.total == expected, "{name}: {} and not {expected}", page.total);
                let length = expected.min(PAGE);
                ensure!(page.sessions.len() == length, "{name}: a page of {}", page.sessions.len());
                if begun.elapsed() > ASKING {
                    break;
                }
            }
            columns.extend([0.5, 1.0].map(|part| Figure::Time(times.at(part)).show()));
        }
        table::line(name, &columns);
    }
    // That what is listed is what was asked for, and in its order, one page shows.
    let newest = store.sessions(SessionQuery { limit: PAGE, ..SessionQuery::default() }).await?;
    for (session, record) in (0..count).rev().zip(newest.sessions) {
        ensure!(record.id == stand.world.id(session), "the newest sessions are not listed first");
    }
    Ok(())
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
