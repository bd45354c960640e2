//! Answers as streams of events, beside the same answers as one document.

use std::time::Instant;

use anyhow::{Context, Result};
use dormouse_test_guests as guests;
use futures::StreamExt;
use futures::future::try_join_all;
use reqwest::{Method, Response};
use serde_json::json;

use super::Options;
use super::report::{Aim, Figure, Report, Times, float};
use super::running::Running;
use crate::Client;

/// The words of an answer, each written by itself.
const WORDS: usize = 200;
/// Streams at once.
const AT_ONCE: usize = 1_000;
const NONE: [Aim; 2] = [Aim::None, Aim::None];

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let running = Running::start(options, directory.path()).await?;
    let client = running.client();
    running.upload("streams-words", &guests::STREAMS_WORDS).await?;
    let new = json!({ "agent": "streams-words", "pattern": "long-running" });
    let (rounds, mut p50) = (options.choose(1_000, 200), Vec::new());
    for (what, streaming) in [("one document", false), ("a stream of events", true)] {
        let (all, first) = (Times::new(), Times::new());
        let session = client.create(&new).await?;
        for _ in 0..rounds {
            all.time(ask(&client, &session, streaming, &first)).await?;
        }
        report.times(&format!("an answer of {WORDS} words as {what}"), &all, NONE);
        report.times("  its first bytes", &first, NONE);
        p50.push(all.at(0.5).as_secs_f64());
    }
    if let [document, stream] = p50[..] {
        report.row("  a stream beside a document", Figure::Times(stream / document), Aim::None);
    }

    let sessions = try_join_all((0..AT_ONCE).map(|_| client.create(&new))).await?;
    for (what, streaming) in [("documents", false), ("streams", true)] {
        let (all, first, begun) = (Times::new(), Times::new(), Instant::now());
        for _ in 0..options.choose(10, 3) {
            let asked = sessions.iter().map(|session| ask(&client, session, streaming, &first));
            try_join_all(asked.map(|asked| all.time(asked))).await?;
        }
        let rate = float(all.count()) / begun.elapsed().as_secs_f64();
        let what = format!("{AT_ONCE} {what} at once");
        report.row(&format!("turns, {what}"), Figure::PerSecond(rate), Aim::None);
        report.times("  the first bytes of one", &first, NONE);
    }
    running.end()
}

/// Ask for an answer, and read it to its end.
async fn ask(client: &Client, session: &str, streaming: bool, first: &Times) -> Result<()> {
    let prompt = format!("words {WORDS}");
    let request = client.request(Method::POST, &format!("/api/sessions/{session}/message"));
    let request = request.json(&json!({ "prompt": prompt, "streaming": streaming }));
    let begun = Instant::now();
    let response = request.send().await?.error_for_status()?;
    let last = read(response, || first.note(begun.elapsed())).await?;
    let is_whole = !streaming || String::from_utf8_lossy(&last).contains(r#""type":"done""#);
    anyhow::ensure!(is_whole, "a stream ends before its answer does");
    Ok(())
}

/// Read a body to its end, and return its last chunk.
async fn read(response: Response, begins: impl FnOnce()) -> Result<Vec<u8>> {
    let mut chunks = response.bytes_stream();
    let mut last = chunks.next().await.context("an answer has a body")??;
    begins();
    while let Some(chunk) = chunks.next().await {
        last = chunk?;
    }
    Ok(last.to_vec())
}
