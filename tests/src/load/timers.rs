//! Many timers that are due at the same moment, each of a session of its own that sleeps: how long it takes until all
//! have had their turn, and how late the last one was.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dormouse::Timestamp;
use dormouse_test_guests as guests;
use serde_json::{Value, json};

use super::Options;
use super::counters::{Counters, TURNS};
use super::deadlines::now;
use super::report::{Aim, Figure, Report, Times, float};
use super::running::{Crew, Running};

/// Clients at once.
const CREW: usize = 64;
/// How many sessions a machine should create in a second, with the turn that sets the timer, at least.
const SET: u64 = 1_000;
/// A session that can set a timer.
const SETS_TIMERS: &str = r#"{"agent": "timers", "pattern": "hybrid"}"#;
/// Longer than it may take until all have had their turn.
const LONGEST: Duration = Duration::from_secs(600);

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let count = options.sessions();
    let directory = tempfile::tempdir()?;
    let running = Running::start(options, directory.path()).await?;
    running.upload("timers", &guests::SETS_TIMERS).await?;
    let moment = now()?.after(Duration::from_secs(10 + count / SET));
    let mut crew = running.crew(CREW).await?;
    let sessions = crew.create(SETS_TIMERS, count, &Times::new()).await?;
    let set = json!({ "prompt": format!("at due {} wake up", moment.0), "streaming": false });
    crew.each(&sessions, "message", &set.to_string()).await?;
    let before = Counters::read(&mut running.connect().await?).await?;
    let left = moment.since(now()?);
    ensure!(!left.is_zero(), "the timers were not set in time: ask for fewer with --sessions");
    tokio::time::sleep(left).await;
    let took = all_taken(&running, &before, count).await?;
    // The host has closed the connections that were idle.
    let late = lateness(&mut running.crew(CREW).await?, &sessions, moment).await?;
    report.row(
        &format!("turns of {count} timers that are due at once"),
        Figure::PerSecond(float(count) / took.as_secs_f64()),
        Aim::None,
    );
    report.row("  until all have had their turn", Figure::Time(took), Aim::None);
    report.times("  how late one of them was over", &late, [Aim::None, Aim::None]);
    report.row("  how late the last one was over", Figure::Time(late.at(1.0)), Aim::None);
    running.end()
}

/// Wait until the host has taken so many turns since these counters were read. How long it took from now on.
pub(super) async fn all_taken(
    running: &Running,
    before: &Counters,
    count: u64,
) -> Result<Duration> {
    let (mut watcher, begun) = (running.connect().await?, Instant::now());
    while Counters::read(&mut watcher).await?.since(before, TURNS) < float(count) {
        ensure!(begun.elapsed() < LONGEST, "the turns do not come to an end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(begun.elapsed())
}

/// How long after the moment the turn of each timer was over, as its record says.
async fn lateness(crew: &mut Crew, sessions: &[String], moment: Timestamp) -> Result<Times> {
    let late = Times::new();
    let step = CREW;
    crew.all(async |n, connection| {
        for session in sessions.iter().skip(n).step_by(step) {
            let turn = connection.get(&format!("/api/sessions/{session}/turns/2")).await?;
            let turn: Value = serde_json::from_slice(turn)?;
            ensure!(turn["sender"] == "timer", "{turn}");
            let begun = turn["startedAt"].as_str().context("a turn was begun")?;
            let took = turn["durationMs"].as_u64().context("a turn takes time")?;
            late.note(begun.parse::<Timestamp>()?.since(moment) + Duration::from_millis(took));
        }
        Ok(())
    })
    .await?;
    Ok(late)
}
