//! A snapshot as clients see it: everything but the state.

use serde::Serialize;

use super::session::SessionBody;
use dormouse::{SnapshotId, SnapshotSummary};

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
}

impl SnapshotBody {
    /// A snapshot of a session with this head.
    pub(crate) fn new(summary: SnapshotSummary, head: Option<SnapshotId>) -> SnapshotBody {
        SnapshotBody {
            head: head == Some(summary.id),
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
