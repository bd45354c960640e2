//! Servers that are reached by streamable HTTP, by the one way out of the host.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dormouse_domain::egress::EgressPolicy;
use dormouse_egress::EgressSecret;
use dormouse_mcp::{McpError, McpServer, NotPermitted, ServerAddress, SessionServers};

use super::{Making, SERVER, World, owner, text};

/// A server in a process of its own. It ends with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(how: &str, notes: &Path) -> Server {
        let mut command = Command::new("python3");
        command.args([SERVER, "http", how]).arg(notes).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Server { process, port: line.trim().parse().unwrap() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

fn remote(url: String, headers: &[(&str, &str)]) -> McpServer {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    McpServer::at(ServerAddress::Http { url, headers: headers.iter().map(own).collect() })
}

/// A host whose operator has this server, on loopback.
fn world(how: &str, path: &str) -> (World, Server) {
    let mut making = Making::new();
    let server = Server::start(how, making.notes.path());
    making.egress.private = "127.0.0.0/8".parse().unwrap();
    let remote = remote(server.url(path), &[]);
    (making.with("remote", remote).make(), server)
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_listed_and_called_whether_answers_are_documents_or_events() {
    for how in ["json", "events"] {
        let (world, _server) = world(how, "/mcp");
        assert_eq!(world.tools("remote").await.unwrap().len(), 23, "{how}");
        let said = world.call_for("ann", "remote", "echo", r#"{"text":"hä?"}"#).await.unwrap();
        assert_eq!(text(&said), "hä?", "{how}");
        assert!(matches!(world.call("remote", "refuses").await, Err(McpError::Refused { .. })));
        assert_eq!(world.counted("starts"), 1, "one HTTP session");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_too_large_or_none_are_refused() {
    for how in ["json", "events"] {
        let (world, _server) = world(how, "/mcp");
        for tool in ["large", "deep", "crowded"] {
            let error = world.call("remote", tool).await.unwrap_err();
            assert_eq!(error, McpError::TooLarge { server: "remote".to_owned() }, "{how} {tool}");
        }
        assert!(matches!(world.call("remote", "other").await, Err(McpError::Protocol { .. })));
        assert_eq!(world.says("remote", "count").await, "1", "{how}");
    }
    let (world, _server) = world("json", "/mcp");
    let error = world.call("remote", "unreadable").await.unwrap_err();
    assert!(matches!(error, McpError::Protocol { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_ask_in_the_middle_of_its_answer_and_is_told_that_there_is_nothing() {
    let (world, _server) = world("events", "/mcp");
    assert_eq!(world.says("remote", "asks").await, "[true, false, false, false]");
    assert_eq!(world.says("remote", "floods").await, "done");
    world.call("remote", "changes").await.unwrap();
    assert_eq!(world.says("remote", "new").await, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_forgotten_the_session_is_greeted_again() {
    let (world, _server) = world("json", "/mcp");
    assert_eq!(world.says("remote", "count").await, "1");
    std::fs::write(world.path("expired"), "").unwrap();
    assert_eq!(world.says("remote", "count").await, "2");
    assert_eq!(world.counted("starts"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_hangs_times_out_and_its_server_is_told() {
    let (world, _server) = world("events", "/mcp");
    let calling = world.calling("remote", "hangs");
    world.noted("hangs").await;
    world.turn(121);
    assert!(matches!(calling.await.unwrap(), Err(McpError::TimedOut { .. })));
    world.noted("cancelled").await;
    assert_eq!(world.says("remote", "count").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_uses_is_closed() {
    let (world, _server) = world("json", "/mcp");
    world.says("remote", "count").await;
    world.turn_until(601, || world.counted("deleted") == 1).await;
    assert_eq!(world.says("remote", "count").await, "2");
    assert_eq!(world.counted("starts"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_fails_fast_and_comes_back() {
    let (world, server) = world("json", "/mcp");
    world.says("remote", "count").await;
    drop(server);
    let error = world.call("remote", "count").await.unwrap_err();
    assert!(matches!(error, McpError::Unavailable { .. }), "{error}");
    let error = world.call("remote", "count").await.unwrap_err();
    assert!(error.to_string().contains("failed before"), "{error}");
    world.turn(1);
    let error = world.call("remote", "count").await.unwrap_err();
    let McpError::Unavailable { problem, .. } = error else { panic!("{error}") };
    assert!(problem.contains("cannot be connected to"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_mcp_server_is_not_available_and_no_redirect_is_followed() {
    for (path, expected) in [
        ("/moved", "HTTP 307"),
        ("/page", "neither JSON nor"),
        ("/busy", "HTTP 503"),
        ("/denied", "HTTP 401: who  [31mare you?"),
    ] {
        let (world, _server) = world("json", path);
        let error = world.tools("remote").await.unwrap_err();
        let McpError::Unavailable { problem, retry_after, .. } = error else { panic!("{error}") };
        assert!(problem.contains(expected), "{path}: {problem}");
        assert_eq!(retry_after.as_secs(), if path == "/busy" { 30 } else { 1 });
        assert_eq!(world.counted("starts"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reaches_a_server_of_its_own_where_both_allow_it_and_no_private_address() {
    let mut making = Making::new();
    let server = Server::start("json", making.notes.path());
    making.egress.policy = "POST 127.0.0.1:*".parse().unwrap();
    let servers = format!(r#"{{"mine":{{"type":"http","url":"{}"}}}}"#, server.url("/mcp"));
    let world = making.make();
    let session = world.session(&servers);
    let error = world.servers.tools(&owner("ann"), &session, "mine").await.unwrap_err();
    assert!(error.to_string().contains("egress-private"), "{error}");

    let mut making = Making::new();
    making.egress.policy = "POST 127.0.0.1:*".parse().unwrap();
    making.egress.private = "127.0.0.0/8".parse().unwrap();
    let world = making.make();
    let session = world.session(&servers);
    let called = world.servers.call(&owner("ann"), &session, "mine", "count", "{}").await.unwrap();
    assert_eq!(text(&called), "1");
    let nothing = EgressPolicy::default();
    let servers = serde_json::from_str(&servers).unwrap();
    let read = SessionServers::read(&servers, world.servers.options(), &world.egress, &nothing);
    assert!(matches!(read, Err(NotPermitted::Url { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sent_to_its_host_and_comes_back_as_its_placeholder() {
    for how in ["json", "events"] {
        let mut making = Making::new();
        let server = Server::start(how, making.notes.path());
        making.egress.private = "127.0.0.0/8".parse().unwrap();
        let hosts = vec!["127.0.0.1:*".parse().unwrap()];
        making.egress.secrets = vec![EgressSecret::new("KEY", "sk-0123456789", hosts).unwrap()];
        let headers = [("authorization", "Bearer {{secret:KEY}}"), ("x-own", "1")];
        let world = making.with("remote", remote(server.url("/mcp"), &headers)).make();
        let told = world.says("remote", "headers").await.to_lowercase();
        assert!(
            told.contains("bearer {{secret:key}}") && told.contains("\"x-own\": \"1\""),
            "{told}"
        );
        assert!(!told.contains("sk-01"), "{told}");
    }
}
