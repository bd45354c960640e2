//! Whether a text is a JSON document that every reader can read: the one check of what agents hand
//! out, and of what programs hand in. Pure.
//!
//! What passes is kept, and told to clients, as the very text that it is: numbers of any size and
//! precision, repeated names and the order of members included. What readers make of those is theirs.

use serde::de::IgnoredAny;

/// How deep arrays and objects may lie in each other. Parsers take 128 levels for the most part, and
/// an answer of the API adds some of its own.
pub const MAX_DEPTH: usize = 100;

/// Why a text is no document, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at line {line} column {column}")]
pub struct InvalidJson {
    what: String,
    line: usize,
    /// Counted from 1, in bytes.
    column: usize,
}

impl InvalidJson {
    fn at(text: &str, offset: usize, what: impl Into<String>) -> InvalidJson {
        let before = &text.as_bytes()[..offset];
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        InvalidJson { what: what.into(), line, column: offset - start + 1 }
    }
}

/// Check that this is one JSON document, that it nests no deeper than [`MAX_DEPTH`], and that each
/// `\u` escape of a surrogate has its other half: a single one is no character, and most readers
/// refuse it or put another in its place.
pub fn check(text: &str) -> Result<(), InvalidJson> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let (what, place) = (error.to_string(), format!(" at line {line} column {column}"));
        InvalidJson { what: what.trim_end_matches(&place).to_owned(), line, column }
    })?;
    // From here on it is known to be well formed.
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut is_in_string) = (0, 0_usize, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => is_in_string = !is_in_string,
            b'\\' => {
                at += match unit(bytes, at) {
                    Some(0xd800..=0xdbff) if is_low(unit(bytes, at + ESCAPE)) => 2 * ESCAPE,
                    Some(0xd800..=0xdfff) => {
                        return Err(InvalidJson::at(text, at, "half of a surrogate pair"));
                    }
                    Some(_) => ESCAPE,
                    None => 2,
                };
                continue;
            }
            b'[' | b'{' if !is_in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    let what = format!("more than {MAX_DEPTH} levels of arrays and objects");
                    return Err(InvalidJson::at(text, at, what));
                }
            }
            b']' | b'}' if !is_in_string => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The length of `\u1234`.
const ESCAPE: usize = 6;

/// The UTF-16 unit of the escape that begins here, if one does.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn is_low(unit: Option<u16>) -> bool {
    matches!(unit, Some(0xdc00..=0xdfff))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(text: &str) -> String {
        check(text).expect_err(text).to_string()
    }

    #[test]
    fn every_document_passes_however_it_is_written() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        for text in [
            "1e999",
            "-0.10000000000000000000000000001",
            "123456789012345678901234567890",
            r#"{"a":1,"a":2}"#,
            r#" { "pretty" :
                 [ "\ud83d\ude00" , "\\ud800", "[[\"", "\u0041\/" ] } "#,
            "\"\u{2028}\u{85}\u{10ffff}\"",
            &deep,
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused_with_the_place() {
        for (text, expected) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("[1,\n 2", "EOF while parsing a list at line 2 column 2"),
            ("{}\n{}", "trailing characters at line 2 column 1"),
            ("nan", "expected ident at line 1 column 2"),
            (
                "\"\u{1}\"",
                "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 1",
            ),
            (r#""\ud800""#, "half of a surrogate pair at line 1 column 2"),
            ("{\n\"a\": \"\\udc00\\ud800\"}", "half of a surrogate pair at line 2 column 7"),
            (r#"["\ud800\ud800\udc00"]"#, "half of a surrogate pair at line 1 column 3"),
            (r#""\uD83D\n""#, "half of a surrogate pair at line 1 column 2"),
        ] {
            assert_eq!(problem(text), expected, "{text}");
        }
        let deep = format!("\n{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        let expected = "more than 100 levels of arrays and objects at line 2 column 101";
        assert_eq!(problem(&deep), expected);
        assert!(problem(&"[".repeat(1 << 20)).starts_with("EOF"));
    }

    proptest! {
        #[test]
        fn what_passes_is_read_by_a_parser_that_wants_characters(text in "[\\[\\]{}:,\" a1\\\\udD8-cC0e.]{0,24}") {
            // A parser of the same grammar that decodes strings; it rounds numbers, or refuses them.
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            match (check(&text), parsed) {
                (Ok(()), Err(error)) => {
                    prop_assert!(error.to_string().contains("number out of range"), "{text}: {error}");
                }
                (Err(error), Ok(_)) => prop_assert!(false, "{text}: {error}"),
                _ => {}
            }
        }
    }
}
