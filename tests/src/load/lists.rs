//! Lists of many sessions by each of their filters, and what the sessions come to.

use anyhow::Result;
use serde_json::{Value, json};

use super::Options;
use super::connection::Connection;
use super::report::{Aim, Report, Times};
use super::running::Running;

/// Clients that create at once.
const CREW: usize = 64;
/// A page, whatever is asked for.
const PAGE: [Aim; 2] = [Aim::Most(10e-3), Aim::None];

/// What is asked for. Of `COUNT` sessions each user has 1,000, and each of the others more or fewer.
const FILTERS: [(&str, &str); 12] = [
    ("all", ""),
    ("a user", "userId=user-7"),
    ("a thread", "threadKey=thread-77"),
    ("a conversation", "conversationId=conversation-7"),
    ("a project", "projectId=project-7"),
    ("an agent", "agent=counter"),
    ("a pattern", "pattern=hybrid"),
    ("a pattern and a status", "pattern=hybrid&status=initializing"),
    ("a tag that a tenth has", "tags=tag-7"),
    ("either of two tags", "tags=tag-7,tag-8"),
    ("a tag and a user", "tags=tag-7&userId=user-7"),
    ("a user, last active first", "userId=user-7&sort=-lastActivityAt"),
];

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let (count, rounds) = (options.sessions(), options.choose(200, 50));
    let directory = tempfile::tempdir()?;
    let running = Running::start(options, directory.path()).await?;
    let mut crew = running.crew(CREW).await?;
    let created = crew.all(async |n, connection| {
        for number in (u64::try_from(n)?..count).step_by(CREW) {
            connection.create(&session(number, count).to_string()).await?;
        }
        Ok(())
    });
    created.await?;

    let mut connection = running.connect().await?;
    for (what, filter) in FILTERS {
        let (first, next) = pages(&mut connection, filter, rounds).await?;
        report.times(&format!("list of {count}: {what}"), &first, PAGE);
        if next.count() > 0 {
            report.times("  the page after it", &next, PAGE);
        }
    }
    for (what, filter) in [("all", ""), ("a user", "?userId=user-7"), ("a tag", "?tags=tag-7")] {
        let path = format!("/api/sessions/stats/summary{filter}");
        let times = Times::new();
        for _ in 0..rounds {
            times.time(connection.get(&path)).await?;
        }
        report.times(&format!("statistics of {count}: {what}"), &times, PAGE);
    }
    running.end()
}

/// One of so many sessions.
fn session(number: u64, count: u64) -> Value {
    json!({
        "agent": if number.is_multiple_of(2) { "counter" } else { "echo" },
        "pattern": if number.is_multiple_of(3) { "hybrid" } else { "long-running" },
        "userId": format!("user-{}", number % (count / 1_000).max(10)),
        "threadKey": format!("thread-{number}"),
        "conversationId": format!("conversation-{}", number % (count / 10)),
        "projectId": format!("project-{}", number % 50),
        "tags": [format!("tag-{}", number % 10), "all"],
    })
}

/// The first page of a list again and again, and the page after it, where there is one.
async fn pages(connection: &mut Connection, filter: &str, rounds: u64) -> Result<(Times, Times)> {
    let path = format!("/api/sessions?pageSize=50&{filter}");
    let page: Value = serde_json::from_slice(connection.get(&path).await?)?;
    anyhow::ensure!(page["count"] != 0, "{path} finds nothing");
    let after = page["nextCursor"].as_str().map(|cursor| format!("{path}&cursor={cursor}"));
    let (first, next) = (Times::new(), Times::new());
    for _ in 0..rounds {
        first.time(connection.get(&path)).await?;
        if let Some(after) = &after {
            next.time(connection.get(after)).await?;
        }
    }
    Ok((first, next))
}
