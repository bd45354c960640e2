//! The façade of containers.

use crate::codes::{COMMAND, COMPILED, Code, STORED, WOKEN};
use crate::operation::{Operation, Tag};

pub(crate) fn list() -> Operation {
    let summary = "Lists the open sessions of the caller, the one that was active last first.";
    Operation::new(Tag::Containers, "listContainers", summary)
}

pub(crate) fn statistics() -> Operation {
    Operation::new(Tag::Containers, "countContainers", "Counts the open sessions of the caller.")
}

pub(crate) fn extend() -> Operation {
    let summary = "Lets the idle limit of a session begin anew.";
    Operation::new(Tag::Containers, "extendContainer", summary)
        .fails(COMMAND)
        .fails(WOKEN)
        .fails(STORED)
}

pub(crate) fn clean_up() -> Operation {
    let summary = "Puts a session to sleep, until its thread goes on.";
    Operation::new(Tag::Containers, "cleanUpContainer", summary)
        .fails(COMMAND)
        .fails(WOKEN)
        .fails(STORED)
}

pub(crate) fn resume_preview() -> Operation {
    Operation::new(Tag::Containers, "resumePreview", "Wakes the session of a thread.")
        .fails(COMMAND)
        .fails(WOKEN)
        .fails(COMPILED)
        .fails(STORED)
        .fails(&[Code::ThreadNotFound])
}
