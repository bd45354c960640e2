//! The lines of a text, each with the match that it has.

use std::{borrow::Cow, collections::VecDeque, iter, ops::Range};

use super::{Style, matcher::Matcher};
use crate::files::answer::Answer;

/// The most bytes of a line that are shown.
const MAX_SHOWN: usize = 500;
/// So many of them stand before the match, where the line is longer.
const SHOWN_BEFORE: usize = 100;

/// A line of a text.
#[derive(Clone, Copy)]
pub(super) struct Line<'t> {
    number: usize,
    text: &'t str,
    /// Where the match begins, if the line has one.
    found: Option<usize>,
}

impl Line<'_> {
    pub(super) fn is_found(&self) -> bool {
        self.found.is_some()
    }

    /// What is shown of it: of a long line what is around its match.
    fn shown(&self) -> Cow<'_, str> {
        if self.text.len() <= MAX_SHOWN {
            return Cow::Borrowed(self.text);
        }
        let at = self.found.unwrap_or(0);
        let start = if at <= MAX_SHOWN - SHOWN_BEFORE { 0 } else { at - SHOWN_BEFORE };
        let start = self.text.floor_char_boundary(start);
        let end = self.text.floor_char_boundary(start + MAX_SHOWN);
        let [before, after] =
            [start > 0, end < self.text.len()].map(|is_cut| if is_cut { "…" } else { "" });
        Cow::Owned(format!("{before}{}{after}", &self.text[start..end]))
    }
}

/// All lines of a text, without their ends.
pub(super) fn lines<'t>(
    matcher: &'t Matcher,
    text: &'t str,
    is_multiline: bool,
) -> impl Iterator<Item = Line<'t>> {
    let mut matches = is_multiline.then(|| matcher.find_all(text).into_iter().peekable());
    let mut all = text.split_inclusive('\n');
    let (mut number, mut begin) = (0, 0);
    iter::from_fn(move || {
        let whole = all.next()?;
        number += 1;
        let text = whole.strip_suffix('\n').unwrap_or(whole);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let end = begin + whole.len();
        let found = match &mut matches {
            None => matcher.find(text).map(|found| found.start),
            Some(matches) => {
                while matches.next_if(|found| ends_before(found, begin)).is_some() {}
                let found = matches.peek().filter(|found| found.start < end);
                found.map(|found| found.start.saturating_sub(begin))
            }
        };
        begin = end;
        Some(Line { number, text, found })
    })
}

/// Whether a match has nothing of what begins here.
fn ends_before(found: &Range<usize>, begin: usize) -> bool {
    found.end <= begin && found.start < begin
}

/// Shows the lines that match, and those around them.
pub(super) fn show<'t>(
    path: &str,
    lines: impl Iterator<Item = Line<'t>>,
    style: Style,
    answer: &mut Answer,
) {
    let mut shown = None;
    let mut put = |line: &Line<'_>| {
        let has_gap = shown.is_none_or(|last| last + 1 < line.number);
        if has_gap && style.before + style.after > 0 && !answer.is_empty() {
            answer.line("--");
        }
        shown = Some(line.number);
        let mark = if line.is_found() { ':' } else { '-' };
        let number = match style.numbers {
            true => format!("{}{mark}", line.number),
            false => String::new(),
        };
        answer.line(&format!("{path}{mark}{number}{}", line.shown()))
    };
    let mut before = VecDeque::new();
    let mut after = 0;
    for line in lines {
        let has_room = if line.is_found() {
            after = style.after;
            before.drain(..).all(|line| put(&line)) && put(&line)
        } else if after > 0 {
            after -= 1;
            put(&line)
        } else {
            before.push_back(line);
            if before.len() > style.before {
                before.pop_front();
            }
            true
        };
        if !has_room {
            return;
        }
    }
}
