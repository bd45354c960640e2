//! What can go wrong when a guest is started, restored or called.
//!
//! A fault is an outcome of the turn, for the author of the agent: short, bounded, and without a
//! path or a frame of the host. After a fault the instance must be dropped.

use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;

use super::files::Unreadable;
use super::memory::Limiter;
use dormouse_domain::effect::EffectError;

/// The most of a message that is kept, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Why a guest did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The agent said so itself.
    #[error(transparent)]
    Failed(GuestFailure),
    /// The agent trapped, panicked or exited. Says what is known of it.
    #[error("{0}")]
    Trapped(String),
    /// It used all the fuel that it was given.
    #[error("the agent used all the fuel that it was given")]
    FuelExhausted,
    /// It used more fuel to start than any agent may: before it was called, and not in the turn's fuel.
    #[error("the agent uses more than {limit} units of fuel to start, before it is called")]
    StartTooLong {
        /// The most that it may use.
        limit: u64,
    },
    /// It asked for more memory than it may have, and did not cope with less.
    #[error("the agent needs more memory than its maxMemoryBytes of {limit}")]
    MemoryExceeded {
        /// The most that it may have, in bytes.
        limit: u64,
    },
    /// It asked for memory that the host does not have now. Trying later may help.
    #[error("the host has no memory left for the agent; try again later")]
    HostOutOfMemory {
        /// What it would hold in all, in bytes.
        needed: u64,
    },
    /// Its reply is larger than a reply may be.
    #[error("the reply of the agent is larger than {limit} bytes")]
    ReplyTooLarge {
        /// The most that it may have, in bytes.
        limit: u64,
    },
    /// Its state is larger than a state may be.
    #[error("the state that the agent saved is larger than {limit} bytes")]
    StateTooLarge {
        /// The most that it may have, in bytes.
        limit: u64,
    },
    /// Its `save` said that it failed.
    #[error("the agent could not save its state: {0}")]
    SaveFailed(String),
    /// Its `restore` said that it failed.
    #[error("the agent could not restore its state: {0}")]
    RestoreFailed(String),
    /// What was saved of its state is not what was written, or a part of it is missing. Says what; it
    /// is not the agent's fault.
    #[error("the snapshot is damaged: {0}")]
    SnapshotDamaged(String),
    /// What was saved of its state is well, and cannot be put back by this host or for this agent.
    /// Says why; it is not the agent's fault.
    #[error("the snapshot cannot be restored: {0}")]
    SnapshotUnusable(String),
    /// All instances are taken. Trying later may help.
    #[error("the host runs as many agents as it can; try again later")]
    Busy,
    /// It asked the outside world for something, and its call ends with that.
    #[error(transparent)]
    Effect(EffectError),
    /// Anything else that is not the agent's fault.
    #[error("{0}")]
    Host(String),
}

/// What an agent answers instead of a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestFailure {
    /// What was sent cannot be handled as it is. Says what to change.
    #[error("{0}")]
    Invalid(String),
    /// The agent does not do what the host asked for.
    #[error("the agent declined")]
    Declined,
    /// Anything else. Says what went wrong.
    #[error("{0}")]
    Failed(String),
    /// It did reply, but what it replied is no message. Says which part, and why.
    #[error("the reply of the agent is not valid: {0}")]
    InvalidReply(String),
}

impl Fault {
    /// Whether the host could not do it, and the guest is well: another time it may.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        match self {
            Fault::HostOutOfMemory { .. }
            | Fault::Busy
            | Fault::Effect(EffectError::Host(_))
            | Fault::Host(_) => true,
            Fault::Failed(_)
            | Fault::Trapped(_)
            | Fault::FuelExhausted
            | Fault::StartTooLong { .. }
            | Fault::MemoryExceeded { .. }
            | Fault::ReplyTooLarge { .. }
            | Fault::StateTooLarge { .. }
            | Fault::SaveFailed(_)
            | Fault::RestoreFailed(_)
            | Fault::SnapshotDamaged(_)
            | Fault::SnapshotUnusable(_)
            | Fault::Effect(
                EffectError::Diverged(_) | EffectError::TooMany(_) | EffectError::NoWorld,
            ) => false,
        }
    }

    /// What an error out of a guest means, given what its memory was denied and the last that it
    /// wrote to standard error.
    pub(super) fn of(error: &wasmtime::Error, memory: &Limiter, last_words: Option<&str>) -> Fault {
        if error.is::<PoolConcurrencyLimitError>() {
            return Fault::Busy;
        }
        if matches!(error.downcast_ref::<Trap>(), Some(Trap::OutOfFuel)) {
            return Fault::FuelExhausted;
        }
        if let Some(effect) = error.downcast_ref::<EffectError>() {
            return Fault::Effect(effect.clone());
        }
        if let Some(unreadable) = error.downcast_ref::<Unreadable>() {
            return Fault::Host(bounded(unreadable.to_string()));
        }
        if let Some(denied) = memory.fault() {
            return denied;
        }
        let what = if let Some(exit) = error.downcast_ref::<I32Exit>() {
            // Most programs tell no more of their status than this.
            let how = if exit.0 == 0 { "success" } else { "failure" };
            format!("the agent exited with {how} instead of answering")
        } else if let Some(trap) = error.downcast_ref::<Trap>() {
            let trap = trap.to_string();
            format!("the agent trapped: {}", trap.strip_prefix("wasm trap: ").unwrap_or(&trap))
        } else {
            // Most often a value that is none of its type; then the cause says more than the whole.
            format!("the agent trapped: {:#}", error)
        };
        Fault::Trapped(bounded(match last_words {
            // An exception or a panic says more than that it ended in a trap.
            Some(words) => format!("{words} ({what})"),
            None => what,
        }))
    }
}

/// This text, cut where it is longer than a message may be.
pub(super) fn bounded(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        let end = text.floor_char_boundary(MAX_MESSAGE - '…'.len_utf8());
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_base::memory::MemoryBudget;

    fn limiter() -> Limiter {
        Limiter::new(1 << 20, MemoryBudget::new(1 << 30).account())
    }

    #[test]
    fn a_trap_is_told_with_the_last_words_and_without_prefix() {
        let error = wasmtime::Error::from(Trap::UnreachableCodeReached);
        let fault = Fault::of(&error, &limiter(), Some("panicked: no luck"));
        assert_eq!(
            fault.to_string(),
            "panicked: no luck (the agent trapped: wasm `unreachable` instruction executed)"
        );
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let cut = bounded("ä".repeat(2_000));
        assert!(cut.len() <= MAX_MESSAGE && cut.ends_with("ä…"), "{}", cut.len());
    }

    #[test]
    fn an_exit_is_told_as_one() {
        for (status, how) in [(0, "success"), (1, "failure")] {
            let error = wasmtime::Error::from(I32Exit(status));
            let fault = Fault::of(&error, &limiter(), None).to_string();
            assert_eq!(fault, format!("the agent exited with {how} instead of answering"));
        }
    }
}
