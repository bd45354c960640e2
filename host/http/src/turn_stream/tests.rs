//! How what an agent streams becomes events.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::sse::for_tests::writer;
use super::*;

fn text_of(chunk: &Bytes) -> String {
    String::from_utf8(chunk.to_vec()).unwrap()
}

async fn follow(writer: &mut EventWriter, deltas: Vec<Delta>) {
    for delta in deltas {
        writer.delta(delta).await.unwrap();
    }
    writer.flush().await.unwrap();
}

fn words(count: usize) -> Vec<Delta> {
    (0..count).map(|n| Delta::Text(format!("word{n} "))).collect()
}

fn chunks(mut receiver: mpsc::Receiver<Bytes>) -> Vec<String> {
    std::iter::from_fn(|| receiver.try_recv().ok()).map(|chunk| text_of(&chunk)).collect()
}

#[test]
fn long_text_is_cut_between_characters_and_nothing_is_lost() {
    for text in ["", "short", &"x".repeat(MAX_DELTA), &"ä€𝄞".repeat(3_000)] {
        let cut: Vec<&str> = pieces(text).collect();
        assert_eq!(cut.concat(), text);
        assert!(cut.iter().all(|piece| (1..=MAX_DELTA).contains(&piece.len())));
        assert!(cut.len() <= text.len() / (MAX_DELTA - 3) + 1);
    }
}

#[tokio::test]
async fn text_that_is_ready_is_joined_and_has_the_number_of_its_last_piece() {
    let (mut writer, receiver) = writer(0);
    follow(&mut writer, words(1_000)).await;
    let chunks = chunks(receiver);
    let bytes: usize = chunks.iter().map(String::len).sum();
    assert!(chunks.len() == 2 && bytes < 16 << 10, "{} events, {bytes} bytes", chunks.len());
    assert!(chunks[1].starts_with("id: 2.1.1000\ndata: "), "{}", chunks[1]);
    assert!(chunks.iter().all(|chunk| chunk.len() < MAX_DELTA + 200));
}

#[tokio::test]
async fn an_event_of_the_agent_stands_between_the_texts_around_it() {
    let (mut writer, receiver) = writer(0);
    let event = Delta::Event { name: "step".to_owned(), data: "1".to_owned() };
    let mut deltas = words(2);
    deltas.push(event);
    deltas.extend(words(1));
    follow(&mut writer, deltas).await;
    let chunks = chunks(receiver);
    let ids: Vec<&str> = chunks.iter().filter_map(|chunk| chunk.lines().next()).collect();
    assert_eq!(ids, ["id: 2.1.2", "id: 2.1.3", "id: 2.1.4"]);
    assert!(chunks[0].contains("word0 word1 ") && chunks[1].contains("step"), "{chunks:?}");
}

#[tokio::test]
async fn a_reader_that_comes_back_gets_what_it_has_not_seen() {
    let (mut writer, receiver) = writer(2);
    follow(&mut writer, words(4)).await;
    let chunks = chunks(receiver);
    let [chunk] = chunks.as_slice() else { panic!("{chunks:?}") };
    assert!(chunk.starts_with("id: 2.1.4\n") && chunk.contains("\"word2 word3 \""), "{chunk}");
}

#[tokio::test]
async fn no_event_has_a_line_break_of_any_kind_in_its_data() {
    let (mut writer, mut chunks) = writer(0);
    let breaks = "a\u{2028}b\u{2029}c\u{85}d\r\ne";
    let data = format!("{{\n \"x\" :\r\n[ {} ]}}", serde_json::to_string(breaks).unwrap());
    let name = breaks.to_owned();
    let event = Delta::Event { name, data: data.clone() };
    follow(&mut writer, vec![Delta::Text(breaks.to_owned()), event]).await;
    let content = [Part::Json(data.clone())];
    writer.write(&StreamEvent::message(&content)).await.unwrap();
    for field in ["/data/event/delta/text", "/data/x/0", "/data/parts/0/json/x/0"] {
        let chunk = text_of(&chunks.recv().await.unwrap());
        let (_, data) = chunk.strip_suffix("\n\n").unwrap().split_once("\ndata: ").unwrap();
        assert!(!data.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "{data}");
        let told: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(told.pointer(field).unwrap(), breaks, "{data}");
    }
}

#[tokio::test]
async fn each_event_is_one_chunk_with_its_place() {
    let (mut writer, receiver) = writer(0);
    follow(&mut writer, vec![Delta::Text("a\nb".to_owned())]).await;
    let chunks = chunks(receiver);
    assert!(chunks[0].starts_with("id: 2.1.1\ndata: {\"type\":") && chunks[0].ends_with("}\n\n"));
    assert_eq!((chunks.len(), chunks[0].lines().count()), (1, 3));
}
