//! A snapshot as clients see it: everything but the state.

use std::time::Duration;

use serde::Serialize;

use super::session::SessionBody;
use dormouse::{Resumption, Session, SnapshotSummary, Timestamp};
use dormouse_domain::creation::is_stale;

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
    /// Why not: `stale`.
    reason: Option<&'static str>,
}

impl SnapshotBody {
    /// A snapshot of this session. Of one without a thread it is stale after some time.
    pub(crate) fn new(
        summary: SnapshotSummary,
        of: &Session,
        stale_after: Duration,
        now: Timestamp,
    ) -> SnapshotBody {
        let has_thread = of.profile.thread_key.is_some();
        let is_stale = is_stale(summary.taken_at, has_thread, stale_after, now);
        let stale = Resumption::Stale { from: summary.id };
        SnapshotBody {
            head: of.head == Some(summary.id),
            resumable: !is_stale,
            reason: is_stale.then(|| stale.as_str()),
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
