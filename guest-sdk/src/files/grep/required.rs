//! A text that is in each match of an expression. To look for it first is many times faster than the expression is.

/// Letters that mean a class or a place behind a backslash, and nothing of what follows.
const CLASSES: &str = "wWdDsSbBAznrt";

/// The longest such text that is easily found. `None`: there may be none.
pub(super) fn text_of(expression: &str) -> Option<String> {
    // With alternatives and flags nothing is as plain as it looks.
    if expression.contains('|') || expression.contains("(?") {
        return None;
    }
    let mut longest = String::new();
    let mut text = String::new();
    let mut groups = 0_usize;
    let mut rest = expression.chars();
    while let Some(c) = rest.next() {
        let literal = match c {
            '\\' => match rest.next()? {
                c if CLASSES.contains(c) => None,
                c if c.is_ascii_punctuation() && !"<>".contains(c) => Some(c),
                _ => return None,
            },
            '[' => {
                skip_class(&mut rest)?;
                None
            }
            '(' => {
                groups += 1;
                None
            }
            ')' => {
                groups = groups.checked_sub(1)?;
                None
            }
            // What stands before it need not be there.
            '?' | '*' => {
                text.pop();
                None
            }
            '{' => {
                text.pop();
                rest.find(|c| *c == '}')?;
                None
            }
            '+' | '.' | '^' | '$' => None,
            c => Some(c),
        };
        match literal {
            // A group may be one that need not be there.
            Some(c) if groups == 0 => text.push(c),
            _ => longest = longer(longest, std::mem::take(&mut text)),
        }
    }
    Some(longer(longest, text)).filter(|text| !text.is_empty())
}

fn longer(one: String, other: String) -> String {
    if other.len() > one.len() { other } else { one }
}

/// Goes on behind a class, whose `[` is behind already.
fn skip_class(rest: &mut std::str::Chars<'_>) -> Option<()> {
    let mut c = rest.next()?;
    if c == '^' {
        c = rest.next()?;
    }
    // A bracket that is the first does not end it.
    loop {
        match c {
            '[' => return None,
            '\\' => _ = rest.next()?,
            _ => {}
        }
        c = rest.next()?;
        if c == ']' {
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::text_of;

    #[test]
    fn a_text_that_each_match_has_is_found() {
        for (expression, text) in [
            (r"fn \w+\(", Some("fn ")),
            (r"^use std::(io|fs)", None),
            (r"^use std::.*;$", Some("use std::")),
            ("colou?r", Some("colo")),
            ("ab*", Some("a")),
            ("a{0,3}bc", Some("bc")),
            ("ab+c", Some("ab")),
            ("a+?b", Some("a")),
            ("(abc)?de", Some("de")),
            ("(abc)de", Some("de")),
            ("((a)b)*", None),
            (r"len\(\) - \d", Some("len() - ")),
            (r"[abc]x[]y]z[^]]ef[\]g]", Some("ef")),
            ("[[:alpha:]]abc", None),
            (r"\x41bc", None),
            (r"\pLabc", None),
            (r"\<abc", None),
            ("(?i)abc", None),
            (r"\w+", None),
            ("é?ßx", Some("ßx")),
            (".*", None),
        ] {
            assert_eq!(text_of(expression).as_deref(), text, "{expression}");
        }
        for broken in ["a[", "a)", "a{", "a\\", "a[b"] {
            assert_eq!(text_of(broken), None, "{broken}");
        }
    }
}
