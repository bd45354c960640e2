//! Clients that keep the host waiting.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt;

use super::stage::{Stage, forget, hold};

/// How long a client that trickles waits before each byte.
const TRICKLE: Duration = Duration::from_millis(20);

/// What a client may begin with and not go on: nothing, half of what says that it speaks HTTP/2, all
/// of that and no request, and half a head.
const BEGINNINGS: [&[u8]; 4] = [
    b"",
    b"PRI * HTTP/2.0\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"GET /healthz HTTP/1.1\r\nhost: localh",
];

/// Connect, begin, and say nothing more until the host ends the connection.
pub(super) fn silent(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let mut stream = stage.connect().await?;
        stream.write_all(BEGINNINGS[number % BEGINNINGS.len()]).await?;
        // A reset ends it as well.
        let _ = forget(stream).await;
        // The next takes its place: not at once, or all of them would do nothing but connect.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }
    .boxed()
}

/// A head, byte by byte.
pub(super) fn heads(stage: Arc<Stage>, _: usize) -> BoxFuture<'static, Result<()>> {
    async move { trickle(&stage, b"GET /healthz HTTP/1.1\r\nx-long: ").await }.boxed()
}

/// A body, byte by byte: a document or a component.
pub(super) fn bodies(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let (path, kind) = KINDS[number % KINDS.len()];
        trickle(&stage, &stage.head(path, kind, 1 << 20)).await
    }
    .boxed()
}

/// A body as fast as can be, but for its last byte.
pub(super) fn unfinished(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let (path, kind) = KINDS[number % KINDS.len()];
        let length = if kind == "application/wasm" { 16 << 20 } else { 2 << 20 };
        let mut stream = stage.connect().await?;
        stream.write_all(&stage.head(path, kind, length)).await?;
        let piece = [b' '; 64 << 10];
        for _ in 1..length / piece.len() {
            stream.write_all(&piece).await?;
        }
        stream.write_all(&piece[1..]).await?;
        hold().await;
        Ok(())
    }
    .boxed()
}

/// What bodies there are.
const KINDS: [(&str, &str); 2] = [
    ("/api/sessions", "application/json"),
    ("/api/agents?name=slow&version=1", "application/wasm"),
];

async fn trickle(stage: &Stage, begin: &[u8]) -> Result<()> {
    let mut stream = stage.connect().await?;
    stream.write_all(begin).await?;
    loop {
        tokio::time::sleep(TRICKLE).await;
        stream.write_all(b"x").await?;
    }
}
