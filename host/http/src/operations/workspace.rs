//! The files of a session.

use crate::codes::{COMMAND, Code, FILE_CHANGED, STORED};
use crate::model::workspace::FilesChangedBody;
use crate::operation::{Content, Operation, Tag};

const ANY: Content = Content::Binary("application/octet-stream");
const TAR: Content = Content::Binary("application/x-tar");

fn reading(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Tag::Workspace, id, summary).fails(&[
        Code::SnapshotNotFound,
        Code::FileNotFound,
        Code::FileConflict,
        Code::InvalidPath,
    ])
}

fn changing(id: &'static str, summary: &'static str) -> Operation {
    let changing = Operation::new(Tag::Workspace, id, summary);
    changing.fails(COMMAND).fails(STORED).fails(FILE_CHANGED)
}

pub(crate) fn list() -> Operation {
    let summary =
        "Lists the files of a session: what is in a directory, or all that a pattern names.";
    reading("listFiles", summary)
}

pub(crate) fn read() -> Operation {
    let summary = "Reads a file, as it is now or was in a snapshot; with `Range`, a part of it.";
    reading("readFile", summary)
        .header("Range", "`bytes=0-99`: this part of the file.")
        .header("If-Match", "The `ETag` of the file: these contents or none.")
        .header("If-None-Match", "The `ETag` of the file: its contents where they are others.")
        .answers_with(200, ANY)
        .answers_with(206, ANY)
        .answers_nothing(304)
        .fails(&[Code::PreconditionFailed, Code::InvalidRange, Code::OutOfMemory])
}

pub(crate) fn write() -> Operation {
    let summary = "Writes a file, with the directories above it: one change, between two turns.";
    conditional(changing("writeFile", summary))
        .header("If-None-Match", "`*`: only where there is no such file.")
        .answers::<FilesChangedBody>(200)
        .answers::<FilesChangedBody>(201)
}

pub(crate) fn remove() -> Operation {
    let summary = "Removes a file or a directory.";
    conditional(changing("removeFile", summary))
}

fn conditional(operation: Operation) -> Operation {
    operation
        .header("If-Match", "The `ETag` of the file: only where it has these contents.")
        .fails(&[Code::PreconditionFailed])
}

pub(crate) fn operate() -> Operation {
    let summary =
        "Moves, removes and writes several files, and makes directories: all of it, or nothing.";
    changing("changeFiles", summary).fails(&[Code::PreconditionFailed])
}

pub(crate) fn download() -> Operation {
    reading("downloadFiles", "The files of a session as a tar archive.")
        .answers_with(200, TAR)
        .fails(&[Code::OutOfMemory])
}

pub(crate) fn upload() -> Operation {
    let summary = "Puts what is in a tar archive into the workspace: all of it, or nothing. What else is there stays.";
    changing("uploadFiles", summary).fails(&[Code::InvalidArchive])
}

pub(crate) fn diff() -> Operation {
    let summary =
        "What differs from the files of a snapshot to those of another, or to those of now.";
    reading("diffFiles", summary)
}
