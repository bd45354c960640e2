//! Clients whose bodies and addresses are hard to read.

use std::sync::{Arc, LazyLock};

use anyhow::Result;
use dormouse_test_guests as guests;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::Stage;
use crate::costly;

/// The longest body of a document, in bytes, and a little less.
const BODY: usize = 2_000_000;

/// A document of very many values.
pub(super) fn large(stage: Arc<Stage>, _: usize) -> BoxFuture<'static, Result<()>> {
    static LARGE: LazyLock<String> =
        LazyLock::new(|| format!("{{\"context\":[{}0]}}", "0,".repeat(BODY / 2 - 20)));
    async move { creations(&stage, &LARGE).await }.boxed()
}

/// A document in a document in a document.
pub(super) fn deep(stage: Arc<Stage>, _: usize) -> BoxFuture<'static, Result<()>> {
    static DEEP: LazyLock<String> = LazyLock::new(|| {
        let half = BODY / 2 - 20;
        format!("{{\"config\":{}{}}}", "[".repeat(half), "]".repeat(half))
    });
    async move { creations(&stage, &DEEP).await }.boxed()
}

async fn creations(stage: &Stage, body: &str) -> Result<()> {
    let mut client = stage.client().await?;
    loop {
        client.status("POST", "/api/sessions", body).await?;
    }
}

/// An address of as many parameters as a head has room for, and of many more.
pub(super) fn parameters(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let count = if number.is_multiple_of(2) { 10_000 } else { 300_000 };
        let request =
            stage.get(&format!("/api/sessions/{}/audit?{}", stage.one(number), "a&".repeat(count)));
        loop {
            let mut stream = stage.connect().await?;
            stream.write_all(&request).await?;
            // What has come of the answer, which may be the end of the connection.
            let _ = stream.read(&mut [0; 4096]).await?;
        }
    }
    .boxed()
}

/// Bytes that are no component, as uploads.
pub(super) fn no_components(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let bytes = [&guests::REPLIES_WITH.bytes[..40_000], &[0xff; 1000]].concat();
        stage.mallory.upload(&format!("none{number}"), "1", bytes).await.map(drop)
    }
    .boxed()
}

/// Components that ask for more work than they have bytes, each of another kind, and one that is an agent
/// and takes the compiler long.
pub(super) fn costly(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    static ALL: LazyLock<Vec<bytes::Bytes>> = LazyLock::new(|| {
        let slow = costly::slow(guests::REPLIES_WITH.bytes);
        let worst = costly::worst().map(|(_, component)| component);
        [slow].into_iter().chain(worst).map(bytes::Bytes::from).collect()
    });
    async move {
        let bytes = ALL[number % ALL.len()].clone();
        stage.mallory.upload(&format!("costly{number}"), "1", bytes).await.map(drop)
    }
    .boxed()
}
