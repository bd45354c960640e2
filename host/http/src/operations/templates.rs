//! `/api/templates`

use crate::codes::{COMMAND, Code, STORED, WOKEN};
use crate::operation::{Operation, Tag};

pub(crate) fn create() -> Operation {
    let summary = "Keeps a snapshot under a name, to start sessions from.";
    Operation::new(Tag::Templates, "createTemplate", summary)
        .fails(COMMAND)
        .fails(WOKEN)
        .fails(STORED)
        .fails(&[
            Code::InvalidName,
            Code::NotOwner,
            Code::AgentNotFound,
            Code::SnapshotNotFound,
            Code::SnapshotGone,
            Code::TooManyTemplates,
        ])
}

pub(crate) fn list() -> Operation {
    Operation::new(Tag::Templates, "listTemplates", "Lists the templates of the caller, by name.")
}

pub(crate) fn show() -> Operation {
    Operation::new(Tag::Templates, "getTemplate", "Shows a template.")
        .fails(&[Code::InvalidName, Code::TemplateNotFound])
}

pub(crate) fn remove() -> Operation {
    Operation::new(Tag::Templates, "deleteTemplate", "Removes a template.")
        .fails(STORED)
        .fails(&[Code::InvalidName, Code::TemplateNotFound])
}
