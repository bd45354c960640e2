//! What resuming saves, as far as the host knows it: the turns whose work is in the state that a session resumes. A
//! session that starts fresh would have to go through them again, or be told what came of them.
//!
//! It is counted once for each session that resumes, from the records of turns of the session that the snapshot is of:
//! the last [`LOOKED_AT`] up to the snapshot, as far as they are kept. Turns of sessions from which that one has resumed
//! itself are not counted, and neither are starts of instances and turns that failed: their work is in no state.

use std::time::Duration;

use dormouse_domain::id::SessionId;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::model::TokenUsage;
use dormouse_domain::snapshot::Snapshot;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{TurnOutcome, TurnRecord};
use dormouse_store::{Bound, Store};

/// How many turns are looked at: a session that resumes reads no more of the store for it.
const LOOKED_AT: Bound = Bound { entries: 64, bytes: 1 << 20 };

/// Up to where the turns of a session are in a snapshot of it.
pub(super) struct Reached {
    of: SessionId,
    turn: u64,
    taken_at: Timestamp,
}

/// What these turns have taken.
#[derive(Debug, Default, PartialEq, Eq)]
struct Savings {
    cost: NanoUsd,
    tokens: u64,
    time: Duration,
}

impl Reached {
    pub(super) fn by(of: SessionId, snapshot: &Snapshot) -> Reached {
        Reached { of, turn: snapshot.turn, taken_at: snapshot.taken_at }
    }

    /// A session has resumed from there: count what it has saved. What cannot be read is not counted.
    pub(super) async fn count_savings(&self, store: &dyn Store) {
        let before = self.turn.saturating_sub(LOOKED_AT.entries as u64);
        match store.turns(self.of, before, LOOKED_AT).await {
            Ok(page) => self.savings(&page.entries).count(),
            Err(error) => {
                tracing::warn!(session = %self.of, %error, "what resuming saves is not known")
            }
        }
    }

    fn savings(&self, turns: &[TurnRecord]) -> Savings {
        turns.iter().filter(|turn| self.has(turn)).fold(Savings::default(), Savings::with)
    }

    /// Whether the work of a turn is in the state. The first state of a session that was itself resumed has the number
    /// of a turn of another session: its own turns began later.
    fn has(&self, turn: &TurnRecord) -> bool {
        let is_answered = match &turn.outcome {
            TurnOutcome::Answered { .. } => true,
            TurnOutcome::Failed(_) => false,
        };
        is_answered && turn.number <= self.turn && turn.started_at <= self.taken_at
    }
}

impl Savings {
    fn with(self, turn: &TurnRecord) -> Savings {
        let all =
            turn.effects.iter().fold(TokenUsage::default(), |sum, line| sum.plus(line.tokens()));
        Savings {
            cost: self.cost + turn.cost,
            tokens: self.tokens.saturating_add(all.all_input()).saturating_add(all.output),
            time: self.time.saturating_add(turn.duration),
        }
    }

    fn count(&self) {
        let cost = u64::try_from(self.cost.0).unwrap_or_default();
        let millis = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX);
        metrics::counter!("dormouse_resume_saved_nano_usd_total").increment(cost);
        metrics::counter!("dormouse_resume_saved_tokens_total").increment(self.tokens);
        metrics::counter!("dormouse_resume_saved_milliseconds_total").increment(millis);
    }
}
