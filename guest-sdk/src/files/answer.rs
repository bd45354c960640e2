//! Answers that have a line for each thing that was found, and bounds.

use super::MAX_ANSWER;

/// An answer in the making.
pub(super) struct Answer {
    text: String,
    lines: usize,
    max_lines: usize,
    is_full: bool,
}

impl Answer {
    /// An answer of so many lines at most.
    pub(super) fn new(max_lines: usize) -> Answer {
        Answer { text: String::new(), lines: 0, max_lines, is_full: false }
    }

    /// Adds a line, where there is room for it. Whether there was.
    pub(super) fn line(&mut self, line: &str) -> bool {
        let has_room = self.lines < self.max_lines && self.text.len() + line.len() < MAX_ANSWER;
        if self.is_full || !has_room {
            self.is_full = true;
            return false;
        }
        self.text.push_str(line);
        self.text.push('\n');
        self.lines += 1;
        true
    }

    /// Whether it has no line.
    pub(super) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Whether a line had no room.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// All of it: what to say where it has no line, what to say where a line had no room, and what else there is to say.
    pub(super) fn told(self, none: &str, more: &str, notes: Vec<String>) -> String {
        let mut all = Vec::new();
        if self.is_full {
            all.push(more.to_owned());
        } else if self.is_empty() {
            all.push(none.to_owned());
        }
        all.extend(notes);
        let mut text = self.text;
        for note in all {
            text.push_str(&format!("[{note}]\n"));
        }
        text
    }
}
