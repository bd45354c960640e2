//! A search through files: what it has found, and what it may still read.

use std::path::Path;

use super::{
    Mode, Style,
    lines::{Line, lines, show},
    matcher::Matcher,
};
use crate::files::{answer::Answer, content::Content};

/// The most bytes of text that are read.
const MAX_READ: usize = 64 << 20;

/// A search that is under way.
pub(super) struct Search {
    matcher: Matcher,
    is_multiline: bool,
    mode: Mode,
    style: Style,
    answer: Answer,
    /// How many bytes of text were read.
    read: usize,
    /// On how many of them the pattern was tried.
    tried: usize,
    /// Whether there was more to search than may be.
    is_exhausted: bool,
    too_large: usize,
    unread: usize,
}

impl Search {
    pub(super) fn new(
        matcher: Matcher,
        is_multiline: bool,
        mode: Mode,
        style: Style,
        max_lines: usize,
    ) -> Search {
        Search {
            matcher,
            is_multiline,
            mode,
            style,
            answer: Answer::new(max_lines),
            read: 0,
            tried: 0,
            is_exhausted: false,
            too_large: 0,
            unread: 0,
        }
    }

    /// Searches a file. One that is no text is left out.
    pub(super) fn file(&mut self, path: &Path) {
        match Content::of(path) {
            Ok(Content::Text(text)) => self.text(path, text),
            Ok(Content::Binary) => {}
            Ok(Content::TooLarge(_)) => self.too_large += 1,
            Err(_) => self.unread += 1,
        }
    }

    /// Searches the text of a file.
    pub(super) fn text(&mut self, path: &Path, text: Vec<u8>) {
        if self.read + text.len() > MAX_READ {
            self.is_exhausted = true;
            return;
        }
        self.read += text.len();
        let text = String::from_utf8(text)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        if !self.matcher.may_match(&text) {
            return;
        }
        if self.matcher.max_bytes - self.tried < text.len() {
            self.is_exhausted = true;
            return;
        }
        self.tried += text.len();
        let path = path.display().to_string();
        let mut lines = lines(&self.matcher, &text, self.is_multiline);
        match self.mode {
            Mode::FilesWithMatches => {
                if lines.any(|line| line.is_found()) {
                    self.answer.line(&path);
                }
            }
            Mode::Count => {
                let count = lines.filter(Line::is_found).count();
                if count > 0 {
                    self.answer.line(&format!("{path}:{count}"));
                }
            }
            Mode::Content => show(&path, lines, self.style, &mut self.answer),
        }
    }

    /// Whether nothing more is searched.
    pub(super) fn is_over(&self) -> bool {
        self.is_exhausted || self.answer.is_full()
    }

    /// The answer, with what else there is to say.
    pub(super) fn told(self, mut notes: Vec<String>) -> String {
        if self.is_exhausted {
            notes.push(
                "Not all files were searched, because there is too much for this pattern: say with `path`, `glob` or `type` \
                 where to look, or use a plainer pattern."
                    .to_owned(),
            );
        }
        if self.too_large > 0 {
            notes.push(format!("Files that are too large to be searched: {}.", self.too_large));
        }
        if self.unread > 0 {
            notes.push(format!("Files that could not be read: {}.", self.unread));
        }
        let more = "There is more: `head_limit`, `path`, `glob` or `type` say what to show.";
        let none = match self.is_exhausted {
            true => "Nothing matches in what was searched.",
            false => "Nothing matches.",
        };
        self.answer.told(none, more, notes)
    }
}
