//! What happened, with the particulars of each kind of event.

use super::EventKind;
use crate::access::Role;
use crate::agent::{AgentName, Digest, Visibility};
use crate::code;
use crate::creation::Resumption;
use crate::id::{Principal, SessionId, SnapshotId};
use crate::limits::NanoUsd;
use crate::pattern::Pattern;
use crate::schedule::StopCause;
use crate::session::ResumeFallback;
use crate::snapshot::{DamagedSnapshot, FileChanges};
use crate::state::{Reason, Status};
use crate::turn::FailureCode;

/// What happened, one variant for each [`EventKind`].
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// A session was created.
    SessionCreated {
        /// How it is hosted.
        pattern: Pattern,
        /// The name of its agent.
        agent: AgentName,
        /// The snapshot that it starts from.
        parent: Option<SnapshotId>,
        /// The session that it is a fork of.
        fork_of: Option<SessionId>,
    },
    /// Its first turn committed.
    SessionStarted,
    /// Its record was changed.
    SessionUpdated(SessionUpdate),
    /// The guest was called.
    TurnStarted {
        /// The number of the turn.
        turn: u64,
    },
    /// A turn was answered.
    TurnCompleted {
        /// The number of the turn.
        turn: u64,
        /// The fuel that it used.
        fuel: u64,
        /// What that cost.
        cost: NanoUsd,
    },
    /// A turn failed.
    TurnFailed {
        /// The number of the turn.
        turn: u64,
        /// Why.
        code: FailureCode,
        /// The fuel that it used.
        fuel: u64,
        /// What that cost.
        cost: NanoUsd,
    },
    /// Its instance was dropped.
    SessionSlept {
        /// Why.
        cause: SleepCause,
        /// How long it had been idle, in whole minutes. `None` in events of the release of 21 November
        /// 2026.
        idle_minutes: Option<u64>,
    },
    /// Its instance was made again.
    SessionWoken,
    /// It takes no messages.
    SessionPaused,
    /// It takes messages again.
    SessionResumed(ResumeCause),
    /// It has done what it was for.
    SessionCompleted,
    /// Somebody or a limit ended it.
    SessionTerminated {
        /// Why.
        reason: Reason,
    },
    /// It cannot go on by itself.
    SessionError {
        /// Why.
        reason: Reason,
        /// What is damaged, where that is the reason.
        damage: Option<DamagedSnapshot>,
    },
    /// It was removed.
    SessionDeleted,
    /// Other sessions were started from one of its snapshots.
    SessionForked {
        /// How many.
        count: u32,
        /// The snapshot. `None`: the session had none yet.
        from: Option<SnapshotId>,
    },
    /// Another version of its agent has taken it over, or given it back.
    SessionUpgraded {
        /// Which of the two.
        outcome: UpgradeOutcome,
        /// The agent that it had.
        from: Digest,
        /// The agent that it has.
        to: Digest,
    },
    /// Somebody asked for a session that goes on from a snapshot.
    ResumeAttempted {
        /// Who.
        by: Principal,
        /// What came of it.
        outcome: ResumeOutcome,
    },
    /// An agent was uploaded.
    AgentUploaded {
        /// Its component.
        digest: Digest,
    },
    /// Its owner has changed who can name it.
    AgentUpdated {
        /// Its component.
        digest: Digest,
        /// The principals that can name it now.
        visibility: Visibility,
    },
    /// An agent was removed.
    AgentDeleted {
        /// Its component.
        digest: Digest,
    },
    /// A key of the API was created.
    KeyCreated {
        /// Who calls with it.
        principal: Principal,
        /// What that caller may do.
        role: Role,
    },
    /// A key of the API was revoked.
    KeyRevoked {
        /// Who called with it.
        principal: Principal,
        /// What that caller was allowed to do.
        role: Role,
    },
    /// Its idle limit is nearly reached.
    IdleWarning {
        /// How long it has until then, in minutes, rounded up.
        minutes_remaining: u64,
    },
    /// It has spent most of its budget.
    BudgetWarning {
        /// What it has spent.
        cost: NanoUsd,
        /// What it may spend.
        budget: NanoUsd,
    },
    /// Its state was removed: nobody had used it for as long as it is kept.
    StateRemoved {
        /// The head that it had.
        head: SnapshotId,
    },
    /// Files of its workspace were changed.
    WorkspaceChanged {
        /// By the turn of this number. `None`: from outside, between two turns.
        turn: Option<u64>,
        /// How many paths.
        changes: FileChanges,
    },
    /// Mail to it was dropped: it has ended, or the mail could not be read.
    MailDropped {
        /// How many.
        count: u32,
    },
    /// A schedule was created.
    ScheduleCreated {
        /// Its name.
        name: String,
    },
    /// A session was created for a schedule, or found by its thread, and gets the message.
    ScheduleRun {
        /// The number of the run.
        run: u64,
        /// The session.
        session: SessionId,
    },
    /// It runs no more until somebody makes it active again.
    ScheduleStopped {
        /// Why.
        cause: StopCause,
    },
    /// A schedule was removed.
    ScheduleDeleted,
}

impl EventBody {
    /// What kind of event it is.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            EventBody::SessionCreated { .. } => EventKind::SessionCreated,
            EventBody::SessionStarted => EventKind::SessionStarted,
            EventBody::SessionUpdated(_) => EventKind::SessionUpdated,
            EventBody::TurnStarted { .. } => EventKind::TurnStarted,
            EventBody::TurnCompleted { .. } => EventKind::TurnCompleted,
            EventBody::TurnFailed { .. } => EventKind::TurnFailed,
            EventBody::SessionSlept { .. } => EventKind::SessionSlept,
            EventBody::SessionWoken => EventKind::SessionWoken,
            EventBody::SessionPaused => EventKind::SessionPaused,
            EventBody::SessionResumed(_) => EventKind::SessionResumed,
            EventBody::SessionCompleted => EventKind::SessionCompleted,
            EventBody::SessionTerminated { .. } => EventKind::SessionTerminated,
            EventBody::SessionError { .. } => EventKind::SessionError,
            EventBody::SessionDeleted => EventKind::SessionDeleted,
            EventBody::SessionForked { .. } => EventKind::SessionForked,
            EventBody::SessionUpgraded { .. } => EventKind::SessionUpgraded,
            EventBody::ResumeAttempted { .. } => EventKind::ResumeAttempted,
            EventBody::AgentUploaded { .. } => EventKind::AgentUploaded,
            EventBody::AgentUpdated { .. } => EventKind::AgentUpdated,
            EventBody::AgentDeleted { .. } => EventKind::AgentDeleted,
            EventBody::KeyCreated { .. } => EventKind::KeyCreated,
            EventBody::KeyRevoked { .. } => EventKind::KeyRevoked,
            EventBody::IdleWarning { .. } => EventKind::IdleWarning,
            EventBody::BudgetWarning { .. } => EventKind::BudgetWarning,
            EventBody::StateRemoved { .. } => EventKind::StateRemoved,
            EventBody::WorkspaceChanged { .. } => EventKind::WorkspaceChanged,
            EventBody::MailDropped { .. } => EventKind::MailDropped,
            EventBody::ScheduleCreated { .. } => EventKind::ScheduleCreated,
            EventBody::ScheduleRun { .. } => EventKind::ScheduleRun,
            EventBody::ScheduleStopped { .. } => EventKind::ScheduleStopped,
            EventBody::ScheduleDeleted => EventKind::ScheduleDeleted,
        }
    }
}

/// What of the record of a session was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionUpdate {
    /// Its state, to one that no other kind of event tells of.
    Status {
        /// The new state.
        status: Status,
        /// Why, where the state has a reason.
        reason: Option<Reason>,
    },
    /// Its head: it went back to a snapshot.
    Rewound {
        /// The snapshot.
        to: SnapshotId,
    },
    /// What a client has changed.
    Fields {
        /// The fields, each once.
        fields: Vec<SessionField>,
        /// The status after it.
        status: Status,
    },
}

/// A field of a session that a client can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionField {
    /// Its status.
    Status,
    /// What its agent may reach over HTTP.
    Egress,
    /// Its tags.
    Tags,
    /// What it is for.
    Description,
    /// The caller's id of the conversation.
    ConversationId,
    /// The project that it belongs to.
    ProjectId,
    /// The document for the agent to read.
    Context,
    /// What else is kept.
    Metadata,
    /// What is needed to go on after a crash.
    Checkpoint,
    /// What it may spend.
    Limits,
    /// How long it may go without a message.
    IdleDeadline,
    /// The sessions that its agent may write to.
    Peers,
}

impl SessionField {
    /// All of them.
    pub const ALL: [SessionField; 12] = [
        SessionField::Status,
        SessionField::Egress,
        SessionField::Tags,
        SessionField::Description,
        SessionField::ConversationId,
        SessionField::ProjectId,
        SessionField::Context,
        SessionField::Metadata,
        SessionField::Checkpoint,
        SessionField::Limits,
        SessionField::IdleDeadline,
        SessionField::Peers,
    ];

    /// The name on the wire and on the disk.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SessionField::Status => "status",
            SessionField::Egress => "egress",
            SessionField::Tags => "tags",
            SessionField::Description => "description",
            SessionField::ConversationId => "conversationId",
            SessionField::ProjectId => "projectId",
            SessionField::Context => "context",
            SessionField::Metadata => "metadata",
            SessionField::Checkpoint => "checkpoint",
            SessionField::Limits => "limits",
            SessionField::IdleDeadline => "idleDeadline",
            SessionField::Peers => "peers",
        }
    }
}

/// How a session came to take messages again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumeCause {
    /// Somebody resumed it.
    Asked {
        /// The state that it is in now.
        status: Status,
        /// The snapshot that it goes on from, where one was asked for.
        from: Option<SnapshotId>,
    },
    /// Its head was damaged, and it did what it was created to do then.
    Damage {
        /// What it did.
        fallback: ResumeFallback,
        /// What was damaged.
        damage: DamagedSnapshot,
    },
}

/// What became of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeOutcome {
    /// The new version has taken the session over.
    Upgraded,
    /// The first turn of the new version failed, and the old one has taken the session back.
    Returned {
        /// Why that turn failed.
        reason: FailureCode,
    },
}

impl UpgradeOutcome {
    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            UpgradeOutcome::Upgraded => "upgraded",
            UpgradeOutcome::Returned { .. } => "returned",
        }
    }

    /// Why the old version has taken the session back, where it has.
    #[must_use]
    pub fn reason(self) -> Option<FailureCode> {
        match self {
            UpgradeOutcome::Upgraded => None,
            UpgradeOutcome::Returned { reason } => Some(reason),
        }
    }
}

/// What came of asking for a session that goes on from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeOutcome {
    /// The session was created.
    Created(Resumption),
    /// It was refused: the snapshot belongs to another owner, project or user.
    NotOwner,
}

impl ResumeOutcome {
    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ResumeOutcome::Created(resumption) => resumption.as_str(),
            ResumeOutcome::NotOwner => code::NOT_OWNER,
        }
    }

    /// The snapshot that was found and may be told of.
    #[must_use]
    pub fn from(self) -> Option<SnapshotId> {
        match self {
            ResumeOutcome::Created(resumption) => resumption.from(),
            ResumeOutcome::NotOwner => None,
        }
    }
}

impl From<Resumption> for ResumeOutcome {
    fn from(resumption: Resumption) -> ResumeOutcome {
        ResumeOutcome::Created(resumption)
    }
}

/// Why a session went to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SleepCause {
    /// Somebody asked for it.
    Asked,
    /// It was idle for as long as its limits allow.
    Idle,
    /// Others needed its memory.
    Memory,
    /// Another instance needed its place.
    Places,
}

impl SleepCause {
    /// All of them.
    pub const ALL: [SleepCause; 4] =
        [SleepCause::Asked, SleepCause::Idle, SleepCause::Memory, SleepCause::Places];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SleepCause::Asked => "asked",
            SleepCause::Idle => "idle",
            SleepCause::Memory => "memory",
            SleepCause::Places => "places",
        }
    }
}
