//! `Glob`: the files whose paths are of a pattern.

use serde::Deserialize;
use serde_json::json;

use super::{Files, answer::Answer, path::failure, pattern::Pattern, walk::Walk};
use crate::{Error, Result, model::Tool};

/// The most paths of one answer.
const MAX_PATHS: usize = 1_000;

/// The tool, as a model is told of it.
pub(super) fn tool() -> Tool {
    let description = format!(
        "Finds files by a pattern of their paths, such as `**/*.rs` or `src/{{a,b}}/*.md`. A pattern without `/` is one of \
         names, in any directory. Returns paths in the order of their names, {MAX_PATHS} at most; hidden files are files, \
         `.git` is left out."
    );
    let schema = json!({
        "type": "object",
        "properties": {
            "pattern": {
                "type": "string",
                "description": "`*` and `?` stand for any characters but `/`, `**` for any directories.",
            },
            "path": {
                "type": "string",
                "description": "The directory in which to look, and in which the pattern begins. Left out: all.",
            },
        },
        "required": ["pattern"],
    });
    Tool::new("Glob", description, schema)
}

/// The arguments.
#[derive(Deserialize)]
pub(super) struct Glob {
    pattern: String,
    path: Option<String>,
}

impl Glob {
    pub(super) fn run(self, files: &Files) -> Result<String> {
        let start = files.start(self.path.as_deref())?;
        let mut pattern = &*self.pattern;
        // One that begins at the root of all files.
        let below = format!("{}/", start.display());
        let relative;
        if pattern.starts_with('/') {
            let rest = pattern.strip_prefix(&below).ok_or_else(|| {
                Error::invalid(format!("`{pattern}` is not below `{below}`, where it looks"))
            })?;
            relative = format!("./{rest}");
            pattern = &relative;
        }
        let pattern = Pattern::new(pattern)?;
        let mut walk = Walk::from(&start).map_err(|error| failure(&start, &error))?;
        let mut answer = Answer::new(MAX_PATHS);
        for path in walk.by_ref().filter(|path| pattern.matches(path)) {
            if !answer.line(&format!("{below}{path}")) {
                break;
            }
        }
        let more = "There are more: a narrower pattern finds them.";
        Ok(answer.told("No file has a path of this pattern.", more, walk.notes()))
    }
}
