//! What is asked of one session besides messages.

use crate::codes::{COMMAND, COMPILED, Code, SPENT, STORED};
use crate::operation::{Operation, Tag};

/// A command to a session.
fn command(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Tag::Lifecycle, id, summary).fails(COMMAND).fails(STORED)
}

pub(crate) fn status() -> Operation {
    let summary = "Tells the status of a session: what a client polls while it waits.";
    Operation::new(Tag::Lifecycle, "getSessionStatus", summary)
}

pub(crate) fn sleep() -> Operation {
    command("sleepSession", "Puts a session to sleep: it keeps its state and leaves the memory.")
}

pub(crate) fn wake() -> Operation {
    command("wakeSession", "Wakes a session: its next message finds it in memory.").fails(COMPILED)
}

pub(crate) fn stop() -> Operation {
    command("stopSession", "Ends a session. A running turn may finish within a grace period.")
}

pub(crate) fn force_kill() -> Operation {
    command("killSession", "Ends a session at once, with its running turn.")
}

pub(crate) fn terminate() -> Operation {
    command("terminateSession", "Ends a session for a reason of the caller's.")
}

pub(crate) fn pause() -> Operation {
    command("pauseSession", "Lets a session take no messages until it is resumed.")
}

pub(crate) fn resume() -> Operation {
    let summary = "Lets a session take messages again, from a snapshot on where one is named.";
    command("resumeSession", summary).fails(&[Code::SnapshotNotFound, Code::OtherAgent])
}

pub(crate) fn upgrade() -> Operation {
    let summary = "Lets another version of the agent take a session over.";
    command("upgradeSession", summary).fails(COMPILED).fails(SPENT).fails(&[
        Code::AgentNotFound,
        Code::OtherAgent,
        Code::UpgradeFailed,
        Code::NotDurable,
    ])
}

pub(crate) fn complete() -> Operation {
    command("completeSession", "Ends a session that has done what it was for.")
}

pub(crate) fn extend() -> Operation {
    command("extendSession", "Lets the idle limit of a session begin anew.")
}
