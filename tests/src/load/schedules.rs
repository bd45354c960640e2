//! As many schedules as one owner may have, all due at the same minute: how long it takes until each has had its run, in
//! a session of its own, and how late the last one was.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dormouse::{MAX_SCHEDULES, Timestamp};
use serde_json::{Value, json};

use super::Options;
use super::connection::Connection;
use super::counters::Counters;
use super::deadlines::now;
use super::report::{Aim, Figure, Report, Times, float};
use super::running::Running;
use super::timers::all_taken;

/// Clients at once.
const CREW: usize = 16;
/// The time between two runs of a schedule, in milliseconds.
const MINUTE: i64 = 60_000;
/// In the rest of a minute schedules are made where it has so much left, in milliseconds.
const ENOUGH: i64 = 40_000;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let count = options.sessions().min(u64::try_from(MAX_SCHEDULES)?);
    let directory = tempfile::tempdir()?;
    let running = Running::start(options, directory.path()).await?;
    let moment = next_minute().await?;
    let each = count.div_ceil(CREW as u64);
    let schedule = json!({
        "name": "due at once",
        "cron": "* * * * *",
        "prompt": "How are you today? I am a message of some sixty characters.",
        "session": { "agent": "counter", "pattern": "hybrid" },
    });
    let (schedule, begun) = (schedule.to_string(), Instant::now());
    running
        .crew(CREW)
        .await?
        .all(async |n, connection| {
            for _ in 0..each.min(count.saturating_sub(each * u64::try_from(n)?)) {
                connection.post("/api/schedules", &schedule).await?;
            }
            Ok(())
        })
        .await?;
    let rate = float(count) / begun.elapsed().as_secs_f64();
    report.row("schedules that are created", Figure::PerSecond(rate), Aim::None);
    let before = Counters::read(&mut running.connect().await?).await?;
    let left = moment.since(now()?);
    ensure!(
        !left.is_zero(),
        "the schedules were not created in time: ask for fewer with --sessions"
    );
    tokio::time::sleep(left).await;
    let took = all_taken(&running, &before, count).await?;
    let late = lateness(&mut running.connect().await?, moment, count).await?;
    report.row(
        &format!("runs of {count} schedules that are due at once"),
        Figure::PerSecond(float(count) / took.as_secs_f64()),
        Aim::None,
    );
    report.times("  how late one of them was over", &late, [Aim::None, Aim::None]);
    report.row("  how late the last one was over", Figure::Time(late.at(1.0)), Aim::None);
    running.end()
}

/// The end of this minute, or of the next one where this one has little left. Returns once there is no other before.
async fn next_minute() -> Result<Timestamp> {
    let left = MINUTE - now()?.0.rem_euclid(MINUTE);
    if left < ENOUGH {
        tokio::time::sleep(Duration::from_millis(u64::try_from(left)? + 1)).await;
    }
    let now = now()?.0;
    Ok(Timestamp(now - now.rem_euclid(MINUTE) + MINUTE))
}

/// How long after the moment the first run of each schedule was over, as its record says.
async fn lateness(connection: &mut Connection, moment: Timestamp, count: u64) -> Result<Times> {
    let begun = Instant::now();
    loop {
        let late = ended(connection, moment).await?;
        if late.count() == count {
            return Ok(late);
        }
        // A turn is over a moment before the record of its schedule says so.
        ensure!(begun.elapsed() < Duration::from_secs(30), "the runs do not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The same of those that are over.
async fn ended(connection: &mut Connection, moment: Timestamp) -> Result<Times> {
    let (late, mut after) = (Times::new(), String::new());
    loop {
        let page = connection.get(&format!("/api/schedules?limit=200&after={after}")).await?;
        let page: Value = serde_json::from_slice(page)?;
        for schedule in page["schedules"].as_array().context("a list has schedules")? {
            let run = &schedule["lastRun"];
            ensure!(run["run"] == 1, "a run took longer than a minute: {schedule}");
            if let Some(at) = run["endedAt"].as_str() {
                ensure!(run["outcome"] == "answered", "{run}");
                late.note(at.parse::<Timestamp>()?.since(moment));
            }
        }
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return Ok(late),
        }
    }
}
