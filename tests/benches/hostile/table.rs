//! The table: a row for each attack.

use std::time::Duration;

use anyhow::{Context, Result};
use dormouse_tests::load::report::{Figure, float};

/// What was measured beside an attack.
pub(super) struct Row {
    /// How long the turns of others took, in order.
    pub(super) times: Vec<Duration>,
    /// Bytes of memory that the process took more than before, at most,
    pub(super) taken: u64,
    /// and how many more were charged to the budget.
    pub(super) charged: u64,
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
        let place = (self.times.len() as f64 * part) as usize;
        let last = self.times.len().saturating_sub(1);
        self.times.get(place.min(last)).copied().unwrap_or_default()
    }
}

pub(super) struct Table;

impl Table {
    pub(super) fn begin() -> Table {
        println!(
            "{:<48} {:>10} {:>8} {:>10} {:>8} {:>10} {:>10} {:>14}",
            "neighbours beside",
            "p50",
            "ratio",
            "p99",
            "ratio",
            "RSS +",
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
            "{name:<48} {:>10} {:>8} {:>10} {:>8} {:>10} {:>10} {:>14}",
            time(0.5),
            ratio(0.5),
            time(0.99),
            ratio(0.99),
            bytes(row.taken),
            bytes(row.charged),
            row.bill.map_or_else(|| "-".to_owned(), |bill| format!("{bill:.0}")),
        );
    }
}

/// Bytes of memory that this process takes.
pub(super) fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kibibytes = line.split_whitespace().nth(1).context("no figure")?.parse::<u64>()?;
    Ok(kibibytes << 10)
}
