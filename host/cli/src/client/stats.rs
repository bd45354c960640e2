//! `dormouse stats`: what the sessions of the caller have done and cost.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;

use super::error::ClientError;
use super::print;
use super::server::{Query, Server};
use super::terminal::{listed, money, table, text};
use crate::store::json_flag;

pub(super) fn command() -> Command {
    let filter = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("stats")
        .about("Show how many sessions there are, and what they cost")
        .arg(filter("pattern", "PATTERN", "Only sessions with this pattern"))
        .arg(filter("user", "USER", "Only sessions with this userId"))
        .arg(
            filter(
                "tag",
                "TAG",
                "Only sessions with this tag; if given again, with any of the tags",
            )
            .action(ArgAction::Append),
        )
        .arg(json_flag())
}

pub(super) async fn run(given: &ArgMatches) -> Result<(), ClientError> {
    let query = Query::default()
        .with_given("pattern", given, "pattern")
        .with_given("userId", given, "user")
        .with_given("tag", given, "tag");
    let stats = Server::of(given)?.get("/api/sessions/stats/summary", &query).await?;
    print(given, &stats, tell)
}

fn tell(stats: &Value) -> String {
    let dollars = |value: &Value| value.as_f64().map(money).unwrap_or_default();
    let mut rows = vec![
        ("sessions", text(stats, "totalSessions")),
        ("active", text(stats, "activeSessions")),
        ("completed", text(stats, "completedSessions")),
        ("in error", text(stats, "errorSessions")),
        ("cost", dollars(&stats["totalCost"])),
        ("tokens", text(stats, "totalTokens")),
        ("duration", duration(&stats["avgSessionDuration"])),
    ];
    rows.retain(|(_, value)| !value.is_empty());
    let mut told = listed(&rows);
    let rows: Vec<[String; 5]> = members(&stats["byPattern"])
        .map(|(pattern, of)| {
            let cost = dollars(&of["avgCost"]);
            let duration = duration(&of["avgDuration"]);
            [pattern.clone(), text(of, "count"), cost, text(of, "avgTokens"), duration]
        })
        .collect();
    if !rows.is_empty() {
        let heading = ["PATTERN", "SESSIONS", "AVERAGE COST", "TOKENS", "DURATION"];
        told.push_str(&format!("\n{}", table(heading, &rows)));
    }
    let rows: Vec<[String; 2]> = members(&stats["byStatus"])
        .map(|(status, count)| [status.clone(), count.to_string()])
        .collect();
    if !rows.is_empty() {
        told.push_str(&format!("\n{}", table(["STATUS", "SESSIONS"], &rows)));
    }
    told
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Milliseconds, for people.
fn duration(millis: &Value) -> String {
    let Some(millis) = millis.as_f64() else { return String::new() };
    let seconds = millis / 1_000.0;
    match seconds {
        ..60.0 => format!("{seconds:.1}s"),
        60.0..3_600.0 => format!("{:.1}m", seconds / 60.0),
        _ => format!("{:.1}h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_told_with_their_units() {
        let told = tell(&json!({
            "totalSessions": 3, "activeSessions": 1, "completedSessions": 2, "errorSessions": 0,
            "totalCost": 0.25, "totalTokens": 0, "avgSessionDuration": 90_000,
            "byPattern": { "hybrid": { "count": 3, "avgCost": 0.1, "avgTokens": 0, "avgDuration": 1_500 } },
            "byStatus": { "active": 1, "completed": 2 },
        }));
        for expected in [
            "sessions   3\n",
            "cost       $0.25\n",
            "duration   1.5m\n",
            "hybrid   3 ",
            "1.5s\n",
            "completed  2\n",
        ] {
            assert!(told.contains(expected), "{expected} is missing in {told}");
        }
    }
}
