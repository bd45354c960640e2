//! `/api/schedules`

use crate::codes::{COMPILED, CREATED, Code, STORED};
use crate::operation::{Operation, Tag};

pub(crate) fn create() -> Operation {
    let summary = "Creates a schedule: at each of its times, a session gets a message.";
    Operation::new(Tag::Schedules, "createSchedule", summary)
        .fails(CREATED)
        .fails(COMPILED)
        .fails(STORED)
        .fails(&[Code::MessageTooLarge, Code::TooManySchedules])
}

pub(crate) fn list() -> Operation {
    let summary = "Lists the schedules of the caller, the oldest first.";
    Operation::new(Tag::Schedules, "listSchedules", summary)
}

pub(crate) fn show() -> Operation {
    let summary = "Shows a schedule, and what it does.";
    Operation::new(Tag::Schedules, "getSchedule", summary).fails(&[Code::ScheduleNotFound])
}

pub(crate) fn change() -> Operation {
    let summary = "Changes a schedule, pauses it, or makes it active again.";
    Operation::new(Tag::Schedules, "changeSchedule", summary)
        .fails(CREATED)
        .fails(COMPILED)
        .fails(STORED)
        .fails(&[Code::MessageTooLarge, Code::ScheduleNotFound])
}

pub(crate) fn remove() -> Operation {
    let summary = "Removes a schedule. Its sessions stay as they are.";
    Operation::new(Tag::Schedules, "deleteSchedule", summary)
        .fails(STORED)
        .fails(&[Code::ScheduleNotFound])
}

pub(crate) fn runs() -> Operation {
    let summary = "Lists the newest runs of a schedule, 100 at most, the newest first.";
    Operation::new(Tag::Schedules, "listScheduleRuns", summary).fails(&[Code::ScheduleNotFound])
}

pub(crate) fn run() -> Operation {
    let summary = "Runs a schedule now. The answer is there once the session has the message, or the run was refused.";
    Operation::new(Tag::Schedules, "runSchedule", summary)
        .fails(STORED)
        .fails(&[Code::ScheduleNotFound, Code::ScheduleRunning])
}
