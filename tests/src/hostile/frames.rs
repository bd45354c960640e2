//! Clients that speak HTTP/2, by frames that no client would send.

use std::sync::Arc;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt;

use super::stage::{MALLORY, Stage, forget, hold};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

/// Many requests for something large, of which the host may send nothing.
pub(super) fn without_window(stage: Arc<Stage>, _: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let path = format!("/api/sessions/{}/turns?limit=200", stage.large);
        let mut stream = stage.connect().await?;
        stream.write_all(PREFACE).await?;
        // The window of each stream begins with nothing.
        stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await?;
        for number in (1..200).step_by(2) {
            stream.write_all(&get(&stage, number, &path)).await?;
        }
        hold().await;
        Ok(())
    }
    .boxed()
}

/// Requests that are taken back as soon as they are sent.
pub(super) fn taken_back(stage: Arc<Stage>, number: usize) -> BoxFuture<'static, Result<()>> {
    async move {
        let path = format!("/api/sessions/{}/turns?limit=200", stage.one(number));
        flood(&stage, |stream| {
            let cancel = frame(RESET, 0, stream, &[0, 0, 0, 8]);
            [get(&stage, stream, &path), cancel].concat()
        })
        .await
    }
    .boxed()
}

/// Pings, each of which is to be answered.
pub(super) fn pings(stage: Arc<Stage>, _: usize) -> BoxFuture<'static, Result<()>> {
    async move { flood(&stage, |_| frame(PING, 0, 0, &[0; 8])).await }.boxed()
}

/// Write such frames, a hundred at a time, and forget what comes.
async fn flood(stage: &Stage, frames: impl Fn(u32) -> Vec<u8>) -> Result<()> {
    let mut connection = stage.connect().await?;
    let (read, mut write) = connection.split();
    write.write_all(PREFACE).await?;
    write.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let mut odd = (1..1 << 31).step_by(2);
    let writing = async {
        loop {
            let some: Vec<u8> = odd.by_ref().take(100).flat_map(&frames).collect();
            write.write_all(&some).await?;
        }
    };
    tokio::select! {
        ended = writing => ended,
        ended = forget(read) => ended,
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request without a body.
fn get(stage: &Stage, stream: u32, path: &str) -> Vec<u8> {
    let text = |name: &[u8], text: &str| {
        // Shorter than 127 bytes, all of them.
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        [name, &[length], text.as_bytes()].concat()
    };
    let fields = [
        // `GET` by `http`.
        vec![0x82, 0x86],
        text(&[0x04], path),
        text(&[0x01], &stage.address.to_string()),
        // `authorization`, the 23rd name of the static table.
        text(&[0x0f, 0x08], &format!("Bearer {MALLORY}")),
    ];
    frame(HEADERS, 5, stream, &fields.concat())
}
