//! How long a provider may say nothing.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SILENCE: Duration = Duration::ZERO;
const ONE_EVENT: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\n";
const TWO_EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 18\r\n\r\n";
const DOCUMENT: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";

/// As long a silence as a stream may not have that has begun.
async fn silence() {
    let begun = stream::iter([Ok(Bytes::new())]).chain(stream::pending());
    let ended = collect(unless_silent(begun, SILENCE)).await;
    assert_eq!(ended.unwrap_err().to_string(), "it fell silent");
}

/// What comes of a request to a provider that is silent before each of these pieces, and after the last.
async fn asked(pieces: impl IntoIterator<Item = &'static str>) -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let pieces: Vec<_> = pieces.into_iter().collect();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"{}") {
            stream.read_buf(&mut request).await.unwrap();
        }
        for piece in pieces {
            silence().await;
            stream.write_all(piece.as_bytes()).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    let mut endpoint = Endpoint::new("slow", &base, "x", None, KeyHeader::Bearer).unwrap();
    endpoint.silence = SILENCE;
    let write = |into: &mut dyn io::Write| {
        into.write_all(b"{}").expect("it is memory");
        Ok(())
    };
    let answer = endpoint.post(write, |refusal| ModelError::Invalid(refusal.message.clone()));
    match answer.await.map_err(|failure| failure.error.to_string())? {
        Answer::Document(document) => Ok(document.to_string()),
        Answer::Stream(chunks) => {
            let body = collect(chunks).await.map_err(|Broken(why)| why)?;
            Ok(String::from_utf8(body).unwrap())
        }
    }
}

#[tokio::test]
async fn a_stream_may_begin_late_and_then_not_fall_silent() {
    assert_eq!(asked([ONE_EVENT, "data: 1\n\n"]).await.as_deref(), Ok("data: 1\n\n"));
    let silent = asked([TWO_EVENTS, "data: 1\n\n"]).await;
    assert_eq!(silent, Err("it fell silent".to_owned()));
}

#[tokio::test]
async fn a_document_may_come_whenever_its_model_is_done() {
    assert_eq!(asked([DOCUMENT, "{", "}"]).await.as_deref(), Ok("{}"));
}
