//! `dormouse events`

use serde_json::{Value, json};

use super::{Host, Running};

#[tokio::test]
async fn events_are_shown_a_line_each_and_by_session() {
    let host = Host::start();
    let counter = json!({ "agent": "counter", "pattern": "hybrid" });
    let one = host.server.client().create(&counter).await.unwrap();
    let two = host.server.client().create(&counter).await.unwrap();
    let shown = host.run(&["events", "--limit", "200"]).out;
    for id in [&one, &two] {
        let created = |line: &str| line.contains("session.created") && line.contains(id.as_str());
        assert!(shown.lines().any(created), "{shown}");
    }
    let of_one = host.run(&["events", "--session", &one]).out;
    assert!(of_one.contains(&one) && !of_one.contains(&two), "{of_one}");

    let first = host.run(&["events", "--limit", "1"]).out;
    assert!(first.ends_with("\nthere are more: --after 1, or --follow\n"), "{first}");
    let rest = host.json(&["events", "--after", "1"]);
    assert_eq!(rest["events"][0]["id"], 2);
    let end = rest["next"].to_string();
    assert_eq!(host.run(&["events", "--after", &end]).out, "no events\n");
}

/// The documents of a reader until one of this kind: that one.
fn until(reader: &mut Running, kind: &str) -> Value {
    loop {
        let event: Value = serde_json::from_str(&reader.line()).unwrap();
        if event["event_type"] == kind {
            return event;
        }
    }
}

#[tokio::test]
async fn events_are_followed_as_they_happen_until_the_server_ends() {
    let host = Host::start();
    let client = host.server.client();
    let mut all = Running::start(host.command(&["events", "--follow", "--json"]));
    let counter = json!({ "agent": "counter", "pattern": "hybrid" });
    let id = client.create(&counter).await.unwrap();
    assert_eq!(until(&mut all, "session.created")["aggregate_id"], *id);
    let mut of_one = Running::start(host.command(&["events", "-f", "--json", "--session", &id]));
    // It follows, before what it follows is deleted.
    assert_eq!(until(&mut of_one, "session.created")["aggregate_id"], *id);
    let other = client.create(&counter).await.unwrap();
    client.ask(&id, "hello").await.unwrap();
    client.delete(&format!("/api/sessions/{other}")).await.unwrap();
    client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(until(&mut all, "session.deleted")["aggregate_id"], *other);
    assert_eq!(until(&mut of_one, "session.deleted")["aggregate_id"], *id);

    let last = until(&mut all, "session.deleted")["id"].to_string();
    assert_eq!(host.server.terminate().unwrap(), Some(0));
    let told = all.told("was lost");
    assert!(told.ends_with(&format!("; go on with --after {last}\n")), "{told}");
    assert_eq!(all.end(), 3);
}
