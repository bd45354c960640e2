//! A snapshot as clients see it: everything but the state.

use schemars::JsonSchema;
use serde::Serialize;

use super::session::SessionBody;
use super::value::{Id, Time, Word};
use dormouse::{ResumeObstacle, Session, SnapshotSummary};

/// A snapshot.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Snapshot")]
pub(crate) struct SnapshotBody {
    #[schemars(with = "Id")]
    id: String,
    /// The snapshot that it came from.
    #[schemars(with = "Option<Id>")]
    parent: Option<String>,
    /// The turn that it was taken after.
    turn: u64,
    /// The agent whose state it is.
    agent_digest: String,
    #[schemars(with = "Time")]
    taken_at: String,
    bytes: u64,
    /// The commit that has its files, with `?commits=true`. `null` also where it has none.
    commit: Option<String>,
    /// Whether the session goes on from it.
    head: bool,
    /// Whether `config.resumeSessionId` with its id starts a session from it.
    resumable: bool,
    /// Why not.
    #[schemars(with = "Option<Word<ResumeObstacle>>")]
    reason: Option<&'static str>,
    /// How often a session should have gone on from it and could not.
    resume_failures: u32,
    /// When a session last went on from it.
    #[schemars(with = "Option<Time>")]
    last_resumed_at: Option<String>,
}

impl SnapshotBody {
    /// A snapshot of this session, and why no new session can start from it.
    pub(crate) fn new(
        summary: SnapshotSummary,
        obstacle: Option<ResumeObstacle>,
        commit: Option<String>,
        of: &Session,
    ) -> SnapshotBody {
        SnapshotBody {
            commit,
            head: of.head == Some(summary.id),
            resumable: obstacle.is_none(),
            reason: obstacle.map(ResumeObstacle::as_str),
            resume_failures: summary.resumes.failures,
            last_resumed_at: summary.resumes.last_at.map(|at| at.to_string()),
            id: summary.id.to_string(),
            parent: summary.parent.map(|parent| parent.to_string()),
            turn: summary.turn,
            agent_digest: summary.agent.to_string(),
            taken_at: summary.taken_at.to_string(),
            bytes: summary.size,
        }
    }
}

/// All snapshots of a session that are kept, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SnapshotList {
    pub(crate) snapshots: Vec<SnapshotBody>,
    pub(crate) count: usize,
}

/// The sessions that a fork has made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Forked {
    pub(crate) sessions: Vec<SessionBody>,
    pub(crate) count: usize,
}
