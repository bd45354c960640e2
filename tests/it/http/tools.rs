//! Tools, as clients see them: what a session says of them, and what a turn has used.

use dormouse::egress::EgressOptions;
use dormouse::{HostBuilder, ManualClock};
use dormouse_test_guests as guests;
use dormouse_tests::test_host::eventually;
use dormouse_tests::web::Page;
use dormouse_tests::{TestHost, TestServer, Web};
use serde_json::{Value, json};

use super::is_error;

/// A server whose agents may reach loopback. It lives as long as the directory.
async fn served() -> (TestServer, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let change = |builder: HostBuilder| {
        builder.egress(EgressOptions {
            policy: "*:*".parse().unwrap(),
            private: "127.0.0.1".parse().unwrap(),
            ..EgressOptions::default()
        })
    };
    let test = TestHost::built(directory.path(), &ManualClock::new(), change).await;
    test.upload(&guests::CALLS_TOOLS).await;
    (TestServer::of(test, |_| {}).await, directory)
}

fn new(config: Value) -> Value {
    json!({
        "agent": "calls_tools", "pattern": "long-running", "config": config, "egress": ["*:*"],
    })
}

#[tokio::test]
async fn a_session_says_which_tools_it_asks_for_in_vain() {
    let (server, _directory) = served().await;
    let config = json!({ "allowedTools": ["Bash", "WebFetch", "LS", "Read", "TodoWrite"] });
    let (status, created) =
        server.client.post("/api/sessions", &new(config.clone())).await.unwrap();
    assert_eq!(status, 201, "{created}");
    assert_eq!(created["unavailableTools"], json!(["Bash", "LS"]));
    assert_eq!(created["config"], config);
    let mut cut_off = new(config);
    cut_off["egress"] = json!([]);
    let (_, created) = server.client.post("/api/sessions", &cut_off).await.unwrap();
    assert_eq!(created["unavailableTools"], json!(["Bash", "WebFetch", "LS"]));
    let (_, created) = server.client.post("/api/sessions", &new(json!({}))).await.unwrap();
    assert_eq!(created["unavailableTools"], json!([]));
    server.shut_down().await;
}

#[tokio::test]
async fn allowed_tools_are_a_list_of_names_of_a_few_bytes() {
    let (server, _directory) = served().await;
    for wrong in [json!("Read"), json!({}), json!([1]), json!([""]), json!(vec!["a"; 257])] {
        let new = new(json!({ "allowedTools": wrong }));
        let refused = server.client.post("/api/sessions", &new).await.unwrap();
        is_error(&refused, 400, "invalid_field");
        let told = refused.1["error"].as_str().unwrap();
        assert!(told.contains("config.allowedTools"), "{wrong}: {told}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_tool_is_told_while_it_runs_and_afterwards_in_the_session_the_bill_and_the_trace() {
    let web = Web::start(|_, _| Page::Waits("here".to_owned())).await;
    let (server, _directory) = served().await;
    let id = server.client.create(&new(json!({}))).await.unwrap();
    let path = format!("/api/sessions/{id}");
    let asking = {
        let (client, id) = (server.client.clone(), id.clone());
        let script = format!("fetch {}", web.at("/a?secret=1"));
        tokio::spawn(async move { client.ask(&id, &script).await.unwrap() })
    };
    eventually("the page is asked for", async || !web.asked().is_empty()).await;
    let (_, status) = server.client.get(&format!("{path}/status")).await.unwrap();
    assert_eq!(status["currentTool"], "WebFetch");
    web.let_go();
    assert!(asking.await.unwrap().contains("here"));

    let (_, session) = server.client.get(&path).await.unwrap();
    assert_eq!(session["toolsUsed"], json!(["WebFetch"]));
    assert_eq!((&session["currentTool"], &session["numCalls"]), (&json!(null), &json!(1)));
    let (_, usage) = server.client.get(&format!("{path}/usage")).await.unwrap();
    let line = usage["lines"].as_array().unwrap().last().unwrap();
    let told = [&line["kind"], &line["tool"], &line["server"], &line["outcome"], &line["bill"]];
    assert_eq!(told, ["tool", "WebFetch", "127.0.0.1", "answered", "free"]);
    assert_eq!(line["costUsd"], 0.0);
    // What was asked of the server is the session's.
    assert!(!usage.to_string().contains("secret"), "{usage}");
    let (_, trace) = server.client.get(&format!("{path}/turns/1/trace")).await.unwrap();
    let spans = trace["spans"].as_array().unwrap();
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert!(names.ends_with(&["guest", "tool", "commit"]), "{names:?}");
    server.shut_down().await;
}

#[tokio::test]
async fn an_upload_says_that_an_agent_can_call_tools() {
    let (server, _directory) = served().await;
    let (_, agents) = server.client.get("/api/agents").await.unwrap();
    let all = agents["agents"].as_array().unwrap();
    let capabilities = |name: &str| {
        let agent = all.iter().find(|agent| agent["name"] == name).unwrap();
        agent["capabilities"].as_array().unwrap().contains(&json!("tools"))
    };
    assert!(capabilities("calls_tools") && capabilities("assistant") && !capabilities("counter"));
    server.shut_down().await;
}
