//! The stable words of errors, each with the statuses that it comes with and what it means.
//!
//! Most words are those of the library (`host/code.rs` of the crate `dormouse`). No error is told whose word and
//! status do not stand here together: the description of the API is made of this table.

use super::model::value::Words;

macro_rules! codes {
    ($($name:ident = $text:literal, $statuses:expr, $meaning:literal;)*) => {
        /// The stable word of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// All of them, by status.
            pub(crate) const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The word.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Code::$name => $text,)*
                }
            }

            /// The statuses that it comes with, the usual one first.
            pub(crate) const fn statuses(self) -> &'static [u16] {
                match self {
                    $(Code::$name => &$statuses,)*
                }
            }

            /// What it means, in one sentence.
            pub(crate) const fn meaning(self) -> &'static str {
                match self {
                    $(Code::$name => $meaning,)*
                }
            }
        }
    };
}

codes! {
    InvalidField = "invalid_field", [400, 422], "A field, a parameter or a header is out of its bounds, or of another type.";
    UnknownField = "unknown_field", [400], "A name is a near miss of one that is known.";
    UnknownFilter = "unknown_filter", [400], "A list has no such filter.";
    NotSupported = "not_supported", [400], "This version does not do what the field asks for.";
    InvalidPattern = "invalid_pattern", [400], "There is no such pattern.";
    InvalidStatus = "invalid_status", [400], "There is no such status, or no client can ask for it.";
    InvalidName = "invalid_name", [400], "The name or the version is none that a thing can have.";
    InvalidPath = "invalid_path", [400], "The path leads out of the workspace, through too many links, or is too long.";
    InvalidArchive = "invalid_archive", [400], "The body is no tar archive, or has what no workspace takes.";
    InvalidJson = "invalid_json", [400], "The body is no JSON object.";
    BrokenBody = "broken_body", [400], "The body ended before it was whole.";
    CursorOfAnotherOrder = "cursor_of_another_order", [400], "The cursor belongs to a list that is sorted otherwise.";
    Unauthorized = "unauthorized", [401], "The server needs a key, or does not know this one.";
    BudgetExceeded = "budget_exceeded", [402], "The money of the session is spent.";
    FuelExhausted = "fuel_exhausted", [402], "The fuel of the turn or of the session is used.";
    Forbidden = "forbidden", [403], "The role of the caller's key does not allow it.";
    GitService = "git_service", [403], "A repository can be cloned and fetched, and nothing else.";
    ForeignOrigin = "foreign_origin", [403], "A web page of another origin may not call.";
    NotOwner = "not_owner", [403], "What was named belongs to another owner, project or user.";
    AgentBundled = "agent_bundled", [403], "The agent comes with the host: nobody changes or removes it.";
    NotFound = "not_found", [404], "There is no such path.";
    SessionNotFound = "session_not_found", [404], "There is no such session, or it is somebody else's.";
    AgentNotFound = "agent_not_found", [404], "There is no such agent, or the caller cannot name it.";
    TurnNotFound = "turn_not_found", [404], "The session has no such turn.";
    SnapshotNotFound = "snapshot_not_found", [404], "There is no such snapshot, or the session has none.";
    CommitNotFound = "commit_not_found", [404], "No snapshot of the session that is kept has the files of the commit.";
    TemplateNotFound = "template_not_found", [404], "The caller has no such template.";
    ScheduleNotFound = "schedule_not_found", [404], "There is no such schedule, or it is somebody else's.";
    SimulationNotFound = "simulation_not_found", [404], "There is no such simulation, or it is somebody else's.";
    ExperimentNotFound = "experiment_not_found", [404], "There is no such experiment, or it is somebody else's.";
    FileNotFound = "file_not_found", [404], "There is no file of this path.";
    ThreadNotFound = "thread_not_found", [404], "No open session has this thread.";
    KeyNotFound = "key_not_found", [404], "There is no such key.";
    MethodNotAllowed = "method_not_allowed", [405], "The path does not take this method.";
    BodyTimeout = "body_timeout", [408], "The body did not come in time.";
    NotActive = "session_not_active", [409], "The session is over, about to end, or in error.";
    SessionPaused = "session_paused", [409], "The session takes no messages until it is resumed.";
    MaxTurns = "max_turns", [409], "The session has had all of its turns.";
    TurnInProgress = "turn_in_progress", [409], "A turn runs or waits, and this does not wait for its end.";
    TurnKilled = "turn_killed", [409], "Somebody has ended the turn.";
    TurnInterrupted = "turn_interrupted", [409], "A message that came later has ended the turn.";
    AgentDeclined = "agent_declined", [409], "The agent does not do what it was asked for.";
    InvalidTransition = "invalid_transition", [409], "The status of the session does not allow it.";
    StateUnsaved = "state_unsaved", [409], "The state of the session is in memory alone and cannot be saved.";
    StateExpired = "state_expired", [409], "The state of the session was removed, because nobody had used it for so long.";
    MemberOfGroup = "member_of_group", [409], "The session is a member of a group, and does this only with all of it.";
    MemberStateGone = "member_state_gone", [409], "Nothing is kept of a member of the group from the time that it is to go back to.";
    SnapshotCorrupt = "snapshot_corrupt", [409], "The state of the session is damaged.";
    SnapshotUnusable = "snapshot_unusable", [409], "This host does not read the state of the session.";
    SnapshotGone = "snapshot_gone", [409], "The snapshot was removed meanwhile.";
    OtherAgent = "other_agent", [409], "The state is of another agent.";
    AgentExists = "agent_exists", [409], "Other bytes have this name and version.";
    AgentInUse = "agent_in_use", [409], "Sessions refer to the agent.";
    ReservedName = "reserved_name", [409], "The name is the host's own.";
    TooManyTemplates = "too_many_templates", [409], "The caller has as many templates as there may be.";
    TooManySchedules = "too_many_schedules", [409], "The caller has as many schedules as there may be.";
    ScheduleRunning = "schedule_running", [409], "A run of the schedule goes on.";
    TooManySimulations = "too_many_simulations", [409], "The caller has as many simulations as there may be.";
    TooManyExperiments = "too_many_experiments", [409], "The caller has as many experiments as there may be.";
    SimulationStatus = "simulation_status", [409], "The status of the simulation does not allow it.";
    TickNotReached = "tick_not_reached", [409], "The simulation has not come to the tick that was named, or is over there.";
    FirstKeyMustBeAdmin = "first_key_must_be_admin", [409], "The first key must be one of an admin.";
    LastAdmin = "last_admin", [409], "The last key of an admin goes last.";
    TooManyKeys = "too_many_keys", [409], "There are as many keys as there may be.";
    KeyExists = "key_exists", [409], "There is such a key already.";
    FileConflict = "file_conflict", [409], "What is at the path does not take this: a directory for a file, say. `reason` has the word.";
    Conflict = "conflict", [409], "Somebody else has changed the session at the same time.";
    IdempotencyKeyUsed = "idempotency_key_used", [409], "A request with the same key is under way.";
    SessionGone = "session_gone", [410], "The session that the idempotency key has created was removed.";
    TurnGone = "turn_gone", [410], "What the turn of the idempotency key was answered is not kept any more.";
    PreconditionFailed = "precondition_failed", [412], "The session has another revision, or the file other contents, than the request names.";
    BodyTooLarge = "body_too_large", [413], "The body is larger than the server takes.";
    MessageTooLarge = "message_too_large", [413], "The message is larger than a session takes.";
    ComponentTooLarge = "component_too_large", [413], "The component is larger than the host takes.";
    TooLarge = "too_large", [413], "What would be stored is larger than a record may be.";
    MemoryExceeded = "memory_exceeded", [413], "The agent has asked for more memory than the session allows.";
    WorkspaceFull = "workspace_full", [413], "A quota of the workspace has no room: `reason` says which.";
    UnsupportedMediaType = "unsupported_media_type", [415], "The body has a content type that the route does not take.";
    UnsupportedCharset = "unsupported_charset", [415], "JSON is UTF-8.";
    UnsupportedContentEncoding = "unsupported_content_encoding", [415], "The body must come as it is, not compressed.";
    InvalidRange = "invalid_range", [416], "The file has no such part.";
    MisdirectedRequest = "misdirected_request", [421], "The server does not go by the name in the `Host` header.";
    AgentFailed = "agent_failed", [422], "The agent says that it has failed.";
    AgentInvalid = "agent_invalid", [422], "The agent cannot handle the message as it is.";
    IdempotencyKeyReused = "idempotency_key_reused", [422], "The idempotency key came with another request before.";
    PatternUnsupported = "pattern_unsupported", [422], "Sessions of this agent cannot have this pattern.";
    WorldTooLarge = "world_too_large", [422], "The world has more instances than the host has places for worlds.";
    WorldFailed = "world_failed", [422], "Members of the world did what cannot be done.";
    NotDurable = "not_durable", [422], "The state of this agent cannot be saved, and the session requires it.";
    UpgradeFailed = "upgrade_failed", [422], "The new version does not take over the state of the session.";
    NotAComponent = "not_a_component", [422], "The upload is no WebAssembly component.";
    InvalidComponent = "invalid_component", [422], "The component is malformed.";
    TooComplex = "too_complex", [422], "The component would take too much work to compile.";
    NotAnAgent = "not_an_agent", [422], "The component does not export what an agent exports.";
    WrongSignature = "wrong_signature", [422], "An export of the component has another type than the host calls.";
    MissingImports = "missing_imports", [422], "The component imports what the host does not have.";
    CompileFailed = "compile_failed", [422], "The component could not be compiled.";
    CompileTimeout = "compile_timeout", [422], "The component takes too long to compile.";
    CompileMemory = "compile_memory", [422], "The component takes too much memory to compile.";
    DoesNotStart = "does_not_start", [422], "No instance of the component can be made.";
    StartTooLong = "start_too_long", [422], "The component takes too much fuel to start.";
    RateLimited = "rate_limited", [429], "It was done as often as it may be in a minute.";
    QuotaExceeded = "quota_exceeded", [429], "The principal has as many of them as it may.";
    QueueFull = "queue_full", [429], "As many messages or commands wait for the session as may.";
    ShareSpent = "share_spent", [429], "As many messages of the principal wait as may.";
    TooManyUploads = "too_many_uploads", [429], "As many uploads of the principal wait as may.";
    TooManyStreams = "too_many_streams", [429], "As many streams of events are open as may.";
    Internal = "internal", [500], "A defect of the host: its log says more, under the `requestId`.";
    HostFault = "host_fault", [500], "The host could not run the turn.";
    HostCrashed = "host_crashed", [500], "The host has ended in the middle of the turn, again and again.";
    ReplayDiverged = "replay_diverged", [500], "The host has ended in the middle of the turn, and when it was run again the agent asked for something else than before.";
    ReplayUnavailable = "replay_unavailable", [500], "The host has ended in the middle of the turn, and the turn cannot be run again.";
    NoUpkeep = "no_upkeep", [501], "The host does not look after its store.";
    AgentTrapped = "agent_trapped", [502], "The agent has trapped, panicked or exited.";
    WakeFailed = "wake_failed", [502], "The agent did not take back its state.";
    BudgetHeld = "budget_held", [503], "Turns of the session's forks hold what is left of the budget that they share.";
    OutOfMemory = "out_of_memory", [503], "The host has no memory for it now.";
    Overloaded = "overloaded", [503], "The server has too many requests under way.";
    ShuttingDown = "shutting_down", [503], "The host is shutting down.";
    Busy = "busy", [503], "The host is busy with other components.";
    TimekeeperBehind = "timekeeper_behind", [503], "The host is behind with the deadlines of its sessions.";
    HostFailed = "host_failed", [503], "The host cannot go on and must be started again.";
    CommitUnknown = "commit_unknown", [503], "Whether it is durable is not known: the host must be started again.";
    AnswerNotSent = "answer_not_sent", [503], "The turn was answered, and there is no memory for the answer now.";
    TurnTimeout = "turn_timeout", [504], "The turn took longer than the session allows.";
    TooManySessions = "too_many_sessions", [507], "The host has as many sessions as it has memory for.";
    DiskFull = "disk_full", [507], "The disk of the host is full.";
}

impl Code {
    /// The code of this word.
    pub(crate) fn of(word: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == word)
    }

    /// Whether an error of this word and status is told.
    pub(crate) fn is_told(word: &str, status: u16) -> bool {
        Code::of(word).is_some_and(|code| code.statuses().contains(&status))
    }
}

impl Words for Code {
    const ALL: &'static [Code] = Code::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

/// What any request can be answered with.
pub(crate) const EVERYWHERE: &[Code] =
    &[Code::ForeignOrigin, Code::MisdirectedRequest, Code::Internal];

/// What any request can be answered with by a route that needs a key where there are keys.
pub(crate) const GUARDED: &[Code] = &[
    Code::BrokenBody,
    Code::Unauthorized,
    Code::Forbidden,
    Code::BodyTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedContentEncoding,
    Code::RateLimited,
    Code::OutOfMemory,
    Code::Overloaded,
    Code::ShuttingDown,
];

/// Those of what is written to the store.
pub(crate) const STORED: &[Code] =
    &[Code::Conflict, Code::TooLarge, Code::CommitUnknown, Code::DiskFull];

/// Those of the state of a session.
pub(crate) const WOKEN: &[Code] =
    &[Code::SessionNotFound, Code::SnapshotCorrupt, Code::SnapshotUnusable];

/// Those of what is asked of a session besides messages.
pub(crate) const COMMAND: &[Code] = &[
    Code::MemberOfGroup,
    Code::MemberStateGone,
    Code::NotActive,
    Code::InvalidTransition,
    Code::StateUnsaved,
    Code::TurnInProgress,
    Code::QueueFull,
    Code::WakeFailed,
    Code::InvalidField,
];

/// Those of a change of files.
pub(crate) const FILE_CHANGED: &[Code] = &[
    Code::FileNotFound,
    Code::FileConflict,
    Code::InvalidPath,
    Code::WorkspaceFull,
    Code::OutOfMemory,
    Code::SnapshotNotFound,
];

/// Those of a session that has spent what it may.
pub(crate) const SPENT: &[Code] = &[
    Code::NotActive,
    Code::SessionPaused,
    Code::MaxTurns,
    Code::BudgetExceeded,
    Code::FuelExhausted,
    Code::BudgetHeld,
];

/// Those of a turn that was begun and failed: the answer has the turn, its cost and the session.
pub(crate) const FAILED: &[Code] = &[
    Code::AgentFailed,
    Code::AgentInvalid,
    Code::AgentDeclined,
    Code::AgentTrapped,
    Code::TurnTimeout,
    Code::FuelExhausted,
    Code::BudgetExceeded,
    Code::MemoryExceeded,
    Code::TurnKilled,
    Code::TurnInterrupted,
    Code::OutOfMemory,
    Code::HostFault,
    Code::HostCrashed,
    Code::ReplayDiverged,
    Code::ReplayUnavailable,
];

/// Those of a message.
pub(crate) const SENT: &[Code] = &[
    Code::TurnInProgress,
    Code::QueueFull,
    Code::ShareSpent,
    Code::IdempotencyKeyReused,
    Code::TurnGone,
    Code::PreconditionFailed,
    Code::MessageTooLarge,
    Code::WakeFailed,
    Code::AnswerNotSent,
];

/// Those of a session that is created.
pub(crate) const CREATED: &[Code] = &[
    Code::NotSupported,
    Code::InvalidPattern,
    Code::InvalidName,
    Code::NotOwner,
    Code::AgentNotFound,
    Code::SnapshotNotFound,
    Code::TemplateNotFound,
    Code::OtherAgent,
    Code::SnapshotGone,
    Code::SnapshotCorrupt,
    Code::SnapshotUnusable,
    Code::IdempotencyKeyUsed,
    Code::SessionGone,
    Code::PatternUnsupported,
    Code::NotDurable,
    Code::IdempotencyKeyReused,
    Code::QuotaExceeded,
    Code::TooManySessions,
];

/// Those of a component: when it is uploaded, and when it has to be compiled again.
pub(crate) const COMPILED: &[Code] = &[
    Code::ComponentTooLarge,
    Code::NotAComponent,
    Code::InvalidComponent,
    Code::TooComplex,
    Code::NotAnAgent,
    Code::WrongSignature,
    Code::MissingImports,
    Code::CompileFailed,
    Code::CompileTimeout,
    Code::CompileMemory,
    Code::DoesNotStart,
    Code::StartTooLong,
    Code::TooManyUploads,
    Code::Busy,
];

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse::FailureCode;

    #[test]
    fn each_word_stands_once_and_those_of_failed_turns_are_among_them() {
        let words: std::collections::BTreeSet<_> = Code::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        let failed: Vec<_> = FAILED.iter().map(|code| code.as_str()).collect();
        for code in FailureCode::ALL {
            assert!(failed.contains(&code.as_str()), "{}", code.as_str());
        }
        let statuses: Vec<u16> = Code::ALL.iter().map(|code| code.statuses()[0]).collect();
        assert!(statuses.is_sorted());
    }
}
