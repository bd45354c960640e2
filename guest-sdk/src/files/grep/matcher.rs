//! What a pattern matches, and how many bytes it may be tried on.

use std::ops::Range;

use regex_lite::{Regex, RegexBuilder};

use super::required;
use crate::{Error, Result};

/// The most bytes of a pattern.
const MAX_PATTERN: usize = 4_096;
/// How many bytes of text an expression that takes so much memory at most may be tried on. Each byte of a text is one step for
/// each part of the expression, so that the product of both is the work.
const EXPRESSION_BYTES: [(usize, usize); 3] =
    [(8 << 10, 8 << 20), (64 << 10, 1 << 20), (512 << 10, 128 << 10)];
/// The most matches that are looked for across the lines of one file.
const MAX_MATCHES: usize = 1_000;

/// Finds what a pattern matches.
pub(super) struct Matcher {
    expression: Expression,
    /// A text that each match has.
    required: Option<String>,
    /// The most bytes of texts that it may be tried on, of those that have what is required.
    pub(super) max_bytes: usize,
}

enum Expression {
    /// One that stands for itself.
    Text(String),
    Regex(Regex),
}

impl Matcher {
    /// # Errors
    /// When it is no pattern. The text says what to change.
    pub(super) fn new(pattern: &str, ignores_case: bool, is_multiline: bool) -> Result<Matcher> {
        if pattern.is_empty() || pattern.len() > MAX_PATTERN {
            return Err(Error::invalid(format!("`pattern` has 1 to {MAX_PATTERN} bytes")));
        }
        if pattern.contains('\n') && !is_multiline {
            return Err(Error::invalid("a `pattern` of several lines needs `multiline`"));
        }
        if !ignores_case && regex_lite::escape(pattern) == pattern {
            return Ok(Matcher {
                expression: Expression::Text(pattern.to_owned()),
                required: Some(pattern.to_owned()),
                max_bytes: usize::MAX,
            });
        }
        let required = if ignores_case { None } else { required::text_of(pattern) };
        let mut why = None;
        for (memory, max_bytes) in EXPRESSION_BYTES {
            let regex = RegexBuilder::new(pattern)
                .case_insensitive(ignores_case)
                .multi_line(true)
                .crlf(true)
                .dot_matches_new_line(is_multiline)
                .size_limit(memory)
                .build();
            match regex {
                Ok(regex) => {
                    let expression = Expression::Regex(regex);
                    return Ok(Matcher { expression, required, max_bytes });
                }
                Err(error) => why = Some(error),
            }
        }
        let why = why.map(|error| error.to_string()).unwrap_or_default();
        Err(Error::invalid(format!(
            "`pattern` is no regular expression that can be searched for: {why}. A character that stands for itself needs a \
             backslash where it means something, as `\\{{` and `\\(`"
        )))
    }

    /// Whether a text has what each match has.
    pub(super) fn may_match(&self, text: &str) -> bool {
        self.required.as_ref().is_none_or(|required| text.contains(required))
    }

    /// The first match in a text.
    pub(super) fn find(&self, text: &str) -> Option<Range<usize>> {
        self.may_match(text).then(|| self.find_from(text, 0)).flatten()
    }

    /// The matches in a text, as many as are looked for.
    pub(super) fn find_all(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut from = 0;
        while found.len() < MAX_MATCHES
            && let Some(range) = self.find_from(text, from)
        {
            // Behind an empty match the next one begins a character later.
            let step = text[range.end..].chars().next().map_or(1, char::len_utf8);
            from = if range.is_empty() { range.end + step } else { range.end };
            found.push(range);
            if from > text.len() {
                break;
            }
        }
        found
    }

    fn find_from(&self, text: &str, from: usize) -> Option<Range<usize>> {
        match &self.expression {
            Expression::Text(pattern) => {
                let start = from + text[from..].find(pattern.as_str())?;
                Some(start..start + pattern.len())
            }
            Expression::Regex(regex) => regex.find_at(text, from).map(|found| found.range()),
        }
    }
}
