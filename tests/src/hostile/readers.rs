//! Clients that ask for something large and do not read the answer.

use std::sync::Arc;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::stage::{REPLY, Stage, hold};

/// A page of turns whose replies are as large as replies may be.
pub(super) fn turns(stage: Arc<Stage>, _: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let request = stage.get(&format!("/api/sessions/{}/turns?limit=200", stage.large));
        ask(&stage, &request).await
    }
    .boxed()
}

/// Any other list.
pub(super) fn lists(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let session = format!("/api/sessions/{}", stage.large);
        let paths = [
            format!("{session}/turns/1"),
            format!("{session}/events?limit=200"),
            format!("{session}/snapshots"),
            format!("{session}/audit?limit=200"),
            "/api/events?limit=200".to_owned(),
            "/api/sessions?pageSize=200".to_owned(),
            "/api/agents".to_owned(),
            "/metrics".to_owned(),
        ];
        let request = stage.get(&paths[number % paths.len()]);
        ask(&stage, &request).await
    }
    .boxed()
}

/// The events of a turn that streams as much as it may.
pub(super) fn streams(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let path = format!("/api/sessions/{}/message", stage.one(number));
        let request = stage.post(&path, &json!({ "prompt": format!("bytes {REPLY}") }));
        ask(&stage, &request).await
    }
    .boxed()
}

async fn ask(stage: &Stage, request: &[u8]) -> Result<()> {
    let mut stream = stage.connect().await?;
    stream.write_all(request).await?;
    hold().await;
    Ok(())
}
