//! The numbers that an agent has sampled.

use schemars::JsonSchema;
use serde::Serialize;

use super::value::Time;
use dormouse::{Sample, SampleBatch, SampleEntry};

/// A number that an agent has sampled in a turn.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Sample")]
pub(crate) struct SampleBody {
    name: String,
    value: f64,
    /// What the clock of the agent said.
    #[schemars(with = "Time")]
    at: String,
}

/// A sample of a session, and its turn.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SampleEntry")]
pub(crate) struct SampleEntryBody {
    /// The number of the turn in the session. It may have failed.
    turn: u64,
    #[serde(flatten)]
    sample: SampleBody,
}

/// Some samples of a session, in order. `next` is what to ask for as `after`: also where nothing is left, for what comes
/// later. `more` says whether turns are left to look through: a page ends with its number of samples, and with the turns
/// that were looked through for it, so one without samples may have `more`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SamplePage {
    samples: Vec<SampleEntryBody>,
    count: usize,
    next: u64,
    /// The same, by the name that it has in all lists.
    #[serde(rename = "nextCursor")]
    next_cursor: u64,
    more: bool,
}

impl From<Sample> for SampleBody {
    fn from(Sample { name, value, at }: Sample) -> SampleBody {
        SampleBody { name, value, at: at.to_string() }
    }
}

impl From<SampleBatch> for SamplePage {
    fn from(SampleBatch { samples, next, more }: SampleBatch) -> SamplePage {
        let entry = |SampleEntry { turn, sample }| SampleEntryBody { turn, sample: sample.into() };
        let samples: Vec<SampleEntryBody> = samples.into_iter().map(entry).collect();
        SamplePage { count: samples.len(), samples, next: next.0, next_cursor: next.0, more }
    }
}
