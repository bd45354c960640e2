//! What people read: tables, ages, money, and texts of which no character steers the terminal.
//!
//! A text that the server sends may come from an agent. An agent that could write control characters to
//! the terminal of its user could change what the user sees, and with some terminals what the user types.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;

use dormouse::Clock;

/// A text without the control characters, but for line breaks and tabs.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if is_control(c) { '\u{fffd}' } else { c }).collect()
}

/// The same, on one line: for a cell of a table.
pub(super) fn in_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn is_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

/// A JSON document, for programs. Control characters, which can stand in its strings alone, are escaped.
pub(super) fn document(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(char::is_control) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if c.is_control() {
            // Writing to a string does not fail. No control character is beyond U+009F.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Rows under a heading, in columns that are as wide as their widest cell. The last column is not padded.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let rows: Vec<[String; N]> = std::iter::once(heading)
        .chain(rows.iter().map(|row| row.each_ref().map(|cell| in_one_line(cell))))
        .collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// Names and values, a line each.
pub(super) fn listed(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {}\n", in_one_line(value));
    rows.iter().map(line).collect()
}

/// The time, as the clock of this machine has it.
pub(super) fn now() -> Timestamp {
    // A clock that is beyond the calendar makes every age long.
    Timestamp::from_millisecond(Clock::real().now().0).unwrap_or(Timestamp::MAX)
}

/// How long ago this time (RFC 3339) was: `5s ago`, `3h ago`. A text that is no time stays as it is.
pub(super) fn age(time: &str, now: Timestamp) -> String {
    let Ok(then) = time.parse::<Timestamp>() else { return time.to_owned() };
    let seconds = now.as_second().saturating_sub(then.as_second());
    match seconds {
        ..=0 => "now".to_owned(),
        1..60 => format!("{seconds}s ago"),
        60..3_600 => format!("{}m ago", seconds / 60),
        3_600..86_400 => format!("{}h ago", seconds / 3_600),
        86_400.. => format!("{}d ago", seconds / 86_400),
    }
}

/// An amount in USD: all digits of it that are not zero, and two at least.
pub(super) fn money(usd: f64) -> String {
    let text = format!("{usd:.9}");
    let digits = text.trim_end_matches('0');
    let fraction = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    format!("${digits}{}", "0".repeat(2_usize.saturating_sub(fraction)))
}

/// The text at a field of a document; empty where there is none.
pub(super) fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_control_character_reaches_the_terminal() {
        let nasty = "a\u{1b}]0;title\u{7}\r\u{9b}31mb\tc\nd\u{7f}";
        let expected = "a\u{fffd}]0;title\u{fffd}\u{fffd}\u{fffd}31mb\tc\nd\u{fffd}";
        assert_eq!(plain(nasty), expected);
        let table = table(["A", "B"], &[[nasty.to_owned(), nasty.to_owned()]]);
        assert_eq!(table.lines().count(), 2, "{table:?}");
        assert!(!table.contains(is_control), "{table:?}");
        let document = document(&json!({ "x": nasty }));
        assert!(!document.contains(char::is_control), "{document:?}");
        assert_eq!(serde_json::from_str::<Value>(&document).unwrap()["x"], nasty);
    }

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_last_cell() {
        let rows = [["1".to_owned(), "b".to_owned()], ["ä€x".to_owned(), String::new()]];
        assert_eq!(table(["N", "M"], &rows), "N    M\n1    b\nä€x\n");
    }

    #[test]
    fn ages_are_in_their_largest_unit() {
        let now: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
        for (time, expected) in [
            ("2026-01-02T23:59:58.500Z", "2s ago"),
            ("2026-01-02T23:00:01Z", "59m ago"),
            ("2026-01-02T00:00:01Z", "23h ago"),
            ("2025-12-01T00:00:00Z", "33d ago"),
            ("2026-01-03T00:00:09Z", "now"),
            ("never", "never"),
        ] {
            assert_eq!(age(time, now), expected, "{time}");
        }
    }

    #[test]
    fn small_amounts_are_not_rounded_to_nothing() {
        let shown = [0.0, 1.5, 0.000_000_066, 12.25].map(money);
        assert_eq!(shown, ["$0.00", "$1.50", "$0.000000066", "$12.25"]);
    }
}
