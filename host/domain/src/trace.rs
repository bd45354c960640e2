//! The trace of a turn: what it spent its time on.

use std::time::Duration;

use crate::id::{SnapshotId, TurnId};
use crate::journal::{EffectOutcome, EffectRecord};
use crate::time::Timestamp;
use crate::turn::{FailureCode, StartupCost, TurnOutcome, TurnRecord};

/// The trace of one turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The turn, by its name,
    pub id: TurnId,
    /// and by its number within the session.
    pub turn: u64,
    /// When its guest was called.
    pub started_at: Timestamp,
    /// How often it was begun, the last time included.
    pub attempts: u32,
    /// What it consisted of, in the order of its stages: effects lie within the guest.
    pub spans: Vec<Span>,
}

/// One thing that took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// When it began, in milliseconds after the guest was called. What came before is negative.
    pub start_ms: i64,
    /// How long it took. `None`: nobody knows.
    pub duration: Option<Duration>,
    /// What it was.
    pub kind: SpanKind,
}

/// What a span stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanKind {
    /// An instance was made. `None`: its start is billed to nobody.
    Wake(Option<StartupCost>),
    /// The guest ran, with its effects.
    Guest {
        /// The fuel that it used.
        fuel: u64,
        /// Why the turn failed, if it did.
        failure: Option<FailureCode>,
    },
    /// One attempt at one effect.
    Effect(EffectRecord),
    /// What came of the turn was written.
    Commit {
        /// The state after the turn, where it was saved with it.
        snapshot: Option<SnapshotId>,
        /// Whether nothing is lost with the instance.
        durable: bool,
    },
}

/// The trace of a turn.
#[must_use]
pub fn trace(turn: TurnRecord) -> Trace {
    let started_at = turn.started_at;
    let (failure, snapshot, durable) = match &turn.outcome {
        TurnOutcome::Answered { snapshot, durable, content: _ } => (None, *snapshot, *durable),
        TurnOutcome::Failed(failure) => (Some(failure.code), None, false),
    };
    let woken = turn.woken_in.is_some() || turn.start.is_some();
    let wake = woken.then(|| Span {
        start_ms: -turn.woken_in.map_or(0, millis),
        duration: turn.woken_in,
        kind: SpanKind::Wake(turn.start),
    });
    let guest = Span {
        start_ms: 0,
        duration: Some(turn.duration),
        kind: SpanKind::Guest { fuel: turn.fuel, failure },
    };
    let effects = turn.effects.into_iter().map(|effect| Span {
        start_ms: effect.begun_at.0.saturating_sub(started_at.0),
        duration: how_long(&effect),
        kind: SpanKind::Effect(effect),
    });
    let commit = Span {
        start_ms: millis(turn.duration),
        duration: None,
        kind: SpanKind::Commit { snapshot, durable },
    };
    let spans = wake.into_iter().chain([guest]).chain(effects).chain([commit]).collect();
    Trace { id: turn.id, turn: turn.number, started_at, attempts: turn.attempts, spans }
}

/// How long an attempt took, where somebody saw its end.
fn how_long(effect: &EffectRecord) -> Option<Duration> {
    match effect.outcome {
        EffectOutcome::Answered | EffectOutcome::Failed(_) => Some(effect.duration),
        EffectOutcome::Begun | EffectOutcome::Unknown => None,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::examples;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_trace_has_each_stage_and_each_attempt_once_and_in_order(turn in examples::turns()) {
            let woken = turn.woken_in.is_some() || turn.start.is_some();
            let trace = trace(turn.clone());
            let stages: Vec<&str> = trace.spans.iter().map(|span| match &span.kind {
                SpanKind::Wake(_) => "wake",
                SpanKind::Guest { .. } => "guest",
                SpanKind::Effect(effect) => effect.kind().as_str(),
                SpanKind::Commit { .. } => "commit",
            }).collect();
            let calls = turn.effects.iter().map(|effect| effect.kind().as_str());
            let wake = woken.then_some("wake");
            let expected = wake.into_iter().chain(["guest"]).chain(calls).chain(["commit"]);
            prop_assert_eq!(stages, expected.collect::<Vec<_>>());
        }

        #[test]
        fn a_span_lies_where_its_part_of_the_turn_was(turn in examples::turns()) {
            for span in trace(turn.clone()).spans {
                match span.kind {
                    SpanKind::Wake(_) => {
                        prop_assert_eq!(span.start_ms, -turn.woken_in.map_or(0, millis));
                    }
                    SpanKind::Guest { .. } => prop_assert_eq!(span.start_ms, 0),
                    SpanKind::Effect(effect) => {
                        let begun = Timestamp(turn.started_at.0 + span.start_ms);
                        prop_assert_eq!(begun, effect.begun_at);
                        let is_known = effect.outcome != EffectOutcome::Unknown;
                        prop_assert_eq!(span.duration.is_some(), is_known);
                    }
                    SpanKind::Commit { .. } => {
                        prop_assert_eq!(span.start_ms, millis(turn.duration));
                    }
                }
            }
        }
    }
}
