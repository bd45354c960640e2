//! Messages.

use crate::codes::{COMPILED, CREATED, Code, FAILED, SENT, SPENT, STORED, WOKEN};
use crate::model::ignored::Answered;
use crate::model::message::{ReplyBody, StreamEvent};
use crate::operation::{Operation, Tag};

/// A message to a session.
fn message(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Tag::Messages, id, summary)
        .streams::<StreamEvent<'static>>()
        .fails(SENT)
        .fails(SPENT)
        .fails(FAILED)
        .fails(COMPILED)
        .fails(STORED)
}

pub(crate) fn send() -> Operation {
    let summary = "Sends a message to a session, and answers with a stream of events, or with one \
                   document where `streaming` is false.";
    message("sendMessage", summary).answers::<Answered<ReplyBody>>(200)
}

pub(crate) fn stream_agent() -> Operation {
    let summary = "Sends a message to a session, or to one that is created for it, and answers with \
                   a stream of events.";
    message("streamAgent", summary).fails(WOKEN).fails(CREATED).fails(&[Code::InvalidStatus])
}
