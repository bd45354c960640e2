//! `dormouse sessions`: list them, look at one, and give it orders.

use clap::{Arg, ArgMatches, Command, value_parser};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::ClientError;
use super::server::{Query, Server};
use super::terminal::{age, in_one_line, listed, money, now, table, text};
use super::{option, print};
use crate::store::json_flag;
use dormouse::SessionId;

/// The most sessions that one call lists, and those that it lists unless told otherwise.
const MAX_LISTED: u64 = 10_000;
const LISTED: &str = "50";

/// The most sessions of a page of the server.
const PAGE: u64 = 200;

/// What a session can be told: the name of the command, which is that of the route, and what it does.
const ORDERS: [(&str, &str); 7] = [
    ("sleep", "Drop the instance from memory; the next message wakes the session"),
    ("wake", "Bring the instance into memory"),
    ("pause", "Take no more messages until the session is resumed"),
    ("resume", "Go on after a pause or an error"),
    ("stop", "End the session when its running turn is over"),
    ("force-kill", "End the session and its running turn at once"),
    ("terminate", "End the session, and record why"),
];

pub(super) fn command() -> Command {
    let orders = ORDERS.map(|(name, about)| {
        let order = Command::new(name).about(about).arg(id()).arg(json_flag());
        match name {
            "terminate" => {
                let reason = Arg::new("reason").long("reason").value_name("REASON");
                order.arg(reason.help("Why [default: user_requested]"))
            }
            _ => order,
        }
    });
    let list = list_options(Command::new("list").about("List sessions, newest first (default)"));
    let show = Command::new("show").about("Show one session").arg(id()).arg(json_flag());
    let delete = Command::new("delete").about("Remove the session and its history");
    list_options(
        Command::new("sessions").about("List the sessions of a host, or give one an order"),
    )
    .args_conflicts_with_subcommands(true)
    .subcommand(list)
    .subcommand(show)
    .subcommands(orders)
    .subcommand(delete.arg(id()).arg(json_flag()))
}

fn list_options(command: Command) -> Command {
    let filter = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    command
        .arg(filter(
            "status",
            "STATUS",
            "Only sessions with this status: active, idle, paused, error, …",
        ))
        .arg(filter("pattern", "PATTERN", "Only sessions with this pattern: ephemeral, hybrid, …"))
        .arg(filter("user", "USER", "Only sessions with this userId"))
        .arg(
            filter(
                "tag",
                "TAG",
                "Only sessions with this tag; if given again, with any of the tags",
            )
            .action(clap::ArgAction::Append),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("NUMBER")
                .value_parser(value_parser!(u64).range(1..=MAX_LISTED))
                .default_value(LISTED)
                .help("The most sessions to list"),
        )
        .arg(json_flag())
}

/// The id of a session. What is none can name none, and is not sent to the server.
pub(super) fn id() -> Arg {
    Arg::new("id").value_name("ID").required(true).value_parser(session_id).help("The session")
}

/// # Errors
/// The text is not the id of a session.
pub(super) fn session_id(text: &str) -> Result<String, String> {
    match text.parse::<SessionId>() {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err("this is not the id of a session; `dormouse sessions` lists them".to_owned()),
    }
}

pub(super) async fn run(given: &ArgMatches) -> Result<(), ClientError> {
    let (name, given) = given.subcommand().unwrap_or(("list", given));
    let server = Server::of(given)?;
    if name == "list" {
        let found = find(&server, given).await?;
        return print(given, &found, |found| tell_list(found, now()));
    }
    let path = format!("/api/sessions/{}", option(given, "id").unwrap_or_default());
    match name {
        "show" => {
            let session = server.get(&path, &Query::default()).await?;
            print(given, &session, |session| tell(session, now()))
        }
        "delete" => {
            let deleted = server.delete(&path).await?;
            print(given, &deleted, |deleted| {
                format!("{} is deleted\n", in_one_line(&text(deleted, "id")))
            })
        }
        order => {
            let reason = given.try_get_one::<String>("reason").ok().flatten();
            let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
            let done = server.post(&format!("{path}/{order}"), &body).await?;
            print(given, &done, |done| tell_state(&done["session"]))
        }
    }
}

/// As many sessions as are asked for, page by page.
async fn find(server: &Server, given: &ArgMatches) -> Result<Value, ClientError> {
    let query = Query::default()
        .with_given("status", given, "status")
        .with_given("pattern", given, "pattern")
        .with_given("userId", given, "user")
        .with_given("tag", given, "tag");
    let limit = given.get_one::<u64>("limit").copied().unwrap_or(MAX_LISTED);
    let (mut found, mut next): (Vec<Value>, _) = (Vec::new(), None::<String>);
    loop {
        let left = limit.saturating_sub(found.len() as u64);
        let mut query = query.clone().with("pageSize", left.min(PAGE));
        if let Some(next) = &next {
            query = query.with("after", next);
        }
        let mut page = server.get("/api/sessions", &query).await?;
        let Some(Value::Array(sessions)) = page.get_mut("sessions").map(Value::take) else {
            return Err(server.not_dormouse("it lists no sessions"));
        };
        let is_empty = sessions.is_empty();
        found.extend(sessions);
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() || is_empty || found.len() as u64 >= limit {
            let count = found.len();
            let total = page["total"].clone();
            return Ok(json!({ "sessions": found, "count": count, "total": total, "next": next }));
        }
    }
}

fn tell_list(found: &Value, now: Timestamp) -> String {
    let sessions = found["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let rows: Vec<_> = sessions.iter().map(|session| row(session, now)).collect();
    let heading = ["ID", "AGENT", "PATTERN", "STATUS", "TURNS", "COST", "ACTIVE", "TAGS"];
    let mut told = table(heading, &rows);
    if !found["next"].is_null() {
        let (count, total) = (sessions.len(), text(found, "total"));
        told.push_str(&format!("\n{count} of {} sessions: see --limit\n", in_one_line(&total)));
    }
    told
}

fn row(session: &Value, now: Timestamp) -> [String; 8] {
    [
        text(session, "id"),
        agent(session),
        text(session, "pattern"),
        state(session),
        text(session, "numTurns"),
        session["totalCost"].as_f64().map(money).unwrap_or_default(),
        age(&text(session, "lastActivityAt"), now),
        tags(session),
    ]
}

/// The agent of a session, as one would name it.
pub(super) fn agent(session: &Value) -> String {
    let agent = &session["agent"];
    format!("{}@{}", text(agent, "name"), text(agent, "version"))
}

/// Its status, and whether it sleeps, where it can wake.
fn state(session: &Value) -> String {
    let (status, residency) = (text(session, "status"), text(session, "residency"));
    match (status.as_str(), residency.as_str()) {
        ("completed" | "terminated", _) => status,
        (_, "asleep") => format!("{status}, asleep"),
        _ => status,
    }
}

fn tags(session: &Value) -> String {
    let tags = session["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    tags.collect::<Vec<_>>().join(",")
}

/// A session after an order.
fn tell_state(session: &Value) -> String {
    format!("{} is {}\n", in_one_line(&text(session, "id")), in_one_line(&state(session)))
}

fn tell(session: &Value, now: Timestamp) -> String {
    let reason = [text(session, "terminationReason"), text(session, "errorReason")].concat();
    let mut status = state(session);
    if !reason.is_empty() {
        status.push_str(&format!(" ({reason})"));
    }
    let time = |field| match text(session, field) {
        time if time.is_empty() => String::new(),
        time => format!("{time}, {}", age(&time, now)),
    };
    let mut rows = vec![
        ("id", text(session, "id")),
        ("agent", agent(session)),
        ("pattern", text(session, "pattern")),
        ("status", status),
        ("turns", text(session, "numTurns")),
        ("cost", session["totalCost"].as_f64().map(money).unwrap_or_default()),
        ("fuel", text(session, "totalFuel")),
        ("created", time("createdAt")),
        ("active", time("lastActivityAt")),
        ("ended", [time("completedAt"), time("terminatedAt")].concat()),
        ("snapshot", text(session, "sessionId")),
        ("parent", text(session, "parent")),
        ("tags", tags(session)),
        ("description", text(session, "description")),
        ("user", text(session, "userId")),
    ];
    let limits = ["maxTurns", "maxBudgetUsd", "maxFuel", "maxIdleTimeMs", "maxLifetimeMs"];
    rows.extend(limits.map(|limit| (limit, text(session, limit))));
    rows.retain(|(_, value)| !value.is_empty());
    listed(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_table_that_says_how_much_is_left() {
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let session = json!({
            "id": "a", "agent": { "name": "counter", "version": "1" }, "pattern": "hybrid",
            "status": "active", "residency": "asleep", "numTurns": 2, "totalCost": 0.5,
            "lastActivityAt": "2026-01-01T00:00:00Z", "tags": ["x", "y\u{1b}"],
        });
        let found = json!({ "sessions": [session], "total": 3, "next": "a" });
        assert_eq!(
            tell_list(&found, now),
            "ID  AGENT      PATTERN  STATUS          TURNS  COST   ACTIVE  TAGS\n\
             a   counter@1  hybrid   active, asleep  2      $0.50  5m ago  x,y\u{fffd}\n\n\
             1 of 3 sessions: see --limit\n"
        );
        assert_eq!(tell_list(&json!({ "sessions": [] }), now), "no sessions\n");
    }
}
