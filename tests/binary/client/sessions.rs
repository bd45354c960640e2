//! `dormouse sessions`

use serde_json::{Value, json};

use super::Host;

async fn create(host: &Host, body: Value) -> String {
    host.server.client().create(&body).await.unwrap()
}

#[tokio::test]
async fn sessions_are_listed_in_a_table_and_as_a_document() {
    let host = Host::start();
    assert_eq!(host.run(&["sessions"]).out, "no sessions\n");
    let counter = json!({ "agent": "counter", "pattern": "hybrid", "tags": ["a", "b\u{1b}[31m"] });
    let one = create(&host, counter).await;
    let two = create(&host, json!({ "agent": "echo", "pattern": "long-running" })).await;
    host.server.client().ask(&one, "hello").await.unwrap();

    let listed = host.run(&["sessions", "list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    let lines: Vec<&str> = listed.out.lines().collect();
    let [heading, second, first] = lines[..] else { panic!("{listed:?}") };
    assert!(heading.starts_with("ID ") && heading.ends_with("  TAGS"), "{heading}");
    assert!(second.starts_with(&two) && second.contains(" echo@"), "{second}");
    assert!(first.starts_with(&one) && first.ends_with("  a,b\u{fffd}[31m"), "{first}");
    assert_eq!(second.find("long-running"), first.find("hybrid"), "columns are aligned");
    assert_eq!(host.run(&["sessions"]).out.lines().count(), 3);

    let document = host.json(&["sessions"]);
    assert_eq!((&document["count"], &document["total"]), (&json!(2), &json!(2)));
    assert_eq!(document["sessions"][1]["id"], *one);
    for filter in [["--tag", "a"], ["--pattern", "hybrid"]] {
        let found = host.json(&["sessions", filter[0], filter[1]]);
        assert_eq!((&found["count"], &found["sessions"][0]["id"]), (&json!(1), &json!(one)));
    }
    let limited = host.run(&["sessions", "--limit", "1"]);
    assert!(limited.out.ends_with("\n1 of 2 sessions: see --limit\n"), "{limited:?}");
}

#[tokio::test]
async fn more_sessions_than_a_page_of_the_server_has_are_listed() {
    let host = Host::start();
    let client = host.server.client();
    for _ in 0..201 {
        client.create(&json!({ "agent": "counter", "pattern": "hybrid" })).await.unwrap();
    }
    let found = host.json(&["sessions", "--limit", "1000"]);
    assert_eq!((&found["count"], &found["next"]), (&json!(201), &Value::Null));
}

#[tokio::test]
async fn a_session_is_shown_and_told_what_to_do() {
    let host = Host::start();
    let new =
        json!({ "agent": "counter", "pattern": "hybrid", "maxTurns": 7, "description": "mine" });
    let id = create(&host, new).await;
    host.server.client().ask(&id, "hello").await.unwrap();

    let shown = host.run(&["sessions", "show", &id]);
    for expected in
        [id.as_str(), "counter@", "maxTurns     7", "description  mine", "turns        1"]
    {
        assert!(shown.out.contains(expected), "{expected} is missing in {shown:?}");
    }
    assert!(!shown.out.contains("maxFuel "), "what is not set is not shown: {shown:?}");
    assert_eq!(host.json(&["sessions", "show", &id])["numTurns"], 1);

    let told = |order: &str| host.run(&["sessions", order, &id]).out;
    assert_eq!(told("sleep"), format!("{id} is active, asleep\n"));
    assert_eq!(told("wake"), format!("{id} is active\n"));
    assert_eq!(told("pause"), format!("{id} is paused\n"));
    assert_eq!(told("resume"), format!("{id} is active\n"));
    let ended = host.json(&["sessions", "terminate", &id, "--reason", "enough"]);
    assert_eq!(ended["session"]["terminationReason"], "enough");
    assert!(host.run(&["sessions", "show", &id]).out.contains("terminated (enough)"));

    assert_eq!(told("delete"), format!("{id} is deleted\n"));
    let gone = host.run(&["sessions", "show", &id]);
    assert_eq!((gone.code, gone.out.as_str()), (1, ""));
    assert_eq!(gone.err, "dormouse: Session not found (session_not_found)\n");
}
