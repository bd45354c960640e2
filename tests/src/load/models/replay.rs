//! A turn that `kill -9` has cut off: how long the next host takes until the turn asks for what it has not had.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::Options;
use super::super::connection::Connection;
use super::super::counters::Counters;
use super::super::provider::Provider;
use super::super::report::{Aim, Figure, Report, Times};
use super::{QUESTION, THINKS, again, script, start};

/// Answers that the journal has.
const ENTRIES: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn measure(
    options: &Options,
    report: &mut Report,
    provider: &Provider,
) -> Result<()> {
    let [none, all] = [(); 2].map(|()| Times::new());
    for _ in 0..options.choose(20, 7) {
        none.note(once(options, provider, 0).await?);
        all.note(once(options, provider, ENTRIES).await?);
    }
    let what = format!("a turn taken up with {ENTRIES} entries, until its next call leaves");
    report.times(&what, &all, [Aim::None, Aim::None]);
    report.times("  with none", &none, [Aim::None, Aim::None]);
    let replay = all.at(0.5).as_secs_f64() - none.at(0.5).as_secs_f64();
    report.row("  of it the replay of the entries, p50", Figure::seconds(replay), Aim::Most(5e-3));
    Ok(())
}

/// From taking up a turn whose journal has so many answers until its next call leaves, as the host has measured it.
async fn once(options: &Options, provider: &Provider, entries: u64) -> Result<Duration> {
    let directory = tempfile::tempdir()?;
    let running = start(options, directory.path(), provider).await?;
    let mut connection = running.connect().await?;
    let session = connection.create(THINKS).await?;
    let (asked, path) = (provider.asked(), format!("/api/sessions/{session}/message"));
    provider.be_silent_at(Some(entries + 1));
    let body = script(&format!("ask {} {QUESTION}", entries + 1), false);
    // The answer never comes.
    let sending = tokio::spawn(async move { connection.status("POST", &path, &body).await });
    until_asked(provider, asked + entries + 1).await?;
    running.kill()?;
    sending.abort();
    provider.be_silent_at(None);
    let running = again(options, directory.path(), provider).await?;
    let mut connection = running.connect().await?;
    until_over(&mut connection, &session).await?;
    ensure!(
        provider.asked() == asked + entries + 2,
        "an answer that was noted was asked for again"
    );
    let counters = Counters::read(&mut connection).await?;
    ensure!(counters.of("dormouse_replay_seconds_count") > 0.0, "no turn was taken up");
    running.end()?;
    Ok(Duration::from_secs_f64(counters.of("dormouse_replay_seconds_sum")))
}

async fn until_asked(provider: &Provider, count: u64) -> Result<()> {
    let begun = Instant::now();
    while provider.asked() < count {
        ensure!(begun.elapsed() < PATIENCE, "the provider is not asked");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn until_over(connection: &mut Connection, session: &str) -> Result<()> {
    let (path, begun) = (format!("/api/sessions/{session}/turns"), Instant::now());
    loop {
        let page: serde_json::Value = serde_json::from_slice(connection.get(&path).await?)?;
        if page["count"].as_u64().context("a page has a count")? > 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "the turn is not over");
        tokio::time::sleep(PAUSE).await;
    }
}
