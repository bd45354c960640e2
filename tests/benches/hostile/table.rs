//! The table: a row for each attack.

use std::time::Duration;

use dormouse_tests::hostile::Noted;
use dormouse_tests::load::report::{Figure, float};

/// What was measured beside an attack.
pub(super) struct Row {
    /// What neighbours have noticed.
    pub(super) noted: Noted,
    /// Bytes of memory that the process took more than before, at most,
    pub(super) taken: u64,
    /// and how many more were charged to the budget,
    pub(super) charged: u64,
    /// which is this.
    pub(super) budget: u64,
    /// What a second costs, in nano-USD. `None`: nobody is billed.
    pub(super) bill: Option<f64>,
}

impl Row {
    /// The time that this part of all turns did not exceed.
    fn at(&self, part: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list"
        )]
        let place = (self.noted.times.len() as f64 * part) as usize;
        let last = self.noted.times.len().saturating_sub(1);
        self.noted.times.get(place.min(last)).copied().unwrap_or_default()
    }
}

pub(super) struct Table;

impl Table {
    /// Begin it, with what stands above the names.
    pub(super) fn begin(title: &str) -> Table {
        println!(
            "{title:<48} {:>10} {:>8} {:>10} {:>8} {:>6} {:>10} {:>9} {:>10} {:>14}",
            "p50",
            "ratio",
            "p99",
            "ratio",
            "failed",
            "RSS +",
            "of budget",
            "charged +",
            "nano-USD / s"
        );
        Table
    }

    /// A row, with ratios to another.
    pub(super) fn row(&self, name: &str, row: &Row, reference: &Row) {
        let ratio = |part: f64| {
            let by = reference.at(part).as_secs_f64().max(1e-9);
            Figure::Times(row.at(part).as_secs_f64() / by).show()
        };
        let time = |part: f64| Figure::Time(row.at(part)).show();
        let bytes = |bytes: u64| Figure::Bytes(float(bytes)).show();
        println!(
            "{name:<48} {:>10} {:>8} {:>10} {:>8} {:>6} {:>10} {:>9} {:>10} {:>14}",
            time(0.5),
            ratio(0.5),
            time(0.99),
            ratio(0.99),
            row.noted.failures.len(),
            bytes(row.taken),
            Figure::Times(float(row.taken) / float(row.budget)).show(),
            bytes(row.charged),
            row.bill.map_or_else(|| "-".to_owned(), |bill| format!("{bill:.0}")),
        );
    }
}
