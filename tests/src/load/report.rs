//! The table of figures, and how times are gathered.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::Options;

/// Longer than any request may take, in nanoseconds.
const LONGEST: u64 = 120_000_000_000;

/// Prints figures as they come.
pub(super) struct Report {
    begun: Instant,
    met: u32,
    missed: u32,
}

/// A figure, in its unit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Figure {
    /// So many a second.
    PerSecond(f64),
    /// So long.
    Time(Duration),
    /// So many bytes.
    Bytes(f64),
    /// So many times something else.
    Times(f64),
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim {
    /// At least this, in the unit of the figure; times in seconds.
    Least(f64),
    /// At most this.
    Most(f64),
    /// Nobody has said.
    None,
}

impl Report {
    pub(super) fn begin(options: &Options) -> Report {
        let kind = if options.is_quick() { "a quick run" } else { "a full run" };
        println!("dormouse-load: {kind}, host and load on this machine");
        println!("{:<58} {:>12} {:>14}", "", "measured", "aim");
        Report { begun: Instant::now(), met: 0, missed: 0 }
    }

    pub(super) fn section(&self, title: &str) {
        println!("{title}");
    }

    /// A line without a figure.
    pub(super) fn note(&self, text: &str) {
        println!("  {text}");
    }

    pub(super) fn row(&mut self, what: &str, figure: Figure, aim: Aim) {
        let value = figure.value();
        let (wanted, met) = match aim {
            Aim::Least(least) => (format!("≥ {}", figure.like(least).show()), value >= least),
            Aim::Most(most) => (format!("≤ {}", figure.like(most).show()), value <= most),
            Aim::None => {
                println!("  {what:<56} {:>12}", figure.show());
                return;
            }
        };
        let verdict = if met { "met" } else { "missed" };
        if met {
            self.met += 1;
        } else {
            self.missed += 1;
        }
        println!("  {what:<56} {:>12} {wanted:>14}  {verdict}", figure.show());
    }

    /// Median and 99th percentile.
    pub(super) fn times(&mut self, what: &str, times: &Times, aims: [Aim; 2]) {
        let [p50, p99] = aims;
        self.row(&format!("{what}, p50"), Figure::Time(times.at(0.5)), p50);
        self.row(&format!("{what}, p99"), Figure::Time(times.at(0.99)), p99);
    }

    pub(super) fn end(self) {
        let seconds = self.begun.elapsed().as_secs();
        println!("{} aims met, {} missed; {seconds} s", self.met, self.missed);
    }
}

impl Figure {
    fn value(self) -> f64 {
        match self {
            Figure::PerSecond(value) | Figure::Bytes(value) | Figure::Times(value) => value,
            Figure::Time(time) => time.as_secs_f64(),
        }
    }

    /// Another number in the same unit.
    fn like(self, value: f64) -> Figure {
        match self {
            Figure::PerSecond(_) => Figure::PerSecond(value),
            Figure::Time(_) => Figure::Time(Duration::from_secs_f64(value)),
            Figure::Bytes(_) => Figure::Bytes(value),
            Figure::Times(_) => Figure::Times(value),
        }
    }

    fn show(self) -> String {
        match self {
            Figure::PerSecond(value) => format!("{value:.0} /s"),
            Figure::Times(value) => format!("{value:.2} ×"),
            Figure::Bytes(value) if value.abs() >= 1e9 => format!("{:.2} GB", value / 1e9),
            Figure::Bytes(value) if value.abs() >= 1e6 => format!("{:.1} MB", value / 1e6),
            Figure::Bytes(value) if value.abs() >= 10_240.0 => format!("{:.1} KiB", value / 1024.0),
            Figure::Bytes(value) => format!("{value:.0} B"),
            Figure::Time(time) if time < Duration::from_millis(1) => {
                format!("{:.0} µs", time.as_secs_f64() * 1e6)
            }
            Figure::Time(time) if time < Duration::from_secs(1) => {
                format!("{:.2} ms", time.as_secs_f64() * 1e3)
            }
            Figure::Time(time) => format!("{:.2} s", time.as_secs_f64()),
        }
    }
}

/// How long many of the same took.
pub(super) struct Times(RefCell<Histogram<u64>>);

impl Times {
    pub(super) fn new() -> Times {
        let histogram = Histogram::new_with_max(LONGEST, 3);
        Times(RefCell::new(histogram.expect("three digits up to a fixed bound")))
    }

    /// Do something, and note how long it took.
    pub(super) async fn time<T>(&self, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        self.note(begun.elapsed());
        done
    }

    pub(super) fn note(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(LONGEST);
        self.0.borrow_mut().saturating_record(nanoseconds);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.borrow().len()
    }

    /// The time that this part of all did not exceed.
    pub(super) fn at(&self, part: f64) -> Duration {
        Duration::from_nanos(self.0.borrow().value_at_quantile(part))
    }
}

/// A count, to reckon with.
#[expect(clippy::cast_precision_loss, reason = "figures are rounded to a few digits")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
