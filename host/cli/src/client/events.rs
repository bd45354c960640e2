//! `dormouse events`: what happened on a host, page by page or as it happens.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::Value;

use super::error::ClientError;
use super::server::{Query, Server};
use super::sessions::session_id;
use super::terminal::{document, in_one_line, text};
use super::{option, print, write};
use crate::store::json_flag;

/// The most events of a page of the server.
const MAX_LISTED: u64 = 200;
const LISTED: &str = "50";

/// The most characters of the particulars of an event in a line for people.
const PARTICULARS: usize = 160;

pub(super) fn command() -> Command {
    let number = |name: &'static str, value: &'static str| {
        Arg::new(name).long(name).value_name(value).value_parser(value_parser!(u64))
    };
    Command::new("events")
        .about("Show what happened on a host, or follow it")
        .arg(
            Arg::new("follow")
                .long("follow")
                .short('f')
                .action(ArgAction::SetTrue)
                .help("Print each event as it happens; with --json, one document a line"),
        )
        .arg(
            number("after", "CURSOR")
                .help("Only events after this cursor [default: from the first event]"),
        )
        .arg(
            Arg::new("session")
                .long("session")
                .value_name("ID")
                .value_parser(session_id)
                .help("Only events of this session"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("NUMBER")
                .value_parser(value_parser!(u64).range(1..=MAX_LISTED))
                .default_value(LISTED)
                .conflicts_with("follow")
                .help("The most events to show"),
        )
        .arg(json_flag())
}

pub(super) async fn run(given: &ArgMatches) -> Result<(), ClientError> {
    let server = Server::of(given)?;
    let path = match option(given, "session") {
        Some(id) => format!("/api/sessions/{id}/events"),
        None => "/api/events".to_owned(),
    };
    let mut query = Query::default();
    if let Some(after) = given.get_one::<u64>("after") {
        query = query.with("after", after);
    }
    if given.get_flag("follow") {
        return follow(&server, given, &path, query).await;
    }
    let limit = given.get_one::<u64>("limit").copied().unwrap_or(MAX_LISTED);
    let page = server.get(&path, &query.with("limit", limit)).await?;
    print(given, &page, tell_page)
}

/// Print each event as it comes, until the connection ends.
async fn follow(
    server: &Server,
    given: &ArgMatches,
    path: &str,
    query: Query,
) -> Result<(), ClientError> {
    let mut events = server.get_stream(path, &query.with("follow", true)).await?;
    let mut last = None;
    loop {
        let ended = match events.next().await {
            Ok(Some(event)) => {
                let line = match given.get_flag("json") {
                    true => document(&event.data),
                    false => line(&event.data),
                };
                write(&format!("{line}\n"))?;
                last = Some(event.id);
                continue;
            }
            Ok(None) => "the server ended the stream".to_owned(),
            Err(ClientError::Lost { cause, .. }) => cause,
            Err(error) => return Err(error),
        };
        let after = last.map(|id| format!("; go on with --after {}", in_one_line(&id)));
        return Err(server.lost(ended + &after.unwrap_or_default()));
    }
}

fn tell_page(page: &Value) -> String {
    let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut told = String::new();
    for event in events {
        told.push_str(&line(event));
        told.push('\n');
    }
    if events.is_empty() {
        told.push_str("no events\n");
    }
    if page["more"] == true {
        let next = in_one_line(&text(page, "next"));
        told.push_str(&format!("\nthere are more: --after {next}, or --follow\n"));
    }
    told
}

/// An event on a line: its cursor, when, what, of what, and its particulars.
fn line(event: &Value) -> String {
    let mut particulars = match &event["payload"] {
        Value::Object(object) if object.is_empty() => String::new(),
        payload => payload.to_string(),
    };
    if let Some((at, _)) = particulars.char_indices().nth(PARTICULARS) {
        particulars.truncate(at);
        particulars.push('…');
    }
    let line = format!(
        "{:>8}  {}  {:24}  {:36}  {particulars}",
        text(event, "id"),
        text(event, "occurred_at"),
        text(event, "event_type"),
        text(event, "aggregate_id"),
    );
    in_one_line(line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line_and_long_particulars_are_cut() {
        let event = json!({
            "id": 7, "event_type": "session.created", "aggregate_id": "s\u{1b}",
            "occurred_at": "2026-01-01T00:00:00.000Z", "payload": { "x": "ä".repeat(500) },
        });
        let line = line(&event);
        assert!(line.starts_with("       7  2026-01-01T00:00:00.000Z  session.created "), "{line}");
        assert!(line.ends_with('…') && line.chars().count() < 300, "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
        let page = json!({ "events": [event], "more": true, "next": 7 });
        assert!(tell_page(&page).contains("--after 7"));
    }
}
