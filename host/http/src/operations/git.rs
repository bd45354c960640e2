//! The history of files, for clients of git.

use crate::codes::{Code, WOKEN};
use crate::operation::{Content, Operation, Tag};

const ADVERTISEMENT: Content = Content::Binary("application/x-git-upload-pack-advertisement");
const RESULT: Content = Content::Binary("application/x-git-upload-pack-result");

pub(crate) fn references() -> Operation {
    let summary = "Where a client of git begins: the references of a repository, which is the history of a \
                   session's files.";
    Operation::new(Tag::Workspace, "getGitReferences", summary)
        .fails(WOKEN)
        .fails(&[Code::GitService])
        .answers_with(200, ADVERTISEMENT)
}

pub(crate) fn upload_pack() -> Operation {
    let summary = "What a client of git fetches.";
    Operation::new(Tag::Workspace, "uploadGitPack", summary)
        .fails(WOKEN)
        .fails(&[Code::UnsupportedMediaType, Code::OutOfMemory, Code::BrokenBody])
        .answers_with(200, RESULT)
}
