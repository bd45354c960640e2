//! Turns that the end of a host has cut off: they are run again, with the answers that their journals have.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::Driver;
use super::turns::{GuestBill, RunningTurn, ToldTurn};
use crate::gate::journal::TurnJournal;
use crate::session::request::{FinishedTurn, SendError, Unavailable};
use crate::turn::output::{OutputGuard, TurnOutput};
use crate::turn::settlement::StartedTurn;
use dormouse_domain::journal::{MAX_TURN_ATTEMPTS, OpenTurn, TurnAttempts};
use dormouse_domain::session::Session;
use dormouse_domain::turn::{Failure, FailureCode};
use dormouse_store::{Bound, StoreError, Transaction};

/// How long a turn waits that is to be run again, where the host has no room for it.
const NO_ROOM: Duration = Duration::from_secs(1);
/// Entries that are looked at together.
const PAGE: Bound = Bound { entries: 256, bytes: 1 << 20 };

impl Driver<'_> {
    /// Run the turn again that is open in the store.
    pub(super) async fn open_turn(&mut self) {
        let span = tracing::error_span!("open turn", session = %self.id);
        let output = TurnOutput::charged(self.services.memory.account());
        let guard = OutputGuard(output.clone());
        let ended = self.finish_open_turn(&output).instrument(span).await;
        self.registry.note_turn_over(self.id);
        drop(guard);
        match ended {
            Ok(Some(turn)) => {
                metrics::counter!("dormouse_turns_resumed_total").increment(1);
                tracing::info!(session = %self.id, turn = turn.turn.number, "a turn that was cut off is over");
            }
            Ok(None) | Err(SendError::Failed(_)) => {}
            Err(error) => {
                tracing::error!(session = %self.id, %error, "a turn that was cut off stays open");
            }
        }
    }

    async fn finish_open_turn(
        &mut self,
        output: &TurnOutput,
    ) -> Result<Option<FinishedTurn>, SendError> {
        let mut counted = None;
        loop {
            if self.services.liveness.is_closed() {
                return Err(Unavailable::ShuttingDown.into());
            }
            match self.try_open_turn(output, &mut counted).await {
                Err(SendError::Unavailable(Unavailable::OutOfMemory)) => {
                    self.services.clock.back_off(NO_ROOM).await;
                }
                ended => return ended,
            }
        }
    }

    /// `counted`: which attempt this is, once it was counted.
    async fn try_open_turn(
        &mut self,
        output: &TurnOutput,
        counted: &mut Option<u32>,
    ) -> Result<Option<FinishedTurn>, SendError> {
        let since = self.services.clock.monotonic();
        let Some((open, attempts)) = self.services.store.open_turn(self.id).await? else {
            return Ok(None);
        };
        if let Err(error) = self.load().await {
            return Err(self.refusal(error));
        }
        let session = self.memory.session().cloned().ok_or(Unavailable::NotFound(self.id))?;
        if open.number != session.usage.next_turn() {
            // It is recorded: what is left of it says nothing any more.
            self.services.store.commit(Transaction::close_turn(self.id)).await?;
            return Ok(None);
        }
        let mut turn = self.reopened(&session, &open, output).await?;
        turn.taken_up = Some(since);
        let obstacle = obstacle(&session, &open);
        let failure = match (obstacle, &counted) {
            (Some(why), _) => Some(replay_unavailable(why)),
            (None, Some(attempt)) => {
                turn.attempt = *attempt;
                None
            }
            (None, None) => (!self.count(&mut turn, attempts).await?).then(crashed),
        };
        *counted = Some(turn.attempt);
        match failure {
            None => self.run(turn).await.map(Some),
            Some(failure) => {
                let store = Arc::clone(&self.services.store);
                turn.journal = Some(TurnJournal::again(store, self.id, attempts.all).await?);
                let concluded =
                    self.conclude(turn, Err(failure), GuestBill::default(), Duration::ZERO);
                concluded.await.map(Some)
            }
        }
    }

    /// A turn as it was begun. What it may spend, its guest was told: nobody asks again whether it may.
    async fn reopened(
        &mut self,
        session: &Arc<Session>,
        open: &OpenTurn,
        output: &TurnOutput,
    ) -> Result<RunningTurn, SendError> {
        let admitted = self.readmit(session, open.fuel, self.services.clock.now()).await?;
        let begun = StartedTurn {
            id: open.turn,
            sender: open.sender.clone(),
            input: open.input.clone(),
            started_at: open.started_at,
        };
        let key = open.key.clone();
        let mut turn = RunningTurn::new(Arc::clone(session), begun, key, admitted, output.clone());
        let OpenTurn { deadline, monotonic_ns, .. } = *open;
        turn.told = Some(ToldTurn { deadline, monotonic_ns });
        turn.has_journal = true;
        Ok(turn)
    }

    /// Count one more attempt at a turn, before it is made: a turn that ends its host again and again is not run for
    /// ever. Answers with whether it may be made.
    async fn count(
        &mut self,
        turn: &mut RunningTurn,
        attempts: TurnAttempts,
    ) -> Result<bool, StoreError> {
        let answered = self.answered().await?;
        // An answer that was noted since then shows that it comes further each time.
        let since_answer = if answered > attempts.answered { 0 } else { attempts.since_answer };
        turn.attempt = attempts.all.saturating_add(1);
        if since_answer >= MAX_TURN_ATTEMPTS {
            turn.attempt = attempts.all;
            return Ok(false);
        }
        let now = TurnAttempts { all: turn.attempt, since_answer: since_answer + 1, answered };
        self.services.store.commit(Transaction::turn_attempts(self.id, now)).await?;
        Ok(true)
    }

    /// Take back the count of an attempt that the orderly end of a host has ended.
    pub(super) async fn uncount(&mut self) -> Result<(), StoreError> {
        let Some((_, attempts)) = self.services.store.open_turn(self.id).await? else {
            return Ok(());
        };
        let since_answer = attempts.since_answer.saturating_sub(1);
        let before = TurnAttempts { since_answer, ..attempts };
        self.services.store.commit(Transaction::turn_attempts(self.id, before)).await
    }

    /// Count one more attempt at a turn that has diverged from its journal.
    pub(super) async fn count_attempt(
        &mut self,
        turn: &mut RunningTurn,
    ) -> Result<bool, StoreError> {
        match self.services.store.open_turn(self.id).await? {
            Some((_, attempts)) => self.count(turn, attempts).await,
            None => Ok(false),
        }
    }

    /// The last entry of the journal that has an answer.
    async fn answered(&mut self) -> Result<u32, StoreError> {
        let (mut after, mut answered) = (Some(0), 0);
        while let Some(from) = after {
            let page = self.services.store.journal(self.id, from, PAGE).await?;
            let last = page.entries.iter().rfind(|entry| entry.answer.is_some());
            answered = last.map_or(answered, |entry| entry.seq);
            after = page.next;
        }
        Ok(answered)
    }
}

/// Why a turn cannot be run again as it was begun.
fn obstacle(session: &Session, open: &OpenTurn) -> Option<&'static str> {
    if session.profile.agent.digest != open.agent {
        Some("another version of its agent has taken the session over")
    } else if session.revision != open.revision {
        Some("the session was changed since")
    } else if session.unsaved_turns > 0 {
        Some("the state that it began with is lost")
    } else {
        None
    }
}

fn crashed() -> Failure {
    let message = format!(
        "the host has ended {MAX_TURN_ATTEMPTS} times in the middle of the turn, which came no further; it is not \
         run again"
    );
    Failure { code: FailureCode::HostCrashed, message }
}

/// A turn that was cut off cannot be run again.
pub(super) fn replay_unavailable(why: &str) -> Failure {
    let message =
        format!("the host has ended in the middle of the turn, and it cannot be run again: {why}");
    Failure { code: FailureCode::ReplayUnavailable, message }
}
