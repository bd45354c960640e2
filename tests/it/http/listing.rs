//! `GET /api/sessions`: filters and pages.

use std::io::Read;
use std::time::Duration;

use dormouse_tests::TestServer;
use reqwest::Method;
use serde_json::{Value, json};

use super::{is_error, names};

async fn list(server: &TestServer, query: &str) -> Value {
    let (status, list) = server.client.get(&format!("/api/sessions{query}")).await.unwrap();
    assert_eq!(status, 200, "{list}");
    list
}

fn ids(list: &Value) -> Vec<&str> {
    let sessions = list["sessions"].as_array().unwrap();
    sessions.iter().map(|session| session["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_newest_session_comes_first_in_the_shape_of_a_single_one() {
    let server = TestServer::new().await;
    let mut created = Vec::new();
    for _ in 0..3 {
        created.push(server.counter(json!({})).await);
    }
    created.reverse();
    let found = list(&server, "").await;
    assert_eq!(
        names(&found),
        ["count", "next", "nextCursor", "page", "pageSize", "sessions", "total"].into()
    );
    assert_eq!(ids(&found), created);
    assert_eq!((&found["total"], &found["count"]), (&json!(3), &json!(3)));
    assert_eq!((&found["page"], &found["pageSize"]), (&json!(1), &json!(50)));
    let (_, single) = server.client.get(&format!("/api/sessions/{}", created[0])).await.unwrap();
    assert_eq!(found["sessions"][0], single);
    server.shut_down().await;
}

#[tokio::test]
async fn each_filter_finds_what_matches_and_together_they_find_what_matches_all() {
    let server = TestServer::new().await;
    let hybrid = json!({ "pattern": "hybrid", "userId": "ann", "tags": ["red", "blue"] });
    let hybrid = server.counter(hybrid).await;
    let long = server.counter(json!({ "userId": "ann", "tags": ["green"] })).await;
    let other = server.counter(json!({ "userId": "ben", "tags": ["red"] })).await;
    server.client.ask(&long, "hello").await.unwrap();
    server.client.post(&format!("/api/sessions/{other}/terminate"), &json!({})).await.unwrap();

    for (query, expected) in [
        ("?pattern=hybrid", vec![&hybrid]),
        ("?pattern=long-running", vec![&other, &long]),
        ("?status=initializing", vec![&hybrid]),
        ("?status=active", vec![&long]),
        ("?status=terminated", vec![&other]),
        ("?userId=ann", vec![&long, &hybrid]),
        ("?userId=an", vec![]),
        ("?tags=red", vec![&other, &hybrid]),
        ("?tags=green,blue", vec![&long, &hybrid]),
        ("?tags=%20red%20,,", vec![&other, &hybrid]),
        ("?tags=purple", vec![]),
        ("?userId=ann&tags=red", vec![&hybrid]),
        ("?pattern=long-running&status=active&userId=ann&tags=green", vec![&long]),
        ("?pattern=&status=&userId=&tags=", vec![&other, &long, &hybrid]),
        ("?agent=counter", vec![&other, &long, &hybrid]),
        ("?agent=echo", vec![]),
        ("?limit=1", vec![&other]),
        ("?residency=resident", vec![&long]),
        ("?residency=asleep&sort=createdAt", vec![&hybrid, &other]),
    ] {
        let found = list(&server, query).await;
        assert_eq!(ids(&found), expected, "{query}");
        assert_eq!(found["count"], json!(expected.len()), "{query}");
        // Where a state is, only memory knows: the total does not ask it.
        let is_part = query.contains("residency") || query.contains("limit");
        let total = if is_part { 3 } else { expected.len() };
        assert_eq!(found["total"], json!(total), "{query}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_tag_with_a_comma_in_it_is_found() {
    let server = TestServer::new().await;
    let comma = server.counter(json!({ "tags": ["a,b"] })).await;
    let plain = server.counter(json!({ "tags": ["a"] })).await;
    let other = server.counter(json!({ "tags": ["c", "d"] })).await;
    for (query, expected) in [
        ("?tag=a,b", vec![comma.as_str()]),
        ("?tag=a%2Cb", vec![comma.as_str()]),
        ("?tags=a,b", vec![plain.as_str()]),
        ("?tags=a,b&tag=a,b", vec![plain.as_str(), comma.as_str()]),
        ("?tag=a&tag=d", vec![other.as_str(), plain.as_str()]),
        ("?tags=a&tags=x,c", vec![other.as_str(), plain.as_str()]),
    ] {
        let found = list(&server, query).await;
        assert_eq!(ids(&found), expected, "{query}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn the_pages_of_a_list_have_every_session_once() {
    let server = TestServer::new().await;
    let mut created = Vec::new();
    for n in 0..7 {
        let tags = if n % 2 == 0 { json!(["even"]) } else { json!([]) };
        created.push(server.counter(json!({ "tags": tags })).await);
    }
    created.reverse();
    let mut found = Vec::new();
    for (page, count) in [(1, 3), (2, 3), (3, 1), (4, 0)] {
        let list = list(&server, &format!("?page={page}&pageSize=3")).await;
        assert_eq!((&list["total"], &list["count"]), (&json!(7), &json!(count)), "page {page}");
        assert_eq!((&list["page"], &list["pageSize"]), (&json!(page), &json!(3)));
        found.extend(ids(&list).into_iter().map(str::to_owned));
    }
    assert_eq!(found, created);
    let even = list(&server, "?tags=even&page=2&pageSize=3").await;
    assert_eq!((&even["total"], ids(&even)), (&json!(4), vec![created[6].as_str()]));
    server.shut_down().await;
}

#[tokio::test]
async fn a_page_beyond_all_bounds_is_brought_within_them() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    for (query, page, size, count) in [
        ("?page=0&pageSize=0", 1, 1, 1),
        ("?pageSize=100000", 1, 200, 1),
        ("?page=18446744073709551615&pageSize=200", u64::MAX, 200, 0),
    ] {
        let found = list(&server, query).await;
        assert_eq!((&found["page"], &found["pageSize"]), (&json!(page), &json!(size)), "{query}");
        assert_eq!((&found["count"], &found["total"]), (&json!(count), &json!(1)), "{query}");
    }
    assert_eq!(ids(&list(&server, "").await), [id]);
    server.shut_down().await;
}

#[tokio::test]
async fn a_filter_that_cannot_match_is_refused_with_what_can() {
    let server = TestServer::new().await;
    let refused = server.client.get("/api/sessions?pattern=weekly").await.unwrap();
    is_error(&refused, 400, "invalid_pattern");
    assert_eq!(refused.1["validPatterns"].as_array().unwrap().len(), 4);
    let refused = server.client.get("/api/sessions?status=crashed").await.unwrap();
    is_error(&refused, 400, "invalid_status");
    assert!(refused.1["validStatuses"].as_array().unwrap().contains(&json!("active")));
    for query in ["page=-1", "page=x", "pageSize=1.5", "pageSize=18446744073709551616"] {
        let refused = server.client.get(&format!("/api/sessions?{query}")).await.unwrap();
        is_error(&refused, 400, "invalid_field");
        assert_eq!(refused.1["field"], query.split('=').next().unwrap());
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_large_list_is_compressed_for_those_who_take_that() {
    let server = TestServer::new().await;
    for _ in 0..5 {
        server.counter(json!({ "description": "the same each time ".repeat(100) })).await;
    }
    let list = async |path: &str, encodings: &str| {
        let request = server.client.request(Method::GET, path);
        let response = request.header("accept-encoding", encodings).send().await.unwrap();
        let encoding = response.headers().get("content-encoding").cloned();
        (encoding, response.bytes().await.unwrap())
    };
    let (encoding, plain) = list("/api/sessions", "identity").await;
    assert_eq!(encoding, None);
    let (encoding, packed) = list("/api/sessions", "br, gzip").await;
    assert_eq!(encoding.unwrap(), "gzip");
    assert!(4 * packed.len() < plain.len(), "{} of {}", packed.len(), plain.len());
    let mut whole = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut whole).unwrap();
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(read(&whole), read(&plain));
    let (encoding, _) = list("/api/sessions?pageSize=1&status=error", "gzip").await;
    assert_eq!(encoding, None, "a small one goes out as it is");
    server.shut_down().await;
}

#[tokio::test]
async fn sessions_are_found_by_thread_conversation_project_and_time_in_any_order() {
    let server = TestServer::new().await;
    let one = json!({ "threadKey": "t", "conversationId": 7, "projectId": "p", "maxTurns": 9 });
    let one = server.counter(one).await;
    server.advance(Duration::from_secs(60));
    let two = server.counter(json!({ "conversationId": "7", "projectId": "q" })).await;
    server.advance(Duration::from_secs(60));
    server.client.ask(&one, "hello").await.unwrap();
    for (query, expected) in [
        ("?threadKey=t", vec![&one]),
        ("?conversationId=7", vec![&two, &one]),
        ("?projectId=q", vec![&two]),
        ("?createdAfter=2030-01-01T00:00:30Z", vec![&two]),
        ("?createdBefore=2030-01-01T00:00:30.000Z", vec![&one]),
        ("?activeAfter=2030-01-01T00:01:30Z", vec![&one]),
        ("?activeBefore=2030-01-01T00:01:30Z", vec![&two]),
        ("?sort=createdAt", vec![&one, &two]),
        ("?sort=-lastActivityAt", vec![&one, &two]),
        ("?sort=lastActivityAt", vec![&two, &one]),
    ] {
        assert_eq!(ids(&list(&server, query).await), expected, "{query}");
    }
    for (query, field) in [("createdAfter=yesterday", "createdAfter"), ("sort=name", "sort")] {
        let refused = server.client.get(&format!("/api/sessions?{query}")).await.unwrap();
        is_error(&refused, 400, "invalid_field");
        assert_eq!(refused.1["field"], field);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_list_goes_on_behind_its_cursor_in_its_own_order_alone() {
    let server = TestServer::new().await;
    let mut created = Vec::new();
    for _ in 0..5 {
        created.push(server.counter(json!({})).await);
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&server, &format!("?sort=createdAt&limit=2&cursor={cursor}")).await;
        found.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["nextCursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    assert_eq!(found, created);
    let other = server.client.get(&format!("/api/sessions?cursor={cursor}")).await.unwrap();
    is_error(&other, 400, "cursor_of_another_order");
    let none = server.client.get("/api/sessions?cursor=x").await.unwrap();
    is_error(&none, 400, "invalid_field");
    server.shut_down().await;
}

#[tokio::test]
async fn a_filter_that_is_not_known_is_refused_with_those_that_are() {
    let server = TestServer::new().await;
    for path in ["/api/sessions?colour=red", "/api/sessions/stats/summary?colour=red"] {
        let refused = server.client.get(path).await.unwrap();
        is_error(&refused, 400, "unknown_filter");
        assert_eq!(refused.1["field"], "colour");
        assert!(refused.1["known"].as_array().unwrap().contains(&json!("userId")), "{path}");
    }
    server.shut_down().await;
}
