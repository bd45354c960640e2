//! What has happened.

use crate::codes::Code;
use crate::model::event::{EventPage, LoggedBody};
use crate::model::message::StreamEvent;
use crate::operation::{Operation, Tag};

const LAST_EVENT_ID: (&str, &str) =
    ("Last-Event-ID", "The id of the last event that the reader has: the stream goes on after it.");

pub(crate) fn turns() -> Operation {
    Operation::new(Tag::History, "listTurns", "Lists the turns of a session, in order.")
}

pub(crate) fn turn() -> Operation {
    let summary = "Shows a turn of a session, answered or failed.";
    Operation::new(Tag::History, "getTurn", summary).fails(&[Code::TurnNotFound])
}

pub(crate) fn trace() -> Operation {
    let summary = "Shows what a turn of a session spent its time on: waking, the agent, each call, the commit.";
    Operation::new(Tag::History, "getTrace", summary).fails(&[Code::TurnNotFound])
}

pub(crate) fn usage() -> Operation {
    let summary =
        "Shows what a session has used, and the lines that the totals are made of, in order.";
    Operation::new(Tag::History, "getUsage", summary)
}

pub(crate) fn timers() -> Operation {
    let summary = "Lists the timers that the agent of a session has set.";
    Operation::new(Tag::History, "listTimers", summary)
}

pub(crate) fn members() -> Operation {
    let summary = "Lists the members of the group that a session is the coordinator of, by their names. A member is a \
                   session from its first use on.";
    Operation::new(Tag::Sessions, "listMembers", summary)
}

pub(crate) fn metrics() -> Operation {
    let summary = "Lists the numbers that the agent of a session has sampled, in order: under one name, or all.";
    Operation::new(Tag::History, "listMetrics", summary)
}

pub(crate) fn session_events() -> Operation {
    let (name, description) = LAST_EVENT_ID;
    let summary = "Lists the events of a session, in order; follows them with `follow=true`; or, for \
                   who accepts `text/event-stream`, gives the stream of its running turn again.";
    Operation::new(Tag::History, "listSessionEvents", summary)
        .header(name, description)
        .answers::<EventPage>(200)
        .streams::<StreamOrLogged>()
        .answers_nothing(204)
        .fails(&[Code::TurnNotFound, Code::TooManyStreams])
}

pub(crate) fn audit() -> Operation {
    let summary = "Lists who has asked to resume a session, and what came of it.";
    Operation::new(Tag::History, "listAudit", summary)
}

pub(crate) fn all_events() -> Operation {
    let (name, description) = LAST_EVENT_ID;
    let summary = "Lists the events of the caller, in order; follows them with `follow=true`, or for \
                   who accepts `text/event-stream`.";
    Operation::new(Tag::History, "listEvents", summary)
        .header(name, description)
        .answers::<EventPage>(200)
        .streams::<LoggedBody>()
        .fails(&[Code::TooManyStreams])
}

/// What the streams of one session consist of: events of a turn, or those of the log.
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "it describes two streams that one path has")]
enum StreamOrLogged {
    Turn(StreamEvent<'static>),
    Log(LoggedBody),
}
