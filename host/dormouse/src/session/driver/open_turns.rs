//! Turns that the end of a host has cut off: they are run again, with the answers that their journals have.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::Driver;
use super::turns::{GuestBill, RunningTurn, ToldTurn};
use crate::session::left_open;
use crate::session::request::{FinishedTurn, FollowedKey, SendError, Unavailable};
use crate::turn::output::{OutputGuard, TurnOutput};
use crate::turn::settlement::{StartedTurn, TakenMail};
use dormouse_domain::id::TurnId;
use dormouse_domain::journal::{MAX_TURN_ATTEMPTS, OpenTurn, TurnAttempts};
use dormouse_domain::mail::weight;
use dormouse_domain::session::Session;
use dormouse_domain::turn::{Failure, FailureCode, Sender};
use dormouse_store::{Bound, StoreError, Transaction};

/// How long a turn waits that is to be run again, where the host has no room for it.
const NO_ROOM: Duration = Duration::from_secs(1);
/// Entries that are looked at together.
const PAGE: Bound = Bound { entries: 256, bytes: 1 << 20 };

impl Driver<'_> {
    /// Run the turn again that is open in the store, until it is over. Where it cannot be ended now, it is tried
    /// again later. Those who have sent its message again follow it by this key.
    ///
    /// # Errors
    /// It stays open.
    pub(super) async fn open_turn(
        &mut self,
        key: Option<Arc<FollowedKey>>,
    ) -> Result<(), SendError> {
        let span = tracing::error_span!("open turn", session = %self.id);
        let output = match &key {
            Some(key) => key.turn.output.clone(),
            None => TurnOutput::charged(self.services.memory.account()),
        };
        let guard = OutputGuard(output.clone());
        let mut counted = None;
        let ended = self.finish_open_turn(&output, &mut counted).instrument(span).await;
        let ended = match ended {
            Ok(Some(turn)) => {
                metrics::counter!("dormouse_turns_resumed_total").increment(1);
                tracing::info!(session = %self.id, turn = turn.turn.number, "a turn that was cut off is over");
                Ok(())
            }
            Ok(None) | Err(SendError::Failed(_)) => Ok(()),
            Err(error) => {
                self.leave_open(&error, counted.is_some()).await;
                if let Some(key) = key {
                    // Nobody else tells it to those who follow this turn.
                    let _ = key.turn.refusal.set(error.clone());
                }
                Err(error)
            }
        };
        self.registry.note_turn_over(self.id);
        drop(guard);
        ended
    }

    /// A turn has ended with this error: where it stays open in the store, it is taken up again later. `is_counted`: this
    /// attempt at it is, and counts no more, because neither the turn nor the end of a host has ended it.
    pub(super) async fn leave_open(&mut self, error: &SendError, is_counted: bool) {
        if matches!(error, SendError::Failed(_)) || self.services.liveness.is_closed() {
            return;
        }
        left_open::note(self.services, self.id).await;
        if !self.services.left_open.contains(self.id) {
            return;
        }
        if is_counted && let Err(error) = self.uncount().await {
            tracing::warn!(session = %self.id, %error, "an attempt counts that should not");
        }
        tracing::error!(session = %self.id, %error, "a turn stays open that has asked the outside world for something");
        if let Some(wait) = self.services.left_open.next_try(self.id) {
            self.registry.reopen_turn_in(self.id, wait);
        }
    }

    async fn finish_open_turn(
        &mut self,
        output: &TurnOutput,
        counted: &mut Option<u32>,
    ) -> Result<Option<FinishedTurn>, SendError> {
        loop {
            if self.services.liveness.is_closed() {
                return Err(Unavailable::ShuttingDown.into());
            }
            match self.try_open_turn(output, counted).await {
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
        let (open, attempts, damage) = match self.services.store.open_turn(self.id).await {
            Ok(Some((open, attempts))) => (Some(open), attempts, None),
            Ok(None) => {
                self.services.left_open.over(self.id);
                return Ok(None);
            }
            Err(StoreError::Damaged(what)) => (None, TurnAttempts::default(), Some(what)),
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = self.load().await {
            return Err(self.refusal(error));
        }
        let session = self.memory.session().cloned().ok_or(Unavailable::NotFound(self.id))?;
        let open = open.unwrap_or_else(|| self.unknown_turn(&session));
        if open.number != session.usage.next_turn() {
            // It is recorded: what is left of it says nothing any more.
            self.services.store.commit(Transaction::close_turn(self.id)).await?;
            self.services.left_open.over(self.id);
            return Ok(None);
        }
        let mut turn = self.reopened(&session, &open, output).await?;
        turn.taken_up = Some(since);
        let failure = match (damage, obstacle(&session, &open), &counted) {
            (Some(what), ..) => Some(damaged(&what)),
            (None, Some(why), _) => Some(replay_unavailable(why)),
            (None, None, Some(attempt)) => {
                turn.attempt = *attempt;
                None
            }
            (None, None, None) => match self.count(&mut turn, attempts).await {
                Ok(may_be_made) => (!may_be_made).then(crashed),
                Err(StoreError::Damaged(what)) => Some(damaged(&what)),
                Err(error) => return Err(error.into()),
            },
        };
        *counted = Some(turn.attempt);
        match failure {
            None => self.run(turn).await.map(Some),
            Some(failure) => {
                turn.attempt = attempts.all.max(1);
                let concluded =
                    self.conclude(turn, Err(failure), GuestBill::default(), Duration::ZERO);
                concluded.await.map(Some)
            }
        }
    }

    /// What stands for an open turn of which the store can read nothing.
    fn unknown_turn(&self, session: &Session) -> OpenTurn {
        OpenTurn {
            session: session.id,
            turn: TurnId(self.services.clock.new_id()),
            number: session.usage.next_turn(),
            revision: session.revision,
            agent: session.profile.agent.digest,
            sender: Sender::User,
            input: Vec::new(),
            key: None,
            started_at: session.last_activity_at,
            deadline: session.last_activity_at,
            fuel: 0,
            monotonic_ns: 0,
            mail: None,
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
            mail: open.mail.map(|number| TakenMail { number, weight: weight(&open.input) }),
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

fn damaged(what: &str) -> Failure {
    replay_unavailable(&format!("what is stored of it is damaged ({what}) and has been set aside"))
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
