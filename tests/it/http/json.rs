//! JSON that agents hand out: taken whole or refused with the place, and told as the very text.

use dormouse::{Part, SendError};
use dormouse_test_guests as guests;
use dormouse_tests::{TestHost, TestServer};
use reqwest::Method;
use serde_json::json;

use super::is_error;

/// Documents that a parser would change: it would round, reorder, drop or refuse something.
const EXACT: [&str; 6] = [
    "1e999",
    "[123456789012345678901234567890, -0.10000000000000000000000000001, -0, 1E+2]",
    r#"{"b":1,"a":2,"b":3}"#,
    r#"["\ud83d\ude00","\u0041","\/"]"#,
    r#"{ "spaced" : [ ] }"#,
    "\"\u{2028} and \u{85}\"",
];

/// The text of the answer to a request.
async fn text(request: dormouse_tests::client::Request) -> String {
    request.send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_document_is_told_as_the_text_that_the_agent_wrote() {
    let server = TestServer::new().await;
    let id = server.session(&guests::REPLIES_WITH, json!({})).await;
    let path = format!("/api/sessions/{id}");
    for (turn, document) in (1..).zip(EXACT) {
        let body = json!({ "prompt": format!("json {document}"), "streaming": false });
        let send = server.client.request(Method::POST, &format!("{path}/message")).json(&body);
        let told = text(send).await;
        let part = format!(r#""parts":[{{"type":"json","json":{document}}}]"#);
        assert!(told.contains(&part), "{told}");
        let turn = format!("{path}/turns/{turn}");
        let told = text(server.client.request(Method::GET, &turn)).await;
        assert!(told.contains(&part), "{told}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn an_event_is_streamed_as_the_text_that_the_agent_wrote_in_one_line() {
    let server = TestServer::new().await;
    let id = server.session(&guests::REPLIES_WITH, json!({})).await;
    let documents = EXACT.into_iter().chain(["{\n\t\"a\": [1,\r\n2]\n}"]);
    for document in documents {
        let body = json!({ "prompt": format!("event {document}") });
        let path = format!("/api/sessions/{id}/message");
        let told = text(server.client.request(Method::POST, &path).json(&body)).await;
        let line = document.replace(['\n', '\r'], " ");
        let line = line.replace('\u{2028}', "\\u2028").replace('\u{85}', "\\u0085");
        let event = format!(r#"data: {{"type":"agent_event","name":"it","data":{line}}}"#);
        assert!(told.split('\n').any(|found| found == event), "{event}\n{told}");
        assert!(!told.contains(['\u{85}', '\u{2028}', '\r']), "{told}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_no_document_for_every_reader_is_refused_with_the_place() {
    let server = TestServer::new().await;
    let id = server.session(&guests::REPLIES_WITH, json!({})).await;
    let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
    for (document, place) in [
        (r#"{"a":"\ud800"}"#, "half of a surrogate pair at line 1 column 7"),
        (&*deep, "more than 100 levels of arrays and objects at line 1 column 101"),
    ] {
        let refused = server.client.message(&id, &format!("json {document}")).await.unwrap();
        is_error(&refused, 422, "agent_failed");
        let error = refused.1["error"].as_str().unwrap();
        assert!(error.contains("part 1") && error.contains(place), "{error}");
        let told = server.client.ask(&id, &format!("event {document}")).await.unwrap();
        assert_eq!(told, format!("the event is not a JSON document: {place}"));
    }
    let refused = server.client.message(&id, "json {\"a\":\n nan}").await.unwrap();
    let error = refused.1["error"].as_str().unwrap();
    assert!(error.contains("expected ident at line 2 column 3"), "{error}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_program_hands_in_documents_alone() {
    let test = TestHost::new().await;
    let session = test.session(&guests::REPLIES_WITH).await;
    let message = || vec![Part::Text("x".to_owned()), Part::Json("[1,".to_owned())];
    let refused = session.send(message()).await;
    let Err(SendError::Invalid(field)) = refused else { panic!("{refused:?}") };
    assert_eq!(field.field, "content");
    assert!(field.problem.starts_with("part 2 is no JSON document: EOF"), "{}", field.problem);
    let good = vec![Part::Text("x".to_owned()), Part::Json("[1]".to_owned())];
    assert_eq!(session.send(good).await.unwrap().text(), "turn 1: x");
    test.shut_down().await;
}
