//! What an agent streams reaches its readers while the turn runs.

use dormouse::{Delta, Pattern};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use futures::StreamExt;

#[tokio::test]
async fn what_is_streamed_comes_before_the_reply_and_ends_with_it() {
    let test = TestHost::new().await;
    let session = test.bundled("assistant", Pattern::LongRunning).await;
    let streaming = session.stream("my name is Ada").await.unwrap();
    let deltas: Vec<_> = streaming.deltas().collect().await;
    let text: String = deltas
        .iter()
        .filter_map(|delta| match delta {
            Delta::Text(text) => Some(text.as_str()),
            Delta::Event { .. } => None,
        })
        .collect();
    let reply = streaming.reply().await.unwrap();
    assert!(!text.is_empty());
    assert_eq!(text, reply.text());
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_streams_no_more_than_its_bound_however_slowly_it_is_read() {
    let test = TestHost::new().await;
    let session = test.session(&guests::STREAMS_FOREVER).await;
    let streaming = session.stream("stream").await.unwrap();
    let deltas = streaming.deltas();
    streaming.reply().await.unwrap();
    let bytes: usize = deltas
        .map(|delta| match delta {
            Delta::Text(text) => text.len(),
            Delta::Event { name, data } => name.len() + data.len(),
        })
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .sum();
    assert!(bytes <= 1024 * 1024 && bytes > 1_000_000, "{bytes}");
    test.shut_down().await;
}
