//! What is kept of an experiment: its record, and what its runs have come to.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::worlds::content_part;
use crate::worlds::record::CallProgress;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{ExperimentId, Principal, WorldPartId};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::{PauseCause, SimulationStatus, Tick};
use dormouse_domain::time::Timestamp;
use dormouse_simulation::Fingerprint;
use dormouse_simulation::spec::Budget;

/// Results of so many runs lie together.
pub(super) const PIECE: usize = 64;

/// An experiment, as its host knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExperimentRecord {
    /// Its id.
    pub id: ExperimentId,
    /// Whose it is.
    pub owner: Principal,
    /// What people call it.
    pub name: String,
    /// Where it is in its life: running, paused or completed.
    pub status: SimulationStatus,
    /// Why it is paused, for people.
    pub reason: Option<String>,
    /// How many runs it has.
    pub planned: usize,
    /// What has come of it so far.
    pub progress: ExperimentProgress,
    /// What all of its runs together may use.
    pub budget: Budget,
    /// The fields of the specification that are varied.
    pub parameters: Vec<String>,
    /// The aggregates of its world, by name.
    pub aggregates: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was started, paused or completed last.
    pub changed_at: Timestamp,
    /// Where its specification and its design lie.
    pub(super) plan: WorldPartId,
    /// What each name of an agent means.
    pub(super) agents: BTreeMap<String, Digest>,
}

/// What has come of the runs of an experiment that are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentProgress {
    /// How many are over.
    pub done: usize,
    /// How many of these have failed.
    pub failed: usize,
    /// How often a member has acted.
    pub steps: u64,
    /// The fuel that members have used.
    pub fuel: u64,
    /// How long they have run, in milliseconds.
    pub wall_ms: u64,
    /// What members have asked language models.
    pub calls: CallProgress,
}

impl ExperimentProgress {
    /// With one more run.
    pub(super) fn note(&mut self, run: &RunResult) {
        self.done += 1;
        self.failed += usize::from(run.error.is_some());
        self.steps = self.steps.saturating_add(run.steps);
        self.fuel = self.fuel.saturating_add(run.fuel);
        self.wall_ms = self.wall_ms.saturating_add(run.wall_ms);
        let calls = &mut self.calls;
        calls.made = calls.made.saturating_add(run.calls);
        calls.tokens = calls.tokens.saturating_add(run.tokens);
        calls.nano_usd = calls.nano_usd.saturating_add(run.nano_usd);
    }
}

/// What has come of one run.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct RunResult {
    /// Its number.
    pub number: u32,
    /// Why it has come to nothing. `None`: it has come to its last tick.
    pub error: Option<String>,
    /// How many ticks it has behind it.
    pub ticks: Tick,
    /// How often a member has acted.
    pub steps: u64,
    /// The last values of the aggregates, in the order of [`ExperimentRecord::aggregates`]. `None`: there was none.
    pub aggregates: Vec<Option<f64>>,
    /// What has come of it, as one hash.
    pub fingerprint: Option<Fingerprint>,
    /// The fuel that its members have used.
    pub fuel: u64,
    /// How long it has run, in milliseconds.
    pub wall_ms: u64,
    /// Calls of language models,
    pub calls: u64,
    /// the tokens that these have read and written,
    pub tokens: u64,
    /// and what they have cost, in billionths of a US dollar.
    pub nano_usd: i64,
}

impl RunResult {
    /// What its calls of language models have cost.
    #[must_use]
    pub fn cost(&self) -> NanoUsd {
        NanoUsd(self.nano_usd)
    }
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
    planned: usize,
    progress: ExperimentProgress,
    budget: Budget,
    parameters: Vec<String>,
    aggregates: Vec<String>,
    created_at: i64,
    changed_at: i64,
    plan: String,
    agents: BTreeMap<String, [u8; 32]>,
}

impl ExperimentRecord {
    /// Everything that is large and belongs to it, each once, but for its results.
    pub(super) fn parts(&self) -> Vec<WorldPartId> {
        let components: BTreeSet<_> = self.agents.values().copied().map(content_part).collect();
        components.into_iter().chain([self.plan]).collect()
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
            parameters: self.parameters.clone(),
            aggregates: self.aggregates.clone(),
            created_at: self.created_at.0,
            changed_at: self.changed_at.0,
            plan: self.plan.to_string(),
            agents: self.agents.iter().map(|(name, digest)| (name.clone(), digest.0)).collect(),
        };
        // It has nothing that JSON cannot say.
        serde_json::to_vec(&kept).unwrap_or_default().into()
    }

    /// From what is kept of the experiment of this id. `None`: it is damaged, or of a later version.
    pub(super) fn decode(id: ExperimentId, kept: &[u8]) -> Option<ExperimentRecord> {
        let kept: Kept = serde_json::from_slice(kept).ok()?;
        let is_it = |status: &SimulationStatus| {
            let cause = status.pause().map(PauseCause::as_str);
            status.as_str() == kept.status && cause == kept.cause.as_deref()
        };
        Some(ExperimentRecord {
            id,
            owner: Principal(kept.owner),
            name: kept.name,
            status: SimulationStatus::ALL.into_iter().find(is_it)?,
            reason: kept.reason,
            planned: kept.planned,
            progress: kept.progress,
            budget: kept.budget,
            parameters: kept.parameters,
            aggregates: kept.aggregates,
            created_at: Timestamp(kept.created_at),
            changed_at: Timestamp(kept.changed_at),
            plan: kept.plan.parse().ok()?,
            agents: kept.agents.into_iter().map(|(name, hash)| (name, Digest(hash))).collect(),
        })
    }
}

/// Where the results of this piece of the runs of an experiment lie.
pub(super) fn piece_of(id: ExperimentId, piece: usize) -> WorldPartId {
    let mut hash = blake3::Hasher::new_derive_key("dormouse 2026: results of an experiment");
    hash.update(id.0.as_bytes()).update(&(piece as u64).to_le_bytes());
    content_part(Digest(*hash.finalize().as_bytes()))
}

/// A piece of the results, as it is kept.
pub(super) fn encode_results(results: &[RunResult]) -> Bytes {
    // Writing to memory does not fail, and no aggregate is NaN.
    borsh::to_vec(results).unwrap_or_default().into()
}

/// From what is kept of a piece of the results. `None`: it is damaged.
pub(super) fn decode_results(kept: &[u8]) -> Option<Vec<RunResult>> {
    borsh::from_slice(kept).ok()
}
