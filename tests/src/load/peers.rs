//! Mail between two agents, and questions: how many a second, in pairs that answer each other without end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dormouse_test_guests as guests;
use serde_json::{Value, json};

use super::Options;
use super::report::{Aim, Figure, Report, Times, float};
use super::running::Running;

/// Pairs at a time.
const PAIRS: [usize; 2] = [1, 32];
/// Questions that one message has an agent ask.
const QUESTIONS: usize = 20;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    for pairs in PAIRS {
        let what = format!("{pairs} pair{}", if pairs == 1 { "" } else { "s" });
        let directory = tempfile::tempdir()?;
        let running = Running::start(options, directory.path()).await?;
        running.upload("writes", &guests::WRITES_TO_PEERS).await?;
        let mut sessions = Vec::new();
        for _ in 0..pairs {
            sessions.push(pair(&running).await?);
        }
        questions(options, report, &running, &sessions[0], &what).await?;
        mail(options, report, &running, &sessions, &what).await?;
        running.end()?;
    }
    Ok(())
}

/// Two sessions that know each other.
async fn pair(running: &Running) -> Result<[String; 2]> {
    let client = running.client();
    let new =
        |peers: Value| json!({ "agent": "writes", "pattern": "long-running", "peers": peers });
    let ann = client.create(&new(json!({}))).await?;
    let bob = client.create(&new(json!({ "ann": ann }))).await?;
    let known = json!({ "peers": { "bob": bob } });
    client.patch(&format!("/api/sessions/{ann}"), &known).await?;
    Ok([ann, bob])
}

/// Each pair sends a mail to and fro for a while.
async fn mail(
    options: &Options,
    report: &mut Report,
    running: &Running,
    pairs: &[[String; 2]],
    what: &str,
) -> Result<()> {
    let client = running.client();
    for [ann, _] in pairs {
        client.message(ann, "send bob ping").await?;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (begun, used, before) =
        (Instant::now(), running.processor_time()?, turns(running, pairs).await?);
    tokio::time::sleep(options.period()).await;
    let (took, used) = (begun.elapsed(), running.processor_time()?.saturating_sub(used));
    let mails = turns(running, pairs).await?.saturating_sub(before);
    let rate = float(mails) / took.as_secs_f64();
    report.row(
        &format!("mails that are answered by mail, {what}"),
        Figure::PerSecond(rate),
        Aim::None,
    );
    let each = used.div_f64(float(mails.max(1)));
    report.row("  processor time of the host for a mail", Figure::Time(each), Aim::None);
    Ok(())
}

/// One agent asks another, again and again.
async fn questions(
    options: &Options,
    report: &mut Report,
    running: &Running,
    [ann, _]: &[String; 2],
    what: &str,
) -> Result<()> {
    let mut connection = running.connect().await?;
    let script = vec!["ask bob how are you?"; QUESTIONS].join("\n");
    let body = json!({ "prompt": script, "streaming": false }).to_string();
    let path = format!("/api/sessions/{ann}/message");
    connection.post(&path, &body).await?;
    let (times, begun) = (Times::new(), Instant::now());
    while begun.elapsed() < options.period() {
        times.time(connection.post(&path, &body)).await?;
    }
    let asked = times.count() * u64::try_from(QUESTIONS)?;
    let rate = float(asked) / begun.elapsed().as_secs_f64();
    report.row(
        &format!("questions, one at a time, {what} there"),
        Figure::PerSecond(rate),
        Aim::None,
    );
    Ok(())
}

/// The turns of all of them.
async fn turns(running: &Running, pairs: &[[String; 2]]) -> Result<u64> {
    let client = running.client();
    let mut all = 0;
    for id in pairs.iter().flatten() {
        let (_, session) = client.get(&format!("/api/sessions/{id}")).await?;
        all += session["numTurns"].as_u64().context("a session has a number of turns")?;
    }
    Ok(all)
}
