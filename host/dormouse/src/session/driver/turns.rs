//! A message becomes a turn: admitted, run, settled, committed, answered.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::cancel::CancelSignals;
use crate::session::idempotency;
use crate::session::request::{
    CommandError, FinishedTurn, FollowedKey, QueuedMessage, SendError, Unavailable,
};
use crate::turn::admission::{self, TurnGrant};
use crate::turn::execution::{self, GuestAnswer, TurnCall, TurnResult};
use crate::turn::output::TurnOutput;
use crate::turn::settlement::{self, StartedTurn, TurnAnswer};
use crate::turn::world::SessionWorld;
use dormouse_domain::deadline;
use dormouse_domain::id::TurnId;
use dormouse_domain::session::{JsonObject, Residency, Session};
use dormouse_domain::state::{Cause, Move, Status};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{TurnOutcome, TurnRecord};
use dormouse_sandbox::{Call, Fault, OVERHEAD};
use dormouse_store::{StoreError, Transaction};

use super::memory::{Reserve, SessionMemory};
use super::{Driver, NotWoken, WakeError};

/// How often a turn is tried for which the host has no memory: as it comes, with what it was denied
/// reserved beforehand, and with all reserved that its session may have.
const ATTEMPTS: u32 = 3;

/// How an attempt at a turn came to its end.
enum AttemptOutcome {
    /// The guest was called.
    Called(TurnResult<SessionWorld>),
    /// The guest was not called: its session was not woken.
    NeverBegun(WakeError),
}

/// A turn that is to be run, and what its sender asks for.
struct AskedTurn<'a> {
    begun: StartedTurn,
    key: Option<&'a FollowedKey>,
    /// The revision that the session must have.
    if_revision: Option<u64>,
    /// Whether the message was taken from what its user may send in a minute.
    is_taken: bool,
}

impl Driver<'_> {
    /// Answer one message.
    pub(super) async fn message(&mut self, message: QueuedMessage) {
        let QueuedMessage { sender, content, key, if_revision, output, answer, .. } = message;
        let QueuedMessage { is_taken, request, _key_use, _charge, .. } = message;
        if let Some(resident) = self.memory.resident_mut() {
            resident.stuck = false;
        }
        let id = TurnId(self.services.clock.new_id());
        let begun =
            StartedTurn { id, sender, input: content, started_at: self.services.clock.now() };
        // The span of a request names its session. Without one, a span of this level does, so that each line that
        // is logged at all has its session.
        let span = match request.is_disabled() {
            true => tracing::error_span!("turn", session = %self.id),
            false => request,
        };
        let turn_span = tracing::debug_span!(parent: &span, "turn", turn = %id);
        let result = match self.replay(key.as_deref()).await {
            Ok(None) => {
                let asked = AskedTurn { begun, key: key.as_deref(), if_revision, is_taken };
                self.turn(asked, &output.0).instrument(turn_span).instrument(span).await
            }
            Ok(Some(replayed)) => replayed,
            Err(error) => Err(error),
        };
        if let (Some(key), Err(error)) = (&key, &result)
            && !matches!(error, SendError::Failed(_))
        {
            // Nobody else tells it to those who follow this turn.
            let _ = key.turn.refusal.set(error.clone());
        }
        // Before the answer: a client that asks next sees no running turn.
        self.registry.note_turn_over(self.id);
        // After the commit: a reader of the whole stream finds the outcome in the store.
        drop(output);
        // A client that has gone away does not undo the turn.
        let _ = answer.send(result);
    }

    /// The turn that a message with this key has led to before: it has ended after the sender of this message
    /// had looked for it. The outer error: it cannot be told.
    async fn replay(
        &mut self,
        key: Option<&FollowedKey>,
    ) -> Result<Option<Result<FinishedTurn, SendError>>, SendError> {
        let Some(FollowedKey { key, request, .. }) = key else { return Ok(None) };
        let store = &self.services.store;
        let number = idempotency::recorded_turn(&**store, key, *request, self.id).await?;
        let Some(number) = number else { return Ok(None) };
        let turn = store.turn(self.id, number).await?.ok_or(SendError::TurnGone(number))?;
        if let Err(error) = self.load_record().await {
            return Err(self.refusal(error));
        }
        let session = self.memory.session().cloned().ok_or(Unavailable::NotFound(self.id))?;
        let residency = match self.memory.guest() {
            Some(_) => Residency::Resident,
            None => Residency::Asleep,
        };
        Ok(Some(told(FinishedTurn { turn, session, residency, replayed: true })))
    }

    async fn turn(
        &mut self,
        asked: AskedTurn<'_>,
        output: &TurnOutput,
    ) -> Result<FinishedTurn, SendError> {
        let AskedTurn { begun, key, if_revision, is_taken } = asked;
        if self.services.liveness.is_closed() {
            return Err(Unavailable::ShuttingDown.into());
        }
        if let Err(error) = self.load().await {
            return Err(self.refusal(error));
        }
        if self.has_lost_state() {
            self.make_move(Move::Fail(Cause::StateLost.into())).await?;
        } else if self.has_outlived(begun.started_at) {
            self.make_move(Move::Terminate(Cause::LifetimeExceeded.into())).await?;
        }
        let mut session = self.memory.session().cloned().ok_or(Unavailable::NotFound(self.id))?;
        if if_revision.is_some_and(|revision| revision != session.revision) {
            return Err(SendError::PreconditionFailed(session.revision));
        }
        let rules = self.services.options.rules;
        let mut grant = admission::admit(&session, rules.price, begun.started_at)?;
        if !is_taken {
            self.services.take_message(&session).map_err(SendError::RateLimited)?;
        }

        self.registry.note_running(self.id, session.usage.next_turn(), output, grant.deadline);
        let mut cancel = self.turn_signals(grant.deadline);
        let started = self.services.clock.monotonic();
        let mut attempt = 1;
        let outcome = loop {
            let mut outcome = self.attempt(&session, &begun, output, &mut grant, &mut cancel).await;
            if let AttemptOutcome::NeverBegun(WakeError::Damaged(why)) = &outcome {
                session = self.recover_head(why.clone()).await.map_err(|error| match error {
                    CommandError::Unavailable(error) => error.into(),
                    error => SendError::from(Unavailable::Host(error.to_string())),
                })?;
                outcome = self.attempt(&session, &begun, output, &mut grant, &mut cancel).await;
            }
            match &outcome {
                AttemptOutcome::Called(TurnResult { lacks: Some(needed), world, .. })
                    if attempt < ATTEMPTS && self.may_start_again(world) =>
                {
                    self.start_again(&session, attempt, *needed);
                    attempt += 1;
                }
                AttemptOutcome::Called(_) | AttemptOutcome::NeverBegun(_) => break outcome,
            }
        };
        let duration = self.services.clock.monotonic().saturating_sub(started);
        let ended = self.judge(&session, outcome, grant, attempt, duration)?;

        let mut commit = settlement::settle(&session, begun, ended, rules);
        let mut events = self.pending_events().await;
        events.append(&mut commit.events);
        commit.events = events;
        if let Some(residence) = self.memory.residence() {
            // Nobody else has it yet: nothing is copied.
            Arc::make_mut(&mut commit.session).residence = residence;
        }
        let (after, turn) = (Arc::clone(&commit.session), Arc::clone(&commit.turn));
        let mut transaction = Transaction::turn(commit);
        if let Some(key) = key {
            let record = idempotency::record(
                &key.key,
                key.request,
                (self.id, turn.number),
                after.last_activity_at,
            );
            transaction = transaction.and(Transaction::idempotency(record));
        }
        if let Err(error) = self.services.store.commit(transaction).await {
            self.forget();
            return Err(match error {
                // The same key went to another session at the same time, and that turn was first.
                StoreError::IdempotencyKeyUsed(first) => SendError::IdempotencyKeyReused(first),
                error => error.into(),
            });
        }
        self.attempts = 0;
        if let Some(guest) = self.memory.guest_mut() {
            guest.instance.stored();
        }
        let failed = matches!(turn.outcome, TurnOutcome::Failed(_));
        let status = after.state.status();
        if failed || status.is_final() || status == Status::Error {
            self.drop_guest();
        }
        count(&turn, duration);
        self.services.note_deadline(&after);
        self.memory.set_session(Arc::clone(&after));
        let residency = match self.memory.resident_mut() {
            Some(resident) => {
                resident.used_at = after.last_activity_at;
                Residency::Resident
            }
            None => Residency::Asleep,
        };
        // The store has let go of it: nothing is copied.
        let turn = Arc::unwrap_or_clone(turn);
        told(FinishedTurn { turn, session: after, residency, replayed: false })
    }

    /// Whether the turn can be tried again, so that nobody sees that it was tried before: no reader has
    /// anything of it, and the state that it started from is in a snapshot.
    fn may_start_again(&self, world: &SessionWorld) -> bool {
        let saved = self.memory.session().is_some_and(|session| session.unsaved_turns == 0);
        saved && !world.has_streamed()
    }

    /// Take back an attempt for which the host had no memory. The next waits for that memory, holds
    /// nothing meanwhile, and has it from its start; so a turn that waits keeps no other turn from going on.
    fn start_again(&mut self, session: &Session, attempt: u32, needed: u64) {
        self.drop_guest();
        metrics::counter!("dormouse_turns_restarted_total").increment(1);
        tracing::debug!(session = %self.id, attempt, needed, "a turn waits for memory");
        let all = session.profile.limits.max_memory_bytes.saturating_add(OVERHEAD);
        let wanted = if attempt == 1 { needed } else { needed.max(all) };
        let wanted = wanted.min(self.services.memory_of_instances());
        self.preparation.reserve = Reserve { wanted, least: needed };
    }

    /// Wake the guest and call it, until it returns or the turn is cut off.
    async fn attempt(
        &mut self,
        session: &Arc<Session>,
        begun: &StartedTurn,
        output: &TurnOutput,
        grant: &mut TurnGrant,
        cancel: &mut CancelSignals<'_>,
    ) -> AttemptOutcome {
        let mut call = Call {
            id: begun.id.to_string(),
            number: session.usage.next_turn(),
            attempt: self.attempts,
            sender: begun.sender.clone(),
            content: begun.input.clone(),
            deadline: grant.deadline,
            fuel: grant.fuel,
        };
        self.attempts += 1;
        if let Err(error) = self.wake(cancel).await {
            return AttemptOutcome::NeverBegun(error);
        }
        let services = &self.services;
        let Some(guest) = self.memory.guest_mut() else {
            return AttemptOutcome::NeverBegun(WakeError::NotFound);
        };
        if session.unsaved_turns > 0 {
            guest.instance.keep_at_any_price();
        }
        let price = self.services.options.rules.price;
        *grant = grant.after_start(session, price, guest.instance.start_due());
        call.fuel = grant.fuel;
        output.begin(call.number);
        let world = SessionWorld::new(
            Arc::clone(session),
            self.services.clock.clone(),
            guest.instance.monotonic_ns(),
            output.clone(),
        );
        let turn = TurnCall {
            call,
            world: Box::new(world),
            grant: *grant,
            durability: session.profile.durability,
            host_memory: &|| services.memory_of_instances(),
        };
        AttemptOutcome::Called(execution::run(&mut guest.instance, turn, cancel.next()).await)
    }

    /// Say what came of the attempts. An error: the turn was not begun, and nothing is recorded.
    fn judge(
        &mut self,
        session: &Session,
        outcome: AttemptOutcome,
        grant: TurnGrant,
        attempt: u32,
        duration: Duration,
    ) -> Result<settlement::TurnEnd, SendError> {
        let ended_at = self.services.clock.now();
        let failed = |failure, start_fuel| settlement::TurnEnd {
            result: Err(failure),
            fuel: 0,
            start_fuel,
            log: Vec::new(),
            log_dropped: 0,
            ended_at,
            duration,
        };
        match outcome {
            AttemptOutcome::Called(TurnResult {
                result,
                fuel,
                start_fuel,
                log,
                log_dropped,
                world,
                ..
            }) => {
                let checkpoint = world.into_checkpoint();
                let result = result.map(|answer| self.answer(session, answer, checkpoint));
                Ok(settlement::TurnEnd {
                    result,
                    fuel,
                    start_fuel,
                    log,
                    log_dropped,
                    ended_at,
                    duration,
                })
            }
            AttemptOutcome::NeverBegun(WakeError::Guest(fault)) => {
                let start_fuel = match fault {
                    Fault::StartTooLong { limit } => Some(limit),
                    _ => None,
                };
                let memory = self.services.memory_of_instances();
                Ok(failed(execution::failure(fault, grant, memory), start_fuel))
            }
            // An attempt was begun before, and the next one has waited in vain.
            AttemptOutcome::NeverBegun(WakeError::OutOfMemory) if attempt > 1 => {
                Ok(failed(execution::out_of_memory(), None))
            }
            AttemptOutcome::NeverBegun(WakeError::Cancelled(cut)) => {
                let start_fuel =
                    self.memory.guest_mut().and_then(|guest| guest.instance.take_start());
                Ok(failed(cut.failure(grant), start_fuel))
            }
            AttemptOutcome::NeverBegun(error) => Err(self.refusal(error)),
        }
    }

    fn answer(
        &self,
        session: &Session,
        answer: GuestAnswer,
        checkpoint: Option<JsonObject>,
    ) -> TurnAnswer {
        let GuestAnswer { content, complete, state, durable } = answer;
        let snapshot = match (state, self.memory.guest()) {
            (Some(state), Some(guest)) => {
                Some(self.snapshot(session, session.usage.next_turn(), &guest.instance, state))
            }
            (None, _) | (_, None) => None,
        };
        TurnAnswer { content, complete, snapshot, durable, checkpoint }
    }

    /// Whether turns have committed whose state no snapshot holds and no instance either.
    fn has_lost_state(&self) -> bool {
        match &self.memory {
            SessionMemory::Asleep { session, .. } => {
                session.unsaved_turns > 0 && admission::is_open(session.state.status())
            }
            SessionMemory::Unknown | SessionMemory::Resident(_) => false,
        }
    }

    /// Whether the session has lived for as long as it may, although nobody has ended it yet.
    fn has_outlived(&self, now: Timestamp) -> bool {
        self.memory.session().is_some_and(|session| {
            let end = deadline::end_of_life(session);
            admission::is_open(session.state.status()) && end.is_some_and(|(end, _)| end <= now)
        })
    }

    async fn make_move(&mut self, step: Move) -> Result<(), SendError> {
        self.make_moves(vec![step]).await.map_err(|error| match error {
            super::commands::MoveError::Store(error) => Unavailable::Store(error),
            super::commands::MoveError::Invalid(error) => Unavailable::Host(error.to_string()),
        })?;
        Ok(())
    }

    fn refusal(&mut self, error: WakeError) -> SendError {
        match self.unavailable(error) {
            Ok(error) => error.into(),
            Err(NotWoken::Ended) => Unavailable::ShuttingDown.into(),
            Err(NotWoken::Failed(why)) => Unavailable::Host(why).into(),
        }
    }
}

/// A turn as its sender is told of it.
fn told(ended: FinishedTurn) -> Result<FinishedTurn, SendError> {
    match &ended.turn.outcome {
        TurnOutcome::Answered { .. } => Ok(ended),
        TurnOutcome::Failed(_) => Err(SendError::Failed(Box::new(ended))),
    }
}

fn count(turn: &TurnRecord, duration: Duration) {
    let outcome = match &turn.outcome {
        TurnOutcome::Answered { .. } => "answered",
        TurnOutcome::Failed(failure) => failure.code.as_str(),
    };
    metrics::counter!("dormouse_turns_total", "outcome" => outcome).increment(1);
    metrics::counter!("dormouse_fuel_total").increment(turn.fuel);
    if let Some(start) = turn.start {
        metrics::counter!("dormouse_start_fuel_total").increment(start.fuel);
    }
    metrics::histogram!("dormouse_turn_seconds").record(duration.as_secs_f64());
    tracing::debug!(number = turn.number, outcome, fuel = turn.fuel, "a turn is over");
}
