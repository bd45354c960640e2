//! The table of figures, and how times are gathered.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longer than any request may take, in nanoseconds.
const LONGEST: u64 = 120_000_000_000;

/// Prints figures as they come.
pub struct Report {
    begun: Instant,
    met: u32,
    missed: u32,
}

/// A figure, in its unit.
#[derive(Clone, Copy, Debug)]
pub enum Figure {
    /// So many a second.
    PerSecond(f64),
    /// So long.
    Time(Duration),
    /// So many bytes.
    Bytes(f64),
    /// So many times something else.
    Times(f64),
    /// So many.
    Number(f64),
    /// Such a part of a whole, from 0 to 1.
    Part(f64),
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// At least this, in the unit of the figure; times in seconds.
    Least(f64),
    /// At most this.
    Most(f64),
    /// Nobody has said.
    None,
}

impl Report {
    /// Begin a table under this title.
    #[must_use]
    pub fn begin(title: &str) -> Report {
        println!("{title}");
        println!("{:<58} {:>12} {:>14}", "", "measured", "aim");
        Report::resumed()
    }

    /// Go on with a table that another process has begun.
    #[must_use]
    pub fn resumed() -> Report {
        Report { begun: Instant::now(), met: 0, missed: 0 }
    }

    /// A line above the figures that belong together.
    pub fn section(&self, title: &str) {
        println!("{title}");
    }

    /// A line without a figure.
    pub fn note(&self, text: &str) {
        println!("  {text}");
    }

    /// A figure, and what it should be.
    pub fn row(&mut self, what: &str, figure: Figure, aim: Aim) {
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
    pub fn times(&mut self, what: &str, times: &Times, aims: [Aim; 2]) {
        let [p50, p99] = aims;
        self.row(&format!("{what}, p50"), Figure::Time(times.at(0.5)), p50);
        self.row(&format!("{what}, p99"), Figure::Time(times.at(0.99)), p99);
    }

    /// Say how many figures were as they should be.
    pub fn end(self) {
        let seconds = self.begun.elapsed().as_secs();
        println!("{} aims met, {} missed; {seconds} s", self.met, self.missed);
    }
}

impl Figure {
    /// A time in seconds. One that is negative, as a difference can be on a busy machine, is none.
    #[must_use]
    pub fn seconds(seconds: f64) -> Figure {
        Figure::Time(Duration::from_secs_f64(seconds.max(0.0)))
    }

    fn value(self) -> f64 {
        match self {
            Figure::PerSecond(value)
            | Figure::Bytes(value)
            | Figure::Times(value)
            | Figure::Number(value)
            | Figure::Part(value) => value,
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
            Figure::Number(_) => Figure::Number(value),
            Figure::Part(_) => Figure::Part(value),
        }
    }

    /// As the table shows it.
    #[must_use]
    pub fn show(self) -> String {
        match self {
            Figure::PerSecond(value) => format!("{value:.0} /s"),
            Figure::Times(value) => format!("{value:.2} ×"),
            Figure::Number(value) if value < 100.0 => format!("{value:.2}"),
            Figure::Number(value) => format!("{value:.0}"),
            Figure::Part(value) => format!("{:.0} %", value * 100.0),
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
pub struct Times(RefCell<Histogram<u64>>);

impl Default for Times {
    fn default() -> Times {
        Times::new()
    }
}

impl Times {
    /// None yet.
    #[must_use]
    pub fn new() -> Times {
        let histogram = Histogram::new_with_max(LONGEST, 3);
        Times(RefCell::new(histogram.expect("three digits up to a fixed bound")))
    }

    /// Do something, and note how long it took.
    pub async fn time<T>(&self, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        self.note(begun.elapsed());
        done
    }

    /// Another one took this long.
    pub fn note(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(LONGEST);
        self.0.borrow_mut().saturating_record(nanoseconds);
    }

    /// Those of another as well.
    pub fn add(&self, other: &Times) {
        // Both have the same bounds.
        let _ = self.0.borrow_mut().add(&*other.0.borrow());
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.borrow().len()
    }

    /// The time that this part of all did not exceed.
    #[must_use]
    pub fn at(&self, part: f64) -> Duration {
        Duration::from_nanos(self.0.borrow().value_at_quantile(part))
    }
}

/// A count, to reckon with.
#[expect(clippy::cast_precision_loss, reason = "figures are rounded to a few digits")]
#[must_use]
pub fn float(count: u64) -> f64 {
    count as f64
}
