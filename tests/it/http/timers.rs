//! The timers of a session, and the turns that they send.

use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use dormouse_tests::test_host::eventually;
use serde_json::{Value, json};

async fn get(server: &TestServer, path: &str) -> Value {
    let (status, body) = server.client.get(path).await.unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn timers_are_listed_until_they_have_sent_their_turn_which_names_them() {
    let server = TestServer::new().await;
    let id = server.session(&guests::SETS_TIMERS, json!({})).await;
    let (timers, turns) =
        (format!("/api/sessions/{id}/timers"), format!("/api/sessions/{id}/turns"));
    assert_eq!(get(&server, &timers).await, json!({ "timers": [], "count": 0 }));
    let script = "after tea 60 it is ready\neach mail look";
    assert_eq!(server.client.message(&id, script).await.unwrap().0, 200);
    let listed = get(&server, &timers).await;
    let names: Vec<&Value> =
        listed["timers"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!((names, &listed["count"]), (vec![&json!("mail"), &json!("tea")], &json!(2)));
    let tea = &listed["timers"][1];
    assert_eq!((&tea["schedule"], &tea["setInTurn"]), (&json!(null), &json!(1)));
    assert_eq!(tea["message"], "it is ready");
    assert_eq!(listed["timers"][0]["schedule"], "* * * * *");

    server.test.advance(Duration::from_secs(60));
    let is_over = async || get(&server, &turns).await["count"] == 3;
    eventually("both have sent their turns", is_over).await;
    let listed = get(&server, &timers).await;
    assert_eq!((&listed["count"], &listed["timers"][0]["name"]), (&json!(1), &json!("mail")));
    let told = get(&server, &turns).await;
    let senders: Vec<&Value> =
        told["turns"].as_array().unwrap().iter().map(|turn| &turn["sender"]).collect();
    assert_eq!(senders.iter().filter(|sender| **sender == "timer").count(), 2, "{told}");
}
