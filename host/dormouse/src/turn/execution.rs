//! One turn on one instance: the guest is called in a world, the turn is cut off where it has to end, the
//! state is saved, and what came of all that is judged.
//!
//! Knows no session, no store and nobody who waits: a caller hands in an instance that is awake, and works
//! out for itself what the result means for a record.
//!
//! Invariant: the world of the turn comes back. [`run`] returns it with the result, also of a turn that was
//! cut off; where the future of [`run`] is dropped, the instance has it: see [`Instance::abandon`].

use std::any::Any;
use std::pin::pin;
use std::time::Duration;

use crate::turn::admission::TurnGrant;
use dormouse_domain::effect::EffectError;
use dormouse_domain::limits::Limit;
use dormouse_domain::sample::Sample;
use dormouse_domain::session::Durability;
use dormouse_domain::snapshot::GuestState;
use dormouse_domain::turn::{Failure, FailureCode, LogLevel, LogLine, LogSource, Part};
use dormouse_sandbox::{
    AgentAnswer, Call, CallTrace, Fault, GuestFailure, GuestResult, Instance, Saved, World,
};
use dormouse_workspace::Commit;

/// A turn that is to be run.
pub(crate) struct TurnCall<'a, W> {
    /// The call of the guest.
    pub(crate) call: Call,
    /// The world of the guest: all that it may know and do.
    pub(crate) world: Box<W>,
    /// The fuel and the time that the turn may spend.
    pub(crate) grant: TurnGrant,
    /// When the state is saved.
    pub(crate) durability: Durability,
    /// Tells the memory that the host has for all guests, in bytes. Asked for only where a guest had too
    /// little: to look is not free.
    pub(crate) host_memory: &'a (dyn Fn() -> u64 + Sync),
}

/// The reason to end a turn from outside, before the guest has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancellation {
    /// The time of the turn was up.
    TimedOut,
    /// Somebody has ended the turn.
    Killed,
    /// A message that came later has ended the turn.
    Interrupted,
    /// The session has come to the end of its life, which may last so long.
    Outlived(Duration),
    /// The host ends.
    Left,
}

/// The result of a turn.
#[derive(Debug)]
pub(crate) struct TurnResult<W> {
    /// The answer, or why there is none. After a failure the instance must be dropped.
    pub(crate) result: Result<GuestAnswer, Failure>,
    /// Who ended the turn from outside, if anybody did.
    pub(crate) cut: Option<Cancellation>,
    /// The bytes that the guest needed to hold, where the call ended because the host had no memory for it
    /// now: with as much, the turn may be answered.
    pub(crate) lacks: Option<u64>,
    /// The fuel that is billed.
    pub(crate) fuel: u64,
    /// The fuel of the start of the instance, where it is billed with this turn.
    pub(crate) start_fuel: Option<u64>,
    /// The lines that the guest has logged.
    pub(crate) log: Vec<LogLine>,
    /// How much of the log was dropped, in bytes.
    pub(crate) log_dropped: u64,
    /// The numbers that the guest has sampled.
    pub(crate) samples: Vec<Sample>,
    /// The world of the turn, with what the guest has streamed.
    pub(crate) world: Box<W>,
}

/// The answer of the guest, and its state after the answer.
#[derive(Debug)]
pub(crate) struct GuestAnswer {
    /// The answer.
    pub(crate) content: Vec<Part>,
    /// Whether the session has done what it was for.
    pub(crate) complete: bool,
    /// The state after the turn, where it was saved.
    pub(crate) saved: Option<SavedGuest>,
    /// Whether nothing is lost with the instance: the state is saved, or there is none.
    pub(crate) durable: bool,
}

/// All that was saved of a guest.
#[derive(Debug)]
pub(crate) struct SavedGuest {
    /// Its state.
    pub(crate) state: GuestState,
    /// What has changed of its files.
    pub(crate) files: Option<Commit>,
}

/// Run this turn on an instance that is awake, until the guest answers or `cut` ends the turn. Saving the
/// state is outside of the turn's time and fuel: a turn that has spent all of either is as good as any
/// other.
pub(crate) async fn run<W: World>(
    instance: &mut Instance,
    turn: TurnCall<'_, W>,
    cut: impl Future<Output = Cancellation>,
) -> TurnResult<W> {
    let TurnCall { call, world, grant, durability, host_memory } = turn;
    let returned = {
        let guest = pin!(instance.run(call, world));
        tokio::select! {
            biased;
            returned = guest => Ok(returned),
            cut = cut => Err(cut),
        }
    };
    let (answer, mut trace, world) = match returned {
        Ok(GuestResult { answer, trace, world }) => (answer, trace, typed(world)),
        Err(cut) => {
            let (trace, world) = instance.abandon();
            let world = world.expect("the call that was cut off was begun in a world");
            let result = bill(instance, Err(cut.failure(grant)), trace, typed(world));
            return TurnResult { cut: Some(cut), ..result };
        }
    };
    if let Some(needed) = answer.as_ref().err().and_then(|fault| lacking(fault, host_memory)) {
        return TurnResult { lacks: Some(needed), ..unbilled(trace, world) };
    }
    let saved = match answer {
        Ok(answer) => save(instance, answer, durability, &mut trace.log).await,
        Err(fault) => Err(fault),
    };
    match saved {
        Err(fault) if lacking(&fault, host_memory).is_some() => unbilled(trace, world),
        saved => {
            let result = saved.map_err(|fault| failure(fault, grant, host_memory()));
            bill(instance, result, trace, world)
        }
    }
}

/// The world that came back, as what it was when it was handed in.
fn typed<W: World>(world: Box<dyn World>) -> Box<W> {
    let world: Box<dyn Any> = world;
    world.downcast().expect("an instance gives back the world that it was given")
}

/// What the guest needed to hold, where this fault is that the host has no memory for it now.
fn lacking(fault: &Fault, host_memory: &dyn Fn() -> u64) -> Option<u64> {
    match fault {
        Fault::HostOutOfMemory { needed } => (*needed <= host_memory()).then_some(*needed),
        _ => None,
    }
}

fn bill<W>(
    instance: &mut Instance,
    result: Result<GuestAnswer, Failure>,
    trace: CallTrace,
    world: Box<W>,
) -> TurnResult<W> {
    let CallTrace { fuel, log, log_dropped, samples } = trace;
    let start_fuel = instance.take_start();
    TurnResult {
        result,
        cut: None,
        lacks: None,
        fuel,
        start_fuel,
        log,
        log_dropped,
        samples,
        world,
    }
}

/// It is the host that could not go on.
fn unbilled<W>(trace: CallTrace, world: Box<W>) -> TurnResult<W> {
    let CallTrace { fuel: _, log, log_dropped, samples } = trace;
    let result = Err(out_of_memory());
    TurnResult {
        result,
        cut: None,
        lacks: None,
        fuel: 0,
        start_fuel: None,
        log,
        log_dropped,
        samples,
        world,
    }
}

/// Save the state after an answer, where that is to be done with the turn.
async fn save(
    instance: &mut Instance,
    answer: AgentAnswer,
    durability: Durability,
    log: &mut Vec<LogLine>,
) -> Result<GuestAnswer, Fault> {
    let AgentAnswer { content, complete } = answer;
    if durability == Durability::Sleep && !instance.is_stateless() {
        // A save would have found out by the way what it holds.
        instance.measure().await?;
        return Ok(GuestAnswer { content, complete, saved: None, durable: false });
    }
    let (saved, durable) = match instance.save().await? {
        Saved::State(state) => {
            (Some(SavedGuest { state, files: instance.commit_files().await? }), true)
        }
        Saved::Nothing => {
            let files = instance.commit_files().await?;
            let state = GuestState::Nothing;
            (files.map(|files| SavedGuest { state, files: Some(files) }), true)
        }
        Saved::Held(what) => {
            tracing::debug!(what, "a turn is not saved");
            log.push(LogLine {
                source: LogSource::Log(LogLevel::Warn),
                message: format!("the session cannot sleep after this turn: {what}"),
                fields: Vec::new(),
            });
            (None, false)
        }
        Saved::Never => (None, false),
    };
    Ok(GuestAnswer { content, complete, saved, durable })
}

impl Cancellation {
    /// What a turn that ends so has failed with, where it was granted this.
    pub(crate) fn failure(self, grant: TurnGrant) -> Failure {
        match self {
            Cancellation::TimedOut => out_of_time(grant.time_limit),
            Cancellation::Outlived(lifetime) => out_of_time(Limit::Lifetime(lifetime)),
            Cancellation::Killed | Cancellation::Left => Failure {
                code: FailureCode::TurnKilled,
                message: "the turn was ended before the agent had answered".to_owned(),
            },
            Cancellation::Interrupted => Failure {
                code: FailureCode::TurnInterrupted,
                message:
                    "a message that came later interrupted the turn before the agent had answered"
                        .to_owned(),
            },
        }
    }
}

/// The host had no memory for what the agent needed.
pub(crate) fn out_of_memory() -> Failure {
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
pub(crate) fn failure(fault: Fault, grant: TurnGrant, memory: u64) -> Failure {
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
            Limit::Budget(_) | Limit::UserBudget(_) | Limit::PrincipalBudget(_) => {
                FailureCode::BudgetExceeded
            }
            _ => FailureCode::FuelExhausted,
        },
        Fault::StartTooLong { .. } => FailureCode::FuelExhausted,
        Fault::MemoryExceeded { .. } | Fault::HostOutOfMemory { .. } => FailureCode::MemoryExceeded,
        Fault::Effect(EffectError::Diverged(_)) => FailureCode::ReplayDiverged,
        Fault::Effect(EffectError::TooMany(_) | EffectError::NoWorld) => FailureCode::AgentFailed,
        Fault::Effect(EffectError::Host(_)) => FailureCode::HostFault,
        Fault::Busy | Fault::Host(_) | Fault::SnapshotUnusable(_) | Fault::SnapshotDamaged(_) => {
            FailureCode::HostFault
        }
    };
    Failure { code, message }
}

#[cfg(test)]
mod tests;
