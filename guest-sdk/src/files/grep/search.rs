//! A search through files: what it has found, and what it may still read.

use std::path::Path;

use super::{
    Mode, Style,
    lines::{Line, lines, show},
    matcher::Matcher,
};
use crate::files::{answer::Answer, content::Content};

/// A search that is under way.
pub(super) struct Search {
    matcher: Matcher,
    is_multiline: bool,
    mode: Mode,
    style: Style,
    answer: Answer,
    /// How many bytes of text were searched.
    bytes: usize,
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
            bytes: 0,
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
        if self.bytes + text.len() > self.matcher.max_bytes {
            self.is_exhausted = true;
            return;
        }
        self.bytes += text.len();
        let text = String::from_utf8(text)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        if !self.matcher.may_match(&text) {
            return;
        }
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
            notes.push(format!(
                "Only {} bytes were searched, because a search for this pattern reads {} at most: say with `path`, `glob` or \
                 `type` where to look.",
                self.bytes, self.matcher.max_bytes
            ));
        }
        if self.too_large > 0 {
            notes.push(format!("Files that are too large to be searched: {}.", self.too_large));
        }
        if self.unread > 0 {
            notes.push(format!("Files that could not be read: {}.", self.unread));
        }
        let more = "There is more: `head_limit`, `path`, `glob` or `type` say what to show.";
        self.answer.told("Nothing matches.", more, notes)
    }
}
