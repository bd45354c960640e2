//! Clients that send more than others.

use std::sync::Arc;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::stage::{Stage, forget};

/// Something small, again and again: what each client may do.
pub(super) fn requests(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let path = format!("/api/sessions/{}/status", stage.one(number));
        let mut client = stage.client().await?;
        loop {
            client.status("GET", &path, "").await?;
        }
    }
    .boxed()
}

/// Turns, one after the other: what each client may do.
pub(super) fn turns(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move { messages(&stage, stage.one(number), "hello").await }.boxed()
}

/// Turns with the longest prompts, which are replied with.
pub(super) fn large(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move { messages(&stage, stage.one(number), &"x".repeat(1_000_000)).await }.boxed()
}

/// Large messages that wait for a session: one keeps it busy.
pub(super) fn waiting(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let prompt = match number {
            0 => "sleep 300".to_owned(),
            _ => "x".repeat(1_000_000),
        };
        messages(&stage, &stage.busy, &prompt).await
    }
    .boxed()
}

async fn messages(stage: &Stage, session: &str, prompt: &str) -> Result<()> {
    let path = format!("/api/sessions/{session}/message");
    let message = json!({ "prompt": prompt, "streaming": false }).to_string();
    let mut client = stage.client().await?;
    loop {
        client.status("POST", &path, &message).await?;
    }
}

/// A connection for each request.
pub(super) fn connections(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let path = format!("/api/sessions/{}/status", stage.one(number));
        loop {
            stage.client().await?.status("GET", &path, "").await?;
        }
    }
    .boxed()
}

/// Requests that do not wait for the answers to those before.
pub(super) fn pipelined(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let request = stage.get(&format!("/api/sessions/{}/status", stage.one(number)));
        exchange(&stage, &request.repeat(100)).await
    }
    .boxed()
}

/// Write this again and again, and forget what comes.
async fn exchange(stage: &Stage, requests: &[u8]) -> Result<()> {
    let mut connection = stage.connect().await?;
    let (read, mut write) = connection.split();
    let writing = async {
        loop {
            write.write_all(requests).await?;
        }
    };
    tokio::select! {
        ended = writing => ended,
        ended = forget(read) => ended,
    }
}

/// A message, and nobody waits for the answer.
pub(super) fn hang_up(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let path = format!("/api/sessions/{}/message", stage.one(number));
        let request = stage.post(&path, &json!({ "prompt": "hello" }));
        loop {
            stage.connect().await?.write_all(&request).await?;
        }
    }
    .boxed()
}

/// All that can be asked of a session, by somebody who knows the id of a neighbour's.
pub(super) fn stranger(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let session = &stage.neighbours[number % stage.neighbours.len()];
        let message = r#"{"prompt": "hello", "streaming": false}"#;
        let mut client = stage.client().await?;
        loop {
            for way in ["message", "pause", "sleep", "resume", "force-kill", "fork"] {
                let body = if way == "message" { message } else { "{}" };
                let path = format!("/api/sessions/{session}/{way}");
                client.status("POST", &path, body).await?;
            }
        }
    }
    .boxed()
}

/// New sessions, each with as much as the host would keep of it in memory and on the disk.
pub(super) fn creations(stage: Arc<Stage>, _: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let tags: Vec<String> = (0..32).map(|n| format!("{n:02}{}", "t".repeat(28))).collect();
        let much = json!({ "much": "x".repeat(50_000) });
        let new = json!({
            "agent": "counter", "pattern": "hybrid", "tags": tags,
            "context": much, "metadata": much,
        });
        let new = new.to_string();
        let mut client = stage.client().await?;
        loop {
            client.status("POST", "/api/sessions", &new).await?;
        }
    }
    .boxed()
}
