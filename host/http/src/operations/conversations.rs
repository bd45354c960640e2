//! The façade of conversations.

use crate::codes::{COMMAND, COMPILED, CREATED, Code, STORED, WOKEN};
use crate::operation::{Operation, Tag};

pub(crate) fn create() -> Operation {
    Operation::new(Tag::Conversations, "createConversation", "Creates a session.")
        .fails(CREATED)
        .fails(COMPILED)
        .fails(STORED)
        .fails_as(422, Code::InvalidField)
}

pub(crate) fn list() -> Operation {
    let summary = "Lists the sessions of the caller, the newest first.";
    Operation::new(Tag::Conversations, "listConversations", summary)
}

pub(crate) fn show() -> Operation {
    Operation::new(Tag::Conversations, "getConversation", "Shows a session.").fails(WOKEN)
}

pub(crate) fn change() -> Operation {
    let summary = "Changes a session: each document that it names is replaced whole.";
    Operation::new(Tag::Conversations, "changeConversation", summary)
        .fails(WOKEN)
        .fails(COMMAND)
        .fails(STORED)
        .fails_as(422, Code::InvalidField)
}
