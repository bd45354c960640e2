//! The description of the API: the document, the page, and the file that is made of it.

use dormouse::Principal;
use dormouse_http::{ApiKey, openapi, reference};
use dormouse_tests::TestServer;
use reqwest::Method;
use serde_json::Value;

use super::send;

#[tokio::test]
async fn everybody_can_read_the_document_and_it_has_each_route() {
    let key = ApiKey::new(Principal("ann".to_owned()), "key-of-ann");
    let server = TestServer::with(|_| {}, |api| api.keys = vec![key]).await;
    let answer = send(server.client.request(Method::GET, "/api/openapi.json")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["openapi"], "3.1.0");
    assert_eq!(&answer.body, openapi());
    for route in dormouse_http::routes() {
        let path = route.path.replace("{*", "{");
        let operation = &answer.body["paths"][&path][route.method.as_str().to_lowercase()];
        assert!(operation["operationId"].is_string(), "{} {path}", route.method);
    }
    super::tells_nothing_of_the_host(&answer.body.to_string());
    server.shut_down().await;
}

#[tokio::test]
async fn a_reader_needs_no_script_and_nothing_from_elsewhere() {
    let server = TestServer::new().await;
    let answer = send(server.client.request(Method::GET, "/docs")).await;
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
    let Value::String(page) = answer.body else { panic!("a page") };
    for part in
        ["POST /api/sessions/{id}/message", "maxBudgetUsd", "agent_trapped", "session.slept"]
    {
        assert!(page.contains(part), "{part}");
    }
    for foreign in ["<script", "http://", "https://", "style="] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let style = send(server.client.request(Method::GET, "/docs/style.css")).await;
    assert_eq!(style.headers["content-type"], "text/css; charset=utf-8");
    server.shut_down().await;
}

#[test]
fn every_link_of_the_reference_leads_to_a_heading_of_it() {
    let text = reference();
    let headings: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| heading.trim_start_matches('#').trim().to_lowercase())
        .collect();
    let links: Vec<&str> =
        text.split("](#").skip(1).filter_map(|after| after.split(')').next()).collect();
    assert!(links.len() > 100);
    for link in links {
        assert!(headings.iter().any(|heading| heading == link), "{link}");
    }
}

#[test]
fn the_file_of_the_reference_is_what_the_program_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md");
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        file == reference(),
        "docs/reference.md is stale; renew it: cargo run -- reference > docs/reference.md"
    );
}
