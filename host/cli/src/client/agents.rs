//! `dormouse agents`: list them, look at one, upload one, remove one.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::ClientError;
use super::server::{Query, Server};
use super::terminal::{age, in_one_line, listed, now, table, text};
use super::{option, print};
use crate::store::json_flag;
use crate::store::text::size;
use dormouse::AgentSelector;

/// The largest component that is read: more than any host takes.
const MAX_COMPONENT: u64 = 1 << 30;

pub(super) fn command() -> Command {
    let of = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).arg(agent()).arg(json_flag())
    };
    let version = Arg::new("version").long("version").value_name("VERSION").required(true);
    let upload = Command::new("upload")
        .about("Upload a component, and wait until the host has compiled it")
        .arg(component())
        .arg(name())
        .arg(version.help("Which version it is: the same version never has other bytes"))
        .arg(json_flag());
    Command::new("agents")
        .about("List the agents of a host, upload one, or remove one")
        .args_conflicts_with_subcommands(true)
        .arg(json_flag())
        .subcommand(Command::new("list").about("List agents (default)").arg(json_flag()))
        .subcommand(of("show", "Show one agent"))
        .subcommand(upload)
        .subcommand(of("delete", "Remove one that no session uses"))
}

/// What names an agent.
pub(super) fn agent() -> Arg {
    Arg::new("agent")
        .value_name("AGENT")
        .required(true)
        .value_parser(selector)
        .help("name, name@version, owner/name@version or digest")
}

/// The file with a component.
pub(super) fn component() -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("The component, such as agent.wasm")
}

/// The name of an agent that is uploaded.
pub(super) fn name() -> Arg {
    let name = Arg::new("name").long("name").value_name("NAME");
    name.help("The name of the agent [default: that of the file]")
}

/// # Errors
/// The text can name no agent, or would lead to another path of the server.
pub(super) fn selector(text: &str) -> Result<String, String> {
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("this can name no agent".to_owned());
    }
    let parsed: Result<AgentSelector, _> = text.parse();
    parsed.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) async fn run(given: &ArgMatches) -> Result<(), ClientError> {
    let (command, given) = given.subcommand().unwrap_or(("list", given));
    let server = Server::of(given)?;
    let path = || format!("/api/agents/{}", option(given, "agent").unwrap_or_default());
    match command {
        "show" => print(given, &server.get(&path(), &Query::default()).await?, tell),
        "delete" => print(given, &server.delete(&path()).await?, |agent| {
            format!("{} is deleted\n", in_one_line(&reference(agent)))
        }),
        "upload" => {
            let file = file(given);
            let version = option(given, "version").unwrap_or_default();
            let uploaded =
                server.upload(&named(given, &file)?, version, read(&file).await?).await?;
            print(given, &uploaded, |agent| {
                format!("{} is ready\n", in_one_line(&reference(agent)))
            })
        }
        _ => print(given, &find(&server).await?, |found| tell_list(found, now())),
    }
}

/// The file that the command line names.
pub(super) fn file(given: &ArgMatches) -> PathBuf {
    given.get_one::<PathBuf>("file").cloned().unwrap_or_default()
}

/// The name that the command line gives the agent, or that of its file.
pub(super) fn named(given: &ArgMatches, file: &Path) -> Result<String, ClientError> {
    let stem = || file.file_stem().and_then(|stem| stem.to_str());
    let name = option(given, "name").or_else(stem).unwrap_or_default();
    match name.parse::<dormouse::AgentName>() {
        Ok(name) => Ok(name.to_string()),
        Err(error) => Err(ClientError::Usage(format!("{error}; choose one with --name"))),
    }
}

/// The bytes of a component.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let failed = |error| ClientError::File { path: path.to_owned(), error };
    let length = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if length > MAX_COMPONENT {
        let problem = format!("{} has {}, which no host takes", path.display(), size(length));
        return Err(ClientError::Usage(problem));
    }
    tokio::fs::read(path).await.map_err(failed)
}

/// All agents, page by page.
async fn find(server: &Server) -> Result<Value, ClientError> {
    let (mut found, mut next) = (Vec::new(), None::<u64>);
    loop {
        let query = next.map_or_else(Query::default, |next| Query::default().with("after", next));
        let mut page = server.get("/api/agents", &query.with("limit", 1_000)).await?;
        let Some(Value::Array(agents)) = page.get_mut("agents").map(Value::take) else {
            return Err(server.not_dormouse("it lists no agents"));
        };
        let is_empty = agents.is_empty();
        found.extend(agents);
        next = page["next"].as_u64();
        if next.is_none() || is_empty {
            return Ok(json!({ "count": found.len(), "agents": found }));
        }
    }
}

fn tell_list(found: &Value, now: Timestamp) -> String {
    let agents = found["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |agent: &Value| {
        [
            reference(agent),
            text(agent, "kind"),
            text(agent, "statefulness"),
            agent["size"].as_u64().map(size).unwrap_or_default(),
            whose(agent),
            age(&text(agent, "uploadedAt"), now),
        ]
    };
    let rows: Vec<_> = agents.iter().map(row).collect();
    table(["AGENT", "KIND", "STATE", "SIZE", "OWNER", "UPLOADED"], &rows)
}

/// What a caller would name it by.
fn reference(agent: &Value) -> String {
    format!("{}@{}", text(agent, "name"), text(agent, "version"))
}

/// Whose it is, and whether others can name it.
fn whose(agent: &Value) -> String {
    match text(agent, "owner") {
        owner if owner.is_empty() => "the host".to_owned(),
        owner => format!("{owner}, {}", text(agent, "visibility")),
    }
}

fn tell(agent: &Value) -> String {
    let names = |field: &str| {
        let all = agent[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        all.collect::<Vec<_>>().join(", ")
    };
    let mut rows = vec![
        ("agent", reference(agent)),
        ("upload", Some(text(agent, "state")).filter(|state| state != "ready").unwrap_or_default()),
        ("error", text(agent, "error")),
        ("code", text(agent, "code")),
        ("digest", text(agent, "digest")),
        ("owner", if agent["size"].is_null() { String::new() } else { whose(agent) }),
        ("kind", text(agent, "kind")),
        ("state", text(agent, "statefulness")),
        ("not saved because", text(agent, "unsavedReason")),
        ("size", agent["size"].as_u64().map(size).unwrap_or_default()),
        ("start fuel", text(agent, "startFuel")),
        ("uploaded", text(agent, "uploadedAt")),
        ("capabilities", names("capabilities")),
        ("imports", names("imports")),
    ];
    rows.retain(|(_, value)| !value.is_empty());
    listed(&rows)
}
