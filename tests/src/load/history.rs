//! Forks and rewinds over HTTP, and what a turn costs with and without a snapshot.

use anyhow::Result;
use serde_json::{Value, json};

use super::connection::Connection;
use super::report::{Aim, Report, Times};
use super::residency::notepad;
use super::running::{MESSAGE, RESIDENT, Running};
use super::{Options, scripts};

/// Sessions that one fork makes.
const FORKS: u64 = 100;
/// A fork of a hundred.
const FORK: [Aim; 2] = [Aim::Most(5e-3), Aim::None];
const NONE: [Aim; 2] = [Aim::None, Aim::None];

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let running = Running::start(options, directory.path()).await?;
    let mut connection = running.connect().await?;
    let rounds = options.choose(200, 30);

    let counter = connection.create(RESIDENT).await?;
    connection.post(&format!("/api/sessions/{counter}/message"), MESSAGE).await?;
    let notepad = notepad(&mut connection).await?;
    for (what, session) in
        [("fork of 100, a small state", &counter), ("fork of 100, 100 KB of state", &notepad)]
    {
        let (path, body) = (format!("/api/sessions/{session}/fork"), json!({ "count": FORKS }));
        let times = Times::new();
        for _ in 0..rounds {
            times.time(connection.post(&path, &body.to_string())).await?;
        }
        report.times(what, &times, FORK);
    }

    let times = Times::new();
    for _ in 0..rounds {
        let head = head(&mut connection, &counter).await?;
        let rewind = json!({ "snapshotId": head }).to_string();
        connection.post(&format!("/api/sessions/{counter}/message"), MESSAGE).await?;
        times.time(connection.post(&format!("/api/sessions/{counter}/rewind"), &rewind)).await?;
    }
    report.times("rewind by a turn", &times, NONE);

    for (size, bytes) in [("a small state", 0), ("10 MiB of state", 10 << 20)] {
        for (when, durability) in [("with each", "turn"), ("on sleep alone", "sleep")] {
            let new = json!({
                "agent": "notepad", "pattern": "long-running", "durability": durability,
            });
            let session = connection.create(&new.to_string()).await?;
            scripts::fill(&mut connection, &session, bytes).await?;
            let times = Times::new();
            for _ in 0..rounds {
                let message = format!("/api/sessions/{session}/message");
                times.time(connection.post(&message, MESSAGE)).await?;
            }
            report.times(&format!("turn, {size}, a snapshot {when}"), &times, NONE);
        }
    }
    running.end()
}

async fn head(connection: &mut Connection, session: &str) -> Result<String> {
    let body = connection.get(&format!("/api/sessions/{session}")).await?;
    let session: Value = serde_json::from_slice(body)?;
    Ok(session["sessionId"].as_str().unwrap_or_default().to_owned())
}
