//! A message becomes a turn: admitted, run, settled, committed, answered.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::cancel::CancelSignals;
use crate::gate::journal::{Opening, TurnJournal};
use crate::gate::purse::Purse;
use crate::gate::time::EffectTime;
use crate::gate::{Gate, GateEnd, GateParts};
use crate::session::answering::AnsweringModel;
use crate::session::idempotency;
use crate::session::request::{
    CommandError, FinishedTurn, FollowedKey, QueuedMessage, SendError, Unavailable,
};
use crate::turn::admission::{self, Standing, TurnGrant};
use crate::turn::execution::{self, Cancellation, GuestAnswer, TurnCall, TurnResult};
use crate::turn::output::TurnOutput;
use crate::turn::settlement::{self, StartedTurn, TurnAnswer, TurnEnd};
use crate::turn::world::SessionWorld;
use dormouse_domain::account::{AccountChange, Amounts};
use dormouse_domain::agent::Digest;
use dormouse_domain::deadline;
use dormouse_domain::id::TurnId;
use dormouse_domain::session::{JsonObject, Residency, Session};
use dormouse_domain::state::{Cause, Move, Status};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{
    Failure, FailureCode, IdempotencyKey, LogLine, TurnOutcome, TurnRecord,
};
use dormouse_sandbox::{Call, Fault, OVERHEAD};
use dormouse_store::{StoreError, Transaction};

use super::memory::{Reserve, SessionMemory};
use super::spending::Admitted;
use super::{Driver, NotWoken, WakeError};

/// How often a turn is tried for which the host has no memory: as it comes, with what it was denied
/// reserved beforehand, and with all reserved that its session may have.
const ATTEMPTS: u32 = 3;

/// How an attempt at a turn came to its end.
enum AttemptOutcome {
    /// The guest was called.
    Called(Box<Called>),
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

/// A turn that runs.
pub(super) struct RunningTurn {
    pub(super) session: Arc<Session>,
    pub(super) begun: Arc<StartedTurn>,
    /// The key that its message came with, and the digest of the request.
    pub(super) key: Option<(IdempotencyKey, Digest)>,
    pub(super) grant: TurnGrant,
    /// What its session may spend, and has spent before the turn.
    pub(super) standing: Standing,
    /// What its guest was told when it began what is noted. `None`: nothing is noted.
    pub(super) told: Option<ToldTurn>,
    pub(super) output: TurnOutput,
    pub(super) effects: EffectTime,
    /// `None`: no attempt has come to an end yet.
    pub(super) journal: Option<TurnJournal>,
    /// `None`: the instance that runs has it.
    pub(super) purse: Option<Purse>,
    /// Whether anything of it is noted in the store.
    pub(super) has_journal: bool,
    /// Which attempt at it this is, from 1: only those are counted that the end of a host or a divergence has ended.
    pub(super) attempt: u32,
    /// When it was taken up again by the monotonic clock, where it was cut off; until an attempt has that.
    pub(super) taken_up: Option<Duration>,
    /// How long it took to have an instance, where there was none.
    pub(super) woken_in: Option<Duration>,
    /// The host ends, and leaves it to its journal if it has one.
    pub(super) is_left: bool,
}

impl RunningTurn {
    /// A turn that was admitted so.
    pub(super) fn new(
        session: Arc<Session>,
        begun: StartedTurn,
        key: Option<(IdempotencyKey, Digest)>,
        admitted: Admitted,
        output: TurnOutput,
    ) -> RunningTurn {
        let Admitted { grant, standing, purse } = admitted;
        RunningTurn {
            session,
            begun: Arc::new(begun),
            key,
            grant,
            standing,
            told: None,
            output,
            effects: EffectTime::default(),
            journal: None,
            purse: Some(purse),
            has_journal: false,
            attempt: 1,
            taken_up: None,
            woken_in: None,
            is_left: false,
        }
    }
}

/// The end of the attempt at a turn whose guest was called.
struct Called {
    result: Result<GuestAnswer, Failure>,
    /// The bytes that the guest needed to hold, where the host had no memory for it.
    lacks: Option<u64>,
    bill: GuestBill,
    checkpoint: Option<JsonObject>,
    /// A call was not made, because there was no money for it.
    is_short: bool,
    /// It is not as it was when it was run before.
    has_diverged: bool,
}

/// What the guest has used and written in a turn.
#[derive(Default)]
pub(super) struct GuestBill {
    pub(super) fuel: u64,
    pub(super) start_fuel: Option<u64>,
    log: Vec<LogLine>,
    log_dropped: u64,
}

/// What the guest of a turn was told that is run again.
#[derive(Clone, Copy)]
pub(super) struct ToldTurn {
    pub(super) deadline: Timestamp,
    pub(super) monotonic_ns: u64,
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
        let model = AnsweringModel::of(&session, &self.services.models);
        Ok(Some(told(FinishedTurn { turn, session, residency, model, replayed: true })))
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
        let session = self.memory.session().cloned().ok_or(Unavailable::NotFound(self.id))?;
        if if_revision.is_some_and(|revision| revision != session.revision) {
            return Err(SendError::PreconditionFailed(session.revision));
        }
        let admitted = self.admit(&session, begun.started_at).await?;
        if !is_taken {
            self.services.take_message(&session).map_err(SendError::RateLimited)?;
        }
        let key = key.map(|key| (key.key.clone(), key.request));
        self.run(RunningTurn::new(session, begun, key, admitted, output.clone())).await
    }

    /// Run a turn that was admitted, and commit what comes of it.
    pub(super) async fn run(&mut self, mut turn: RunningTurn) -> Result<FinishedTurn, SendError> {
        let number = turn.session.usage.next_turn();
        let streams = (&turn.output, &turn.effects);
        self.registry.note_running(self.id, number, streams, turn.grant.deadline);
        let effects = turn.effects.clone();
        let mut cancel = self.turn_signals(&turn.session, turn.grant.deadline, effects);
        let started = self.services.clock.monotonic();
        let mut attempt = 1;
        let outcome = loop {
            let mut outcome = self.attempt(&mut turn, &mut cancel).await;
            if let AttemptOutcome::NeverBegun(WakeError::Damaged(why)) = &outcome
                && !turn.has_journal
            {
                turn.session =
                    self.recover_head(why.clone()).await.map_err(|error| match error {
                        CommandError::Unavailable(error) => error.into(),
                        error => SendError::from(Unavailable::Host(error.to_string())),
                    })?;
                outcome = self.attempt(&mut turn, &mut cancel).await;
            }
            let AttemptOutcome::Called(called) = &outcome else { break outcome };
            match called.lacks {
                Some(needed) if attempt < ATTEMPTS && self.may_start_again(&turn) => {
                    self.start_again(&turn.session, attempt, needed);
                    attempt += 1;
                }
                None if called.has_diverged
                    && self.may_start_again(&turn)
                    && self.count_attempt(&mut turn).await? =>
                {
                    self.drop_guest();
                }
                Some(_) | None => break outcome,
            }
        };
        if turn.is_left && turn.has_journal {
            // A host that is started again goes on with it, and an orderly end counts for nothing.
            self.uncount().await?;
            self.forget();
            return Err(Unavailable::ShuttingDown.into());
        }
        let duration = self.services.clock.monotonic().saturating_sub(started);
        let (result, bill) = self.judge(&turn, outcome, attempt)?;
        self.conclude(turn, result, bill, duration).await
    }

    /// Commit what a turn has come to. Memory follows.
    pub(super) async fn conclude(
        &mut self,
        mut turn: RunningTurn,
        result: Result<TurnAnswer, Failure>,
        bill: GuestBill,
        duration: Duration,
    ) -> Result<FinishedTurn, SendError> {
        let holds = turn.purse.take().map(Purse::into_holds).unwrap_or_default();
        let ended = ended(&mut turn, result, bill, duration, self.services.clock.now()).await?;
        let RunningTurn { session: before, begun, key, standing, has_journal, .. } = turn;
        let begun = Arc::unwrap_or_clone(begun);
        let rules = self.services.options.rules;
        let mut commit = settlement::settle(&before, standing, begun, ended, rules);
        let mut events = self.pending_events().await;
        events.append(&mut commit.events);
        commit.events = events;
        if let Some(residence) = self.memory.residence() {
            // Nobody else has it yet: nothing is copied.
            Arc::make_mut(&mut commit.session).residence = residence;
        }
        let (after, turn) = (Arc::clone(&commit.session), Arc::clone(&commit.turn));
        let mut transaction = Transaction::turn(commit);
        if has_journal {
            transaction = transaction.and(Transaction::close_turn(self.id));
        }
        let change =
            AccountChange { spent: spent_between(&before, &after), ..AccountChange::default() };
        if let Some(account) = before.account {
            transaction = transaction.and(Transaction::change_account(account, change));
        }
        // What is paid is recorded, whatever has become of the key of its message.
        let without_key = (has_journal && key.is_some()).then(|| transaction.clone());
        if let Some((key, request)) = &key {
            let led_to = (self.id, turn.number);
            let row = idempotency::record(key, *request, led_to, after.last_activity_at);
            transaction = transaction.and(Transaction::idempotency(row));
        }
        let mut committed = self.services.store.commit(transaction).await;
        if let (Err(StoreError::IdempotencyKeyUsed(_)), Some(without_key)) =
            (&committed, without_key)
        {
            committed = self.services.store.commit(without_key).await;
        }
        if let Err(error) = committed {
            self.forget();
            return Err(match error {
                // The same key went to another session at the same time, and that turn was first.
                StoreError::IdempotencyKeyUsed(first) => SendError::IdempotencyKeyReused(first),
                error => error.into(),
            });
        }
        for hold in &holds {
            hold.changed(change);
        }
        drop(holds);
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
        let model = AnsweringModel::of(&after, &self.services.models);
        told(FinishedTurn { turn, session: after, residency, model, replayed: false })
    }

    /// Whether the turn can be tried again, so that nobody sees that it was tried before: no reader has
    /// anything of it, and the state that it started from is in a snapshot.
    fn may_start_again(&self, turn: &RunningTurn) -> bool {
        let saved = self.memory.session().is_some_and(|session| session.unsaved_turns == 0);
        saved && !turn.output.has_deltas()
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
        turn: &mut RunningTurn,
        cancel: &mut CancelSignals<'_>,
    ) -> AttemptOutcome {
        let attempt = self.attempts.saturating_add(turn.attempt - 1);
        self.attempts += 1;
        let (clock, had_instance) = (&self.services.clock, self.memory.guest().is_some());
        let since = clock.monotonic();
        let woken = self.wake(cancel).await;
        if !had_instance {
            turn.woken_in = Some(clock.monotonic().saturating_sub(since));
        }
        if let Err(error) = woken {
            turn.is_left = matches!(error, WakeError::Cancelled(Cancellation::Left));
            return AttemptOutcome::NeverBegun(error);
        }
        let (gate, told) = match self.gate(turn).await {
            Ok(gate) => gate,
            Err(error) => return AttemptOutcome::NeverBegun(WakeError::Store(error)),
        };
        let services = self.services;
        let Some(guest) = self.memory.guest_mut() else {
            return AttemptOutcome::NeverBegun(WakeError::NotFound);
        };
        let RunningTurn { session, begun, grant, output, .. } = &*turn;
        if session.unsaved_turns > 0 {
            guest.instance.keep_at_any_price();
        }
        let number = session.usage.next_turn();
        let call = Call {
            id: begun.id.to_string(),
            number,
            attempt,
            sender: begun.sender.clone(),
            content: begun.input.clone(),
            deadline: told.deadline,
            fuel: grant.fuel,
        };
        output.begin(number, turn.attempt);
        let world = SessionWorld::new(Arc::clone(session), gate, output.clone());
        let call = TurnCall {
            call,
            world: Box::new(world),
            grant: *grant,
            durability: session.profile.durability,
            host_memory: &|| services.memory_of_instances(),
        };
        let result = execution::run(&mut guest.instance, call, cancel.next()).await;
        let TurnResult { result, cut, lacks, fuel, start_fuel, log, log_dropped, world } = result;
        turn.is_left = cut == Some(Cancellation::Left);
        let (checkpoint, GateEnd { journal, purse, is_short, divergence }) = world.end();
        if journal.is_open() && !turn.has_journal {
            turn.has_journal = true;
            turn.told = Some(told);
        }
        (turn.journal, turn.purse) = (Some(journal), Some(purse));
        let bill = GuestBill { fuel, start_fuel, log, log_dropped };
        let has_diverged = divergence.is_some();
        AttemptOutcome::Called(Box::new(Called {
            result,
            lacks,
            bill,
            checkpoint,
            is_short,
            has_diverged,
        }))
    }

    /// The gate of a turn whose instance is awake. It has the journal and the purse until the turn is over.
    /// Says what its guest is told.
    async fn gate(&mut self, turn: &mut RunningTurn) -> Result<(Gate, ToldTurn), StoreError> {
        let services = Arc::clone(self.registry.services());
        let Some(guest) = self.memory.guest_mut() else {
            return Err(StoreError::NotFound(self.id));
        };
        let price = services.options.rules.price;
        let start = price.cost(guest.instance.start_due());
        if turn.told.is_none() {
            let due = guest.instance.start_due();
            turn.grant = turn.grant.after_start(turn.standing, price, due);
        }
        let mut purse = turn.purse.take().unwrap_or_else(|| Purse::new(price, 0, None, Vec::new()));
        purse.begin(turn.grant.fuel, start);
        if turn.told.is_none()
            && let Some(left) = purse.fuel_left(0)
            && left < turn.grant.fuel
        {
            // The start is paid by the accounts as well that the session shares.
            turn.grant.fuel = left;
        }
        let told = turn.told.unwrap_or_else(|| ToldTurn {
            deadline: turn.grant.deadline,
            monotonic_ns: guest.instance.monotonic_ns(),
        });
        let ToldTurn { deadline, monotonic_ns } = told;
        let has_effects = guest.instance.has_effects();
        let session = &turn.session;
        let store = Arc::clone(&services.store);
        let journal = if turn.has_journal {
            // What was noted before answers this attempt.
            TurnJournal::again(store, self.id, turn.attempt).await?
        } else {
            let opening = Opening {
                begun: Arc::clone(&turn.begun),
                number: session.usage.next_turn(),
                revision: session.revision,
                agent: session.profile.agent.digest,
                key: turn.key.clone(),
                deadline,
                fuel: turn.grant.fuel,
                monotonic_ns,
            };
            TurnJournal::begin(store, self.id, opening)
        };
        let gate = Gate::new(GateParts {
            outside: Arc::clone(&services.outside),
            session: Arc::clone(session),
            output: turn.output.clone(),
            journal,
            purse,
            time: turn.effects.clone(),
            started_at: turn.begun.started_at,
            monotonic_ns,
            has_effects,
            taken_up: turn.taken_up.take(),
        });
        Ok((gate, told))
    }

    /// Say what came of the attempts. An error: the turn was not begun, and nothing is recorded.
    fn judge(
        &mut self,
        turn: &RunningTurn,
        outcome: AttemptOutcome,
        attempt: u32,
    ) -> Result<(Result<TurnAnswer, Failure>, GuestBill), SendError> {
        let started = |start_fuel| GuestBill { start_fuel, ..GuestBill::default() };
        Ok(match outcome {
            AttemptOutcome::Called(called) => {
                let Called { result, bill, checkpoint, is_short, .. } = *called;
                let result = match result {
                    Ok(answer) => Ok(self.answer(&turn.session, answer, checkpoint)),
                    // It had no money to go on.
                    Err(failure) if is_short && failure.code == FailureCode::AgentFailed => {
                        Err(Failure { code: FailureCode::BudgetExceeded, ..failure })
                    }
                    Err(failure) => Err(failure),
                };
                (result, bill)
            }
            AttemptOutcome::NeverBegun(WakeError::Guest(fault)) => {
                let start_fuel = match fault {
                    Fault::StartTooLong { limit } => Some(limit),
                    _ => None,
                };
                let memory = self.services.memory_of_instances();
                (Err(execution::failure(fault, turn.grant, memory)), started(start_fuel))
            }
            // An attempt was begun before, and the next one has waited in vain.
            AttemptOutcome::NeverBegun(WakeError::OutOfMemory) if attempt > 1 => {
                (Err(execution::out_of_memory()), GuestBill::default())
            }
            AttemptOutcome::NeverBegun(WakeError::Cancelled(cut)) => {
                let start_fuel =
                    self.memory.guest_mut().and_then(|guest| guest.instance.take_start());
                (Err(cut.failure(turn.grant)), started(start_fuel))
            }
            AttemptOutcome::NeverBegun(WakeError::Damaged(why) | WakeError::Unusable(why))
                if turn.has_journal =>
            {
                (Err(replay_unavailable(&why)), GuestBill::default())
            }
            AttemptOutcome::NeverBegun(error) => return Err(self.refusal(error)),
        })
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

    pub(super) async fn make_move(&mut self, step: Move) -> Result<(), SendError> {
        self.make_moves(vec![step]).await.map_err(|error| match error {
            super::commands::MoveError::Store(error) => Unavailable::Store(error),
            super::commands::MoveError::Invalid(error) => Unavailable::Host(error.to_string()),
        })?;
        Ok(())
    }

    pub(super) fn refusal(&mut self, error: WakeError) -> SendError {
        match self.unavailable(error) {
            Ok(error) => error.into(),
            Err(NotWoken::Ended) => Unavailable::ShuttingDown.into(),
            Err(NotWoken::Failed(why)) => Unavailable::Host(why).into(),
        }
    }
}

/// What a turn has come to, with all that it has asked of the outside world.
async fn ended(
    turn: &mut RunningTurn,
    result: Result<TurnAnswer, Failure>,
    bill: GuestBill,
    duration: Duration,
    ended_at: Timestamp,
) -> Result<TurnEnd, StoreError> {
    let GuestBill { fuel, start_fuel, log, log_dropped } = bill;
    let (fuel, effects) = match turn.journal.take() {
        Some(mut journal) => {
            journal.read_all().await?;
            (journal.billed(fuel), journal.into_lines())
        }
        None => (fuel, Vec::new()),
    };
    Ok(TurnEnd {
        result,
        fuel,
        start_fuel,
        log,
        log_dropped,
        ended_at,
        duration,
        effects,
        attempts: turn.attempt,
        woken_in: turn.woken_in,
    })
}

/// What a session has spent between two of its records.
fn spent_between(before: &Session, after: &Session) -> Amounts {
    Amounts {
        money: after.usage.cost - before.usage.cost,
        fuel: after.usage.fuel.saturating_sub(before.usage.fuel),
    }
}

/// A turn that was cut off cannot be run again.
pub(super) fn replay_unavailable(why: &str) -> Failure {
    let message =
        format!("the host has ended in the middle of the turn, and it cannot be run again: {why}");
    Failure { code: FailureCode::ReplayUnavailable, message }
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
