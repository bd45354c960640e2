//! What the disk holds after many turns, against what can be read of it.
//!
//! Live data is what the API returns: the sessions, their turns and their events, as JSON, counted
//! for some of the sessions and taken for all. The forms on the disk are tighter than JSON, so the
//! ratio flatters; between two versions of the host it compares.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Options;
use super::connection::Connection;
use super::report::{Aim, Figure, Report, Times, float};
use super::running::{RESIDENT, Running, Until};

const CREW: usize = 256;
/// Sessions whose data is counted.
const SAMPLE: usize = 8;
/// Entries of a page.
const PAGE: usize = 200;
/// Turns may take this long together; after that the disk is looked at as it is.
const TURNS_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let running = Running::start(options, directory.path()).await?;
    let empty = used(directory.path())?;
    let mut crew = running.crew(CREW).await?;
    let sessions = crew.create(RESIDENT, u64::try_from(CREW)?, &Times::new()).await?;
    let (begun, times) = (Instant::now(), Times::new());
    let until = Until { time: begun + TURNS_TIMEOUT, count: options.turns() };
    crew.talk(&sessions, until, &times).await?;
    let turns = times.count();
    let rate = float(turns) / begun.elapsed().as_secs_f64();
    report.row(&format!("durable turns, {turns} on end"), Figure::PerSecond(rate), Aim::None);
    let full = used(directory.path())?.saturating_sub(empty);

    let mut connection = running.connect().await?;
    let mut live: u64 = 0;
    for session in sessions.iter().take(SAMPLE) {
        live += u64::try_from(readable(&mut connection, session).await?)?;
    }
    let live = float(live) * float(CREW as u64) / float(SAMPLE as u64);
    let memory = running.memory()?;
    running.end()?;
    let rested = used(directory.path())?.saturating_sub(empty);

    let aim = if turns >= 1_000_000 { Aim::Most(1.5) } else { Aim::None };
    report.row("disk ÷ live data, at once", Figure::Times(float(full) / live), aim);
    report.row("disk ÷ live data, after an end in order", Figure::Times(float(rested) / live), aim);
    report.row("  on disk", Figure::Bytes(float(rested)), Aim::None);
    report.row("  on disk for each turn", Figure::Bytes(float(rested) / float(turns)), Aim::None);
    report.row("  live, as JSON, for each turn", Figure::Bytes(live / float(turns)), Aim::None);
    report.row("memory of the host after it", Figure::Bytes(float(memory)), Aim::None);
    Ok(())
}

/// Blocks of the disk that a directory takes, in bytes.
pub(super) fn used(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // What is gone meanwhile takes nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += used(&entry.path())?;
        }
    }
    Ok(bytes)
}

/// Bytes of a session, its turns and its events, as the API returns them.
async fn readable(connection: &mut Connection, session: &str) -> Result<usize> {
    let base = format!("/api/sessions/{session}");
    let mut bytes = connection.get(&base).await?.len();
    for rows in ["turns", "events"] {
        let mut after = 0;
        loop {
            let page = connection.get(&format!("{base}/{rows}?after={after}&limit={PAGE}")).await?;
            bytes += page.len();
            let page: Value = serde_json::from_slice(page)?;
            let count = page["count"].as_u64().context("a page has a count")?;
            match page["next"].as_u64() {
                Some(next) if count > 0 && next > after => after = next,
                Some(_) | None => break,
            }
        }
    }
    Ok(bytes)
}
