//! `config.mcpServers` of `POST /api/sessions`: which MCP servers a session may have.

use std::collections::BTreeMap;

use dormouse::HostBuilder;
use dormouse::egress::EgressOptions;
use dormouse::mcp::{Launch, McpOptions, McpServer, ServerAddress};
use dormouse_base::clock::ManualClock;
use dormouse_tests::TestServer;
use dormouse_tests::test_host::TestHost;
use serde_json::{Value, json};

use super::is_error;

/// A host with the process `files`, whose sessions may reach one host of the web.
async fn server(directory: &std::path::Path) -> TestServer {
    let change = |builder: HostBuilder| {
        let command = vec!["npx".to_owned(), "files".to_owned()];
        let launch = Launch { command, env: BTreeMap::new(), directory: None };
        let files = McpServer::at(ServerAddress::Process(launch));
        let egress =
            EgressOptions { policy: "mcp.example".parse().unwrap(), ..EgressOptions::default() };
        let servers = BTreeMap::from([("files".to_owned(), files)]);
        builder.mcp(McpOptions { servers, ..McpOptions::default() }).egress(egress)
    };
    TestServer::of(TestHost::built(directory, &ManualClock::new(), change).await, |_| {}).await
}

fn body(servers: &Value) -> Value {
    json!({
        "agent": "counter", "pattern": "hybrid", "egress": ["POST mcp.example"],
        "config": { "mcpServers": servers },
    })
}

#[tokio::test]
async fn a_session_has_servers_of_the_operator_and_those_that_both_allow_it_to_reach() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path()).await;
    for servers in [
        Value::Null,
        json!({}),
        json!({ "files": {} }),
        json!({ "files": { "command": "npx", "args": ["files"] } }),
        json!({ "mine": { "type": "http", "url": "https://mcp.example/x", "headers": { "a": "b" } } }),
    ] {
        let (status, session) = server.client.post("/api/sessions", &body(&servers)).await.unwrap();
        assert_eq!(status, 201, "{session}");
        assert_eq!(session["config"]["mcpServers"], servers, "it is kept as it was sent");
    }
}

#[tokio::test]
async fn a_server_that_a_session_may_not_have_is_refused_with_the_setting_that_would_allow_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path()).await;
    for (servers, setting) in [
        (json!({ "shell": { "command": "sh", "args": ["-c", "id"] } }), "mcp.shell.command"),
        (json!({ "files": { "command": "sh", "args": ["files"] } }), "mcp.files.command"),
        (
            json!({ "mine": { "type": "http", "url": "https://other.example/x" } }),
            "POST other.example",
        ),
        (
            json!({ "mine": { "type": "http", "url": "https://mcp.example:1/x" } }),
            "POST mcp.example:1",
        ),
        (json!({ "mine": { "type": "sse", "url": "https://mcp.example/x" } }), "\"http\""),
        (json!(["files"]), "an object for each name"),
    ] {
        let refused = server.client.post("/api/sessions", &body(&servers)).await.unwrap();
        is_error(&refused, 400, "invalid_field");
        let sentence = refused.1["error"].as_str().unwrap();
        assert!(
            sentence.starts_with("config.mcpServers ") && sentence.contains(setting),
            "{sentence}"
        );
    }
    let listed = server.client.get("/api/sessions").await.unwrap().1;
    assert_eq!(listed["sessions"], json!([]), "nothing was created");
}
