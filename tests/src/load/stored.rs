//! Many sessions that nobody talks to: making them, starting with them, and what they take.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Options;
use super::report::{Aim, Figure, Report, Times, float};
use super::running::{RESIDENT, Running};
use super::turns;

/// Clients that create at once.
const CREW: usize = 256;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let count = options.sessions();
    let directory = tempfile::tempdir()?;
    let (empty, running) = start(options, directory.path()).await?;
    running.end()?;
    // Started again for what follows: the first start has the memory of compiling the agents.
    let (_, running) = start(options, directory.path()).await?;
    let bare = running.memory()?;

    let mut crew = running.crew(CREW).await?;
    let (begun, times) = (Instant::now(), Times::new());
    let sessions = crew.create(RESIDENT, count, &times).await?;
    let rate = float(times.count()) / begun.elapsed().as_secs_f64();
    report.row("create, 256 at once", Figure::PerSecond(rate), Aim::Least(10_000.0));
    report.times("  one of them", &times, [Aim::None, Aim::None]);
    running.kill()?;

    let aim = start_aim(count);
    report.row("start, empty directory: the agents are compiled", Figure::Time(empty), Aim::None);
    let (time, running) = start(options, directory.path()).await?;
    report.row(&format!("start after a kill, {count} sessions"), Figure::Time(time), aim);
    running.end()?;
    let (time, running) = start(options, directory.path()).await?;
    report.row(&format!("start after an end in order, {count} sessions"), Figure::Time(time), aim);

    let each = (float(running.memory()?) - float(bare)) / float(count);
    // Of few sessions one sees nothing but the noise.
    let aim = if count >= 100_000 { Aim::Most(200.0) } else { Aim::None };
    report.row("a sleeping session after the start, PSS", Figure::Bytes(each), aim);
    let mut connection = running.connect().await?;
    let index = metric(&String::from_utf8_lossy(connection.get("/metrics").await?));
    let each = index.unwrap_or(0.0) / float(count);
    report.row("  of which the host knows: its index", Figure::Bytes(each), Aim::None);

    let mut crew = running.crew(CREW.min(sessions.len())).await?;
    let some: Vec<String> =
        sessions.iter().step_by(sessions.len().div_ceil(CREW)).cloned().collect();
    let what = format!("{} sessions among {count}", some.len());
    turns::hot(options, report, &running, &mut crew, &some, (&what, Aim::None)).await?;
    running.end()
}

/// Start, until it takes work.
async fn start(options: &Options, directory: &Path) -> Result<(Duration, Running)> {
    let begun = Instant::now();
    let running = Running::start(options, directory).await?;
    Ok((begun.elapsed(), running))
}

/// Half a second for 100,000 sessions. For fewer there is no aim, and none is invented.
fn start_aim(count: u64) -> Aim {
    match count {
        100_000 => Aim::Most(0.5),
        1_000_000 => Aim::Most(3.0),
        _ => Aim::None,
    }
}

fn metric(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("dormouse_store_index_bytes "))?.parse().ok()
}
