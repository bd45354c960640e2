//! Public servers, as everybody has them: `tests/public/install` installs them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use dormouse_domain::turn::Part;
use dormouse_mcp::{Launch, McpServer, ServerAddress, ToolClass};

use super::{Making, World, text};

const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/mcp-servers");

fn process(command: &[&str]) -> McpServer {
    let command = command.iter().map(|it| it.replace("{}", INSTALLED)).collect();
    let launch = Launch { command, env: BTreeMap::new(), directory: None };
    McpServer::at(ServerAddress::Process(launch))
}

const EVERYTHING: &str = "{}/node_modules/@modelcontextprotocol/server-everything/dist/index.js";

async fn everything_works(world: &World) {
    let tools = world.tools("everything").await.unwrap();
    assert!(tools.len() > 5 && tools.iter().any(|tool| tool.name == "echo"), "{tools:?}");
    let said = world.call_for("ann", "everything", "echo", r#"{"message":"hä?"}"#).await.unwrap();
    assert_eq!(text(&said), "Echo: hä?");
    let sum = world.call_for("ann", "everything", "get-sum", r#"{"a":2,"b":3}"#).await.unwrap();
    assert!(text(&sum).contains('5'), "{sum:?}");
    let image = world.call("everything", "get-tiny-image").await.unwrap();
    let is_png = |part: &Part| match part {
        Part::Blob { media_type, data } => {
            media_type == "image/png" && data.starts_with(b"\x89PNG")
        }
        Part::Text(_) | Part::Json(_) => false,
    };
    assert!(image.content.iter().any(is_png), "{image:?}");
    let wrong = world.call_for("ann", "everything", "get-sum", r#"{"a":"x"}"#).await;
    assert!(wrong.is_err() || wrong.unwrap().is_error);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `host/mcp/tests/public/install`"]
async fn a_server_from_npm_is_asked_over_standard_input_and_output() {
    let world = Making::new().with("everything", process(&["node", EVERYTHING, "stdio"])).make();
    everything_works(&world).await;
    let calling = world.calling("everything", "trigger-long-running-operation");
    calling.abort();
    everything_works(&world).await;
}

/// A server in a process of its own. It ends with the test.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `host/mcp/tests/public/install`"]
async fn a_server_from_npm_is_asked_over_streamable_http() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("node");
    command.args([&EVERYTHING.replace("{}", INSTALLED), "streamableHttp"]);
    command.env("PORT", port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Listening(command.spawn().unwrap());
    super::until(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let mut making = Making::new();
    making.egress.private = "127.0.0.0/8".parse().unwrap();
    let at =
        ServerAddress::Http { url: format!("http://127.0.0.1:{port}/mcp"), headers: Vec::new() };
    let world = making.with("everything", McpServer::at(at)).make();
    everything_works(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `host/mcp/tests/public/install`"]
async fn a_server_from_pypi_is_asked_over_standard_input_and_output() {
    let time = process(&["{}/venv/bin/mcp-server-time", "--local-timezone", "UTC"]);
    let world = Making::new().with("time", time).make();
    let tools = world.tools("time").await.unwrap();
    assert_eq!(tools.len(), 2, "{tools:?}");
    assert!(tools.iter().all(|it| it.class == ToolClass::Repeatable), "{tools:?}");
    let arguments =
        r#"{"source_timezone":"Asia/Tokyo","time":"12:00","target_timezone":"Europe/Berlin"}"#;
    let converted = world.call_for("ann", "time", "convert_time", arguments).await.unwrap();
    assert!(text(&converted).contains("Europe/Berlin"), "{converted:?}");
    let wrong = world.call_for("ann", "time", "convert_time", "{}").await;
    assert!(wrong.is_err() || wrong.unwrap().is_error);
}
