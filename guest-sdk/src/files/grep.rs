//! `Grep`: the lines of files that a regular expression matches.

mod kinds;
mod lines;
mod matcher;
mod required;
mod search;

use serde::Deserialize;
use serde_json::json;

use super::{
    Files, MAX_FILE,
    content::{Content, open},
    path::failure,
    pattern::Pattern,
    walk::Walk,
};
use crate::{Error, Result, model::Tool};
use matcher::Matcher;
use search::Search;

/// How many lines an answer has unless the model says something else.
const LINES: usize = 250;
/// The most lines of an answer.
const MAX_LINES: usize = 10_000;
/// The most lines on one side of a match.
const MAX_CONTEXT: usize = 100;

/// The tool, as a model is told of it.
pub(super) fn tool() -> Tool {
    let description = format!(
        "Searches files for a regular expression, line by line. The expression has no look-around and no back-references; \
         `\\w`, `\\d`, `\\s`, `\\b` and `-i` know the letters of ASCII alone. Files of more than {} MiB, binary files and \
         `.git` are left out.",
        MAX_FILE >> 20
    );
    let number = |description: &str| json!({ "type": "integer", "description": description });
    let flag = |description: &str| json!({ "type": "boolean", "description": description });
    let text = |description: &str| json!({ "type": "string", "description": description });
    let schema = json!({
        "type": "object",
        "properties": {
            "pattern": text("The regular expression."),
            "path": text("The file or the directory to search. Left out: all."),
            "glob": text("Only files of this pattern, such as `*.js` or `src/**`. With `!` before it: only others."),
            "type": text("Only files of this type: `rust`, `js`, `py` and so on."),
            "output_mode": {
                "type": "string",
                "enum": ["files_with_matches", "content", "count"],
                "description": "What to return: the paths of the files (unless it is set), the lines, or how many lines.",
            },
            "-i": flag("Takes capital and small letters for the same."),
            "-n": flag("Shows the numbers of lines, unless it is false."),
            "-A": number("How many lines to show after each match."),
            "-B": number("How many lines to show before each match."),
            "-C": number("How many lines to show before and after each match."),
            "head_limit": number("The most lines of the answer. Left out: 250."),
            "multiline": flag("Matches across lines: `.` matches line breaks, too."),
        },
        "required": ["pattern"],
    });
    Tool::new("Grep", description, schema)
}

/// The arguments.
#[derive(Deserialize)]
pub(super) struct Grep {
    pattern: String,
    path: Option<String>,
    glob: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    output_mode: Option<Mode>,
    #[serde(rename = "-i")]
    ignores_case: Option<bool>,
    #[serde(rename = "-n")]
    numbers: Option<bool>,
    #[serde(rename = "-A")]
    after: Option<u64>,
    #[serde(rename = "-B")]
    before: Option<u64>,
    #[serde(rename = "-C")]
    around: Option<u64>,
    head_limit: Option<u64>,
    multiline: Option<bool>,
}

/// What is returned.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    FilesWithMatches,
    Content,
    Count,
}

/// Which lines are shown, and how.
#[derive(Clone, Copy)]
struct Style {
    numbers: bool,
    before: usize,
    after: usize,
}

impl Grep {
    pub(super) fn run(self, files: &Files) -> Result<String> {
        let start = files.start(self.path.as_deref())?;
        let (is_multiline, mode) =
            (self.multiline.unwrap_or(false), self.output_mode.unwrap_or_default());
        let matcher =
            Matcher::new(&self.pattern, self.ignores_case.unwrap_or(false), is_multiline)?;
        let is_meant = self.filter()?;
        let mut search = Search::new(matcher, is_multiline, mode, self.style(), self.max_lines());
        if !start.is_dir() {
            open(&start)?;
            let content = Content::of(&start).map_err(|error| failure(&start, &error))?;
            let (text, shown) = (content.text(), start.display());
            let text =
                text.ok_or_else(|| Error::failed(format!("`{shown}` is no text, or too large")))?;
            search.text(&start, text);
            return Ok(search.told(Vec::new()));
        }
        let mut walk = Walk::from(&start).map_err(|error| failure(&start, &error))?;
        while !search.is_over() {
            let Some(below) = walk.next() else { break };
            if is_meant(&below) {
                search.file(&start.join(below));
            }
        }
        Ok(search.told(walk.notes()))
    }

    /// Says whether a file is searched, by its path from where the search begins.
    fn filter(&self) -> Result<impl Fn(&str) -> bool + use<>> {
        let glob = self.glob.as_deref().filter(|glob| !glob.is_empty());
        let (glob, is_inverted) = match glob.and_then(|glob| glob.strip_prefix('!')) {
            Some(glob) => (Some(glob), true),
            None => (glob, false),
        };
        let glob = glob.map(Pattern::new).transpose()?;
        let kind = self.kind.as_deref().filter(|kind| !kind.is_empty());
        let kind = kind.map(kinds::pattern_of).transpose()?;
        Ok(move |path: &str| {
            glob.as_ref().is_none_or(|glob| glob.matches(path) != is_inverted)
                && kind.as_ref().is_none_or(|kind| kind.matches(path))
        })
    }

    fn style(&self) -> Style {
        let lines = |lines: Option<u64>| {
            let lines = lines.or(self.around).unwrap_or(0);
            usize::try_from(lines).map_or(MAX_CONTEXT, |lines| lines.min(MAX_CONTEXT))
        };
        Style {
            numbers: self.numbers.unwrap_or(true),
            before: lines(self.before),
            after: lines(self.after),
        }
    }

    /// The most lines of the answer. A model that asks for none wants all.
    fn max_lines(&self) -> usize {
        self.head_limit.map_or(LINES, |lines| match usize::try_from(lines) {
            Ok(0) | Err(_) => MAX_LINES,
            Ok(lines) => lines.min(MAX_LINES),
        })
    }
}
