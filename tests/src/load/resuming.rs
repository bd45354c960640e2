//! What resuming saves: small updates of a piece of work, by sessions that resume it, by sessions that are told all of it
//! in one message, and by sessions that go through it again. Money, tokens and time are those of the ledger of each.
//!
//! The provider on loopback counts four bytes as a token, reads prefixes that it knows from its cache, and takes a tenth
//! of the time of a real one. What it answers is as long each time, and never wrong: how good an answer is, this does
//! not measure.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dormouse_test_guests as guests;
use http::StatusCode;
use serde_json::{Value, json};

use super::Options;
use super::connection::Connection;
use super::counters::Counters;
use super::provider::{Pace, Provider};
use super::report::{Aim, Figure, Report, float};
use super::running::Running;

/// A model with a list price, of which a cached token costs a tenth.
const MODEL: &str = "gpt-5";
/// Turns of the work, and what each is told of its context, in bytes.
const TURNS: usize = 10;
const PIECE: usize = 800;
const SYSTEM: &str = "You help with a design. Answer each message in one paragraph.";

/// What some updates have taken.
#[derive(Default)]
struct Spent {
    cost: f64,
    tokens: f64,
    /// Of the tokens, those that were not in a cache.
    uncached: f64,
    time: Duration,
    /// Updates that were answered by a session as it should be.
    good: u64,
}

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let provider = Provider::start(Pace::Scaled)?;
    let directory = tempfile::tempdir()?;
    let arguments = provider.arguments(MODEL);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let running = Running::start_with(&options.binary()?, directory.path(), &arguments).await?;
    let (status, told) = running.client().upload("converses", "1", guests::CONVERSES.bytes).await?;
    ensure!(status == StatusCode::CREATED, "{status}: {told}");
    let mut connection = running.connect().await?;

    let work = create(&mut connection, None).await?.0;
    for n in 0..TURNS {
        say(&mut connection, &work, &piece(n)).await?;
    }
    let updates = options.choose(20, 5);
    let [mut resumed, mut told, mut again] = [(); 3].map(|()| Spent::default());
    let mut newest = work;
    for n in 0..updates {
        let update =
            format!("Update {n}: change the name in one place, and say what else it touches.");
        let (session, outcome) = create(&mut connection, Some(&newest)).await?;
        say(&mut connection, &session, &update).await?;
        let is_resumed = outcome.as_deref() == Some("resumed");
        resumed.add(&mut connection, &session, is_resumed).await?;
        newest = session;

        let session = create(&mut connection, None).await?.0;
        say(&mut connection, &session, &format!("{}{update}", all(n))).await?;
        told.add(&mut connection, &session, true).await?;

        let session = create(&mut connection, None).await?.0;
        for before in 0..TURNS {
            // No two go through it in the same words, as no two people do: else the provider's cache would have it.
            say(&mut connection, &session, &format!("({n}) {}", piece(before))).await?;
        }
        say(&mut connection, &session, &update).await?;
        again.add(&mut connection, &session, true).await?;
    }
    let counters = Counters::read(&mut connection).await?;
    running.end()?;
    for (what, spent) in
        [("resumed", &resumed), ("told in one message", &told), ("gone through again", &again)]
    {
        let each = |all: f64| all / float(updates);
        let row = format!("an update, {what}: money in µUSD");
        report.row(&row, Figure::Number(each(spent.cost) * 1e6), Aim::None);
        report.row("  tokens", Figure::Number(each(spent.tokens)), Aim::None);
        report.row("  tokens that no cache had", Figure::Number(each(spent.uncached)), Aim::None);
        report.row(
            "  time, a tenth of a real provider's",
            Figure::Time(spent.time.div_f64(float(updates))),
            Aim::None,
        );
    }
    let good = float(resumed.good) / float(updates);
    report.row("updates that resume and are answered", Figure::Part(good), Aim::Least(0.95));
    for (what, other) in [("one message", &told), ("all turns again", &again)] {
        let money = 1.0 - resumed.cost / other.cost;
        report.row(
            &format!("money that resuming saves beside {what}"),
            Figure::Part(money),
            Aim::Least(0.3),
        );
        let time = 1.0 - resumed.time.as_secs_f64() / other.time.as_secs_f64();
        report.row("  time", Figure::Part(time), Aim::Least(0.4));
    }
    let saved = counters.of("dormouse_resume_saved_nano_usd_total") / 1e3 / float(updates);
    report.row(
        "an update saves, as the metrics of the host say: µUSD",
        Figure::Number(saved),
        Aim::None,
    );
    Ok(())
}

/// A new session, and what became of the wish to resume.
async fn create(
    connection: &mut Connection,
    from: Option<&str>,
) -> Result<(String, Option<String>)> {
    let config = json!({ "systemPrompt": SYSTEM, "resumeSessionId": from.unwrap_or_default() });
    let new = json!({ "agent": "converses", "pattern": "long-running", "config": config });
    let created = connection.post("/api/sessions", &new.to_string()).await?;
    let created: Value = serde_json::from_slice(created)?;
    let id = created["id"].as_str().context("a session has an id")?.to_owned();
    Ok((id, created["resume"]["outcome"].as_str().map(str::to_owned)))
}

async fn say(connection: &mut Connection, session: &str, prompt: &str) -> Result<()> {
    let body = json!({ "prompt": prompt, "streaming": false }).to_string();
    connection.post(&format!("/api/sessions/{session}/message"), &body).await.map(drop)
}

/// What one turn of the work is told.
fn piece(n: usize) -> String {
    let mut text = format!("Part {n} of the design:");
    for line in 0.. {
        if text.len() >= PIECE {
            break;
        }
        // Writing to a text never fails.
        let _ =
            write!(text, " in part {n}, rule {line} says what rule {} leaves open;", line * 7 + n);
    }
    text
}

/// The whole work in one message. Each time in other words, as whoever tells it has to find them.
fn all(n: u64) -> String {
    let mut text = format!("For update {n}, this is the design so far. ");
    for part in 0..TURNS {
        text.push_str(&piece(part));
        text.push('\n');
    }
    text
}

impl Spent {
    /// Add what a session has spent by its own ledger.
    async fn add(
        &mut self,
        connection: &mut Connection,
        session: &str,
        is_good: bool,
    ) -> Result<()> {
        let base = format!("/api/sessions/{session}");
        let usage: Value = serde_json::from_slice(connection.get(&format!("{base}/usage")).await?)?;
        let total = |name: &str| usage["totals"][name].as_f64().with_context(|| name.to_owned());
        let (input, output) = (total("inputTokens")?, total("outputTokens")?);
        self.cost += total("costUsd")?;
        self.tokens += input + output + total("cachedTokens")?;
        self.uncached += input + output;
        let turns = connection.get(&format!("{base}/turns?limit=200")).await?;
        let turns: Value = serde_json::from_slice(turns)?;
        for turn in turns["turns"].as_array().context("a page has turns")? {
            let millis = turn["durationMs"].as_f64().context("a turn takes time")?;
            self.time += Duration::from_secs_f64(millis / 1e3);
        }
        self.good += u64::from(is_good);
        Ok(())
    }
}
