//! The snapshots of a session.

use crate::codes::{COMMAND, COMPILED, Code, SPENT, STORED};
use crate::operation::{Operation, Tag};

pub(crate) fn list() -> Operation {
    let summary = "Lists the snapshots of a session that are kept, the newest first.";
    Operation::new(Tag::Snapshots, "listSnapshots", summary)
}

pub(crate) fn fork() -> Operation {
    let summary = "Creates sessions that start from a snapshot of this one.";
    Operation::new(Tag::Snapshots, "forkSession", summary)
        .fails(COMMAND)
        .fails(SPENT)
        .fails(COMPILED)
        .fails(STORED)
        .fails(&[
            Code::AgentNotFound,
            Code::SnapshotNotFound,
            Code::CommitNotFound,
            Code::SnapshotGone,
            Code::StateExpired,
            Code::QuotaExceeded,
            Code::TooManySessions,
        ])
}

pub(crate) fn rewind() -> Operation {
    let summary = "Takes a session back to a snapshot. What came after stays in its history.";
    Operation::new(Tag::Snapshots, "rewindSession", summary).fails(COMMAND).fails(STORED).fails(&[
        Code::SnapshotNotFound,
        Code::CommitNotFound,
        Code::SnapshotGone,
        Code::OtherAgent,
    ])
}
