//! A snapshot as clients see it: everything but the state.

use serde::Serialize;

use super::session::SessionBody;
use dormouse::{ResumeObstacle, Session, SnapshotSummary};

/// A snapshot.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SnapshotBody {
    id: String,
    parent: Option<String>,
    turn: u64,
    agent_digest: String,
    taken_at: String,
    bytes: u64,
    head: bool,
    /// Whether `config.resumeSessionId` with its id starts a session from it.
    resumable: bool,
    /// Why not: `stale`, `agent_removed` or `damaged`.
    reason: Option<&'static str>,
    /// How often a session should have gone on from it and could not.
    resume_failures: u32,
    /// When a session last went on from it.
    last_resumed_at: Option<String>,
}

impl SnapshotBody {
    /// A snapshot of this session, and why no new session can start from it.
    pub(crate) fn new(
        summary: SnapshotSummary,
        obstacle: Option<ResumeObstacle>,
        of: &Session,
    ) -> SnapshotBody {
        SnapshotBody {
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
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotList {
    pub(crate) snapshots: Vec<SnapshotBody>,
    pub(crate) count: usize,
}

/// The sessions that a fork has made.
#[derive(Debug, Serialize)]
pub(crate) struct Forked {
    pub(crate) sessions: Vec<SessionBody>,
    pub(crate) count: usize,
}
