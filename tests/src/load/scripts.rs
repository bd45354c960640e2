//! Agents in JavaScript and Python beside one in Rust: what they are, how they sleep and wake.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;

use super::Options;
use super::connection::Connection;
use super::disk::used;
use super::report::{Aim, Figure, Report, Times, float};
use super::running::Running;
use crate::scripted::{NAMES, scripted};

/// Turns before a session sleeps and wakes again and again.
const TURNS: u64 = 20;
/// States that are measured besides, in bytes, and how often each: of notes of random letters.
const STATES: [(&str, usize, u64); 4] = [
    ("64 KiB", 64 << 10, 300),
    ("1 MiB", 1 << 20, 100),
    ("10 MiB", 10 << 20, 20),
    ("100 MiB", 100 << 20, 5),
];
/// The longest note of these.
const NOTE: usize = 1_000_000;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let running = Running::start(options, directory.path()).await?;
    let mut connection = running.connect().await?;
    // The same in Rust, to compare with.
    session(options, report, &mut connection, "notepad").await?;
    states(options, report, &mut connection, "notepad").await?;
    for name in NAMES {
        let guest = match scripted(name) {
            Ok(guest) => guest,
            Err(missing) => {
                report.note(&missing);
                continue;
            }
        };
        let compiled = directory.path().join("data").join("compiled");
        let before = used(&compiled)?;
        let begun = Instant::now();
        let (status, answer) = running.client().upload(name, "1", guest.bytes).await?;
        let took = begun.elapsed();
        ensure!(status == 201, "{name}: {status}: {answer}");
        let mut row = |what, figure| report.row(&format!("{name}: {what}"), figure, Aim::None);
        row("the component", bytes(guest.bytes.len().try_into()?));
        row("its compiled form", bytes(used(&compiled)?.saturating_sub(before)));
        row("upload, compilation included", Figure::Time(took));
        // The host has closed the last one, which was idle while it compiled.
        connection = running.connect().await?;
        session(options, report, &mut connection, name).await?;
        states(options, report, &mut connection, name).await?;
    }
    running.end()
}

/// Turns, sleeps and wakes of one session with this agent.
async fn session(
    options: &Options,
    report: &mut Report,
    connection: &mut Connection,
    agent: &str,
) -> Result<()> {
    let new = json!({ "agent": agent, "pattern": "long-running" });
    let session = connection.create(&new.to_string()).await?;
    let base = format!("/api/sessions/{session}");
    let add =
        json!({ "prompt": "add a note of some forty characters, no more", "streaming": false });
    for turn in 1..=TURNS {
        let before = saved_bytes(connection).await?;
        connection.post(&format!("{base}/message"), &add.to_string()).await?;
        if turn == 1 || turn == TURNS {
            let state = saved_bytes(connection).await? - before;
            ensure!(state > 0.0, "{agent}: the host does not count the bytes of its states");
            report.row(
                &format!("{agent}: state after turn {turn}"),
                Figure::Bytes(state),
                Aim::None,
            );
        }
    }
    let (sleep, wake) = (Times::new(), Times::new());
    for _ in 0..options.choose(1_000, 200) {
        sleep.time(connection.post(&format!("{base}/sleep"), "")).await?;
        wake.time(connection.post(&format!("{base}/wake"), "")).await?;
    }
    report.times(&format!("{agent}: sleep"), &sleep, [Aim::None, Aim::None]);
    report.times(&format!("{agent}: wake"), &wake, [Aim::None, Aim::None]);
    let turns = Times::new();
    let list = json!({ "prompt": "count", "streaming": false }).to_string();
    for _ in 0..options.choose(1_000, 200) {
        turns.time(connection.post(&format!("{base}/message"), &list)).await?;
    }
    report.times(&format!("{agent}: turn, its state saved"), &turns, [Aim::None, Aim::None]);
    Ok(())
}

/// Sleeps, wakes and turns of sessions that keep much.
async fn states(
    options: &Options,
    report: &mut Report,
    connection: &mut Connection,
    agent: &str,
) -> Result<()> {
    let new =
        json!({ "agent": agent, "pattern": "long-running", "maxFuelPerTurn": 100_000_000_000_u64 });
    for (size, bytes, rounds) in STATES {
        if options.is_quick() && bytes > 10 << 20 {
            continue;
        }
        let session = connection.create(&new.to_string()).await?;
        let base = format!("/api/sessions/{session}");
        fill(connection, &session, bytes).await?;
        let before = saved_bytes(connection).await?;
        let (turns, sleep, wake) = (Times::new(), Times::new(), Times::new());
        let count = json!({ "prompt": "count", "streaming": false }).to_string();
        turns.time(connection.post(&format!("{base}/message"), &count)).await?;
        let state = saved_bytes(connection).await? - before;
        let what = format!("{agent}, {size} of notes");
        report.row(&format!("{what}: state"), Figure::Bytes(state), Aim::None);
        for _ in 0..rounds {
            sleep.time(connection.post(&format!("{base}/sleep"), "")).await?;
            wake.time(connection.post(&format!("{base}/wake"), "")).await?;
            turns.time(connection.post(&format!("{base}/message"), &count)).await?;
        }
        report.times(&format!("{what}: sleep"), &sleep, [Aim::None, Aim::None]);
        report.times(&format!("{what}: wake"), &wake, [Aim::None, Aim::None]);
        report.times(&format!("{what}: turn, its state saved"), &turns, [Aim::None, Aim::None]);
    }
    Ok(())
}

/// Give a notepad notes of so many random letters.
pub(super) async fn fill(connection: &mut Connection, session: &str, bytes: usize) -> Result<()> {
    let mut left = bytes;
    while left > 0 {
        let note = letters(left.min(NOTE), left);
        let add = json!({ "prompt": format!("add {note}"), "streaming": false });
        connection.post(&format!("/api/sessions/{session}/message"), &add.to_string()).await?;
        left -= note.len();
    }
    Ok(())
}

/// So many letters that follow from a seed, and hardly compress.
fn letters(count: usize, seed: usize) -> String {
    let mut state = seed as u64 | 1;
    let letter = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 33) as u8 % 26)
    };
    (0..count).map(letter).collect()
}

/// Bytes of all states that the host has saved since it started.
async fn saved_bytes(connection: &mut Connection) -> Result<f64> {
    let metrics = std::str::from_utf8(connection.get("/metrics").await?)?;
    let mut lines = metrics.lines();
    let sum = lines.find_map(|line| line.strip_prefix("dormouse_snapshot_bytes_sum "));
    // Before the first state there is no such line.
    Ok(sum.map_or(Ok(0.0), |sum| sum.trim().parse())?)
}

fn bytes(count: u64) -> Figure {
    Figure::Bytes(float(count))
}
