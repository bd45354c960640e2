//! What a turn leaves behind: the record after it, the turn itself, and the events. Pure.

use std::sync::Arc;
use std::time::Duration;

use dormouse_domain::account::Amounts;
use dormouse_domain::bill::BillSums;
use dormouse_domain::deadline;
use dormouse_domain::event::{Event, EventBody, SessionField, SessionUpdate, UpgradeOutcome};
use dormouse_domain::id::TurnId;
use dormouse_domain::journal::EffectRecord;
use dormouse_domain::limits::{FuelPrice, NanoUsd, Usage};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::sample::Sample;
use dormouse_domain::session::{BeforeUpgrade, JsonObject, LastFailure, Session};
use dormouse_domain::snapshot::{FileChanges, Snapshot};
use dormouse_domain::state::{Cause, Move, State, Status};
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Timers;
use dormouse_domain::tool::MAX_TOOLS_USED;
use dormouse_domain::transition;
use dormouse_store::TurnCommit;

use super::admission::{Shortage, Standing};
use dormouse_domain::turn::{
    Failure, FailureCode, LogLine, Part, Sender, StartupCost, TurnOutcome, TurnRecord,
};

/// A turn that was begun.
#[derive(Clone, Debug)]
pub(crate) struct StartedTurn {
    /// Its name.
    pub(crate) id: TurnId,
    /// The sender of the message.
    pub(crate) sender: Sender,
    /// The parts of the message.
    pub(crate) input: Vec<Part>,
    /// When the guest was called.
    pub(crate) started_at: Timestamp,
    /// The mail that it has taken. `None`: it answers no mail.
    pub(crate) mail: Option<TakenMail>,
}

/// A mail that a turn has taken out of the mailbox of its session: it is removed with the commit of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakenMail {
    /// Its number in the mailbox.
    pub(crate) number: u64,
    /// What it counts for there, in bytes.
    pub(crate) weight: u64,
}

impl StartedTurn {
    /// The timers of the session once the turn has begun: the one that has sent it is taken.
    pub(crate) fn timers(&self, session: &Session) -> Timers {
        let mut timers = session.timers.clone();
        if let Sender::Timer(name) = &self.sender {
            timers.take(name, self.started_at);
        }
        timers
    }
}

/// A turn that is over.
#[derive(Clone, Debug)]
pub(crate) struct TurnEnd {
    /// The answer, or why there is none.
    pub(crate) result: Result<TurnAnswer, Failure>,
    /// Whose money was too little, where the turn has failed for that.
    pub(crate) shortage: Option<Shortage>,
    /// The fuel that it used.
    pub(crate) fuel: u64,
    /// The fuel that its instance used to start, where one was started for it.
    pub(crate) start_fuel: Option<u64>,
    /// The lines that the guest logged.
    pub(crate) log: Vec<LogLine>,
    /// How much of the log was dropped, in bytes.
    pub(crate) log_dropped: u64,
    /// The numbers that the guest has sampled.
    pub(crate) samples: Vec<Sample>,
    /// When it was over.
    pub(crate) ended_at: Timestamp,
    /// How long it took.
    pub(crate) duration: Duration,
    /// What it has asked of the outside world: the lines of its bill besides fuel.
    pub(crate) effects: Vec<EffectRecord>,
    /// The names of the tools that it has used, each once, in the order of their first use.
    pub(crate) tools_used: Vec<String>,
    /// How often it was begun.
    pub(crate) attempts: u32,
    /// How long it took to have an instance. `None`: the instance was there.
    pub(crate) woken_in: Option<Duration>,
}

/// The answer of the guest, and how its state is kept.
#[derive(Clone, Debug)]
pub(crate) struct TurnAnswer {
    /// The answer.
    pub(crate) content: Vec<Part>,
    /// Whether the session has done what it was for.
    pub(crate) complete: bool,
    /// The state after the turn, where it could be saved.
    pub(crate) snapshot: Option<Snapshot>,
    /// What has changed of its files since the head, where something has and the snapshot brings it.
    pub(crate) changes: Option<FileChanges>,
    /// Whether nothing is lost with the instance: the snapshot holds the state, or there is none.
    pub(crate) durable: bool,
    /// The checkpoint that the guest has set.
    pub(crate) checkpoint: Option<JsonObject>,
    /// The timers of the session, as the guest has left them.
    pub(crate) timers: Timers,
}

/// The rules of the host that a settlement needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The price of fuel.
    pub(crate) price: FuelPrice,
    /// Failures in a row that put a session into `error`.
    pub(crate) max_consecutive_failures: u32,
}

/// Work out what this turn leaves behind in this session, which stood so before.
pub(crate) fn settle(
    before: &Session,
    standing: Standing,
    begun: StartedTurn,
    ended: TurnEnd,
    rules: Rules,
) -> TurnCommit {
    let mut session = before.clone();
    let calls: BillSums = ended.effects.iter().map(BillSums::from).sum();
    let cost = rules.price.cost(ended.fuel) + calls.cost;
    let start = ended.start_fuel.map(|fuel| startup(standing, fuel, rules.price));
    session.revision += 1;
    let counts = ended.result.as_ref().err().is_none_or(|failure| failure.code.counts());
    let counter = if counts { &mut session.usage.turns } else { &mut session.usage.uncounted };
    *counter += 1;
    session.usage.fuel = session.usage.fuel.saturating_add(ended.fuel);
    session.usage.cost += cost;
    add_calls(&mut session.usage, &calls);
    add_tools(&mut session.tools_used, ended.tools_used);
    if let Some(StartupCost { fuel, cost }) = start {
        session.usage.starts += 1;
        session.usage.start_fuel = session.usage.start_fuel.saturating_add(fuel);
        session.usage.start_cost += cost;
        session.usage.cost += cost;
    }
    let shortage = ended.shortage;
    session.last_activity_at = ended.ended_at;
    session.timers = begun.timers(before);

    let (turn, fuel, ended_at) = (session.usage.last_turn(), ended.fuel, ended.ended_at);
    let mut events =
        vec![Event::session(&session, begun.started_at, EventBody::TurnStarted { turn })];
    let (outcome, snapshot) = match ended.result {
        Ok(answer) => {
            if session.started_at.is_none() {
                session.started_at = Some(ended_at);
                events.push(Event::session(&session, ended_at, EventBody::SessionStarted));
            }
            let completed = EventBody::TurnCompleted { turn, fuel, cost };
            events.push(Event::session(&session, ended_at, completed));
            answered(&mut session, &answer);
            let TurnAnswer { content, snapshot, changes, durable, checkpoint, timers, .. } = answer;
            session.timers = timers;
            events.extend(changes.map(|changes| {
                let body = EventBody::WorkspaceChanged { turn: Some(turn), changes };
                Event::session(&session, ended_at, body)
            }));
            events.extend(set_checkpoint(&mut session, checkpoint, ended_at));
            let id = snapshot.as_ref().map(|snapshot| snapshot.id);
            (TurnOutcome::Answered { content, snapshot: id, durable }, snapshot)
        }
        Err(failure) => {
            let failed_turn = EventBody::TurnFailed { turn, code: failure.code, fuel, cost };
            events.push(Event::session(&session, ended_at, failed_turn));
            session.last_failure = Some(LastFailure { turn, code: failure.code, at: ended_at });
            events.extend(return_to_before(&mut session, &failure, ended_at));
            failed(&mut session, failure.code, shortage, rules.max_consecutive_failures);
            (TurnOutcome::Failed(failure), None)
        }
    };
    let spent = Amounts {
        money: session.usage.cost - before.usage.cost,
        fuel: session.usage.fuel.saturating_sub(before.usage.fuel),
    };
    events.extend(budget_warning(standing, spent.money, &session, ended_at));
    apply_limits(&mut session, standing.after(spent), shortage, rules.price, ended_at);
    events.extend(transition::ending(before, &mut session, ended_at));

    let turn = TurnRecord {
        id: begun.id,
        session: session.id,
        number: turn,
        sender: begun.sender,
        input: begun.input,
        outcome,
        fuel,
        cost,
        start,
        started_at: begun.started_at,
        duration: ended.duration,
        log: ended.log,
        log_dropped: ended.log_dropped,
        samples: ended.samples,
        effects: ended.effects,
        attempts: ended.attempts,
        woken_in: ended.woken_in,
    };
    TurnCommit { session: Arc::new(session), turn: Arc::new(turn), snapshot, events }
}

/// Count what these calls have taken.
fn add_calls(usage: &mut Usage, sums: &BillSums) {
    let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
    add(&mut usage.input_tokens, sums.tokens.uncached_input());
    add(&mut usage.output_tokens, sums.tokens.output);
    add(&mut usage.cached_tokens, sums.tokens.cache_read);
    add(&mut usage.calls, sums.calls);
    add(&mut usage.call_bytes, sums.call_bytes);
}

/// Note these tools behind those that the session has used before.
fn add_tools(used: &mut Vec<String>, more: Vec<String>) {
    for name in more {
        if used.len() < MAX_TOOLS_USED && !used.contains(&name) {
            used.push(name);
        }
    }
}

/// The bill for a start: never more than there is left.
fn startup(standing: Standing, fuel: u64, price: FuelPrice) -> StartupCost {
    let cost = price.cost(fuel);
    StartupCost { fuel, cost: standing.money_left().map_or(cost, |left| cost.min(left)) }
}

/// The part of its budget after which a session is warned: once, by the turn that has spent it.
const WARNED_AT_PERCENT: i128 = 80;

fn budget_warning(
    standing: Standing,
    spent: NanoUsd,
    after: &Session,
    now: Timestamp,
) -> Option<Event> {
    let budget = standing.limits.money?;
    let was = standing.spent.money;
    let cost = was + spent;
    let body = EventBody::BudgetWarning { cost, budget };
    let is_due = !is_mostly_spent(was, budget) && is_mostly_spent(cost, budget);
    is_due.then(|| Event::session(after, now, body))
}

/// Whether this cost is the part of the budget at which a session is warned.
fn is_mostly_spent(cost: NanoUsd, budget: NanoUsd) -> bool {
    i128::from(cost.0) * 100 >= i128::from(budget.0) * WARNED_AT_PERCENT
}

/// The first turn after an upgrade has failed: the old version takes the session back, where it was.
/// A turn that somebody killed says nothing of the new version, nor does one that does not count.
fn return_to_before(session: &mut Session, failure: &Failure, now: Timestamp) -> Option<Event> {
    if failure.code == FailureCode::TurnKilled || !failure.code.counts() {
        return None;
    }
    let BeforeUpgrade { agent, head, head_parent, state_bytes } = session.before_upgrade.take()?;
    let body = EventBody::SessionUpgraded {
        outcome: UpgradeOutcome::Returned { reason: failure.code },
        from: session.profile.agent.digest,
        to: agent.digest,
    };
    session.profile.agent = agent;
    (session.head, session.head_parent, session.state_bytes) = (head, head_parent, state_bytes);
    Some(Event::session(session, now, body))
}

/// Keep the checkpoint that the guest has set. One that is the same as before is no change.
fn set_checkpoint(
    session: &mut Session,
    checkpoint: Option<JsonObject>,
    now: Timestamp,
) -> Option<Event> {
    if checkpoint.is_none() || checkpoint == session.checkpoint {
        return None;
    }
    session.checkpoint = checkpoint;
    session.changed_at = Some(now);
    let (fields, status) = (vec![SessionField::Checkpoint], session.state.status());
    let body = EventBody::SessionUpdated(SessionUpdate::Fields { fields, status });
    Some(Event::session(session, now, body))
}

fn answered(session: &mut Session, answer: &TurnAnswer) {
    session.consecutive_failures = 0;
    session.before_upgrade = None;
    match &answer.snapshot {
        Some(snapshot) => session.set_head(Some(snapshot)),
        None if answer.durable => {}
        None => session.unsaved_turns += 1,
    }
    make(session, Move::Turn);
    if answer.complete || session.profile.pattern == Pattern::Ephemeral {
        make(session, Move::Complete);
    }
}

fn failed(
    session: &mut Session,
    code: FailureCode,
    shortage: Option<Shortage>,
    max_consecutive_failures: u32,
) {
    if session.state == State::Idle {
        make(session, Move::Turn);
    }
    // Where others have the money, nothing is wrong with the session: it goes on once there is some again.
    if code.counts() && !matches!(shortage, Some(Shortage::Operator | Shortage::Held)) {
        session.consecutive_failures += 1;
    }
    if session.unsaved_turns > 0 {
        // The instance goes with the failed turn, and with it what no snapshot holds.
        make(session, Move::Fail(Cause::StateLost.into()));
    } else if !code.counts() {
        // An ephemeral session, too, waits for a message that can be handled.
    } else if session.profile.pattern == Pattern::Ephemeral {
        make(session, Move::Fail(Cause::TurnFailed.into()));
    } else if session.consecutive_failures >= max_consecutive_failures {
        make(session, Move::Fail(Cause::ConsecutiveFailures.into()));
    }
}

/// End the session where it has reached a limit. Completion wins over a limit.
/// Where its turn failed for want of the session's own money, what is left is of no use to it.
fn apply_limits(
    session: &mut Session,
    standing: Standing,
    shortage: Option<Shortage>,
    price: FuelPrice,
    now: Timestamp,
) {
    let limits = &session.profile.limits;
    let reached = if deadline::end_of_life(session).is_some_and(|(end, _)| end <= now) {
        Some(Cause::LifetimeExceeded)
    } else if limits.max_turns.is_some_and(|max| session.usage.turns >= max) {
        Some(Cause::MaxTurns)
    } else if shortage == Some(Shortage::Session) || standing.affordable(price) == Some(0) {
        Some(Cause::BudgetExceeded)
    } else if standing.fuel_left() == Some(0) {
        Some(Cause::FuelExhausted)
    } else {
        None
    };
    if let Some(cause) = reached
        && session.state.status() != Status::Completed
    {
        make(session, Move::Terminate(cause.into()));
    }
}

/// Make a move that follows from a turn. One that the state does not allow changes nothing: a
/// session that has ended stays ended.
fn make(session: &mut Session, step: Move) {
    if let Ok(next) = session.state.after(step) {
        session.state = next;
    }
}

#[cfg(test)]
mod tests;
