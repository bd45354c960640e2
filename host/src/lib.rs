//! Dormouse hosts AI-agent sessions in WebAssembly: sandboxed, metered, asleep when idle.
//!
//! [`Host`] is the whole product; the HTTP API and the command line are clients of it. See its
//! example, and `examples/` in the repository.
//!
//! `ARCHITECTURE.md` in the repository describes the modules and their boundaries.

#![deny(missing_docs)]

mod agent;
pub mod api;
mod builder;
pub mod cli;
mod clock;
mod event;
mod host;
mod line;
mod memory;
mod round_robin;
mod sandbox;
mod session;
mod shares;
mod spelling;
pub mod store;
pub mod telemetry;
mod turn;

pub use agent::catalog::{AgentError, Upload};
pub use agent::uploads::{UploadState, UploadStatus};
pub use agent::{
    Agent, AgentKind, AgentName, AgentOwner, AgentRef, AgentSelector, Digest, InvalidName,
    Statefulness, Version, Visibility,
};
pub use builder::{BuildError, HostBuilder, HostOptions};
pub use clock::{Clock, ManualClock, Timestamp};
pub use event::{Cursor, Event, EventKind, Subject};
pub use host::{
    Agents, CreateError, Created, EventSlice, Fork, ForkError, Host, HostStats, Listing, LookError,
    MAX_FORKS, Message, NewTemplate, Reply, Resumption, SessionHandle, Sessions, Storage,
    Streaming, TemplateError, Templates, UpgradeError,
};
pub use sandbox::{Refusal, SandboxError, compile_child};
pub use session::creation::{DefaultLimits, InvalidField, NewSession, Start};
pub use session::id::{Principal, SessionId, SnapshotId, TurnId};
pub use session::inactive::NotActive;
pub use session::limits::{FuelPrice, Limit, Limits, NanoUsd, Usage};
pub use session::pattern::Pattern;
pub use session::record::{
    BeforeUpgrade, Durability, Object, Profile, Residency, ResumeFallback, Session,
};
pub use session::request::{
    Damaged, Ended, MAX_MESSAGE, MAX_PARTS, MAX_REASON, OrderError, SendError, Sight,
};
pub use session::snapshot::{Chunk, GuestState, Snapshot};
pub use session::state::{Cause, InvalidTransition, Reason, Resumable, State, Status};
pub use session::template::{Template, TemplateSummary};
pub use store::embedded::{OpenError, Options as StoreOptions};
pub use store::upkeep::{self, BackupError, BackupSummary, CheckReport, StoreUsage};
pub use store::{
    Logged, PAGE_BYTES, Page, Retention, SessionQuery, SnapshotSummary, StoreError, StoreStats,
};
pub use turn::admission::Denied;
pub use turn::output::{Delta, Output};
pub use turn::record::{
    Failure, FailureCode, LogLevel, LogLine, LogSource, Part, Sender, Startup, TurnOutcome,
    TurnRecord, text_of,
};
