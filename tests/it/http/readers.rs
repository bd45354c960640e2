//! Readers that take each piece of a stream that reaches them for whole lines.

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a known client of JavaScript does with a stream, ten times in a row.
const NODE_READER: &str = r#"
const [base, id] = process.argv.slice(1);
for (let n = 0; n < 10; n++) {
  const response = await fetch(`${base}/api/sessions/${id}/message`, {
    method: "POST",
    body: JSON.stringify({ prompt: "words 1000" }),
  });
  if (response.status !== 200) throw new Error(await response.text());
  const decoder = new TextDecoder();
  let text = "", last;
  for await (const chunk of response.body) {
    for (const line of decoder.decode(chunk).split("\n")) {
      if (!line.startsWith("data: ")) continue;
      last = JSON.parse(line.slice(6));
      if (last.type === "stream_event") text += last.data.event.delta.text;
    }
  }
  if (last.type !== "done") throw new Error(JSON.stringify(last));
  const words = text.trim().split(" ").length;
  if (words !== 1000) throw new Error(`${words} words`);
}
console.log("all read");
"#;

/// The events in what one read of a socket has brought, each piece of the body by itself: the first and the last
/// piece of a read may be a part of what HTTP calls a chunk.
struct Pieces {
    /// Bytes of the chunk that are to come, its line break included.
    left: usize,
    /// The line that tells the size of the next chunk, as far as it has come.
    size: Vec<u8>,
}

impl Pieces {
    fn read(&mut self, mut bytes: &[u8], events: &mut Vec<Value>) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.size.push(bytes[0]);
                bytes = &bytes[1..];
                if let Some(size) = self.size.strip_suffix(b"\r\n") {
                    let size = std::str::from_utf8(size).unwrap();
                    self.left = usize::from_str_radix(size, 16).unwrap() + 2;
                    self.size.clear();
                }
                continue;
            }
            let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= piece.len();
            bytes = rest;
            let lines = std::str::from_utf8(piece).unwrap().split('\n');
            let data = lines.filter_map(|line| line.strip_prefix("data: "));
            events.extend(data.map(|data| serde_json::from_str::<Value>(data).unwrap()));
        }
    }
}

#[tokio::test]
async fn an_answer_of_a_thousand_words_survives_a_reader_that_takes_each_read_for_whole_lines() {
    let server = TestServer::new().await;
    let id = server.session(&guests::STREAMS_WORDS, json!({})).await;
    let body = json!({ "prompt": "words 1000" }).to_string();
    let request = format!(
        "POST /api/sessions/{id}/message HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        server.address(),
        body.len()
    );
    for _ in 0..10 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let (mut pieces, mut events) = (Pieces { left: 0, size: Vec::new() }, Vec::new());
        let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            if read == 0 {
                break;
            }
            bytes += read;
            pieces.read(&buffer[..read], &mut events);
        }
        let text: String = events
            .iter()
            .filter_map(|event| event["data"]["event"]["delta"]["text"].as_str())
            .collect();
        assert_eq!(text.split_whitespace().count(), 1_000);
        assert_eq!(events.last().unwrap()["type"], "done");
        assert!(bytes < 20 << 10, "{} events take {bytes} bytes", events.len());
    }
    server.shut_down().await;
}

#[tokio::test]
#[ignore = "needs node 20"]
async fn ten_answers_of_a_thousand_words_reach_a_client_of_node() {
    let server = TestServer::new().await;
    let id = server.session(&guests::STREAMS_WORDS, json!({})).await;
    let base = format!("http://{}", server.address());
    let node = tokio::process::Command::new("node")
        .args(["--input-type=module", "--eval", NODE_READER, &base, &id])
        .output();
    let read = node.await.expect("node is there");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), "all read");
    server.shut_down().await;
}
