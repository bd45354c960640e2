//! The first text of an answer: directly, and as the stream of a turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use dormouse::model::{OpenAi, Provider as _};
use dormouse_test_guests as guests;
use futures::StreamExt;

use super::super::Options;
use super::super::provider::{ANSWER, Provider};
use super::super::report::{Aim, Figure, Report, Times};
use super::{QUESTION, THINKS, request, script, start};

const NONE: [Aim; 2] = [Aim::None, Aim::None];

pub(super) async fn measure(
    options: &Options,
    report: &mut Report,
    provider: &Provider,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let running = start(options, directory.path(), provider).await?;
    let mut connection = running.connect().await?;
    let thinks = connection.create(THINKS).await?;
    running.upload("streams-words", &guests::STREAMS_WORDS).await?;
    let plain =
        connection.create(r#"{"agent": "streams-words", "pattern": "long-running"}"#).await?;
    let (client, request) = (OpenAi::new("loopback", &provider.url, None)?, Arc::new(request()));
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
    let url =
        |session: &str| format!("http://{}/api/sessions/{session}/message", running.address());
    let asks = script(&format!("forward\nask 1 {QUESTION}"), true);
    let says = script("words 1", true);
    let [direct, gate, turn] = [(); 3].map(|()| Times::new());
    // From when the provider begins to write.
    let [direct_back, gate_back] = [(); 2].map(|()| Times::new());
    for _ in 0..options.choose(500, 100) {
        let (begun, mut first) = (Instant::now(), None);
        let answered =
            client.ask(Arc::clone(&request), &mut |_| first = first.or(Some(Instant::now()))).await;
        answered.map_err(|failure| anyhow!("{}", failure.error))?;
        let first = first.context("an answer has text")?;
        direct.note(first - begun);
        direct_back.note(first.saturating_duration_since(provider.answered_at()));

        let begun = Instant::now();
        let first = until(&http, &url(&thinks), &asks, ANSWER).await?;
        gate.note(first - begun);
        gate_back.note(first.saturating_duration_since(provider.answered_at()));

        let begun = Instant::now();
        turn.note(until(&http, &url(&plain), &says, "word0").await? - begun);
    }
    running.end()?;
    report.times("the first text of an answer, directly", &direct, NONE);
    report.times("  as the stream of a turn", &gate, NONE);
    report.times("  the first text of a turn that asks no model", &turn, NONE);
    let p50 = |times: &Times| times.at(0.5).as_secs_f64();
    let added = p50(&gate) - p50(&direct) - p50(&turn);
    report.row(
        "  added by the gate, a sync included, p50",
        Figure::seconds(added),
        Aim::Most(300e-6),
    );
    let back = p50(&gate_back) - p50(&direct_back);
    report.row("  of it on the way back to the client, p50", Figure::seconds(back), Aim::None);
    Ok(())
}

/// Send a message, and read the stream of its turn to the end. When this text came first.
async fn until(http: &reqwest::Client, url: &str, body: &str, text: &str) -> Result<Instant> {
    let request = http.post(url).header("content-type", "application/json").body(body.to_owned());
    let request = request.timeout(Duration::from_secs(60));
    let response = request.send().await?.error_for_status()?;
    let (mut chunks, mut read, mut first) = (response.bytes_stream(), Vec::new(), None);
    while let Some(chunk) = chunks.next().await {
        let now = Instant::now();
        read.extend_from_slice(&chunk?);
        let has = || read.windows(text.len()).any(|window| window == text.as_bytes());
        if first.is_none() && has() {
            first = Some(now);
        }
    }
    first.with_context(|| String::from_utf8_lossy(&read).into_owned())
}
