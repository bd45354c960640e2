//! Patterns of paths: `**/*.rs`, `src/{a,b}/[a-z]*.md`.

use regex_lite::{Regex, RegexBuilder};

use crate::{Error, Result};

/// The most bytes of a pattern.
const MAX_PATTERN: usize = 1_000;
/// The most memory of a pattern, in bytes, and with it the work for one path.
const MAX_MEMORY: usize = 256 << 10;

/// A pattern of paths. One without a slash is a pattern of names, in any directory.
pub(super) struct Pattern(Regex);

impl Pattern {
    /// # Errors
    /// When it is no pattern. The text says what to change.
    pub(super) fn new(text: &str) -> Result<Pattern> {
        let wrong = |why: &str| Error::invalid(format!("`{text}` is no pattern of paths: {why}"));
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(wrong(&format!("a pattern has 1 to {MAX_PATTERN} bytes")));
        }
        let path = text.strip_prefix("./").unwrap_or(text);
        let any = if text.contains('/') { "" } else { "(?:.*/)?" };
        let all_below = if path.ends_with('/') { ".*" } else { "" };
        let expression = translated(path).map_err(wrong)? + all_below;
        let expression = format!("^{any}{expression}$");
        let regex = RegexBuilder::new(&expression)
            .dot_matches_new_line(true)
            .size_limit(MAX_MEMORY)
            .build();
        regex.map(Pattern).map_err(|_| {
            wrong("it has too many alternatives, or a range that ends before it begins")
        })
    }

    /// Whether it is the pattern of this path, which has no slash before it.
    pub(super) fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

/// The regular expression of a pattern.
fn translated(pattern: &str) -> Result<String, &'static str> {
    let mut expression = String::new();
    let mut alternatives = 0_usize;
    let mut rest = pattern.chars().peekable();
    // Whether a part of the path begins here.
    let mut begins = true;
    while let Some(c) = rest.next() {
        let began = std::mem::replace(&mut begins, false);
        match c {
            '*' => {
                let mut stars = 1;
                while rest.next_if_eq(&'*').is_some() {
                    stars += 1;
                }
                let ends = matches!(rest.peek(), None | Some('/' | ',' | '}'));
                if stars < 2 || !began || !ends {
                    expression.push_str("[^/]*");
                } else if rest.next_if_eq(&'/').is_some() {
                    expression.push_str("(?:.*/)?");
                    begins = true;
                } else {
                    expression.push_str(".*");
                }
            }
            '?' => expression.push_str("[^/]"),
            '[' => expression.push_str(&class(&mut rest)?),
            '{' => {
                alternatives += 1;
                expression.push_str("(?:");
                begins = began;
            }
            ',' if alternatives > 0 => {
                expression.push('|');
                begins = true;
            }
            '}' if alternatives > 0 => {
                alternatives -= 1;
                expression.push(')');
            }
            '\\' => literal(&mut expression, rest.next().ok_or("it ends with a backslash")?),
            '/' => {
                expression.push('/');
                begins = true;
            }
            c => literal(&mut expression, c),
        }
    }
    match alternatives {
        0 => Ok(expression),
        _ => Err("a `{` has no `}`"),
    }
}

/// What follows `[`, as far as its `]`: one character of those that it has, but no slash.
fn class(rest: &mut impl Iterator<Item = char>) -> Result<String, &'static str> {
    const OPEN: &str = "a `[` has no `]`";
    let mut next = || rest.next().ok_or(OPEN);
    let mut c = next()?;
    let is_negated = matches!(c, '!' | '^');
    if is_negated {
        c = next()?;
    }
    let mut members = Vec::new();
    // A bracket that is the first is one of the characters.
    loop {
        members.push(c);
        c = next()?;
        if c == ']' {
            break;
        }
    }
    let mut expression = String::from(if is_negated { "[^/" } else { "[" });
    let mut members = &members[..];
    while let Some((&from, others)) = members.split_first() {
        let (to, others) = match others {
            ['-', to, others @ ..] => (*to, others),
            _ => (from, others),
        };
        members = others;
        // The slash ends a part of a path, also where it lies within a range.
        let ranges = match is_negated || !(from..=to).contains(&'/') {
            true => [Some((from, to)), None],
            false => [(from < '/').then_some((from, '.')), (to > '/').then_some(('0', to))],
        };
        for (from, to) in ranges.into_iter().flatten() {
            literal(&mut expression, from);
            expression.push('-');
            literal(&mut expression, to);
        }
    }
    match expression == "[" {
        true => Err("a slash is in no `[…]`"),
        false => Ok(expression + "]"),
    }
}

/// A character that stands for itself.
fn literal(expression: &mut String, c: char) {
    // What means nothing without a backslash may mean something with it.
    if c.is_ascii_punctuation() && !"_<>".contains(c) {
        expression.push('\\');
    }
    expression.push(c);
}
