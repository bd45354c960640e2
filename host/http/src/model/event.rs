//! An event of the log.

use serde::Serialize;

use dormouse::{Logged, Object, Subject};

/// An event. The names are those of the event log that clients know.
#[derive(Debug, Serialize)]
pub(crate) struct EventBody {
    id: u64,
    event_type: &'static str,
    aggregate_type: &'static str,
    aggregate_id: String,
    occurred_at: String,
    payload: Object,
}

impl From<Logged> for EventBody {
    fn from(logged: Logged) -> EventBody {
        let (aggregate_type, aggregate_id) = match logged.event.subject {
            Subject::Session(id) => ("session", id.to_string()),
            Subject::Agent { name, .. } => ("agent", name),
        };
        EventBody {
            id: logged.cursor.0,
            event_type: logged.event.kind.as_str(),
            aggregate_type,
            aggregate_id,
            occurred_at: logged.event.occurred_at.to_string(),
            payload: logged.event.payload,
        }
    }
}

/// Some events, in order. `next` is what to ask for as `after`: also where nothing is left, for what
/// comes later. `more` says whether something is left: a page ends with its bytes as well as with its
/// number, and without what belongs to others.
#[derive(Debug, Serialize)]
pub(crate) struct EventPage {
    pub(crate) events: Vec<EventBody>,
    pub(crate) count: usize,
    pub(crate) next: u64,
    pub(crate) more: bool,
}
