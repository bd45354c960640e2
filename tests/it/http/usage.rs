//! What a session has used, line by line, and what a turn spent its time on.

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use serde_json::{Value, json};

use super::{is_error, names};

async fn page(server: &TestServer, path: &str) -> Value {
    let (status, page) = server.client.get(path).await.unwrap();
    assert_eq!(status, 200, "{page}");
    page
}

/// A session that was answered twice, with a sleep between, and has failed then.
async fn used(server: &TestServer) -> String {
    let id = server.session(&guests::TRAPS_WHEN_TOLD, json!({ "pattern": "hybrid" })).await;
    for prompt in ["one", "two"] {
        let (status, answer) = server.client.message(&id, prompt).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        let sleep = format!("/api/sessions/{id}/sleep");
        assert_eq!(server.client.post(&sleep, &json!({})).await.unwrap().0, 200);
    }
    assert_eq!(server.client.message(&id, "panic").await.unwrap().0, 502);
    id
}

fn integer(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

fn sum(lines: &[Value], kind: &str, field: &str) -> u64 {
    let of_kind = lines.iter().filter(|line| kind.is_empty() || line["kind"] == kind);
    of_kind.map(|line| integer(&line[field])).sum()
}

#[tokio::test]
async fn the_lines_of_all_pages_sum_up_to_the_totals_of_the_session() {
    let server = TestServer::new().await;
    let id = used(&server).await;
    let (mut lines, mut after) = (Vec::new(), json!(0));
    let mut pages = 0;
    while !after.is_null() {
        let usage = page(&server, &format!("/api/sessions/{id}/usage?limit=1&after={after}")).await;
        assert_eq!(usage["count"], usage["lines"].as_array().unwrap().len());
        assert_eq!(usage["next"], usage["nextCursor"]);
        lines.extend(usage["lines"].as_array().unwrap().clone());
        after = usage["next"].clone();
        pages += 1;
    }
    assert_eq!(pages, 3, "a page of one turn has the lines of one turn");
    let kinds: Vec<_> = lines.iter().map(|line| (&line["turn"], line["kind"].as_str())).collect();
    let expected = [1, 2, 3].map(|turn| [(json!(turn), "start"), (json!(turn), "fuel")]);
    let expected: Vec<_> = expected.iter().flatten().map(|(turn, it)| (turn, Some(*it))).collect();
    assert_eq!(kinds, expected);

    let totals = &page(&server, &format!("/api/sessions/{id}/usage")).await["totals"];
    assert_eq!(sum(&lines, "", "costNanoUsd"), integer(&totals["costNanoUsd"]));
    assert!(integer(&totals["costNanoUsd"]) > 0);
    assert_eq!(sum(&lines, "fuel", "fuel"), integer(&totals["fuel"]));
    assert_eq!(sum(&lines, "start", "fuel"), integer(&totals["startFuel"]));
    assert!(lines.iter().all(|line| line["bill"] == "exact"), "{lines:?}");

    let session = page(&server, &format!("/api/sessions/{id}")).await;
    for (total, field) in [
        ("costUsd", "totalCost"),
        ("fuel", "totalFuel"),
        ("startFuel", "totalStartFuel"),
        ("numStarts", "numStarts"),
        ("numTurns", "numTurns"),
        ("inputTokens", "totalInputTokens"),
        ("outputTokens", "totalOutputTokens"),
        ("cachedTokens", "totalCachedTokens"),
    ] {
        assert_eq!(totals[total], session[field], "{total}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_without_turns_has_used_nothing_and_spends_on_its_own() {
    let server = TestServer::new().await;
    let id = server.session(&guests::TRAPS_WHEN_TOLD, json!({})).await;
    let usage = page(&server, &format!("/api/sessions/{id}/usage")).await;
    let fields = ["account", "count", "lines", "next", "nextCursor", "sessionId", "totals"];
    assert_eq!(names(&usage), fields.into());
    assert_eq!((&usage["account"], &usage["lines"]), (&Value::Null, &json!([])));
    assert_eq!(usage["next"], Value::Null);
    assert!(usage["totals"].as_object().unwrap().values().all(|total| total.as_f64() == Some(0.0)));
    server.shut_down().await;
}

#[tokio::test]
async fn the_trace_of_a_turn_has_its_stages_in_order() {
    let server = TestServer::new().await;
    let id = used(&server).await;
    let path = format!("/api/sessions/{id}/turns");
    let turn = page(&server, &format!("{path}/2")).await;
    let trace = page(&server, &format!("{path}/2/trace")).await;
    assert_eq!(names(&trace), ["attempts", "spans", "startedAt", "turn", "uuid"].into());
    assert_eq!((&trace["turn"], &trace["attempts"]), (&json!(2), &json!(1)));
    for field in ["uuid", "startedAt"] {
        assert_eq!(trace[field], turn[field], "{field}");
    }
    let [wake, guest, commit] = trace["spans"].as_array().unwrap().as_slice() else {
        panic!("{trace}")
    };
    assert_eq!((&wake["name"], &wake["fuel"]), (&json!("wake"), &turn["startFuel"]));
    assert_eq!((&guest["name"], &guest["fuel"]), (&json!("guest"), &turn["usage"]["fuel"]));
    assert_eq!((&guest["startMs"], &guest["code"]), (&json!(0), &Value::Null));
    assert_eq!(guest["durationMs"], turn["durationMs"]);
    assert_eq!((&commit["name"], &commit["durable"]), (&json!("commit"), &json!(true)));
    assert_eq!(commit["snapshotId"], turn["snapshotId"]);
    assert_eq!(commit["durationMs"], Value::Null);

    let failed = page(&server, &format!("{path}/3/trace")).await;
    let guest = failed["spans"].as_array().unwrap().iter().find(|span| span["name"] == "guest");
    assert_eq!(guest.unwrap()["code"], "agent_trapped");
    is_error(&server.client.get(&format!("{path}/9/trace")).await.unwrap(), 404, "turn_not_found");
    is_error(&server.client.get(&format!("{path}/x/trace")).await.unwrap(), 404, "turn_not_found");
    server.shut_down().await;
}
