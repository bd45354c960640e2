//! A hundred forks that spend from one account at once, beside a hundred sessions that have none.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::Options;
use super::super::provider::Provider;
use super::super::report::{Aim, Figure, Report, Times, float};
use super::super::running::{Crew, Running};
use super::{QUESTION, THINKS, script, start};

/// Sessions at once.
const MEMBERS: usize = 100;
const NONE: [Aim; 2] = [Aim::None, Aim::None];

pub(super) async fn measure(
    options: &Options,
    report: &mut Report,
    provider: &Provider,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let running = start(options, directory.path(), provider).await?;
    let mut crew = running.crew(MEMBERS).await?;
    let alone = crew.create(THINKS, u64::try_from(MEMBERS)?, &Times::new()).await?;
    let family = forks(&running).await?;
    let asking = format!("ask 1 {QUESTION}");
    for (what, lines) in [("no call", "forward"), ("a call", asking.as_str())] {
        let (mut on_their_own, mut of_one_account) = (Talk::default(), Talk::default());
        talk(options, &mut crew, &alone, lines).await?;
        talk(options, &mut crew, &family, lines).await?;
        // Twice each, so that what else the machine does falls on both.
        on_their_own.add(&talk(options, &mut crew, &alone, lines).await?);
        of_one_account.add(&talk(options, &mut crew, &family, lines).await?);
        of_one_account.add(&talk(options, &mut crew, &family, lines).await?);
        on_their_own.add(&talk(options, &mut crew, &alone, lines).await?);
        let each =
            [("of sessions on their own", &on_their_own), ("of one account", &of_one_account)];
        for (whose, talk) in each {
            let row = format!("turns with {what}, {MEMBERS} at once {whose}");
            report.row(&row, Figure::PerSecond(talk.rate()), Aim::None);
            report.times("  one of them", &talk.times, NONE);
        }
        let ratio = of_one_account.rate() / on_their_own.rate();
        report.row("  with the account beside without", Figure::Times(ratio), Aim::None);
    }
    running.end()
}

/// Forks of one session with a budget, which they share.
async fn forks(running: &Running) -> Result<Vec<String>> {
    let mut connection = running.connect().await?;
    let new = json!({ "agent": "thinks", "pattern": "long-running", "maxBudgetUsd": 1000 });
    let parent = connection.create(&new.to_string()).await?;
    connection.post(&format!("/api/sessions/{parent}/message"), &script("forward", false)).await?;
    let body = json!({ "count": MEMBERS }).to_string();
    let forked = connection.post(&format!("/api/sessions/{parent}/fork"), &body).await?;
    let forked: Value = serde_json::from_slice(forked)?;
    let sessions = forked["sessions"].as_array().context("a fork makes sessions")?;
    sessions.iter().map(|it| Ok(it["id"].as_str().context("each has an id")?.to_owned())).collect()
}

/// Turns that sessions have had at once.
#[derive(Default)]
struct Talk {
    times: Times,
    took: Duration,
}

impl Talk {
    fn add(&mut self, more: &Talk) {
        self.times.add(&more.times);
        self.took += more.took;
    }

    /// Turns a second.
    fn rate(&self) -> f64 {
        float(self.times.count()) / self.took.as_secs_f64()
    }
}

/// Each has such turns for half of a period.
async fn talk(
    options: &Options,
    crew: &mut Crew,
    sessions: &[String],
    lines: &str,
) -> Result<Talk> {
    let (begun, body, times) = (Instant::now(), script(lines, false), Times::new());
    let until = begun + options.period() / 2;
    crew.all(async |n, connection| {
        let path = format!("/api/sessions/{}/message", sessions.get(n).context("one for each")?);
        while Instant::now() < until {
            times.time(connection.post(&path, &body)).await?;
        }
        Ok(())
    })
    .await?;
    Ok(Talk { times, took: begun.elapsed() })
}
