//! A message becomes a turn: admitted, run, settled, committed, answered.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::attempts::AttemptOutcome;
use super::conclusion::told;
use super::memory::SessionMemory;
use super::spending::Admitted;
use super::{Driver, NotWoken, WakeError};
use crate::gate::journal::TurnJournal;
use crate::gate::post::OutgoingMail;
use crate::gate::purse::Purse;
use crate::gate::time::EffectTime;
use crate::session::idempotency;
use crate::session::provided::Provided;
use crate::session::request::{
    CommandError, FinishedTurn, FollowedKey, QueuedMessage, SendError, Unavailable,
};
use crate::turn::admission::{self, Shortage, Standing, TurnGrant};
use crate::turn::output::TurnOutput;
use crate::turn::settlement::StartedTurn;
use dormouse_domain::agent::Digest;
use dormouse_domain::deadline;
use dormouse_domain::id::TurnId;
use dormouse_domain::sample::Sample;
use dormouse_domain::session::{Residency, Session};
use dormouse_domain::state::{Cause, Move};
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Timer;
use dormouse_domain::turn::{IdempotencyKey, LogLine, Sender};

/// How often a turn is tried for which the host has no memory: as it comes, with what it was denied
/// reserved beforehand, and with all reserved that its session may have.
const ATTEMPTS: u32 = 3;

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
    /// The names of the tools that the last attempt has used.
    pub(super) tools_used: Vec<String>,
    /// What the last attempt has sent to other sessions.
    pub(super) outbox: Vec<OutgoingMail>,
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
            tools_used: Vec::new(),
            outbox: Vec::new(),
            has_journal: false,
            attempt: 1,
            taken_up: None,
            woken_in: None,
            is_left: false,
        }
    }
}

/// What the guest has used and written in a turn.
#[derive(Default)]
pub(super) struct GuestBill {
    pub(super) fuel: u64,
    pub(super) start_fuel: Option<u64>,
    pub(super) log: Vec<LogLine>,
    pub(super) log_dropped: u64,
    pub(super) samples: Vec<Sample>,
    /// Whose money was too little, where the turn has failed for that.
    pub(super) shortage: Option<Shortage>,
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
        let QueuedMessage { is_taken, mail, request, _key_use, _charge, .. } = message;
        let timer = match &sender {
            Sender::Timer(name) if !self.is_due(name).await => {
                return self.registry.note_turn_over(self.id);
            }
            Sender::Timer(_) => true,
            Sender::User | Sender::Agent(_) | Sender::Schedule(_) => false,
        };
        if let Some(resident) = self.memory.resident_mut() {
            resident.stuck = false;
        }
        let id = TurnId(self.services.clock.new_id());
        let started_at = self.services.clock.now();
        let begun = StartedTurn { id, sender, input: content, started_at, mail };
        // The span of a request names its session. Without one, a span of this level does, so that each line that
        // is logged at all has its session.
        let span = match request.is_disabled() {
            true => tracing::error_span!("turn", session = %self.id),
            false => request,
        };
        let turn_span = tracing::debug_span!(parent: &span, "turn", turn = %id);
        let asked = AskedTurn { begun, key: key.as_deref(), if_revision, is_taken };
        let result = self.reply(asked, &output.0).instrument(turn_span).instrument(span).await;
        if let (Some(key), Err(error)) = (&key, &result)
            && !matches!(error, SendError::Failed(_))
        {
            // Nobody else tells it to those who follow this turn.
            let _ = key.turn.refusal.set(error.clone());
        }
        if timer {
            self.after_timer(&result);
        }
        if mail.is_some() {
            self.after_mail(&result);
        }
        // Before the answer: a client that asks next sees no running turn.
        self.registry.note_turn_over(self.id);
        // After the commit: a reader of the whole stream finds the outcome in the store.
        drop(output);
        // A client that has gone away does not undo the turn.
        let _ = answer.send(result);
    }

    /// Whether the timer of this name is still due: it may have been taken or cancelled since it has sent its message.
    async fn is_due(&mut self, name: &str) -> bool {
        let now = self.services.clock.now();
        let is_due = |timer: &Timer| timer.name == name && timer.due <= now;
        match self.load_record().await {
            Ok(_) => {
                let session = self.memory.session();
                session.is_some_and(|session| session.timers.all().iter().any(is_due))
            }
            // The turn says it, and it is tried again.
            Err(_) => true,
        }
    }

    /// Look for the next timer that is due. A turn that could not begin is tried again, unless its session has ended.
    fn after_timer(&self, result: &Result<FinishedTurn, SendError>) {
        match result {
            Ok(_) | Err(SendError::Failed(_)) => {
                // Only a host that shuts down, and a session that has much to do, refuse it.
                let _ = self.registry.post_due(self.id);
            }
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "the turn of a timer could not begin");
                self.registry.look_again(self.id);
            }
        }
    }

    /// A message is answered once no turn of the session is open any more, and with the turn that it has led to
    /// before, if it has.
    async fn reply(
        &mut self,
        asked: AskedTurn<'_>,
        output: &TurnOutput,
    ) -> Result<FinishedTurn, SendError> {
        if self.services.left_open.contains(self.id) {
            // Its stream is not that of this message.
            self.open_turn(None).await?;
        }
        match self.replay(asked.key).await? {
            Some(replayed) => replayed,
            None => self.turn(asked, output).await,
        }
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
        let provided = Provided::of(&session, &self.services.outside);
        Ok(Some(told(FinishedTurn { turn, session, residency, provided, replayed: true })))
    }

    async fn turn(
        &mut self,
        asked: AskedTurn<'_>,
        output: &TurnOutput,
    ) -> Result<FinishedTurn, SendError> {
        let AskedTurn { mut begun, key, if_revision, is_taken } = asked;
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
        if let Sender::Agent(peer) = &mut begun.sender {
            // By the name that the session has for it when its agent is called.
            *peer = session.peers().peer(peer.session);
        }
        if if_revision.is_some_and(|revision| revision != session.revision) {
            return Err(SendError::PreconditionFailed(session.revision));
        }
        let admitted = self.admit(&session, begun.started_at).await?;
        if !is_taken {
            self.services.take_message(&session).map_err(SendError::RateLimited)?;
        }
        let key = key.map(|key| (key.key.clone(), key.request));
        let ended = self.run(RunningTurn::new(session, begun, key, admitted, output.clone())).await;
        if let Err(error) = &ended {
            self.leave_open(error, true).await;
        }
        ended
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
                // Readers of its stream are told that it begins anew.
                None if called.has_diverged
                    && self.is_saved()
                    && self.count_attempt(&mut turn).await? =>
                {
                    self.drop_guest();
                }
                Some(_) | None => break outcome,
            }
        };
        let is_shut = matches!(outcome, AttemptOutcome::NeverBegun(WakeError::ShuttingDown));
        let comes_again = matches!(turn.begun.sender, Sender::Agent(_) | Sender::Timer(_));
        if (turn.is_left || is_shut) && (turn.has_journal || comes_again) {
            // A host that is started again goes on with it, and an orderly end counts for nothing. What a peer or a timer
            // has sent and nothing is noted of comes again: the mail still waits, the question is asked again, and the
            // timer is still due.
            if turn.has_journal {
                self.uncount().await?;
            }
            self.forget();
            return Err(Unavailable::ShuttingDown.into());
        }
        let duration = self.services.clock.monotonic().saturating_sub(started);
        let (result, bill) = self.judge(&turn, outcome, attempt)?;
        self.conclude(turn, result, bill, duration).await
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
