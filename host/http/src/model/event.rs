//! An event of the log.

use schemars::JsonSchema;
use serde::Serialize;

use super::payload::by_kind;
use super::value::Time;
use dormouse::{Event, EventEntry, EventSubject, JsonObject};

/// An event. The names are those of the event log that clients know.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event", transform = by_kind)]
pub(crate) struct LoggedBody {
    id: u64,
    event_type: &'static str,
    aggregate_type: AggregateType,
    aggregate_id: String,
    #[schemars(with = "Time")]
    occurred_at: String,
    payload: JsonObject,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum AggregateType {
    Session,
    Agent,
    Key,
    Schedule,
}

impl From<EventEntry> for LoggedBody {
    fn from(logged: EventEntry) -> LoggedBody {
        let Event { subject, occurred_at, body, owner: _ } = logged.event;
        let (aggregate_type, aggregate_id) = match subject {
            EventSubject::Session(id) => (AggregateType::Session, id.to_string()),
            EventSubject::Agent(name) => (AggregateType::Agent, name),
            EventSubject::Key(id) => (AggregateType::Key, id.to_string()),
            EventSubject::Schedule(id) => (AggregateType::Schedule, id.to_string()),
        };
        LoggedBody {
            id: logged.cursor.0,
            event_type: body.kind().as_str(),
            aggregate_type,
            aggregate_id,
            occurred_at: occurred_at.to_string(),
            payload: body.payload(),
        }
    }
}

/// Some events, in order. `next` is what to ask for as `after`: also where nothing is left, for what
/// comes later. `more` says whether something is left: a page ends with its bytes as well as with its
/// number, and without what belongs to others.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EventPage {
    pub(crate) events: Vec<LoggedBody>,
    pub(crate) count: usize,
    pub(crate) next: u64,
    /// The same, by the name that it has in all lists.
    #[serde(rename = "nextCursor")]
    pub(crate) next_cursor: u64,
    pub(crate) more: bool,
}
