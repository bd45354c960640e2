//! The kinds of events, by their names on the wire and on the disk.

macro_rules! kinds {
    ($($name:ident = $text:literal, $doc:literal;)*) => {
        /// What kind of thing happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind {
            $(#[doc = $doc] $name,)*
        }

        impl EventKind {
            /// All kinds.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$name,)*];

            /// The name on the wire and on the disk.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(EventKind::$name => $text,)*
                }
            }

            /// What has happened, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(EventKind::$name => $doc,)*
                }
            }
        }
    };
}

kinds! {
    SessionCreated = "session.created", "A session was created.";
    SessionStarted = "session.started", "Its first turn committed.";
    SessionUpdated = "session.updated", "Its record was changed.";
    TurnStarted = "session.turn.started", "The guest was called.";
    TurnCompleted = "session.turn.completed", "A turn was answered.";
    TurnFailed = "session.turn.failed", "A turn failed.";
    SessionSlept = "session.slept", "Its instance was dropped.";
    SessionWoken = "session.woken", "Its instance was made again.";
    SessionPaused = "session.paused", "It takes no messages.";
    SessionResumed = "session.resumed", "It takes messages again.";
    SessionCompleted = "session.completed", "It has done what it was for.";
    SessionTerminated = "session.terminated", "Somebody or a limit ended it.";
    SessionError = "session.error", "It cannot go on by itself.";
    SessionDeleted = "session.deleted", "It was removed.";
    SessionForked = "session.forked", "Other sessions were started from one of its snapshots.";
    SessionUpgraded = "session.upgraded", "Another version of its agent has taken it over, or given it back.";
    ResumeAttempted = "session.resume-attempted", "Somebody asked for a session that goes on from a snapshot.";
    AgentUploaded = "agent.uploaded", "An agent was uploaded.";
    AgentUpdated = "agent.updated", "Its owner has changed who can name it.";
    AgentDeleted = "agent.deleted", "An agent was removed.";
    KeyCreated = "key.created", "A key of the API was created.";
    KeyRevoked = "key.revoked", "A key of the API was revoked.";
    IdleWarning = "session.idle-warning", "Its idle limit is nearly reached.";
    BudgetWarning = "session.budget-warning", "It has spent most of its budget.";
    StateRemoved = "session.state-removed", "Its state was removed: nobody had used it for as long as it is kept.";
    WorkspaceChanged = "workspace.changed", "Files of its workspace were changed.";
    MailDropped = "session.mail-dropped", "Mail to it was dropped: it has ended, or the mail could not be read.";
    ScheduleCreated = "schedule.created", "A schedule was created.";
    ScheduleRun = "schedule.run", "A session was created for a schedule, or found by its thread, and gets the message.";
    ScheduleStopped = "schedule.stopped", "It runs no more until somebody makes it active again.";
    ScheduleDeleted = "schedule.deleted", "A schedule was removed.";
}

impl EventKind {
    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<EventKind> {
        EventKind::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    /// Whether it is part of the audit trail.
    #[must_use]
    pub fn is_audited(self) -> bool {
        matches!(self, EventKind::ResumeAttempted)
    }
}
