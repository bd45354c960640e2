//! What is kept of a simulated world: its record, and the log of its ticks.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::content_part;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{ExperimentId, Principal, SimulationId, WorldPartId};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::{PauseCause, SimulationStatus, Tick};
use dormouse_domain::time::Timestamp;
use dormouse_simulation::spec::Budget;
use dormouse_simulation::{
    AggregateValue, CallTotals, Fingerprint, RecordedCall, TickSummary, write_calls,
};

/// A simulated world, as its host knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationRecord {
    /// Its id.
    pub id: SimulationId,
    /// Whose it is.
    pub owner: Principal,
    /// What people call it.
    pub name: String,
    /// Where it is in its life.
    pub status: SimulationStatus,
    /// Why it is paused or has failed, for people.
    pub reason: Option<String>,
    /// How many ticks it has.
    pub planned: Tick,
    /// What has come of it so far.
    pub progress: Progress,
    /// What it may use.
    pub budget: Budget,
    /// The aggregates of its specification, by name.
    pub aggregates: Vec<String>,
    /// The world that it was forked from, and the tick at which.
    pub forked_from: Option<(SimulationId, Tick)>,
    /// The experiment of which it is a run, and the number of that.
    pub run_of: Option<(ExperimentId, u32)>,
    /// What has come of it, as one hash, where it has come to its end.
    pub fingerprint: Option<Fingerprint>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was started, paused or ended last.
    pub changed_at: Timestamp,
    /// Behind how many ticks it stands still.
    pub(super) until: Option<Tick>,
    /// The tick before which its program has paused it last.
    pub(super) passed: Option<Tick>,
    /// How many bytes its log has.
    pub(super) log_bytes: u64,
    /// Where the calls lie that the world that it was forked from has made since. `None`: it has made none.
    pub(super) inherited: Option<WorldPartId>,
    pub(super) inherited_bytes: u64,
    /// Where its specification lies.
    pub(super) spec: WorldPartId,
    /// Its populations, a role each.
    pub(crate) made_of: Vec<Digest>,
    /// In the order of their ticks.
    pub(super) keyframes: Vec<KeyframeRecord>,
}

/// What has come of a world so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// How many ticks it has behind it.
    pub ticks: Tick,
    /// How often a member has acted.
    pub steps: u64,
    /// The fuel that its members have used.
    pub fuel: u64,
    /// How long it has run, in milliseconds.
    pub wall_ms: u64,
    /// What its members have asked language models.
    #[serde(default)]
    pub calls: CallProgress,
    /// The hash of its last tick. All zeros where there is none.
    pub hash: Fingerprint,
}

/// What members of a world have asked language models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CallProgress {
    /// Calls that were made for this world.
    pub made: u64,
    /// What these have cost, in billionths of a US dollar.
    pub nano_usd: i64,
    /// Tokens that these have read and written.
    pub tokens: u64,
    /// Calls to which the world that it was forked from had the answer.
    pub inherited: u64,
    /// What these would have cost, in billionths of a US dollar.
    pub saved_nano_usd: i64,
}

impl CallProgress {
    /// What the calls of this world have cost.
    #[must_use]
    pub fn cost(&self) -> NanoUsd {
        NanoUsd(self.nano_usd)
    }

    /// All of it.
    #[must_use]
    pub fn totals(&self) -> CallTotals {
        CallTotals {
            made: self.made,
            cost: self.cost(),
            tokens: self.tokens,
            inherited: self.inherited,
            saved: self.saved(),
        }
    }

    /// What the calls would have cost that another world has made.
    #[must_use]
    pub fn saved(&self) -> NanoUsd {
        NanoUsd(self.saved_nano_usd)
    }

    /// Calls that have come to nothing have cost so much.
    pub(super) fn note_lost(&mut self, cost: NanoUsd) {
        self.nano_usd = self.nano_usd.saturating_add(cost.0);
    }

    /// With these calls.
    pub(super) fn note(&mut self, calls: &[RecordedCall]) {
        let mut totals = self.totals();
        calls.iter().for_each(|call| totals.note(call));
        let CallTotals { made, cost, tokens, inherited, saved } = totals;
        let (nano_usd, saved_nano_usd) = (cost.0, saved.0);
        *self = CallProgress { made, nano_usd, tokens, inherited, saved_nano_usd };
    }
}

/// Where a world can go on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyframeRecord {
    pub(super) at: Tick,
    #[serde(with = "text")]
    pub(super) part: WorldPartId,
    pub(super) bytes: u64,
}

/// The record as it is kept: JSON, so that a later version may have more fields.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    owner: String,
    name: String,
    status: String,
    cause: Option<String>,
    reason: Option<String>,
    planned: Tick,
    progress: Progress,
    budget: Budget,
    aggregates: Vec<String>,
    forked_from: Option<(String, Tick)>,
    #[serde(default)]
    run_of: Option<(String, u32)>,
    fingerprint: Option<Fingerprint>,
    created_at: i64,
    changed_at: i64,
    until: Option<Tick>,
    passed: Option<Tick>,
    log_bytes: u64,
    #[serde(default)]
    inherited: Option<String>,
    #[serde(default)]
    inherited_bytes: u64,
    spec: String,
    made_of: Vec<[u8; 32]>,
    keyframes: Vec<KeyframeRecord>,
}

impl SimulationRecord {
    /// How many bytes its log and its keyframes have.
    pub(super) fn bytes(&self) -> u64 {
        let keyframes = self.keyframes.iter().map(|own| own.bytes);
        keyframes.fold(self.log_bytes.saturating_add(self.inherited_bytes), u64::saturating_add)
    }

    /// How many bytes its log has, with what its members have asked language models.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Everything that is large and belongs to it, each once.
    pub(super) fn parts(&self) -> impl Iterator<Item = WorldPartId> {
        let populations: BTreeSet<_> = self.made_of.iter().copied().map(content_part).collect();
        let keyframes = self.keyframes.iter().map(|own| own.part);
        populations.into_iter().chain(keyframes).chain([self.spec]).chain(self.inherited)
    }

    /// As it is kept.
    pub(super) fn encode(&self) -> Bytes {
        let kept = Kept {
            owner: self.owner.0.clone(),
            name: self.name.clone(),
            status: self.status.as_str().to_owned(),
            cause: self.status.pause().map(|cause| cause.as_str().to_owned()),
            reason: self.reason.clone(),
            planned: self.planned,
            progress: self.progress,
            budget: self.budget,
            aggregates: self.aggregates.clone(),
            forked_from: self.forked_from.map(|(id, at)| (id.to_string(), at)),
            run_of: self.run_of.map(|(id, number)| (id.to_string(), number)),
            fingerprint: self.fingerprint,
            created_at: self.created_at.0,
            changed_at: self.changed_at.0,
            until: self.until,
            passed: self.passed,
            log_bytes: self.log_bytes,
            inherited: self.inherited.map(|part| part.to_string()),
            inherited_bytes: self.inherited_bytes,
            spec: self.spec.to_string(),
            made_of: self.made_of.iter().map(|digest| digest.0).collect(),
            keyframes: self.keyframes.clone(),
        };
        // It has nothing that JSON cannot say.
        serde_json::to_vec(&kept).unwrap_or_default().into()
    }

    /// From what is kept of the world of this id. `None`: it is damaged, or of a later version.
    pub(super) fn decode(id: SimulationId, kept: &[u8]) -> Option<SimulationRecord> {
        let kept: Kept = serde_json::from_slice(kept).ok()?;
        let is_it = |status: &SimulationStatus| {
            let cause = status.pause().map(PauseCause::as_str);
            status.as_str() == kept.status && cause == kept.cause.as_deref()
        };
        let forked_from = match kept.forked_from {
            Some((id, at)) => Some((id.parse().ok()?, at)),
            None => None,
        };
        let run_of = match kept.run_of {
            Some((id, number)) => Some((id.parse().ok()?, number)),
            None => None,
        };
        Some(SimulationRecord {
            id,
            owner: Principal(kept.owner),
            name: kept.name,
            status: SimulationStatus::ALL.into_iter().find(is_it)?,
            reason: kept.reason,
            planned: kept.planned,
            progress: kept.progress,
            budget: kept.budget,
            aggregates: kept.aggregates,
            forked_from,
            run_of,
            fingerprint: kept.fingerprint,
            created_at: Timestamp(kept.created_at),
            changed_at: Timestamp(kept.changed_at),
            until: kept.until,
            passed: kept.passed,
            log_bytes: kept.log_bytes,
            inherited: match kept.inherited {
                Some(part) => Some(part.parse().ok()?),
                None => None,
            },
            inherited_bytes: kept.inherited_bytes,
            spec: kept.spec.parse().ok()?,
            made_of: kept.made_of.into_iter().map(Digest).collect(),
            keyframes: kept.keyframes,
        })
    }
}

/// What has come of one tick, as the log has it.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct LoggedTick {
    /// The hash of all that has come of the world up to its end.
    pub hash: Fingerprint,
    /// How many members have acted.
    pub steps: u64,
    /// The fuel that they have used.
    pub fuel: u64,
    /// The aggregates that were due, by their place in the specification. `None`: there were no members.
    pub aggregates: Vec<(u32, Option<f64>)>,
}

impl From<&TickSummary> for LoggedTick {
    fn from(summary: &TickSummary) -> LoggedTick {
        let aggregate = |own: &AggregateValue| (u32::try_from(own.place).unwrap_or(0), own.value);
        LoggedTick {
            hash: summary.hash,
            steps: summary.steps,
            fuel: summary.fuel,
            aggregates: summary.aggregates.iter().map(aggregate).collect(),
        }
    }
}

/// A piece of the log, as it is kept.
pub(super) fn encode_ticks(ticks: &[LoggedTick]) -> Bytes {
    // Writing to memory does not fail, and no aggregate is NaN.
    borsh::to_vec(ticks).unwrap_or_default().into()
}

/// A piece of the recording, as it is kept.
pub(super) fn encode_calls<'c>(calls: impl IntoIterator<Item = &'c RecordedCall>) -> Bytes {
    let mut kept = Vec::new();
    // Writing to memory does not fail.
    let _ = write_calls(calls, &mut kept);
    kept.into()
}

/// From what is kept of a piece of the log. `None`: it is damaged.
pub(super) fn decode_ticks(kept: &[u8]) -> Option<Vec<LoggedTick>> {
    borsh::from_slice(kept).ok()
}

/// What is written as its text.
mod text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
        from: D,
    ) -> Result<T, D::Error> {
        <String as Deserialize>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
