//! Groups over HTTP: made of a configuration, listed, and refused what is not theirs.

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use serde_json::{Value, json};

async fn get(server: &TestServer, path: &str) -> Value {
    let (status, body) = server.client.get(path).await.unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn a_group_is_made_of_a_configuration_and_its_members_are_listed() {
    let server = TestServer::new().await;
    let members = json!({ "ann": { "systemPrompt": "You are Ann." }, "bob": {} });
    let new = json!({ "pattern": "single-container", "config": { "customAgents": members } });
    let lead = server.session(&guests::WRITES_TO_PEERS, new).await;
    let path = format!("/api/sessions/{lead}");
    let group = json!({ "coordinator": lead, "name": null, "members": ["ann", "bob"] });
    let told = get(&server, &path).await;
    assert_eq!(told["group"], group);
    assert_eq!(told["accountId"], json!(lead));
    let listed = get(&server, &format!("{path}/members")).await;
    assert_eq!(listed, json!({ "members": [], "count": 0 }));

    let (status, answer) = server.client.message(&lead, "task ann hello").await.unwrap();
    assert_eq!((status.as_u16(), &answer["session"]["toolsUsed"]), (200, &json!(["Task"])));
    let listed = get(&server, &format!("{path}/members")).await;
    assert_eq!(listed["count"], 1, "{listed}");
    let ann = &listed["members"][0];
    let of_ann = json!({ "coordinator": lead, "name": "ann", "members": ["ann", "bob"] });
    assert_eq!((&ann["group"], &ann["numTurns"]), (&of_ann, &json!(1)));
    let id = ann["id"].as_str().unwrap();
    assert_eq!(ann.get("config"), None, "all have much of it in common");
    let told = get(&server, &format!("/api/sessions/{id}")).await;
    assert_eq!(told["config"]["systemPrompt"], "You are Ann.");
    let turns = get(&server, &format!("/api/sessions/{id}/turns")).await;
    assert_eq!(turns["turns"][0]["senderName"], "coordinator");
    let bill = get(&server, &format!("{path}/usage")).await.to_string();
    assert!(bill.contains(r#""Task""#), "{bill}");

    for (path, body) in [
        ("terminate", json!({})),
        ("pause", json!({})),
        ("stop", json!({})),
        ("force-kill", json!({})),
        ("complete", json!({})),
        ("fork", json!({})),
        ("rewind", json!({ "snapshotId": ann["sessionId"] })),
    ] {
        let path = format!("/api/sessions/{id}/{path}");
        let (status, refused) = server.client.post(&path, &body).await.unwrap();
        assert_eq!((status.as_u16(), &refused["code"]), (409, &json!("member_of_group")), "{path}");
        assert_eq!(refused["coordinator"], json!(lead));
    }
    let (status, refused) = server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!((status.as_u16(), &refused["code"]), (409, &json!("member_of_group")));
    let (status, _) = server.client.delete(&path).await.unwrap();
    assert_eq!(status, 200);
    let (status, _) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(status, 404);
}

#[tokio::test]
async fn members_that_cannot_be_are_refused_by_name() {
    let server = TestServer::new().await;
    for (members, why) in [
        (json!("ann"), "must be an object"),
        (json!({ "ann": { "agent": 7 } }), "`agent` must be a text"),
        (json!({ "coordinator": {} }), "what members call the session itself"),
    ] {
        let config = json!({ "customAgents": members });
        let new = json!({ "agent": "counter", "pattern": "single-container", "config": config });
        let (status, refused) = server.client.post("/api/sessions", &new).await.unwrap();
        assert_eq!(status, 400, "{refused}");
        assert_eq!(refused["field"], "config.customAgents", "{refused}");
        assert!(refused["error"].as_str().unwrap().contains(why), "{refused}");
    }
}
