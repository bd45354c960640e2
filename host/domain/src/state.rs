//! The states of a session, and the only function that moves between them.
//!
//! ```text
//!  initializing ──turn──▶ active ⇄ idle          idle: nobody has spoken for a while
//!        │                   │       │
//!        └───────┬───────────┴───────┘
//!                ├── pause ──▶ paused ── resume ──▶ what it was
//!                ├── fail ───▶ error ─── resume ──▶ active      so does an idle one
//!                ├── stop ───▶ stopping ─▶ terminated     the running turn may finish first
//!                ├── terminate ──────────▶ terminated
//!                └── complete ───────────▶ completed
//! ```
//!
//! The driver of the session makes the moves, nobody else. `completed` and `terminated` are final.
//! Whether the guest state is in memory (its *residency*) is another matter, and not kept here.

use std::fmt;
use std::str::FromStr;

/// Where a session is in its life, with what that state needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Created; no turn has committed yet.
    Initializing,
    /// In conversation.
    Active,
    /// Asleep because nobody spoke for a while; the next message makes it active.
    Idle,
    /// Takes no messages until it is resumed, as what it was.
    Paused(Resumable),
    /// Ends when the running turn has finished.
    Stopping(Reason),
    /// Takes no messages until it is resumed. Says what went wrong.
    Error(Reason),
    /// Over: it has done what it was for.
    Completed,
    /// Over: somebody or a limit ended it. Says who.
    Terminated(Reason),
}

/// What a paused session was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumable {
    /// [`State::Initializing`]
    Initializing,
    /// [`State::Active`]
    Active,
    /// [`State::Idle`]
    Idle,
}

/// Why a session ended or failed: a stable word such as `max_turns`, or what the caller gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub String);

impl Reason {
    /// This word, whosever it is.
    #[must_use]
    pub fn new(word: &str) -> Reason {
        Reason(word.to_owned())
    }

    /// The reason of the host's own that this is, if it is one.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.as_str() == self.0)
    }
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Reason {
        Reason::new(cause.as_str())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host's own reasons to end a session or to put it into `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// All turns are used.
    MaxTurns,
    /// The money is spent.
    BudgetExceeded,
    /// The fuel is used.
    FuelExhausted,
    /// It has lived for as long as it may.
    LifetimeExceeded,
    /// Nobody has sent a message for too long.
    IdleTimeout,
    /// A caller stopped it.
    Stopped,
    /// A caller killed it.
    ForceKilled,
    /// A caller says that it has crashed.
    Crashed,
    /// The one turn of an ephemeral session has failed.
    TurnFailed,
    /// Too many turns in a row have failed.
    ConsecutiveFailures,
    /// State that no snapshot held was lost with its instance.
    StateLost,
    /// Its head is damaged.
    SnapshotCorrupt,
    /// Its record is damaged, but for what a listing needs.
    RecordDamaged,
    /// Its state was removed: nobody had used it for as long as it is kept.
    StateExpired,
    /// The group has ended that it was a member of.
    GroupEnded,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 15] = [
        Cause::MaxTurns,
        Cause::BudgetExceeded,
        Cause::FuelExhausted,
        Cause::LifetimeExceeded,
        Cause::IdleTimeout,
        Cause::Stopped,
        Cause::ForceKilled,
        Cause::Crashed,
        Cause::TurnFailed,
        Cause::ConsecutiveFailures,
        Cause::StateLost,
        Cause::SnapshotCorrupt,
        Cause::RecordDamaged,
        Cause::StateExpired,
        Cause::GroupEnded,
    ];

    /// The stable word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::MaxTurns => "max_turns",
            Cause::BudgetExceeded => "budget_exceeded",
            Cause::FuelExhausted => "fuel_exhausted",
            Cause::LifetimeExceeded => "lifetime_exceeded",
            Cause::IdleTimeout => "idle_timeout",
            Cause::Stopped => "stopped",
            Cause::ForceKilled => "force_killed",
            Cause::Crashed => "crashed",
            Cause::TurnFailed => "turn_failed",
            Cause::ConsecutiveFailures => "consecutive_failures",
            Cause::StateLost => "state_lost",
            Cause::SnapshotCorrupt => "snapshot_corrupt",
            Cause::RecordDamaged => "record_damaged",
            Cause::StateExpired => "state_expired",
            Cause::GroupEnded => "group_ended",
        }
    }
}

/// The name of a state, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// [`State::Initializing`]
    Initializing,
    /// [`State::Active`]
    Active,
    /// [`State::Idle`]
    Idle,
    /// [`State::Paused`]
    Paused,
    /// [`State::Stopping`]
    Stopping,
    /// [`State::Completed`]
    Completed,
    /// [`State::Error`]
    Error,
    /// [`State::Terminated`]
    Terminated,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 8] = [
        Status::Initializing,
        Status::Active,
        Status::Idle,
        Status::Paused,
        Status::Stopping,
        Status::Completed,
        Status::Error,
        Status::Terminated,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Initializing => "initializing",
            Status::Active => "active",
            Status::Idle => "idle",
            Status::Paused => "paused",
            Status::Stopping => "stopping",
            Status::Completed => "completed",
            Status::Error => "error",
            Status::Terminated => "terminated",
        }
    }

    /// Whether this is the end.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Terminated)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no status.
#[derive(Debug, thiserror::Error)]
#[error("there is no such status")]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Status, UnknownStatus> {
        Status::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// What may happen to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// A turn has committed.
    Turn,
    /// Nobody has spoken for a while.
    Rest,
    /// Take no messages until resumed.
    Pause,
    /// Take messages again.
    Resume,
    /// End once the running turn has finished.
    Stop(Reason),
    /// End now.
    Terminate(Reason),
    /// It has done what it was for.
    Complete,
    /// It cannot go on by itself.
    Fail(Reason),
}

impl Move {
    /// The name of the move, for error messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Move::Turn => "turn",
            Move::Rest => "rest",
            Move::Pause => "pause",
            Move::Resume => "resume",
            Move::Stop(_) => "stop",
            Move::Terminate(_) => "terminate",
            Move::Complete => "complete",
            Move::Fail(_) => "fail",
        }
    }
}

/// The state does not allow the move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session that is {from} cannot {attempted}; it can {}", allowed.join(", "))]
pub struct InvalidTransition {
    /// The state it was in.
    pub from: Status,
    /// The move that was tried.
    pub attempted: &'static str,
    /// The moves that state allows.
    pub allowed: Vec<&'static str>,
}

impl InvalidTransition {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "invalid_transition"
    }
}

impl State {
    /// The name of this state.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            State::Initializing => Status::Initializing,
            State::Active => Status::Active,
            State::Idle => Status::Idle,
            State::Paused(_) => Status::Paused,
            State::Stopping(_) => Status::Stopping,
            State::Completed => Status::Completed,
            State::Error(_) => Status::Error,
            State::Terminated(_) => Status::Terminated,
        }
    }

    /// Why it ended or failed, where it did.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            State::Stopping(reason) | State::Error(reason) | State::Terminated(reason) => {
                Some(reason)
            }
            State::Initializing
            | State::Active
            | State::Idle
            | State::Paused(_)
            | State::Completed => None,
        }
    }

    /// Make a move. This is the whole table: what is not here is refused.
    ///
    /// # Errors
    /// [`InvalidTransition`] where the state does not allow the move; it names those it allows.
    pub fn after(&self, step: Move) -> Result<State, InvalidTransition> {
        use State::{Active, Completed, Error, Idle, Initializing, Paused, Stopping, Terminated};
        match (self, step) {
            (Initializing | Active | Idle, Move::Turn) => Ok(Active),
            // A turn that was running when the session was stopped still commits.
            (Stopping(reason), Move::Turn) => Ok(Stopping(reason.clone())),
            (Active | Idle, Move::Rest) => Ok(Idle),
            (Initializing, Move::Pause) => Ok(Paused(Resumable::Initializing)),
            (Active, Move::Pause) => Ok(Paused(Resumable::Active)),
            (Idle, Move::Pause) => Ok(Paused(Resumable::Idle)),
            (Paused(was), Move::Pause) => Ok(Paused(*was)),
            (Paused(Resumable::Initializing), Move::Resume) => Ok(Initializing),
            (Paused(Resumable::Active), Move::Resume) => Ok(Active),
            (Paused(Resumable::Idle), Move::Resume) => Ok(Idle),
            (Error(_) | Idle, Move::Resume) => Ok(Active),
            (Initializing | Active | Idle | Paused(_) | Error(_), Move::Stop(reason)) => {
                Ok(Stopping(reason))
            }
            // Stopping twice keeps the first reason.
            (Stopping(reason), Move::Stop(_)) => Ok(Stopping(reason.clone())),
            (
                Initializing | Active | Idle | Paused(_) | Error(_) | Stopping(_),
                Move::Terminate(reason),
            ) => Ok(Terminated(reason)),
            (Initializing | Active | Idle | Paused(_) | Error(_) | Stopping(_), Move::Complete) => {
                Ok(Completed)
            }
            (Initializing | Active | Idle | Paused(_) | Error(_), Move::Fail(reason)) => {
                Ok(Error(reason))
            }
            (_, step) => Err(self.refusal(&step)),
        }
    }

    fn refusal(&self, attempted: &Move) -> InvalidTransition {
        let reason = || Reason::new("");
        let all = [
            Move::Turn,
            Move::Rest,
            Move::Pause,
            Move::Resume,
            Move::Stop(reason()),
            Move::Terminate(reason()),
            Move::Complete,
            Move::Fail(reason()),
        ];
        // No recursion without end: only moves that are allowed succeed, and those do not come here.
        let allowed = all
            .into_iter()
            .filter(|step| step.name() != attempted.name())
            .filter(|step| self.allows(step))
            .map(|step| step.name())
            .collect();
        InvalidTransition { from: self.status(), attempted: attempted.name(), allowed }
    }

    /// Whether `step` is in the table for this state.
    fn allows(&self, step: &Move) -> bool {
        match self.status() {
            Status::Initializing => !matches!(step, Move::Resume | Move::Rest),
            Status::Active => !matches!(step, Move::Resume),
            Status::Idle => true,
            Status::Paused => !matches!(step, Move::Turn | Move::Rest),
            Status::Stopping => {
                matches!(step, Move::Turn | Move::Stop(_) | Move::Terminate(_) | Move::Complete)
            }
            Status::Error => !matches!(step, Move::Turn | Move::Rest | Move::Pause),
            Status::Completed | Status::Terminated => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_move() -> impl Strategy<Value = Move> {
        prop_oneof![
            Just(Move::Turn),
            Just(Move::Rest),
            Just(Move::Pause),
            Just(Move::Resume),
            Just(Move::Stop(Reason::new("stopped"))),
            Just(Move::Terminate(Reason::new("asked"))),
            Just(Move::Complete),
            Just(Move::Fail(Reason::new("broken"))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_over_stays_over(moves in proptest::collection::vec(any_move(), 0..40)) {
            let mut state = State::Initializing;
            for step in moves {
                let was_over = state.status().is_final();
                match state.after(step) {
                    Ok(next) => {
                        prop_assert!(!was_over);
                        state = next;
                    }
                    Err(refused) => prop_assert_eq!(refused.from, state.status()),
                }
            }
        }

        #[test]
        fn a_refusal_names_just_the_moves_that_are_allowed(
            moves in proptest::collection::vec(any_move(), 0..40),
        ) {
            let mut state = State::Initializing;
            for step in moves {
                prop_assert_eq!(state.allows(&step), state.after(step.clone()).is_ok());
                if let Err(refused) = state.after(step.clone()) {
                    prop_assert!(!refused.allowed.contains(&step.name()));
                }
                state = state.after(step).unwrap_or(state);
            }
        }

        #[test]
        fn pausing_and_resuming_changes_nothing(
            moves in proptest::collection::vec(any_move(), 0..40),
        ) {
            let mut state = State::Initializing;
            for step in moves {
                state = state.after(step).unwrap_or(state);
            }
            if matches!(state.status(), Status::Initializing | Status::Active | Status::Idle) {
                let paused = state.after(Move::Pause).expect("an open session can pause");
                prop_assert_eq!(paused.after(Move::Resume), Ok(state));
            }
        }
    }

    #[test]
    fn only_resuming_leaves_the_error_state_for_conversation() {
        let state = State::Error(Reason::new("state_lost"));
        assert!(state.after(Move::Turn).is_err());
        assert_eq!(state.after(Move::Resume), Ok(State::Active));
    }

    #[test]
    fn a_turn_that_ran_while_the_session_was_stopped_still_commits() {
        let stopping = State::Active.after(Move::Stop(Reason::new("stopped"))).expect("it stops");
        assert_eq!(stopping.after(Move::Turn), Ok(stopping));
    }
}
