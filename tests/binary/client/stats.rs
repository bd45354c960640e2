//! `dormouse stats`

use serde_json::json;

use super::Host;

#[tokio::test]
async fn what_sessions_come_to_is_told_also_when_they_are_removed() {
    let host = Host::start();
    let client = host.server.client();
    let of = |tag: &str| json!({ "agent": "counter", "pattern": "hybrid", "userId": "ann", "tags": [tag] });
    let one = client.create(&of("a,b")).await.unwrap();
    client.create(&of("c")).await.unwrap();
    client.ask(&one, "hello").await.unwrap();

    let told = host.run(&["stats"]);
    assert!(told.code == 0 && told.out.starts_with("sessions   2\nactive     1\n"), "{told:?}");
    assert!(told.out.contains("hybrid   2 ") && told.out.contains("initializing  1\n"), "{told:?}");
    let cost = host.json(&["stats"])["totalCost"].as_f64();
    assert!(cost > Some(0.0), "{cost:?}");

    // A tag may have a comma in it.
    for (filter, count) in [(["--tag", "a,b"], 1), (["--tag", "a"], 0), (["--user", "ann"], 2)] {
        let found = host.json(&["stats", filter[0], filter[1]]);
        assert_eq!(found["totalSessions"], count, "{filter:?}");
    }
    assert_eq!(host.run(&["stats", "--pattern", "weekly"]).code, 1);

    client.delete(&format!("/api/sessions/{one}")).await.unwrap();
    let after = host.json(&["stats"]);
    assert_eq!((&after["totalSessions"], after["totalCost"].as_f64()), (&json!(2), cost));
    assert_eq!(after["activeSessions"], 0);
}
