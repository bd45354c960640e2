//! The file tools of a model: `Read`, `Write`, `Edit`, `Glob` and `Grep` on the workspace of the session.
//!
//! [`Tools::of_files`](crate::model::Tools::of_files) adds them. An agent itself uses [`std::fs`]: the workspace is the
//! directory `/workspace`, and the current directory of the agent.
//!
//! ```
//! # use dormouse_sdk::{model::{Answer, Conversation, Tools}, prelude::*, testing::MockHost};
//! #[derive(Default)]
//! struct Mender;
//!
//! impl Agent for Mender {
//!     fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
//!         let mut conversation = Conversation::new();
//!         conversation.user(turn.text());
//!         let mut tools = Tools::new().of_files(host.files());
//!         let answer = host.model().chat("").run(&mut conversation, &mut tools)?;
//!         Ok(Reply::text(answer.text()))
//!     }
//! }
//!
//! let directory = tempfile::tempdir().unwrap();
//! std::fs::write(directory.path().join("mean.rs"), "sum / (len - 1)\n").unwrap();
//! let edit = json!({ "file_path": "mean.rs", "old_string": "(len - 1)", "new_string": "len" });
//! let mut mock = MockHost::new()
//!     .with_workspace(directory.path())
//!     .with_answer(Answer::of_tool_call("Edit", &edit))
//!     .with_answer(Answer::of_text("It divides by the length now."));
//! mock.turn(&mut Mender, "Mend the mean").unwrap();
//! assert_eq!(std::fs::read_to_string(directory.path().join("mean.rs")).unwrap(), "sum / len\n");
//! ```
//!
//! What a tool reads, searches and answers has bounds, and its answer says where one of them has cut it. A path is below the
//! workspace, or it is refused. That a symbolic link does not lead out of the workspace is the work of the host.

mod answer;
mod content;
mod edit;
mod glob;
mod grep;
mod path;
mod pattern;
mod read;
mod walk;
mod write;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::model::{Tool, Tools};

/// Where the host puts the workspace of the session.
pub(crate) const WORKSPACE: &str = "/workspace";
/// The most bytes of one answer, without what it says of itself.
const MAX_ANSWER: usize = 100 << 10;
/// The most bytes of a file that is searched, edited or written.
const MAX_FILE: u64 = 8 << 20;

/// A directory whose files a model can use. From [`Host::files`](crate::Host::files).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// The files below this directory, which is an absolute path.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Files { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Runs a tool with its arguments.
type Run<A> = fn(A, &Files) -> crate::Result<String>;

impl<'t> Tools<'t> {
    /// Adds the tools `Read`, `Write`, `Edit`, `Glob` and `Grep` on these files, but those whose names are taken. Where the
    /// directory does not exist, as for a session that has no workspace, it adds none.
    #[must_use]
    pub fn of_files(self, files: Files) -> Self {
        if !files.root.is_dir() {
            return self;
        }
        self.of_file(&files, read::tool(), read::Read::run)
            .of_file(&files, write::tool(), write::Write::run)
            .of_file(&files, edit::tool(), edit::Edit::run)
            .of_file(&files, glob::tool(), glob::Glob::run)
            .of_file(&files, grep::tool(), grep::Grep::run)
    }

    fn of_file<A: DeserializeOwned + 't>(self, files: &Files, tool: Tool, run: Run<A>) -> Self {
        if self.has(&tool.name) {
            return self;
        }
        let files = files.clone();
        self.tool(tool, move |arguments| run(arguments, &files))
    }
}

#[cfg(test)]
mod tests;
