//! What a new session gets from the session whose snapshot it starts from: the rules of forks and of
//! resuming, beside each other. Both start from a snapshot of another session; they differ in who asks.
//!
//! - A *fork* is another go of its parent: it gets all that its parent has but the thread, and may spend
//!   what its parent has left.
//! - A session that *resumes* another is a new one, which its caller describes; it gets the state alone, and
//!   stays in the project of that state.

use std::time::Duration;

use super::{NewSession, begin};
use crate::agent::AgentRef;
use crate::id::{SessionId, SnapshotId};
use crate::limits::Spent;
use crate::session::{Profile, Session};
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// What became of the wish to go on from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// The session goes on from this snapshot.
    Resumed {
        /// The snapshot.
        from: SnapshotId,
    },
    /// Nobody has such an id, or retention has removed it: the session starts fresh.
    NotFound,
    /// The snapshot is older than the host resumes from: the session starts fresh.
    Stale {
        /// The snapshot.
        from: SnapshotId,
    },
}

impl Resumption {
    /// The outcome as a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Resumption::Resumed { .. } => "resumed",
            Resumption::NotFound => "not_found",
            Resumption::Stale { .. } => "stale",
        }
    }

    /// The snapshot that was found.
    #[must_use]
    pub fn from(self) -> Option<SnapshotId> {
        match self {
            Resumption::Resumed { from } | Resumption::Stale { from } => Some(from),
            Resumption::NotFound => None,
        }
    }
}

/// The state to resume from belongs to another project than the session that is to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot belongs to another project")]
pub struct OtherProject;

/// Decide whether what a caller asks for goes on from this snapshot of that session, and what it asks for
/// then. A snapshot goes stale unless its session has a thread, which may be taken up at any time.
///
/// # Errors
/// [`OtherProject`] where both have a project, and not the same one.
pub fn resumed(
    mut new: NewSession,
    snapshot: &Snapshot,
    of: &Session,
    stale_after: Duration,
    now: Timestamp,
) -> Result<(NewSession, Resumption), OtherProject> {
    let Profile { project_id, thread_key, .. } = &of.profile;
    if project_id.is_some() && new.project_id.is_some() && *project_id != new.project_id {
        return Err(OtherProject);
    }
    let from = snapshot.id;
    if thread_key.is_none() && now.since(snapshot.taken_at) > stale_after {
        return Ok((new, Resumption::Stale { from }));
    }
    new.project_id = new.project_id.or_else(|| project_id.clone());
    Ok((new, Resumption::Resumed { from }))
}

/// The record of a fork of this session, which starts from `head` and is served by this agent. The fork has
/// spent nothing and may spend what its parent has left. The thread stays the parent's.
///
/// # Errors
/// [`Spent`] where the parent has nothing left of one of its limits.
pub fn forked(
    parent: &Session,
    head: Option<&Snapshot>,
    agent: AgentRef,
    id: SessionId,
    now: Timestamp,
) -> Result<Session, Spent> {
    let profile = Profile {
        agent,
        limits: parent.profile.limits.left(&parent.usage)?,
        thread_key: None,
        ..parent.profile.clone()
    };
    let context = parent.context.clone();
    Ok(begin(id, parent.owner.clone(), profile, context, head, now))
}

#[cfg(test)]
mod tests;
