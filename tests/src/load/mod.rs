//! Measures the real binary over HTTP, and compares with what it aims at.
//!
//! The load generator runs beside the host and takes its share of the processors. So it is cheap:
//! one thread, and connections that are kept by hand. Everything is bounded in count and in time,
//! and only processes that were started here are ended.
//!
//! Nothing here passes or fails by time: a missed aim is a figure like any other.

#![expect(clippy::disallowed_methods, reason = "to read the clock is what measuring is")]

mod beside;
pub(crate) mod connection;
mod counters;
mod deadlines;
mod disk;
mod history;
mod lists;
mod memory;
mod models;
mod options;
mod peers;
mod provider;
pub mod report;
mod residency;
mod resuming;
mod running;
mod schedules;
mod scripts;
mod stored;
mod streams;
mod timers;
mod tools;
mod turns;

use anyhow::Result;

pub use options::{Measure, Options};

use report::Report;

/// Measure what the options ask for, and print each figure once it is known.
///
/// # Errors
/// Where the binary does not start or answers with an error. A missed aim is none.
pub async fn run(options: &Options) -> Result<()> {
    let kind = if options.is_quick() { "a quick run" } else { "a full run" };
    let title = format!("dormouse-load: {kind}, host and load on this machine");
    let mut report = Report::begin(&title);
    for measure in Measure::ALL.into_iter().filter(|measure| options.asks_for(*measure)) {
        report.section(measure.title());
        match measure {
            Measure::Turns => turns::measure(options, &mut report).await?,
            Measure::Sleep => residency::measure(options, &mut report).await?,
            Measure::History => history::measure(options, &mut report).await?,
            Measure::Scripts => scripts::measure(options, &mut report).await?,
            Measure::Memory => memory::measure(options, &mut report).await?,
            Measure::Stored => stored::measure(options, &mut report).await?,
            Measure::Lists => lists::measure(options, &mut report).await?,
            Measure::Streams => streams::measure(options, &mut report).await?,
            Measure::Deadlines => deadlines::measure(options, &mut report).await?,
            Measure::Timers => timers::measure(options, &mut report).await?,
            Measure::Schedules => schedules::measure(options, &mut report).await?,
            Measure::Models => models::measure(options, &mut report).await?,
            Measure::Tools => tools::measure(options, &mut report).await?,
            Measure::Peers => peers::measure(options, &mut report).await?,
            Measure::Resuming => resuming::measure(options, &mut report).await?,
            Measure::Disk => disk::measure(options, &mut report).await?,
        }
    }
    report.end();
    Ok(())
}
