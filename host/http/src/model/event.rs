//! An event of the log.

use serde::Serialize;

use dormouse::{Event, EventEntry, EventSubject, JsonObject};

/// An event. The names are those of the event log that clients know.
#[derive(Debug, Serialize)]
pub(crate) struct LoggedBody {
    id: u64,
    event_type: &'static str,
    aggregate_type: &'static str,
    aggregate_id: String,
    occurred_at: String,
    payload: JsonObject,
}

impl From<EventEntry> for LoggedBody {
    fn from(logged: EventEntry) -> LoggedBody {
        let Event { subject, occurred_at, body, owner: _ } = logged.event;
        let (aggregate_type, aggregate_id) = match subject {
            EventSubject::Session(id) => ("session", id.to_string()),
            EventSubject::Agent(name) => ("agent", name),
            EventSubject::Key(id) => ("key", id.to_string()),
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
#[derive(Debug, Serialize)]
pub(crate) struct EventPage {
    pub(crate) events: Vec<LoggedBody>,
    pub(crate) count: usize,
    pub(crate) next: u64,
    /// The same, by the name that it has in all lists.
    #[serde(rename = "nextCursor")]
    pub(crate) next_cursor: u64,
    pub(crate) more: bool,
}
