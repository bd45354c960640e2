//! `Read`: the lines of a file, with their numbers.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _, Take},
};

use serde::Deserialize;
use serde_json::json;

use super::{
    Files, MAX_ANSWER,
    content::{is_binary, open},
    path::failure,
};
use crate::{Error, Result, model::Tool};

/// How many lines are read unless the model says something else.
const LINES: u64 = 2_000;
/// The most bytes of a line that are shown.
const MAX_LINE: usize = 2_000;
/// The lines of a file are counted so far, and no further.
const MAX_COUNTED: u64 = 64 << 20;
/// How much is read at once.
const BLOCK: usize = 64 << 10;

/// The tool, as a model is told of it.
pub(super) fn tool() -> Tool {
    let description = format!(
        "Reads a text file. Each line comes with its number and a tab, as `cat -n` has it; what is longer than {MAX_LINE} bytes \
         is cut. Reads {LINES} lines from the first one on, unless `offset` and `limit` say something else."
    );
    let schema = json!({
        "type": "object",
        "properties": {
            "file_path": { "type": "string", "description": "The path of the file." },
            "offset": { "type": "integer", "description": "The number of the first line to read." },
            "limit": { "type": "integer", "description": "How many lines to read." },
        },
        "required": ["file_path"],
    });
    Tool::new("Read", description, schema)
}

/// The arguments.
#[derive(Deserialize)]
pub(super) struct Read {
    file_path: String,
    offset: Option<u64>,
    limit: Option<u64>,
}

impl Read {
    pub(super) fn run(self, files: &Files) -> Result<String> {
        let path = files.resolve(&self.file_path)?;
        let (file, length) = open(&path)?;
        let first = self.offset.unwrap_or(1).max(1);
        let limit = self.limit.unwrap_or(LINES).max(1);
        let lines = lines(file, first, limit).map_err(|error| failure(&path, &error))?;
        let path = path.display();
        match lines {
            Lines::Binary => Err(Error::failed(format!(
                "`{path}` is no text: it is a binary file of {length} bytes"
            ))),
            Lines::Before { lines: 0 } => Ok(format!("`{path}` is empty.")),
            Lines::Before { .. } if length > MAX_COUNTED => Err(Error::failed(format!(
                "line {first} of `{path}` is not within its first {} MiB: Grep and smaller files are the way",
                MAX_COUNTED >> 20
            ))),
            Lines::Before { lines } => {
                Err(Error::failed(format!("`{path}` has {lines} lines, and no line {first}")))
            }
            Lines::Shown(shown) => Ok(shown.told(length > MAX_COUNTED)),
        }
    }
}

/// What came of reading lines.
enum Lines {
    /// The file is no text.
    Binary,
    /// The file ends before the first line that is asked for, after so many.
    Before {
        lines: u64,
    },
    Shown(Shown),
}

/// Lines as a model reads them.
struct Shown {
    text: String,
    /// The number of the next line, where the file goes on.
    next: Option<u64>,
    /// Whether all of it is UTF-8.
    is_utf8: bool,
}

impl Shown {
    fn told(self, is_cut_off: bool) -> String {
        let mut text = self.text;
        match self.next {
            Some(next) => {
                text.push_str(&format!(
                    "[The file goes on: `offset` {next} reads the next lines.]\n"
                ));
            }
            None if is_cut_off => {
                text.push_str("[The file goes on, and is too large to be read further.]\n");
            }
            None => {}
        }
        if !self.is_utf8 {
            text.push_str("[The file is not UTF-8: what is not, is shown as \u{fffd}.]\n");
        }
        text
    }
}

/// Reads so many lines from the first one on, whose number is at least 1.
fn lines(file: File, first: u64, limit: u64) -> io::Result<Lines> {
    let mut reader = BufReader::with_capacity(BLOCK, file.take(MAX_COUNTED));
    if is_binary(reader.fill_buf()?) {
        return Ok(Lines::Binary);
    }
    for lines in 0..first - 1 {
        if reader.skip_until(b'\n')? == 0 {
            return Ok(Lines::Before { lines });
        }
    }
    let mut shown = Shown { text: String::new(), next: None, is_utf8: true };
    let mut number = first;
    while !reader.fill_buf()?.is_empty() {
        let (bytes, end) = line(&mut reader)?;
        let line = String::from_utf8_lossy(&bytes);
        let line = format!("{number:>6}\t{line}{end}\n");
        if number - first == limit || shown.text.len() + line.len() > MAX_ANSWER {
            shown.next = Some(number);
            break;
        }
        shown.is_utf8 &= std::str::from_utf8(&bytes).is_ok();
        shown.text.push_str(&line);
        number += 1;
    }
    Ok(match shown.text.is_empty() {
        true => Lines::Before { lines: number - 1 },
        false => Lines::Shown(shown),
    })
}

/// The next line as far as it is shown, and what is shown at its end.
fn line(reader: &mut BufReader<Take<File>>) -> io::Result<(Vec<u8>, &'static str)> {
    let mut line = Vec::new();
    // One that is too long, or ends with CR LF, shows itself.
    reader.by_ref().take(MAX_LINE as u64 + 2).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line).len()) {
        Some(length) => line.truncate(length),
        None => _ = reader.skip_until(b'\n')?,
    }
    if line.len() <= MAX_LINE {
        return Ok((line, ""));
    }
    line.truncate(MAX_LINE);
    // No half of a character is left.
    if let Err(error) = std::str::from_utf8(&line)
        && error.error_len().is_none()
    {
        line.truncate(error.valid_up_to());
    }
    Ok((line, "… [the line is cut]"))
}
