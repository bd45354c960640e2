//! The lines of the table that hold more than one figure.

use dormouse_tests::load::report::{Figure, Times, float};

use crate::load::Outcome;

/// Print a line: what, and a column for each text.
pub fn line(what: &str, columns: &[String]) {
    let columns: String = columns.iter().map(|column| format!(" {column:>10}")).collect();
    println!("  {what:<32}{columns}");
}

/// Print the head of columns.
pub fn head(title: &str, columns: &[&str]) {
    let columns: String = columns.iter().map(|column| format!(" {column:>10}")).collect();
    println!("{title:<34}{columns}");
}

/// Print the head of [`turns`].
pub fn head_of_turns(title: &str) {
    head(title, &["rate", "p50", "p99", "p99.9", "max", "cpu/turn", "turns/sync"]);
}

/// Print what was borne.
pub fn turns(what: &str, outcome: &Outcome) {
    let (turns, times) = (float(outcome.turns.max(1)), &outcome.times);
    let mut columns = vec![Figure::PerSecond(outcome.rate()).show()];
    columns.extend(quantiles(times));
    columns.push(Figure::Time(outcome.busy.div_f64(turns)).show());
    columns.push(format!("{:.1}", turns / float(outcome.groups.max(1))));
    line(what, &columns);
    if outcome.left > 0 {
        println!("    {} turns that were due were not begun in time", outcome.left);
    }
}

/// Print how long other things took, below the times of turns.
pub fn times(what: &str, times: &Times) {
    line(what, &[&[String::new()], &quantiles(times)[..]].concat());
}

fn quantiles(times: &Times) -> [String; 4] {
    [0.5, 0.99, 0.999, 1.0].map(|part| Figure::Time(times.at(part)).show())
}

/// A count as people write it.
pub fn count(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
