//! Sleep and wake over HTTP, with what HTTP alone takes.

use anyhow::Result;
use serde_json::json;

use super::Options;
use super::connection::Connection;
use super::report::{Aim, Report, Times};
use super::running::{MESSAGE, RESIDENT, Running};

/// Notes of a notepad that is to have a state of 100 KB.
const NOTES: usize = 50;
const NOTE_BYTES: usize = 2_000;

/// Wakes: the store is read, the instance made, the state put back.
const WAKE: [Aim; 2] = [Aim::Most(60e-6), Aim::Most(300e-6)];

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let running = Running::start(options, directory.path()).await?;
    let mut connection = running.connect().await?;
    let rounds = options.choose(3_000, 500);

    let http = Times::new();
    for _ in 0..rounds {
        http.time(connection.get("/healthz")).await?;
    }
    report.times("HTTP alone (GET /healthz)", &http, [Aim::None, Aim::None]);

    let counter = connection.create(RESIDENT).await?;
    let message = format!("/api/sessions/{counter}/message");
    connection.post(&message, MESSAGE).await?;
    let (sleep, wake) = naps(&mut connection, &counter, rounds).await?;
    report.times("sleep", &sleep, [Aim::None, Aim::None]);
    report.times("wake, a small state", &wake, WAKE);

    let resident = Times::new();
    for _ in 0..rounds {
        resident.time(connection.post(&message, MESSAGE)).await?;
    }
    report.times("turn on a resident session", &resident, [Aim::None, Aim::None]);
    let woken = Times::new();
    for _ in 0..rounds {
        connection.post(&format!("/api/sessions/{counter}/sleep"), "").await?;
        woken.time(connection.post(&message, MESSAGE)).await?;
    }
    report.times("turn on a sleeping session", &woken, [Aim::None, Aim::None]);

    let notepad = notepad(&mut connection).await?;
    let (_, wake) = naps(&mut connection, &notepad, rounds).await?;
    report.times("wake, 100 KB of state", &wake, WAKE);
    running.end()
}

/// Put a session to sleep and wake it, by hand: the times of each.
async fn naps(connection: &mut Connection, session: &str, rounds: u64) -> Result<(Times, Times)> {
    let (sleep, wake) = (Times::new(), Times::new());
    let base = format!("/api/sessions/{session}");
    for _ in 0..rounds {
        sleep.time(connection.post(&format!("{base}/sleep"), "")).await?;
        wake.time(connection.post(&format!("{base}/wake"), "")).await?;
    }
    Ok((sleep, wake))
}

/// A session with a state of 100 KB.
pub(super) async fn notepad(connection: &mut Connection) -> Result<String> {
    let new = json!({ "agent": "notepad", "pattern": "long-running" });
    let session = connection.create(&new.to_string()).await?;
    for _ in 0..NOTES {
        let add =
            json!({ "prompt": format!("add {}", "x".repeat(NOTE_BYTES)), "streaming": false });
        connection.post(&format!("/api/sessions/{session}/message"), &add.to_string()).await?;
    }
    Ok(session)
}
