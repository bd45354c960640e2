//! `/api/sessions`

use crate::codes::{COMMAND, COMPILED, CREATED, Code, STORED};
use crate::model::session::Created;
use crate::operation::{Operation, Tag};

pub(crate) fn create() -> Operation {
    Operation::new(Tag::Sessions, "createSession", "Creates a session.")
        .answers::<Created>(201)
        .answers::<Created>(200)
        .fails(CREATED)
        .fails(COMPILED)
        .fails(STORED)
        .fails(&[Code::SessionNotFound])
}

pub(crate) fn list() -> Operation {
    let summary = "Lists the sessions of the caller, the newest first.";
    Operation::new(Tag::Sessions, "listSessions", summary).fails(&[Code::CursorOfAnotherOrder])
}

pub(crate) fn show() -> Operation {
    Operation::new(Tag::Sessions, "getSession", "Shows a session.")
}

pub(crate) fn change() -> Operation {
    let summary = "Changes a session by a merge patch: `null` takes away what it names.";
    Operation::new(Tag::Sessions, "changeSession", summary).fails(COMMAND).fails(STORED)
}

pub(crate) fn remove() -> Operation {
    let summary = "Removes a session with its turns and snapshots. A running turn is killed first.";
    Operation::new(Tag::Sessions, "deleteSession", summary).fails(COMMAND).fails(STORED)
}

pub(crate) fn summary() -> Operation {
    let summary = "Sums up the sessions of the caller, those that were removed included.";
    Operation::new(Tag::Sessions, "summarizeSessions", summary)
}

pub(crate) fn clean_up() -> Operation {
    let summary = "Removes sessions that were not active for some time.";
    Operation::new(Tag::Sessions, "cleanUpSessions", summary).fails(COMMAND).fails(STORED)
}
