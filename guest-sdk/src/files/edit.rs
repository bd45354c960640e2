//! `Edit`: a text in a file becomes another one.
//!
//! A model need not have read the file before: a text that it does not know exactly is not found.

use std::{borrow::Cow, path::Path};

use serde::Deserialize;
use serde_json::json;

use super::{
    Files, MAX_FILE,
    content::{Content, open, replace},
    path::failure,
};
use crate::{Error, Result, model::Tool};

/// So many lines are named in an answer, at most.
const NAMED_LINES: usize = 10;

/// The tool, as a model is told of it.
pub(super) fn tool() -> Tool {
    let description = "Replaces a text in a file. `old_string` has to be in the file exactly as it is, with its indentation \
                       and without the line numbers that Read shows, and only once, unless `replace_all` is set.";
    let schema = json!({
        "type": "object",
        "properties": {
            "file_path": { "type": "string", "description": "The path of the file." },
            "old_string": { "type": "string", "description": "The text to replace." },
            "new_string": { "type": "string", "description": "What takes its place." },
            "replace_all": { "type": "boolean", "description": "Replaces the text wherever it occurs." },
        },
        "required": ["file_path", "old_string", "new_string"],
    });
    Tool::new("Edit", description, schema)
}

/// The arguments.
#[derive(Deserialize)]
pub(super) struct Edit {
    file_path: String,
    old_string: String,
    new_string: String,
    replace_all: Option<bool>,
}

impl Edit {
    pub(super) fn run(self, files: &Files) -> Result<String> {
        let path = files.resolve(&self.file_path)?;
        if self.old_string.is_empty() {
            return Err(Error::invalid("`old_string` is empty: Write makes a file"));
        }
        if self.old_string == self.new_string {
            return Err(Error::invalid("`old_string` and `new_string` are the same"));
        }
        let text = text_of(&path)?;
        let (old, new) =
            (with_ends_of(&text, &self.old_string), with_ends_of(&text, &self.new_string));
        let found = text.matches(&*old).count();
        let lines = named(&lines_of(&text, &old));
        if found == 0 {
            return Err(not_found(&text, &old));
        }
        if found > 1 && !self.replace_all.unwrap_or(false) {
            return Err(Error::failed(format!(
                "`old_string` occurs {found} times, {lines}: add what stands around the one that you mean, or set \
                 `replace_all`"
            )));
        }
        // What is left of the text, and what takes the place of the rest.
        let kept = text.len() - found * old.len();
        if kept.saturating_add(found.saturating_mul(new.len())) as u64 > MAX_FILE {
            let text = format!("the file would have more than {} MiB", MAX_FILE >> 20);
            return Err(Error::failed(text));
        }
        replace(&path, text.replace(&*old, &new).as_bytes())?;
        let times = if found == 1 { "one place" } else { "all places" };
        Ok(format!("`{}` is changed in {times}, {lines}.", path.display()))
    }
}

/// The text of a file that can be edited.
fn text_of(path: &Path) -> Result<String> {
    open(path)?;
    let shown = path.display();
    let bytes = match Content::of(path).map_err(|error| failure(path, &error))? {
        Content::Text(bytes) => bytes,
        Content::Binary => return Err(Error::failed(format!("`{shown}` is no text"))),
        Content::TooLarge(bytes) => {
            let most = MAX_FILE >> 20;
            let text = format!("`{shown}` has {bytes} bytes, and Edit takes {most} MiB");
            return Err(Error::failed(text));
        }
    };
    String::from_utf8(bytes)
        .map_err(|_| Error::failed(format!("`{shown}` is not UTF-8: it cannot be edited")))
}

/// A text of a model, whose lines end with LF, as it stands in a file whose lines end with CR LF.
fn with_ends_of<'t>(file: &str, text: &'t str) -> Cow<'t, str> {
    let crlf = file.matches("\r\n").count();
    match crlf > 0 && crlf == file.matches('\n').count() && !text.contains('\r') {
        true => Cow::Owned(text.replace('\n', "\r\n")),
        false => Cow::Borrowed(text),
    }
}

/// The numbers of the lines in which a text begins: so many of them as are named, and one more.
fn lines_of(file: &str, text: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for (at, _) in file.match_indices(text).take(NAMED_LINES + 1) {
        line += file[counted..at].matches('\n').count();
        counted = at;
        lines.push(line);
    }
    lines
}

fn named(lines: &[usize]) -> String {
    let word = if lines.len() == 1 { "line" } else { "lines" };
    let shown: Vec<String> = lines.iter().take(NAMED_LINES).map(usize::to_string).collect();
    let more = if lines.len() > NAMED_LINES { " and others" } else { "" };
    format!("{word} {}{more}", shown.join(", "))
}

/// What a model is told where its text is not in the file: where its first line is, but for white space.
fn not_found(file: &str, old: &str) -> Error {
    let mut text = "`old_string` is not in the file".to_owned();
    if let Some(first) = old.lines().map(str::trim).find(|line| !line.is_empty()) {
        let lines = (1..).zip(file.lines()).filter(|(_, line)| line.trim() == first);
        let lines: Vec<usize> = lines.map(|(number, _)| number).take(NAMED_LINES + 1).collect();
        if !lines.is_empty() {
            text.push_str(&format!(
                "; its first line is {}, so white space or what follows differs",
                named(&lines)
            ));
        }
    }
    text.push_str(". Read the file again, and copy what is there");
    Error::failed(text)
}
