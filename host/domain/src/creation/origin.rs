//! What a new session gets from the session whose snapshot it starts from: the rules of forks and of
//! resuming, beside each other. Both start from a snapshot of another session; they differ in who asks.
//!
//! - A *fork* is another go of its parent: it gets all that its parent has but the thread, and may spend
//!   what its parent has left.
//! - A session that *resumes* another is a new one, which its caller describes; it gets the state alone, and
//!   stays with the project and the user of that state.

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

/// The state to resume from is not for the session that is to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotForThisSession {
    /// It belongs to another project.
    #[error("the snapshot belongs to another project")]
    OtherProject,
    /// It serves another user.
    #[error("the snapshot belongs to another user")]
    OtherUser,
}

/// Decide whether what a caller asks for goes on from this snapshot of that session, and what it asks for
/// then. A snapshot goes stale unless its session has a thread, which may be taken up at any time.
///
/// # Errors
/// [`NotForThisSession`] where both have a project or a user, and not the same one.
pub fn resumed(
    mut new: NewSession,
    snapshot: &Snapshot,
    of: &Session,
    stale_after: Duration,
    now: Timestamp,
) -> Result<(NewSession, Resumption), NotForThisSession> {
    let Profile { project_id, user_id, thread_key, .. } = &of.profile;
    if is_another(project_id, &new.project_id) {
        return Err(NotForThisSession::OtherProject);
    }
    if is_another(user_id, &new.user_id) {
        return Err(NotForThisSession::OtherUser);
    }
    let from = snapshot.id;
    if is_stale(snapshot.taken_at, thread_key.is_some(), stale_after, now) {
        return Ok((new, Resumption::Stale { from }));
    }
    new.project_id = new.project_id.or_else(|| project_id.clone());
    new.user_id = new.user_id.or_else(|| user_id.clone());
    Ok((new, Resumption::Resumed { from }))
}

/// Whether a snapshot that was taken at this time is too old to resume from. That of a session with a thread
/// never is.
#[must_use]
pub fn is_stale(
    taken_at: Timestamp,
    has_thread: bool,
    stale_after: Duration,
    now: Timestamp,
) -> bool {
    !has_thread && now.since(taken_at) > stale_after
}

/// Whether both labels are there, and are not the same.
fn is_another(one: &Option<String>, other: &Option<String>) -> bool {
    one.is_some() && other.is_some() && one != other
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
