//! An attempt at a turn: the guest is woken and called, and what comes of it is judged.

use std::sync::Arc;

use super::cancel::CancelSignals;
use super::history;
use super::memory::Reserve;
use super::open_turns::replay_unavailable;
use super::turns::{GuestBill, RunningTurn, ToldTurn};
use super::{Driver, WakeError};
use crate::gate::journal::{Opening, TurnJournal};
use crate::gate::purse::Purse;
use crate::gate::{Gate, GateEnd, GateParts};
use crate::session::asks::PeerLine;
use crate::session::request::SendError;
use crate::turn::admission::Shortage;
use crate::turn::execution::{self, Cancellation, GuestAnswer, TurnCall, TurnResult};
use crate::turn::settlement::TurnAnswer;
use crate::turn::world::{SessionWorld, WorldEnd};
use dormouse_domain::limits::Limit;
use dormouse_domain::session::{JsonObject, Session};
use dormouse_domain::timer::Timers;
use dormouse_domain::turn::{Failure, FailureCode};
use dormouse_sandbox::{Call, Fault, OVERHEAD};
use dormouse_store::StoreError;

/// How an attempt at a turn came to its end.
pub(super) enum AttemptOutcome {
    /// The guest was called.
    Called(Box<Called>),
    /// The guest was not called: its session was not woken.
    NeverBegun(WakeError),
}

/// The end of the attempt at a turn whose guest was called.
pub(super) struct Called {
    pub(super) result: Result<GuestAnswer, Failure>,
    /// The bytes that the guest needed to hold, where the host had no memory for it.
    pub(super) lacks: Option<u64>,
    pub(super) bill: GuestBill,
    pub(super) checkpoint: Option<JsonObject>,
    /// The timers of the session, as the guest has left them.
    pub(super) timers: Timers,
    /// The last call was not made, because there was no money for it.
    pub(super) shortage: Option<Shortage>,
    /// It is not as it was when it was run before.
    pub(super) has_diverged: bool,
}

impl Driver<'_> {
    /// Whether the turn can be tried again, so that nobody sees that it was tried before: no reader has
    /// anything of it, and the state that it started from is in a snapshot.
    pub(super) fn may_start_again(&self, turn: &RunningTurn) -> bool {
        self.is_saved() && !turn.output.has_deltas()
    }

    /// Whether the state that the turn has started from is in a snapshot.
    pub(super) fn is_saved(&self) -> bool {
        self.memory.session().is_some_and(|session| session.unsaved_turns == 0)
    }

    /// Take back an attempt for which the host had no memory. The next waits for that memory, holds
    /// nothing meanwhile, and has it from its start; so a turn that waits keeps no other turn from going on.
    pub(super) fn start_again(&mut self, session: &Session, attempt: u32, needed: u64) {
        self.drop_guest();
        metrics::counter!("dormouse_turns_restarted_total").increment(1);
        tracing::debug!(session = %self.id, attempt, needed, "a turn waits for memory");
        let all = session.profile.limits.max_memory_bytes.saturating_add(OVERHEAD);
        let wanted = if attempt == 1 { needed } else { needed.max(all) };
        let wanted = wanted.min(self.services.memory_of_instances());
        self.preparation.reserve = Reserve { wanted, least: needed };
    }

    /// Wake the guest and call it, until it returns or the turn is cut off.
    pub(super) async fn attempt(
        &mut self,
        turn: &mut RunningTurn,
        cancel: &mut CancelSignals<'_>,
    ) -> AttemptOutcome {
        // What the attempt before has sent, this one sends again.
        turn.outbox.clear();
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
        let world = SessionWorld::new(Arc::clone(session), begun, gate, output.clone());
        let call = TurnCall {
            call,
            world: Box::new(world),
            grant: *grant,
            durability: session.profile.durability,
            host_memory: &|| services.memory_of_instances(),
        };
        let result = execution::run(&mut guest.instance, call, cancel.next()).await;
        let TurnResult { result, cut, lacks, fuel, start_fuel, log, log_dropped, samples, world } =
            result;
        turn.is_left = cut == Some(Cancellation::Left);
        let WorldEnd { checkpoint, timers, gate } = world.end();
        let GateEnd { journal, outbox, purse, shortage, divergence, tools_used } = gate;
        if journal.is_open() && !turn.has_journal {
            turn.has_journal = true;
            turn.told = Some(told);
        }
        (turn.journal, turn.purse, turn.outbox) = (Some(journal), Some(purse), outbox);
        turn.tools_used = tools_used;
        let bill = GuestBill { fuel, start_fuel, log, log_dropped, samples, shortage: None };
        let has_diverged = divergence.is_some();
        AttemptOutcome::Called(Box::new(Called {
            result,
            lacks,
            bill,
            checkpoint,
            timers,
            shortage,
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
            turn: turn.begun.id,
            peers: Arc::new(PeerLine(Arc::clone(self.registry))),
            output: turn.output.clone(),
            journal,
            mailboxes: Arc::clone(&services.mailboxes),
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
    pub(super) fn judge(
        &mut self,
        turn: &RunningTurn,
        outcome: AttemptOutcome,
        attempt: u32,
    ) -> Result<(Result<TurnAnswer, Failure>, GuestBill), SendError> {
        let started = |start_fuel| GuestBill { start_fuel, ..GuestBill::default() };
        Ok(match outcome {
            AttemptOutcome::Called(called) => {
                let Called { result, bill, checkpoint, timers, shortage, .. } = *called;
                let shortage = shortage_of(&result, shortage, turn.grant.fuel_limit);
                let bill = GuestBill { shortage, ..bill };
                let result = match result {
                    Ok(answer) => Ok(self.answer(&turn.session, answer, checkpoint, timers)),
                    Err(failure) => match shortage {
                        // It had no money to go on.
                        Some(Shortage::Session | Shortage::Operator) => {
                            Err(Failure { code: FailureCode::BudgetExceeded, ..failure })
                        }
                        Some(Shortage::Held) | None => Err(failure),
                    },
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
        &mut self,
        session: &Session,
        answer: GuestAnswer,
        checkpoint: Option<JsonObject>,
        timers: Timers,
    ) -> TurnAnswer {
        let GuestAnswer { content, complete, saved, durable } = answer;
        let services = self.services;
        let (snapshot, changes) = match (saved, self.memory.guest_mut()) {
            (Some(saved), Some(guest)) => {
                let (snapshot, changes) = history::snapshot(
                    (&services.clock, &services.workspaces),
                    session,
                    session.usage.next_turn(),
                    guest,
                    saved,
                );
                (Some(snapshot), changes)
            }
            (None, _) | (_, None) => (None, None),
        };
        TurnAnswer { content, complete, snapshot, changes, durable, checkpoint, timers }
    }
}

/// Whose money was too little for a turn that has ended so. `short`: for the last call that it has asked for;
/// `limit`: the one that bounds its fuel.
fn shortage_of(
    result: &Result<GuestAnswer, Failure>,
    short: Option<Shortage>,
    limit: Limit,
) -> Option<Shortage> {
    match (result.as_ref().err()?.code, limit) {
        (FailureCode::AgentFailed, _) => short,
        (FailureCode::BudgetExceeded, Limit::UserBudget(_) | Limit::PrincipalBudget(_)) => {
            Some(Shortage::Operator)
        }
        (FailureCode::BudgetExceeded, _) => Some(Shortage::Session),
        _ => None,
    }
}
