//! A message becomes a turn: admitted, run, settled, committed, answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument;

use crate::session::request::{Ended, Letter, OrderError, Running, SendError};
use crate::turn::admission::{self, Grant};
use crate::turn::output::{Delta, Output};
use crate::turn::settlement::{self, Answer, Begun};
use dormouse_domain::deadline;
use dormouse_domain::id::TurnId;
use dormouse_domain::limits::Limit;
use dormouse_domain::session::{Durability, Residency, Session};
use dormouse_domain::state::{Cause, Move, Status};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{
    Failure, FailureCode, LogLevel, LogLine, LogSource, TurnOutcome, TurnRecord,
};
use dormouse_sandbox::{
    Call, Fault, GuestFailure, OVERHEAD, OutputSink, Report, Saved, SessionView,
};

use super::{Driver, Reserve, WakeError};

/// How often a turn is tried for which the host has no memory: as it comes, with what it was denied
/// reserved beforehand, and with all reserved that its session may have.
const ATTEMPTS: u32 = 3;

/// How the call of the guest came to its end.
enum Outcome {
    Returned(Result<(Report, Option<Saved>), WakeError>),
    TimedOut,
    Killed,
}

impl Driver<'_> {
    /// Answer one message.
    pub(super) async fn message(
        &mut self,
        letter: Letter,
        interrupt: &mut watch::Receiver<Running>,
    ) {
        let Letter { sender, content, output, answer, _charge } = letter;
        self.stuck = false;
        let id = TurnId(self.manager.clock.new_id());
        let begun = Begun { id, sender, input: content, started_at: self.manager.clock.now() };
        let span = tracing::debug_span!("turn", session = %self.id, turn = %id);
        let ending = Ending(output);
        let result = self.turn(begun, &ending.0, interrupt).instrument(span).await;
        // Before the answer: who has it finds no turn that still runs.
        self.manager.note_turn_over(self.id);
        // After the commit: who reads the stream to its end finds the outcome.
        drop(ending);
        // A client that has gone away does not undo the turn.
        let _ = answer.send(result);
    }

    async fn turn(
        &mut self,
        begun: Begun,
        output: &Output,
        interrupt: &mut watch::Receiver<Running>,
    ) -> Result<Ended, SendError> {
        if self.manager.liveness.is_closed() {
            return Err(SendError::ShuttingDown);
        }
        if let Err(error) = self.load().await {
            return Err(self.refusal(error));
        }
        if self.has_lost_state() {
            self.make_move(Move::Fail(Cause::StateLost.into())).await?;
        } else if self.has_outlived(begun.started_at) {
            self.make_move(Move::Terminate(Cause::LifetimeExceeded.into())).await?;
        }
        let mut session = self.session.clone().ok_or(SendError::NotFound(self.id))?;
        let rules = self.manager.options.rules;
        let mut grant = admission::admit(&session, rules.price, begun.started_at)?;

        self.manager.note_running(self.id, session.usage.next_turn(), output, grant.deadline);
        let started = self.manager.clock.monotonic();
        let mut attempt = 1;
        let mut ending = loop {
            let mut ending = self.call(&session, &begun, output, &mut grant, interrupt).await;
            if let Outcome::Returned(Err(WakeError::Damaged(why))) = &ending {
                session = self.mend(why.clone()).await.map_err(|error| match error {
                    OrderError::Damaged(damaged) => SendError::Damaged(damaged),
                    OrderError::Store(error) => SendError::Store(error),
                    error => SendError::Host(error.to_string()),
                })?;
                ending = self.call(&session, &begun, output, &mut grant, interrupt).await;
            }
            match self.lacking(&ending) {
                Some(needed) if attempt < ATTEMPTS && self.may_start_again(output) => {
                    self.start_again(&session, attempt, needed);
                    attempt += 1;
                }
                Some(_) | None => break ending,
            }
        };
        self.save(&mut ending).await;
        let duration = self.manager.clock.monotonic().saturating_sub(started);
        let ended = self.judge(&session, ending, grant, attempt, duration)?;

        let mut commit = settlement::settle(&session, begun, ended, rules);
        let mut events = self.pending_events().await;
        events.append(&mut commit.events);
        commit.events = events;
        let (after, turn) = (commit.session.clone(), commit.turn.clone());
        if let Err(error) = self.manager.store.commit_turn(commit).await {
            self.forget();
            return Err(error.into());
        }
        self.attempts = 0;
        if let Some(guest) = &mut self.guest {
            guest.instance.stored();
        }
        let failed = matches!(turn.outcome, TurnOutcome::Failed(_));
        let status = after.state.status();
        if failed || status.is_final() || status == Status::Error {
            self.drop_guest();
        }
        count(&turn, duration);
        self.manager.note_deadline(&after);
        self.used_at = after.last_activity_at;
        self.session = Some(after.clone());
        let residency = if self.guest.is_some() { Residency::Resident } else { Residency::Asleep };
        let ended = Ended { turn, session: after, residency };
        if failed { Err(SendError::Failed(Box::new(ended))) } else { Ok(ended) }
    }

    /// What the guest needed to hold, where its call ended because the host had no memory for it now.
    fn lacking(&self, ending: &Outcome) -> Option<u64> {
        let Outcome::Returned(Ok((report, _))) = ending else { return None };
        match report.result {
            Err(Fault::HostOutOfMemory { needed }) => {
                (needed <= self.manager.memory_of_instances()).then_some(needed)
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// Whether the turn can be tried again, so that nobody sees that it was tried before: no reader has
    /// anything of it, and the state that it started from is in a snapshot.
    fn may_start_again(&self, output: &Output) -> bool {
        let saved = self.session.as_ref().is_some_and(|session| session.unsaved_turns == 0);
        saved && !output.has_deltas()
    }

    /// Take back an attempt for which the host had no memory. The next waits for that memory, holds
    /// nothing meanwhile, and has it from its start; so whoever waits keeps nobody else from going on.
    fn start_again(&mut self, session: &Session, attempt: u32, needed: u64) {
        self.drop_guest();
        metrics::counter!("dormouse_turns_restarted_total").increment(1);
        tracing::debug!(session = %self.id, attempt, needed, "a turn waits for memory");
        let all = session.profile.limits.max_memory_bytes.saturating_add(OVERHEAD);
        let wanted = if attempt == 1 { needed } else { needed.max(all) };
        let wanted = wanted.min(self.manager.memory_of_instances());
        self.reserve = Reserve { wanted, least: needed };
    }

    /// Wake the guest and call it, until it returns, its time is up, or somebody ends it.
    async fn call(
        &mut self,
        session: &Session,
        begun: &Begun,
        output: &Output,
        grant: &mut Grant,
        interrupt: &mut watch::Receiver<Running>,
    ) -> Outcome {
        let (manager, id) = (self.manager, self.id);
        let clock = self.manager.clock.clone();
        let grace = self.manager.options.stop_grace;
        let price = self.manager.options.rules.price;
        let deadline = grant.deadline;
        let mut call = Call {
            id: begun.id.to_string(),
            number: session.usage.next_turn(),
            attempt: self.attempts,
            sender: begun.sender.clone(),
            content: begun.input.clone(),
            deadline,
            fuel: grant.fuel,
            session: Arc::new(view(session)),
            output: Box::new(Sink(output.clone())),
        };
        self.attempts += 1;
        let run = async {
            self.wake().await?;
            let Some(guest) = &mut self.guest else { return Err(WakeError::NotFound) };
            if session.unsaved_turns > 0 {
                guest.instance.keep_at_any_price();
            }
            *grant = grant.after_start(session, price, guest.instance.start_due());
            call.fuel = grant.fuel;
            output.begin(call.number);
            Ok((guest.instance.run(call).await, None))
        };
        tokio::pin!(run);
        let mut time_up = Box::pin(clock.sleep_until(deadline));
        let mut patience = None;
        loop {
            let stopped = async {
                match &mut patience {
                    Some(timer) => std::pin::Pin::as_mut(timer).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                report = &mut run => return match report {
                    Err(WakeError::Ended) => Outcome::Killed,
                    report => Outcome::Returned(report),
                },
                Ok(()) = interrupt.changed() => match *interrupt.borrow_and_update() {
                    Running::Continues => {}
                    Running::Finishes => {
                        let until = clock.now().after(grace);
                        // Until the turn is over.
                        let _ = manager.note_waiting(id, until);
                        patience = Some(Box::pin(clock.sleep_until(until)));
                    }
                    Running::Dies => return Outcome::Killed,
                },
                () = &mut time_up => return Outcome::TimedOut,
                () = stopped => return Outcome::Killed,
            }
        }
    }

    /// Save the state after a call that was answered. Outside of the turn's time and fuel: a turn that
    /// has spent all of either is as good as any other.
    async fn save(&mut self, ending: &mut Outcome) {
        let (Outcome::Returned(Ok((report, kept))), Some(guest)) = (ending, &mut self.guest) else {
            return;
        };
        if report.result.is_err() {
            return;
        }
        let later =
            self.session.as_ref().is_some_and(|s| s.profile.durability == Durability::Sleep);
        if later && !guest.instance.is_stateless() {
            // A save would have found out by the way what it holds.
            if let Err(fault) = guest.instance.measure().await {
                report.result = Err(fault);
            }
            return;
        }
        match guest.instance.save().await {
            Ok(saved @ (Saved::State(_) | Saved::Nothing)) => *kept = Some(saved),
            Ok(Saved::Held(what)) => {
                tracing::debug!(session = %self.id, what, "a turn is not saved");
                report.log.push(LogLine {
                    source: LogSource::Log(LogLevel::Warn),
                    message: format!("the session cannot sleep after this turn: {what}"),
                    fields: Vec::new(),
                });
            }
            Ok(Saved::Never) => {}
            Err(fault) => report.result = Err(fault),
        }
    }

    /// Say what came of the call. An error: the turn was not begun, and nothing is recorded.
    fn judge(
        &mut self,
        session: &Session,
        ending: Outcome,
        grant: Grant,
        attempt: u32,
        duration: Duration,
    ) -> Result<settlement::Ended, SendError> {
        let memory = self.manager.memory_of_instances();
        let lacking = self.lacking(&ending).is_some();
        let waited = matches!(ending, Outcome::TimedOut) && std::mem::take(&mut self.in_line);
        let mut start_fuel = None;
        let (result, fuel, log, log_dropped) = match ending {
            // Not billed: it is the host that could not go on.
            Outcome::Returned(Ok((report, _))) if lacking => {
                (Err(out_of_memory()), 0, report.log, report.log_dropped)
            }
            Outcome::Returned(Ok((report, kept))) => {
                start_fuel = self.guest.as_mut().and_then(|guest| guest.instance.take_start());
                let result = match report.result {
                    Ok(answer) => Ok(self.answer(session, answer, kept)),
                    Err(fault) => Err(failure(fault, grant, memory)),
                };
                (result, report.fuel, report.log, report.log_dropped)
            }
            Outcome::Returned(Err(WakeError::Guest(fault))) => {
                if let Fault::StartTooLong { limit } = fault {
                    start_fuel = Some(limit);
                }
                (Err(failure(fault, grant, memory)), 0, Vec::new(), 0)
            }
            // It was begun before, and has waited in vain to be begun again.
            Outcome::Returned(Err(WakeError::OutOfMemory)) if attempt > 1 => {
                (Err(out_of_memory()), 0, Vec::new(), 0)
            }
            Outcome::TimedOut if waited && attempt > 1 => (Err(out_of_memory()), 0, Vec::new(), 0),
            Outcome::Returned(Err(error)) => return Err(self.refusal(error)),
            // The turn was never begun: it waited for memory or a place for all of its time.
            Outcome::TimedOut if waited => return Err(self.refusal(WakeError::OutOfMemory)),
            ending @ (Outcome::TimedOut | Outcome::Killed) => {
                self.in_line = false;
                let failure = match ending {
                    Outcome::Killed => Failure {
                        code: FailureCode::TurnKilled,
                        message: "the turn was ended before the agent had answered".to_owned(),
                    },
                    Outcome::Returned(_) | Outcome::TimedOut => out_of_time(grant.time_limit),
                };
                match self.guest.take() {
                    Some(mut guest) => {
                        start_fuel = guest.instance.take_start();
                        let abandoned = guest.instance.abandon();
                        (Err(failure), abandoned.fuel, abandoned.log, abandoned.log_dropped)
                    }
                    None => (Err(failure), 0, Vec::new(), 0),
                }
            }
        };
        let ended_at = self.manager.clock.now();
        Ok(settlement::Ended { result, fuel, start_fuel, log, log_dropped, ended_at, duration })
    }

    fn answer(
        &mut self,
        session: &Session,
        answer: dormouse_sandbox::Answer,
        kept: Option<Saved>,
    ) -> Answer {
        let stateless = kept == Some(Saved::Nothing);
        let snapshot = match (kept, &self.guest) {
            (Some(Saved::State(state)), Some(guest)) => {
                Some(self.snapshot(session, session.usage.next_turn(), &guest.instance, state))
            }
            (None | Some(Saved::Nothing | Saved::Held(_) | Saved::Never), _) | (_, None) => None,
        };
        let durable = stateless || snapshot.is_some();
        Answer { content: answer.content, complete: answer.complete, snapshot, durable }
    }

    /// Whether turns have committed whose state no snapshot holds and no instance either.
    fn has_lost_state(&self) -> bool {
        let unsaved = self.session.as_ref().is_some_and(|session| session.unsaved_turns > 0);
        let open =
            self.session.as_ref().is_some_and(|session| admission::is_open(session.state.status()));
        unsaved && open && self.guest.is_none()
    }

    /// Whether the session has lived for as long as it may, although nobody has ended it yet.
    fn has_outlived(&self, now: Timestamp) -> bool {
        self.session.as_ref().is_some_and(|session| {
            let end = deadline::end_of_life(session);
            admission::is_open(session.state.status()) && end.is_some_and(|(end, _)| end <= now)
        })
    }

    async fn make_move(&mut self, step: Move) -> Result<(), SendError> {
        self.make_moves(vec![step]).await.map_err(|error| match error {
            super::orders::MoveError::Store(error) => SendError::Store(error),
            super::orders::MoveError::Invalid(error) => SendError::Host(error.to_string()),
        })?;
        Ok(())
    }

    fn refusal(&mut self, error: WakeError) -> SendError {
        self.give_up_guest(&error);
        match error {
            WakeError::NotFound => SendError::NotFound(self.id),
            WakeError::OutOfMemory => SendError::OutOfMemory,
            WakeError::ShuttingDown | WakeError::Ended => SendError::ShuttingDown,
            WakeError::Guest(fault) => SendError::Host(fault.to_string()),
            WakeError::Damaged(why) => SendError::Host(why),
            WakeError::Unusable(why) => SendError::Unusable(why),
            WakeError::Host(error) => SendError::Host(error),
            WakeError::Store(error) => SendError::Store(error),
        }
    }
}

/// Ends the stream when the turn is over, however that comes: no reader waits for ever.
struct Ending(Output);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Streams what the guest writes to whoever reads.
struct Sink(Output);

impl OutputSink for Sink {
    fn text(&mut self, delta: String) {
        self.0.push(Delta::Text(delta));
    }

    fn event(&mut self, name: String, data: String) {
        self.0.push(Delta::Event { name, data });
    }
}

/// What the agent may know of its session: nothing that depends on how often the session has slept.
fn view(session: &Session) -> SessionView {
    let mut usage = session.usage;
    usage.cost = usage.cost - std::mem::take(&mut usage.start_cost);
    (usage.starts, usage.start_fuel) = (0, 0);
    SessionView {
        id: session.id.to_string(),
        agent: session.profile.agent.name.to_string(),
        pattern: session.profile.pattern,
        config: session.profile.config.clone(),
        limits: session.profile.limits.clone(),
        usage,
        context: session.context.clone(),
    }
}

/// The host had no memory for what the agent needed.
fn out_of_memory() -> Failure {
    let message = "the host has had no memory for what the agent needs; nothing of the turn is kept \
                   or billed; try again later";
    Failure { code: FailureCode::OutOfMemory, message: message.to_owned() }
}

/// The time of a turn was up.
fn out_of_time(limit: Limit) -> Failure {
    let code = match limit {
        // It is the session that has come to its end.
        Limit::Lifetime(_) => FailureCode::TurnKilled,
        _ => FailureCode::TurnTimeout,
    };
    let message = format!("the agent did not answer in time: it has reached the {limit}");
    Failure { code, message }
}

/// What a fault of the guest is called, and told to its author, where the host has this much memory.
fn failure(fault: Fault, grant: Grant, memory: u64) -> Failure {
    let message = match fault {
        Fault::HostOutOfMemory { needed } => format!(
            "the agent needs {needed} bytes of memory; this host has {memory} bytes for all agents"
        ),
        Fault::FuelExhausted => {
            let limit = grant.fuel_limit;
            format!("the agent used all the fuel that it was given: it has reached the {limit}")
        }
        _ => fault.to_string(),
    };
    let code = match fault {
        Fault::Failed(GuestFailure::Invalid(_)) => FailureCode::AgentInvalid,
        Fault::Failed(GuestFailure::Declined) => FailureCode::AgentDeclined,
        Fault::Failed(GuestFailure::Failed(_) | GuestFailure::InvalidReply(_))
        | Fault::ReplyTooLarge { .. }
        | Fault::StateTooLarge { .. }
        | Fault::SaveFailed(_)
        | Fault::RestoreFailed(_) => FailureCode::AgentFailed,
        Fault::Trapped(_) => FailureCode::AgentTrapped,
        Fault::FuelExhausted => match grant.fuel_limit {
            Limit::Budget(_) => FailureCode::BudgetExceeded,
            _ => FailureCode::FuelExhausted,
        },
        Fault::StartTooLong { .. } => FailureCode::FuelExhausted,
        Fault::MemoryExceeded { .. } | Fault::HostOutOfMemory { .. } => FailureCode::MemoryExceeded,
        Fault::Busy | Fault::Host(_) | Fault::SnapshotUnusable(_) | Fault::SnapshotDamaged(_) => {
            FailureCode::HostFault
        }
    };
    Failure { code, message }
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
}
