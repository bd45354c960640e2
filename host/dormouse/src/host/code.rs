//! The stable word of each error: the same through the library and over HTTP.
//!
//! A word stays what it is from version to version, so that programs and tests can go by it. The API adds
//! a status to each (`refusal.rs` of the crate `dormouse-http`), and takes the words from here.

use super::{CreateError, ForkError, ScheduleError, SessionReadError, TemplateError, UpgradeError};
use crate::catalog::AgentError;
use crate::keys::KeyError;
use crate::session::request::{CommandError, SendError, Unavailable};
use crate::turn::admission::TurnDenied;
use crate::workspaces::FileError;
use dormouse_domain::code::{
    AGENT_NOT_FOUND, IDEMPOTENCY_KEY_REUSED, INTERNAL, INVALID_FIELD, NOT_ACTIVE, NOT_OWNER,
    OUT_OF_MEMORY, PRECONDITION_FAILED, RATE_LIMITED, SESSION_NOT_FOUND, SHUTTING_DOWN,
    TURN_IN_PROGRESS, UNUSABLE,
};
use dormouse_domain::state::Cause;
use dormouse_domain::turn::TurnOutcome;
use dormouse_store::StoreError;
use dormouse_workspace::Error;

impl SendError {
    /// The stable word for it, such as `session_not_active`; of a turn that failed, the word of its
    /// failure, such as `agent_trapped`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            SendError::Unavailable(error) => error.code(),
            SendError::Denied(denied) => denied.code(),
            SendError::QueueFull(_) => "queue_full",
            SendError::Busy(_) => TURN_IN_PROGRESS,
            SendError::IdempotencyKeyReused(_) => IDEMPOTENCY_KEY_REUSED,
            SendError::TurnGone(_) => "turn_gone",
            SendError::PreconditionFailed(_) => PRECONDITION_FAILED,
            SendError::ShareSpent => "share_spent",
            SendError::Failed(ended) => match &ended.turn.outcome {
                TurnOutcome::Failed(failure) => failure.code.as_str(),
                TurnOutcome::Answered { .. } => INTERNAL,
            },
            SendError::Forbidden(error) => error.code(),
            SendError::RateLimited(_) => RATE_LIMITED,
            SendError::TooLarge => "message_too_large",
            SendError::Invalid(_) => INVALID_FIELD,
        }
    }
}

impl Unavailable {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Unavailable::NotFound(_) => SESSION_NOT_FOUND,
            Unavailable::Damaged(damaged) => damaged.code(),
            Unavailable::Unusable(_) => UNUSABLE,
            Unavailable::OutOfMemory => OUT_OF_MEMORY,
            Unavailable::ShuttingDown => SHUTTING_DOWN,
            Unavailable::Store(error) => error.code(),
            Unavailable::Host(_) => INTERNAL,
        }
    }
}

impl TurnDenied {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            TurnDenied::NotActive(_) => NOT_ACTIVE,
            TurnDenied::Paused => "session_paused",
            TurnDenied::BudgetExceeded(_) => Cause::BudgetExceeded.as_str(),
            TurnDenied::TurnsExceeded(_) => Cause::MaxTurns.as_str(),
            TurnDenied::FuelExceeded(_) => Cause::FuelExhausted.as_str(),
            TurnDenied::BudgetHeld => "budget_held",
        }
    }
}

impl CommandError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            CommandError::Unavailable(error) => error.code(),
            CommandError::InvalidTransition(error) => error.code(),
            CommandError::Unsaved(_) => "state_unsaved",
            CommandError::NotActive(_) => NOT_ACTIVE,
            CommandError::TurnInProgress => TURN_IN_PROGRESS,
            CommandError::NoSnapshot(_) => "snapshot_not_found",
            CommandError::NoCommit(_) => "commit_not_found",
            CommandError::OtherAgent(_) => "other_agent",
            CommandError::NotUpgraded(_) => "upgrade_failed",
            CommandError::Guest(_) => "wake_failed",
            CommandError::Forbidden(error) => error.code(),
            CommandError::Invalid(error) => error.code(),
            CommandError::OtherRevision(_) => PRECONDITION_FAILED,
            CommandError::StateRemoved(_) => Cause::StateExpired.as_str(),
            CommandError::MemberOfGroup(_) => "member_of_group",
            CommandError::MemberStateGone(_) => "member_state_gone",
            CommandError::Files(error) => error.code(),
            CommandError::QueueFull => "queue_full",
        }
    }
}

impl FileError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            FileError::Refused { error, .. } => match error {
                Error::NoEntry => "file_not_found",
                Error::Quota(_) => "workspace_full",
                Error::Busy
                | Error::Exist
                | Error::IsDirectory
                | Error::NotDirectory
                | Error::NotEmpty
                | Error::TooManyLinks => "file_conflict",
                Error::BadDescriptor
                | Error::Invalid
                | Error::Loop
                | Error::NameTooLong
                | Error::NotPermitted => "invalid_path",
                Error::Io(_) => INTERNAL,
            },
            FileError::Unexpected { .. } => PRECONDITION_FAILED,
            FileError::TooMany => INVALID_FIELD,
            FileError::Unreadable(_) => INTERNAL,
        }
    }
}

impl SessionReadError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            SessionReadError::NotFound(_) => SESSION_NOT_FOUND,
            SessionReadError::Store(error) => error.code(),
        }
    }
}

impl CreateError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            CreateError::Invalid(error) => error.code(),
            CreateError::Agent(error) => error.code(),
            CreateError::NotDurable(_) => "not_durable",
            CreateError::PatternUnsupported { .. } => "pattern_unsupported",
            CreateError::Population(_) => "not_an_agent",
            CreateError::Forbidden(error) => error.code(),
            CreateError::NotOwner => NOT_OWNER,
            CreateError::OtherAgent(_) => "other_agent",
            CreateError::Template(error) => error.code(),
            CreateError::Origin(error) => error.code(),
            CreateError::IdempotencyKeyReused(_) => IDEMPOTENCY_KEY_REUSED,
            CreateError::SessionGone(_) => "session_gone",
            CreateError::Store(error) => error.code(),
        }
    }
}

impl ForkError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ForkError::Count | ForkError::GroupCount(_) => INVALID_FIELD,
            ForkError::Spent(denied) => denied.code(),
            ForkError::Limits(_) => INVALID_FIELD,
            ForkError::Short(_) => Cause::BudgetExceeded.as_str(),
            ForkError::Agent(error) => error.code(),
            ForkError::Command(error) => error.code(),
        }
    }
}

impl UpgradeError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            UpgradeError::Agent(error) => error.code(),
            UpgradeError::Command(error) => error.code(),
        }
    }
}

impl TemplateError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            TemplateError::Invalid(error) => error.code(),
            TemplateError::Name(_) => "invalid_name",
            TemplateError::NotFound(_) => "template_not_found",
            TemplateError::NoSnapshot(_) => "snapshot_not_found",
            TemplateError::Forbidden(error) => error.code(),
            TemplateError::NotOwner => NOT_OWNER,
            TemplateError::TooMany => "too_many_templates",
            TemplateError::Agent(error) => error.code(),
            TemplateError::Command(error) => error.code(),
            TemplateError::Store(error) => error.code(),
        }
    }
}

impl ScheduleError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ScheduleError::Invalid(error) => error.code(),
            ScheduleError::Session(error) => error.code(),
            ScheduleError::Message(error) => error.code(),
            ScheduleError::NotFound(id) => StoreError::ScheduleNotFound(*id).code(),
            ScheduleError::Running => "schedule_running",
            ScheduleError::TooMany => "too_many_schedules",
            ScheduleError::Forbidden(error) => error.code(),
            ScheduleError::Store(error) => error.code(),
        }
    }
}

impl AgentError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            AgentError::Refused(refusal) => refusal.code(),
            AgentError::Name(_) => "invalid_name",
            AgentError::NotFound(_) => AGENT_NOT_FOUND,
            AgentError::Reserved(_) => "reserved_name",
            AgentError::Forbidden(error) => error.code(),
            AgentError::NotOwner(_) => NOT_OWNER,
            AgentError::Bundled(_) => "agent_bundled",
            AgentError::Store(error) => error.code(),
        }
    }
}

impl KeyError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            KeyError::Forbidden(error) => error.code(),
            KeyError::Invalid(error) => error.code(),
            KeyError::NotFound(id) => StoreError::KeyNotFound(*id).code(),
            KeyError::FirstMustBeAdmin => "first_key_must_be_admin",
            KeyError::LastAdmin => "last_admin",
            KeyError::TooMany => "too_many_keys",
            KeyError::Store(error) => error.code(),
        }
    }
}
