//! Dormouse hosts AI-agent sessions in WebAssembly: sandboxed, metered, asleep when idle.
//!
//! [`Host`] is the whole product; the HTTP API and the command line are clients of it. See its
//! example, and `examples/` in the repository.
//!
//! `ARCHITECTURE.md` in the repository describes the modules and their boundaries.

#![deny(missing_docs)]

mod accounts;
mod builder;
mod catalog;
mod event;
mod faults;
mod gate;
mod host;
mod keys;
mod mailboxes;
mod quotas;
mod session;
mod turn;
mod uploads;
mod workspaces;
mod worlds;

pub use builder::{BuildError, HostBuilder, HostOptions};
pub use catalog::{AgentError, Upload};
pub use dormouse_base::clock::{Clock, ManualClock};
pub use dormouse_base::memory::MemoryBudget;
pub use dormouse_domain::access::{
    Access, AccessKey, Action, Forbidden, InvalidKeyId, KeyId, NewKey, Role, Secret,
};
pub use dormouse_domain::account::{Account, AccountId, AccountLimits, Amounts};
pub use dormouse_domain::agent::{
    Agent, AgentName, AgentOwner, AgentRef, AgentSelector, ComponentInfo, ComponentKind, Digest,
    Export, Exports, InvalidName, StartRandomness, Statefulness, Version, Visibility,
};
pub use dormouse_domain::bill::{BillItem, BillLine, BillSums};
pub use dormouse_domain::creation::{
    DefaultLimits, ForkLimits, InvalidField, LimitOverrides, NewSession, Resumption, StartFrom,
};
pub use dormouse_domain::effect::EffectKind;
pub use dormouse_domain::event::{
    Cursor, Event, EventBody, EventKind, EventSubject, ResumeCause, ResumeOutcome, SessionField,
    SessionUpdate, SleepCause, UpgradeOutcome,
};
pub use dormouse_domain::group::{COORDINATOR, CUSTOM_AGENTS, Group, MAX_MEMBERS, MemberOfGroup};
pub use dormouse_domain::id::{
    ExperimentId, Principal, ScheduleId, SessionId, SimulationId, SnapshotId, TurnId,
};
pub use dormouse_domain::inactive::NotActive;
pub use dormouse_domain::journal::{
    Bill, EffectFailure, EffectOutcome, EffectRecord, EffectTarget, Provenance,
};
pub use dormouse_domain::limits::{FuelPrice, Limit, Limits, NanoUsd, Usage};
pub use dormouse_domain::mail::{
    MAX_MAIL_BYTES, MAX_MAILBOX_BYTES, MAX_MAILS, MAX_PEERS, MAX_SENDS, Peer, Peers,
};
pub use dormouse_domain::message::{IDEMPOTENCY_KEY_LIFETIME, MAX_IDEMPOTENCY_KEY, OnBusy};
pub use dormouse_domain::patch::{Change, DocumentChange, LimitsPatch, SessionPatch, StatusChange};
pub use dormouse_domain::pattern::Pattern;
pub use dormouse_domain::price::TokenPrice;
pub use dormouse_domain::residence::Residence;
pub use dormouse_domain::sample::{Sample, SamplePlace};
pub use dormouse_domain::schedule::{
    DEFAULT_MAX_FAILURES, MAX_SCHEDULES, RunOutcome, SchedulePatch, ScheduleRun, ScheduleStatus,
    ScheduleSwitch, ScheduleTerms, ScheduledWork, SessionSchedule, StopCause,
};
pub use dormouse_domain::session::{
    BeforeUpgrade, Durability, IdleClock, JsonObject, LastFailure, Profile, Residency,
    ResumeFallback, Session,
};
pub use dormouse_domain::snapshot::{
    Chunk, DamagedSnapshot, FileChanges, Files, GuestState, ResumeHistory, ResumeObstacle,
    ResumeTrial, Snapshot,
};
pub use dormouse_domain::state::{Cause, InvalidTransition, Reason, Resumable, State, Status};
pub use dormouse_domain::template::{Template, TemplateSummary};
pub use dormouse_domain::time::Timestamp;
pub use dormouse_domain::timer::{Schedule, Timer, TimerError, Timers, When};
pub use dormouse_domain::trace::{Span, SpanKind, Trace};
pub use dormouse_domain::turn::{
    Delta, Failure, FailureCode, LogLevel, LogLine, LogSource, Part, Sender, StartupCost,
    TurnOutcome, TurnRecord, text_of,
};
/// What may be reached over HTTP, for [`HostBuilder::egress`].
pub mod egress {
    pub use dormouse_domain::egress::{
        EgressHost, EgressMethod, EgressPolicy, EgressRule, EgressTarget, HostPattern,
        InvalidEgressRule, PortPattern,
    };
    pub use dormouse_egress::{
        Egress, EgressOptions, EgressSecret, EgressTimes, InvalidEgress, InvalidNetworks,
        InvalidSecret, Networks,
    };
}
/// MCP servers, for [`HostBuilder::mcp`].
pub mod mcp {
    pub use dormouse_mcp::{
        InvalidMcp, Launch, McpError, McpOptions, McpResult, McpServer, McpServers, McpTool,
        McpTools, NotPermitted, ServerAddress, SessionServers, ToolClass, is_server_name,
    };
}
/// Providers of language models, for [`HostBuilder::models`].
pub mod model {
    pub use dormouse_domain::model::{
        AnswerFormat, ModelAnswer, ModelContent, ModelError, ModelMessage, ModelRequest, ModelRole,
        ModelTool, StopReason, Thinking, TokenUsage, ToolCall, ToolChoice, ToolResult,
    };
    pub use dormouse_domain::price::TokenPrice;
    pub use dormouse_model::{
        ANTHROPIC, Anthropic, CallFailure, Catalog, Charge, Entry, Forward, InvalidEndpoint,
        ModelPattern, NoRoute, OPENAI, Offline, OpenAi, Provider, ProviderFuture, Secret,
        default_price,
    };
}
pub use dormouse_domain::simulation::{CallPlace, Column, PauseCause, SimulationStatus, Tick};
pub use dormouse_sandbox::{Refusal, SandboxError, compile_child};
pub use dormouse_simulation::{
    AggregateValue, Bundle, BundleError, CallTotals, Design, Experiment, Fingerprint, Record,
    RecordedCall, Run, Seeds, SpecError, TickSummary, ValueRange, Values, WorldError, WorldSpec,
    csv_field, spec as world_spec, table_names,
};
pub use dormouse_store::embedded::{OpenError, Options as StoreOptions};
pub use dormouse_store::faults::{CommitAttempt, CommitFault, CommitKind};
pub use dormouse_store::memory::MemoryStore;
pub use dormouse_store::upkeep::{
    self, BackupError, BackupSummary, CheckReport, StoreStats, StoreUsage,
};
pub use dormouse_store::{
    AgentFilter, Between, EventEntry, InvalidCursor, PAGE_BYTES, Page, PatternStatistics,
    Retention, SessionCursor, SessionOrder, SessionQuery, SnapshotSummary, Statistics,
    StatisticsQuery, Store, StoreError, Sums,
};
pub use event::{EventBatch, FOLLOW_BYTES};
pub use faults::{CallFault, Faults};
pub use host::{
    Agents, CleanedUp, Cleanup, CreateError, CreatedKey, CreatedSession, ExperimentHandle,
    ExperimentListing, Experiments, Fork, ForkError, Host, HostStats, Keys, MAX_CLEANED_UP,
    MAX_FORKS, Message, NewBranch, NewExperiment, NewSchedule, NewTemplate, Reply, SampleBatch,
    SampleEntry, ScheduleError, ScheduleListing, Schedules, SessionHandle, SessionListing,
    SessionReadError, SessionTime, SessionUsage, Sessions, Simulation, SimulationDifference,
    SimulationError, SimulationHandle, SimulationListing, SimulationMembers, SimulationSurvey,
    Simulations, Storage, TemplateError, Templates, TurnStream, UpgradeError,
};
pub use keys::KeyError;
pub use quotas::Quotas;
pub use session::answering::AnsweringModel;
pub use session::provided::Provided;
pub use session::request::{
    CommandError, FinishedTurn, MAX_MESSAGE, MAX_PARTS, MAX_REASON, SendError, SessionInfo,
    Unavailable,
};
pub use turn::admission::TurnDenied;
pub use turn::output::TurnOutput;
pub use uploads::{UploadState, UploadStatus};
pub use workspaces::{
    Archive, ArchiveError, ExpectedFile, FileError, FileInfo, FileOperation, FilesChanged,
    GitAnswer, MAX_FILE_OPERATIONS, WorkspaceLimits, WorkspaceView, unpack as unpack_archive,
};
/// The history of files as git has it, for [`WorkspaceView::git_upload_pack`].
pub mod git {
    pub use dormouse_git::{
        ADVERTISEMENT_TYPE, Error, Limits, Protocol, REQUEST_TYPE, RESULT_TYPE, error_body,
    };
}
/// The files of sessions, for [`SessionHandle::workspace`].
pub mod workspace {
    pub use dormouse_workspace::{
        Change, ChangeKind, Changes, ContentId, DiffQuery, Error, FileType, Glob, Ino,
        InvalidContentId, InvalidGlob, ListQuery, Listed, MAX_NAMES, MAX_READ, Page, QuotaKind,
        Quotas, Stat, Usage,
    };
}
pub use worlds::{
    CallProgress, ExperimentProgress, ExperimentRecord, LoggedTick, MAX_EXPERIMENT_RUNS,
    MAX_EXPERIMENTS, MAX_SIMULATIONS, Progress, RunResult, SimulationRecord,
};
