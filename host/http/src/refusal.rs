//! What the host refuses, as answers of the API. Exhaustive, so that a new reason gets its status.

use std::time::Duration;

use axum::http::StatusCode;

use super::error::ApiError;
use super::etag::precondition_failed;
use super::idempotency::IDEMPOTENT_REPLAYED;
use super::model::session::SessionBody;
use dormouse::{
    AgentError, CommandError, CreateError, DamagedSnapshot, FailureCode, FinishedTurn, Forbidden,
    ForkError, InvalidField, InvalidName, InvalidTransition, KeyError, Pattern, Refusal,
    ScheduleError, SendError, SessionInfo, SessionReadError, SimulationError, SpecError,
    StoreError, TemplateError, TurnDenied, TurnOutcome, TurnRecord, Unavailable, UpgradeError,
    WorldError,
};
use dormouse_base::memory::pool::ChargeRefused;
use dormouse_domain::code;

/// When to try again that for which a session has to be deleted first.
const QUOTA_WAIT: Duration = Duration::from_secs(60);

impl From<ChargeRefused> for ApiError {
    fn from(refused: ChargeRefused) -> ApiError {
        match refused {
            ChargeRefused::Share => ApiError::overloaded(),
            ChargeRefused::Budget => ApiError::out_of_memory(),
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> ApiError {
        let text = error.to_string();
        match error {
            Unavailable::NotFound(id) => ApiError::session_not_found(&id.to_string()),
            Unavailable::Damaged(damaged) => damaged.into(),
            Unavailable::Unusable(_) => ApiError::snapshot_unusable(text),
            Unavailable::OutOfMemory => ApiError::out_of_memory(),
            Unavailable::ShuttingDown => ApiError::shutting_down(),
            Unavailable::Store(error) => error.into(),
            Unavailable::Host(cause) => ApiError::internal(cause),
        }
    }
}

/// A text that cannot be the name of an agent: there is no agent of this name.
impl From<InvalidName> for ApiError {
    fn from(error: InvalidName) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, code::AGENT_NOT_FOUND, error.to_string())
            .with("agent", error.text)
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> ApiError {
        let (text, code) = (error.to_string(), error.code());
        match error {
            SendError::Unavailable(error) => error.into(),
            SendError::Denied(denied) => denied.into(),
            SendError::QueueFull(waiting) => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, text)
                    .with("waiting", waiting)
                    .retry_later()
            }
            SendError::Busy(turn) => {
                ApiError::new(StatusCode::CONFLICT, code, text).with("turn", turn).retry_later()
            }
            SendError::IdempotencyKeyReused(session) => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, text)
                    .with("id", session.to_string())
            }
            SendError::TurnGone(turn) => {
                ApiError::new(StatusCode::GONE, code, text).with("turn", turn)
            }
            SendError::PreconditionFailed(revision) => precondition_failed(revision),
            SendError::Forbidden(error) => error.into(),
            SendError::RateLimited(wait) => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, text).retry_after(wait)
            }
            SendError::ShareSpent => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, text).retry_later()
            }
            SendError::Failed(ended) => {
                let FinishedTurn { turn, session, residency, provided, replayed } = *ended;
                // No turn runs once one has failed.
                let failed = failed_turn(&turn, SessionInfo::at_rest(session, residency, provided));
                if replayed { failed.header(IDEMPOTENT_REPLAYED, "true") } else { failed }
            }
            SendError::TooLarge => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, code, text),
            SendError::Invalid(error) => error.into(),
        }
    }
}

/// A turn that was begun and failed: recorded, billed, and told with both.
pub(super) fn failed_turn(turn: &TurnRecord, session: SessionInfo) -> ApiError {
    let TurnOutcome::Failed(failure) = &turn.outcome else {
        return ApiError::internal("a turn that was answered was taken for a failed one");
    };
    let error =
        ApiError::new(status_of(failure.code), failure.code.as_str(), failure.message.as_str())
            .with("turn", turn.number)
            .with("cost", turn.cost.as_usd())
            .with("session", SessionBody::from(session).without_documents().to_value());
    if failure.code == FailureCode::OutOfMemory { error.retry_later() } else { error }
}

fn status_of(code: FailureCode) -> StatusCode {
    match code {
        FailureCode::AgentFailed | FailureCode::AgentInvalid => StatusCode::UNPROCESSABLE_ENTITY,
        FailureCode::AgentTrapped => StatusCode::BAD_GATEWAY,
        FailureCode::TurnTimeout => StatusCode::GATEWAY_TIMEOUT,
        FailureCode::FuelExhausted | FailureCode::BudgetExceeded => StatusCode::PAYMENT_REQUIRED,
        FailureCode::MemoryExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        FailureCode::AgentDeclined | FailureCode::TurnKilled | FailureCode::TurnInterrupted => {
            StatusCode::CONFLICT
        }
        FailureCode::OutOfMemory => StatusCode::SERVICE_UNAVAILABLE,
        FailureCode::HostFault
        | FailureCode::HostCrashed
        | FailureCode::ReplayDiverged
        | FailureCode::ReplayUnavailable => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<TurnDenied> for ApiError {
    fn from(denied: TurnDenied) -> ApiError {
        let (text, code) = (denied.to_string(), denied.code());
        match denied {
            TurnDenied::NotActive(inactive) => ApiError::not_active(&inactive),
            TurnDenied::Paused => ApiError::new(StatusCode::CONFLICT, code, text),
            TurnDenied::BudgetExceeded(_) => {
                ApiError::new(StatusCode::PAYMENT_REQUIRED, code, text)
            }
            TurnDenied::TurnsExceeded(_) => ApiError::new(StatusCode::CONFLICT, code, text),
            TurnDenied::FuelExceeded(_) => ApiError::new(StatusCode::PAYMENT_REQUIRED, code, text),
            TurnDenied::BudgetHeld => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, text).retry_later()
            }
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> ApiError {
        let (text, code) = (error.to_string(), error.code());
        match error {
            CommandError::Unavailable(error) => error.into(),
            CommandError::InvalidTransition(error) => error.into(),
            CommandError::Unsaved(turns) => {
                ApiError::new(StatusCode::CONFLICT, code, text).with("unsavedTurns", turns)
            }
            CommandError::NotActive(inactive) => ApiError::not_active(&inactive),
            CommandError::TurnInProgress => {
                ApiError::new(StatusCode::CONFLICT, code, text).retry_later()
            }
            CommandError::NoSnapshot(id) => {
                ApiError::new(StatusCode::NOT_FOUND, code, text).with("snapshotId", id.to_string())
            }
            CommandError::NoCommit(_) => ApiError::new(StatusCode::NOT_FOUND, code, text),
            CommandError::OtherAgent(digest) => ApiError::new(StatusCode::CONFLICT, code, text)
                .with("agentDigest", digest.to_string()),
            CommandError::NotUpgraded(_) => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, text)
            }
            CommandError::Guest(_) => ApiError::new(StatusCode::BAD_GATEWAY, code, text),
            CommandError::Forbidden(error) => error.into(),
            CommandError::Invalid(error) => error.into(),
            CommandError::OtherRevision(revision) => precondition_failed(revision),
            CommandError::StateRemoved(at) => ApiError::new(StatusCode::CONFLICT, code, text)
                .with("stateRemovedAt", at.to_string()),
            CommandError::MemberOfGroup(member) => ApiError::new(StatusCode::CONFLICT, code, text)
                .with("coordinator", member.coordinator.to_string()),
            CommandError::MemberStateGone(member) => {
                ApiError::new(StatusCode::CONFLICT, code, text).with("member", member)
            }
            CommandError::Files(error) => error.into(),
            CommandError::QueueFull => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, text).retry_later()
            }
        }
    }
}

impl From<DamagedSnapshot> for ApiError {
    fn from(damaged: DamagedSnapshot) -> ApiError {
        let code = damaged.code();
        ApiError::new(StatusCode::CONFLICT, code, damaged.to_string())
            .with("snapshotId", damaged.snapshot.to_string())
            .with("newestGood", damaged.newest_good.map(|good| good.to_string()))
    }
}

impl From<ForkError> for ApiError {
    fn from(error: ForkError) -> ApiError {
        let (text, code) = (error.to_string(), error.code());
        match error {
            ForkError::Count => ApiError::invalid_field("count", text.trim_start_matches("count ")),
            ForkError::GroupCount(_) => {
                ApiError::invalid_field("count", format!("is too much: {text}"))
            }
            ForkError::Spent(denied) => denied.into(),
            ForkError::Limits(invalid) => invalid.into(),
            ForkError::Short(_) => ApiError::new(StatusCode::PAYMENT_REQUIRED, code, text),
            ForkError::Agent(error) => error.into(),
            ForkError::Command(error) => error.into(),
        }
    }
}

impl From<UpgradeError> for ApiError {
    fn from(error: UpgradeError) -> ApiError {
        match error {
            UpgradeError::Agent(error) => error.into(),
            UpgradeError::Command(error) => error.into(),
        }
    }
}

impl From<TemplateError> for ApiError {
    fn from(error: TemplateError) -> ApiError {
        let (text, code) = (error.to_string(), error.code());
        let named = |name: String| {
            ApiError::new(StatusCode::NOT_FOUND, code, text.as_str()).with("id", name)
        };
        match error {
            TemplateError::Invalid(error) => error.into(),
            TemplateError::Name(_) => ApiError::new(StatusCode::BAD_REQUEST, code, text),
            TemplateError::NotFound(name) => named(name),
            TemplateError::NoSnapshot(id) => named(id),
            TemplateError::Forbidden(error) => error.into(),
            TemplateError::NotOwner => ApiError::new(StatusCode::FORBIDDEN, code, text),
            TemplateError::TooMany => ApiError::new(StatusCode::CONFLICT, code, text),
            TemplateError::Agent(error) => error.into(),
            TemplateError::Command(error) => (*error).into(),
            TemplateError::Store(error) => error.into(),
        }
    }
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> ApiError {
        let (text, code) = (error.to_string(), error.code());
        match error {
            ScheduleError::Invalid(error) => error.into(),
            ScheduleError::Session(error) => (*error).into(),
            ScheduleError::Message(error) => (*error).into(),
            ScheduleError::NotFound(id) => ApiError::schedule_not_found(&id.to_string()),
            ScheduleError::Running | ScheduleError::TooMany => {
                ApiError::new(StatusCode::CONFLICT, code, text)
            }
            ScheduleError::Forbidden(error) => error.into(),
            ScheduleError::Store(error) => error.into(),
        }
    }
}

impl From<SpecError> for ApiError {
    fn from(error: SpecError) -> ApiError {
        match error {
            SpecError::Invalid { field, problem } => {
                ApiError::invalid_field(format!("spec.{field}"), format!("is wrong: {problem}"))
            }
            SpecError::Toml(problem) => {
                ApiError::invalid_field("toml", format!("is no specification: {problem}"))
            }
            SpecError::TooLarge => ApiError::invalid_field("toml", error.to_string()),
        }
    }
}

impl From<WorldError> for ApiError {
    fn from(error: WorldError) -> ApiError {
        let text = error.to_string();
        let unprocessable = |code| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, &*text);
        match error {
            WorldError::Spec(error) => error.into(),
            WorldError::Invalid { field, problem } => {
                ApiError::invalid_field(field, format!("is wrong: {problem}"))
            }
            WorldError::TooLarge { .. } => unprocessable("world_too_large"),
            WorldError::NoPlace { .. } | WorldError::OutOfMemory { .. } => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code::OUT_OF_MEMORY, text)
                    .retry_later()
            }
            WorldError::Failed { .. }
            | WorldError::MemberFailed { .. }
            | WorldError::Differs { .. }
            | WorldError::Wrong { .. }
            | WorldError::Arrivals { .. } => unprocessable("world_failed"),
            WorldError::Keyframe(_) | WorldError::Host(_) => ApiError::internal(text),
        }
    }
}

impl From<SimulationError> for ApiError {
    fn from(error: SimulationError) -> ApiError {
        let text = error.to_string();
        match error {
            SimulationError::Spec(error) => error.into(),
            SimulationError::Agent { place, error } => {
                ApiError::from(error).with("field", format!("spec.members[{place}].agent"))
            }
            SimulationError::World(error) => error.into(),
            SimulationError::Forbidden(error) => error.into(),
            SimulationError::NotFound(id) => ApiError::simulation_not_found(&id.to_string()),
            SimulationError::Status { status, .. } => {
                ApiError::new(StatusCode::CONFLICT, "simulation_status", text)
                    .with("simulationStatus", status.as_str())
            }
            SimulationError::RunOf(_) => {
                ApiError::new(StatusCode::CONFLICT, "simulation_status", text)
            }
            SimulationError::Invalid { field, problem } => {
                ApiError::invalid_field(field, format!("is wrong: {problem}"))
            }
            SimulationError::Diverged(_) => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "world_failed", text)
            }
            SimulationError::NotThere(_) => {
                ApiError::new(StatusCode::CONFLICT, "tick_not_reached", text)
            }
            SimulationError::TooMany => {
                ApiError::new(StatusCode::CONFLICT, "too_many_simulations", text)
            }
            SimulationError::ExperimentNotFound(id) => {
                ApiError::experiment_not_found(&id.to_string())
            }
            SimulationError::TooManyExperiments => {
                ApiError::new(StatusCode::CONFLICT, "too_many_experiments", text)
            }
            SimulationError::ShuttingDown => ApiError::shutting_down(),
            SimulationError::Store(error) => error.into(),
            SimulationError::Host(_) => ApiError::internal(text),
        }
    }
}

impl From<InvalidTransition> for ApiError {
    fn from(error: InvalidTransition) -> ApiError {
        let code = error.code();
        let text = if error.allowed.is_empty() {
            format!("the session is {}: it is over and cannot {}", error.from, error.attempted)
        } else {
            error.to_string()
        };
        ApiError::new(StatusCode::CONFLICT, code, text)
            .with("status", error.from.as_str())
            .with("allowed", error.allowed)
    }
}

impl From<InvalidField> for ApiError {
    fn from(error: InvalidField) -> ApiError {
        ApiError::invalid_field(error.field, error.problem)
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> ApiError {
        let (text, code) = (error.to_string(), error.code());
        match error {
            CreateError::Invalid(error) => error.into(),
            CreateError::Agent(error) => error.into(),
            CreateError::NotDurable(_) | CreateError::Population(_) => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, text)
            }
            CreateError::Forbidden(error) => error.into(),
            CreateError::NotOwner => ApiError::new(StatusCode::FORBIDDEN, code, text),
            CreateError::OtherAgent(digest) => ApiError::new(StatusCode::CONFLICT, code, text)
                .with("agentDigest", digest.to_string()),
            CreateError::Template(error) => error.into(),
            CreateError::Origin(error) => error.into(),
            CreateError::PatternUnsupported { pattern, .. } => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, text)
                    .with("pattern", pattern.as_str())
                    .with("validPatterns", [Pattern::Ephemeral.as_str()].as_slice())
            }
            CreateError::IdempotencyKeyReused(session) => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, text)
                    .with("id", session.to_string())
            }
            CreateError::SessionGone(session) => {
                ApiError::new(StatusCode::GONE, code, text).with("id", session.to_string())
            }
            CreateError::Store(error) => error.into(),
        }
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> ApiError {
        let (text, code) = (error.to_string(), error.code());
        match error {
            AgentError::Refused(refusal) => refusal.into(),
            AgentError::Name(_) => ApiError::new(StatusCode::BAD_REQUEST, code, text),
            AgentError::NotFound(selector) => {
                ApiError::new(StatusCode::NOT_FOUND, code, text).with("agent", selector.to_string())
            }
            AgentError::Reserved(name) => {
                ApiError::new(StatusCode::CONFLICT, code, text).with("name", name.as_str())
            }
            AgentError::Forbidden(error) => error.into(),
            AgentError::NotOwner(agent) | AgentError::Bundled(agent) => {
                ApiError::new(StatusCode::FORBIDDEN, code, text).with("agent", agent.to_string())
            }
            AgentError::Store(error) => error.into(),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        let (text, code) = (refusal.to_string(), refusal.code());
        let refused = || ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, text.as_str());
        match &refusal {
            Refusal::TooLarge { limit } => {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, code, text).with("limit", *limit)
            }
            Refusal::MissingImports(missing) => {
                refused().with("missingImports", missing.as_slice())
            }
            Refusal::QueueFull { limit } => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, text)
                    .with("waiting", *limit)
                    .retry_later()
            }
            Refusal::ShuttingDown => ApiError::shutting_down(),
            Refusal::StartTooLong { limit } => refused().with("limit", *limit),
            Refusal::NotWasm
            | Refusal::CoreModule
            | Refusal::Malformed(_)
            | Refusal::TooComplex { .. }
            | Refusal::NoHandler
            | Refusal::OnlyPreviews
            | Refusal::WrongSignature(_)
            | Refusal::CompileFailed(_)
            | Refusal::CompileTimeout { .. }
            | Refusal::CompileMemory { .. }
            | Refusal::DoesNotStart(_) => refused(),
            Refusal::Busy => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, text).retry_later()
            }
            Refusal::Host(cause) => ApiError::internal(cause.as_str()),
        }
    }
}

/// What the caller may not do, with the role that may.
impl From<Forbidden> for ApiError {
    fn from(error: Forbidden) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, error.code(), error.to_string())
            .with("role", error.has.as_str())
            .with("neededRole", error.needed.as_str())
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> ApiError {
        let (text, code) = (error.to_string(), error.code());
        match error {
            KeyError::Forbidden(error) => error.into(),
            KeyError::Invalid(error) => error.into(),
            KeyError::NotFound(id) => ApiError::key_not_found(&id.to_string()),
            KeyError::FirstMustBeAdmin | KeyError::LastAdmin | KeyError::TooMany => {
                ApiError::new(StatusCode::CONFLICT, code, text)
            }
            KeyError::Store(error) => error.into(),
        }
    }
}

impl From<SessionReadError> for ApiError {
    fn from(error: SessionReadError) -> ApiError {
        match error {
            SessionReadError::NotFound(id) => ApiError::session_not_found(&id.to_string()),
            SessionReadError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        let (text, code) = (error.to_string(), error.code());
        match error {
            StoreError::Conflict(_) => {
                ApiError::new(StatusCode::CONFLICT, code, text).retry_later()
            }
            StoreError::IdempotencyKeyUsed(id) => {
                ApiError::new(StatusCode::CONFLICT, code, text).with("id", id.to_string())
            }
            StoreError::KeyExists(_) => ApiError::new(StatusCode::CONFLICT, code, text),
            StoreError::KeyNotFound(id) => ApiError::key_not_found(&id.to_string()),
            StoreError::ScheduleNotFound(id) => ApiError::schedule_not_found(&id.to_string()),
            StoreError::ScheduleConflict(_) => ApiError::new(StatusCode::CONFLICT, code, text),
            StoreError::NotFound(id) => ApiError::session_not_found(&id.to_string()),
            StoreError::AgentExists(agent) => {
                let text = format!("{text}; upload under another version");
                ApiError::new(StatusCode::CONFLICT, code, text)
                    .with("digest", agent.digest.to_string())
            }
            StoreError::AgentInUse(sessions) => {
                ApiError::new(StatusCode::CONFLICT, code, text).with("sessions", sessions)
            }
            StoreError::AgentNotFound(_) | StoreError::TemplateNotFound(_) => {
                ApiError::new(StatusCode::NOT_FOUND, code, text)
            }
            StoreError::SnapshotGone => ApiError::new(StatusCode::CONFLICT, code, text),
            StoreError::TooLarge { limit, .. } => {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, code, text).with("limit", limit)
            }
            StoreError::TooManySessions => {
                ApiError::new(StatusCode::INSUFFICIENT_STORAGE, code, text)
            }
            StoreError::QuotaReached { limit } => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, text)
                    .with("limit", limit)
                    .retry_after(QUOTA_WAIT)
            }
            StoreError::CursorOfAnotherOrder => ApiError::new(StatusCode::BAD_REQUEST, code, text),
            StoreError::OutOfMemory => ApiError::out_of_memory(),
            StoreError::Full => ApiError::new(StatusCode::INSUFFICIENT_STORAGE, code, text),
            StoreError::Damaged(_) | StoreError::AccountNotFound(_) => ApiError::internal(text),
            StoreError::Unknown(cause) => {
                // The cause may name a file.
                let text = "whether this is durable is not known; the host must be started again";
                tracing::error!(%cause, "the outcome of a commit is unknown");
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, text).retry_later()
            }
            StoreError::Closed => ApiError::shutting_down(),
            StoreError::NoUpkeep => ApiError::new(StatusCode::NOT_IMPLEMENTED, code, text),
            StoreError::Io(cause) => ApiError::internal(cause.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse::NotActive;
    use dormouse::SessionId;
    use dormouse::Status;
    use dormouse_domain::limits::{Limit, NanoUsd};

    fn told(error: impl Into<ApiError>) -> (u16, &'static str) {
        let error = error.into();
        (error.status().as_u16(), error.code())
    }

    #[test]
    fn what_a_session_refuses_has_its_status_and_its_code() {
        let id = SessionId(uuid::Uuid::nil());
        assert_eq!(
            told(SendError::Unavailable(Unavailable::NotFound(id))),
            (404, "session_not_found")
        );
        let (status, reason, limit) = (Status::Completed, None, None);
        let over = TurnDenied::NotActive(NotActive { status, reason, limit });
        assert_eq!(told(SendError::Denied(over)), (409, "session_not_active"));
        assert_eq!(told(SendError::Denied(TurnDenied::Paused)), (409, "session_paused"));
        assert_eq!(
            told(SendError::Denied(TurnDenied::BudgetExceeded(Limit::Budget(NanoUsd(1))))),
            (402, "budget_exceeded")
        );
        assert_eq!(told(SendError::QueueFull(64)), (429, "queue_full"));
        assert_eq!(told(SendError::ShareSpent), (429, "share_spent"));
        assert_eq!(told(SendError::Busy(Some(7))), (409, "turn_in_progress"));
        assert_eq!(told(SendError::IdempotencyKeyReused(id)), (422, "idempotency_key_reused"));
        assert_eq!(told(SendError::TurnGone(7)), (410, "turn_gone"));
        assert_eq!(told(SendError::PreconditionFailed(7)), (412, "precondition_failed"));
        assert_eq!(told(SendError::Unavailable(Unavailable::OutOfMemory)), (503, "out_of_memory"));
        assert_eq!(told(CommandError::Unsaved(1)), (409, "state_unsaved"));
        let unusable = || "it has format 1".to_owned();
        assert_eq!(
            told(SendError::Unavailable(Unavailable::Unusable(unusable()))),
            (409, "snapshot_unusable")
        );
        assert_eq!(
            told(CommandError::Unavailable(Unavailable::Unusable(unusable()))),
            (409, "snapshot_unusable")
        );
        assert_eq!(told(StoreError::Full), (507, "disk_full"));
        assert_eq!(told(StoreError::TooManySessions), (507, "too_many_sessions"));
        assert_eq!(told(StoreError::QuotaReached { limit: 3 }), (429, "quota_exceeded"));
        assert_eq!(told(StoreError::CursorOfAnotherOrder), (400, "cursor_of_another_order"));
        assert_eq!(told(StoreError::OutOfMemory), (503, "out_of_memory"));
        assert_eq!(told(StoreError::Unknown("sync".into())), (503, "commit_unknown"));
    }

    #[test]
    fn each_failure_of_a_turn_has_the_status_of_the_contract() {
        let expected = [422, 422, 409, 502, 504, 402, 402, 413, 409, 409, 503, 500];
        for (code, status) in FailureCode::ALL.into_iter().zip(expected) {
            assert_eq!(status_of(code).as_u16(), status, "{code:?}");
        }
    }

    #[test]
    fn missing_imports_are_named() {
        let refusal = Refusal::MissingImports(vec!["wasi:sockets/tcp@0.2.0".to_owned()]);
        let error = ApiError::from(refusal);
        assert_eq!(told(error.clone()), (422, "missing_imports"));
        let body = error.body("r");
        assert_eq!(body.more["missingImports"], serde_json::json!(["wasi:sockets/tcp@0.2.0"]));
    }

    #[test]
    fn what_is_the_hosts_fault_is_told_to_the_log_alone() {
        let error = ApiError::from(StoreError::Io("/var/lib/dormouse/sled: broken".into()));
        assert_eq!(told(error.clone()), (500, "internal"));
        assert!(!format!("{:?}", error.body("r")).contains("/var"));
        assert!(error.cause().is_some_and(|cause| cause.contains("/var")));
    }
}
