//! What a new session gets from the session whose snapshot it starts from: the rules of forks and of
//! resuming, beside each other. Both start from a snapshot of another session; they differ in who asks.
//!
//! - A *fork* is another go of its parent: it gets all that its parent has but the thread, and both spend
//!   from one account, unless the fork is given a part of its own.
//! - A session that *resumes* another is a new one, which its caller describes; it gets the state alone, and
//!   stays with the project and the user of that state.

use std::time::Duration;

use super::{InvalidField, NewSession, begin, check_positive};
use crate::account::{AccountLimits, Amounts};
use crate::agent::AgentRef;
use crate::id::{SessionId, SnapshotId};
use crate::limits::{NanoUsd, Spent};
use crate::session::{JsonObject, Profile, Session};
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
    /// More files of its session have changed since the snapshot than the caller allows: the session starts fresh.
    Changed {
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
            Resumption::Changed { .. } => "changed",
        }
    }

    /// The snapshot that was found.
    #[must_use]
    pub fn from(self) -> Option<SnapshotId> {
        match self {
            Resumption::Resumed { from }
            | Resumption::Stale { from }
            | Resumption::Changed { from } => Some(from),
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

/// How many files of its session may have changed since a snapshot for a new session to go on from it:
/// `resumeUnless.changedFiles` of the configuration of the new one. `None`: any number.
///
/// # Errors
/// It is no number.
pub fn max_changed_files(config: &JsonObject) -> Result<Option<u64>, InvalidField> {
    const FIELD: &str = "config.resumeUnless.changedFiles";
    let Some(unless) = config.get("resumeUnless").filter(|unless| !unless.is_null()) else {
        return Ok(None);
    };
    let Some(changed) = unless.get("changedFiles") else {
        let problem = "needs changedFiles: how many files may have changed since the snapshot";
        return Err(InvalidField::new("config.resumeUnless", problem));
    };
    let count = changed.as_u64();
    count.map(Some).ok_or_else(|| InvalidField::new(FIELD, "must be a number, 0 or more"))
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

/// What a fork may spend over its life. Money and fuel that are named here are its own, and are taken off what its
/// parent may spend. Where neither is, it shares both with its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForkLimits {
    /// Money of its own.
    pub max_budget: Option<NanoUsd>,
    /// Fuel of its own.
    pub max_fuel: Option<u64>,
    /// Turns. `None`: as many as its parent has left.
    pub max_turns: Option<u64>,
}

impl ForkLimits {
    /// Whether the fork spends on its own.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.max_budget.is_some() || self.max_fuel.is_some()
    }

    /// What so many forks take off what their parent may spend, which has these limits.
    ///
    /// # Errors
    /// [`InvalidField`] where a fork would have no limit that its parent has, or nothing.
    pub fn granted(&self, count: u32, parent: AccountLimits) -> Result<Amounts, InvalidField> {
        check_positive(&[("limits.maxTurns", self.max_turns), ("limits.maxFuel", self.max_fuel)])?;
        if self.max_budget == Some(NanoUsd(0)) {
            return Err(InvalidField::new("limits.maxBudgetUsd", "must be more than 0"));
        }
        if !self.is_own() {
            return Ok(Amounts::default());
        }
        let needed = |field, limit: &str| {
            let problem = format!(
                "is needed, because the session that is forked has a {limit} and the fork is to have limits of its own"
            );
            InvalidField::new(field, problem)
        };
        if parent.money.is_some() && self.max_budget.is_none() {
            return Err(needed("limits.maxBudgetUsd", "budget"));
        }
        if parent.fuel.is_some() && self.max_fuel.is_none() {
            return Err(needed("limits.maxFuel", "limit of fuel"));
        }
        let money = self.max_budget.map_or(0, |each| each.0).saturating_mul(i64::from(count));
        let fuel = self.max_fuel.unwrap_or(0).saturating_mul(u64::from(count));
        Ok(Amounts { money: NanoUsd(money), fuel })
    }
}

/// The record of a fork of this session, which starts from `head` and is served by this agent. The fork has
/// spent nothing. The thread stays the parent's.
///
/// # Errors
/// [`Spent`] where the parent has no turn left, and the fork is given none.
pub fn forked(
    parent: &Session,
    head: Option<&Snapshot>,
    agent: AgentRef,
    asked: &ForkLimits,
    (id, now): (SessionId, Timestamp),
) -> Result<Session, Spent> {
    let mut limits = parent.profile.limits.clone();
    limits.max_turns = match (asked.max_turns, limits.max_turns) {
        (None, Some(max)) if max <= parent.usage.turns => return Err(Spent::Turns(max)),
        (None, Some(max)) => Some(max - parent.usage.turns),
        (asked, _) => asked,
    };
    if asked.is_own() {
        (limits.max_budget, limits.max_fuel) = (asked.max_budget, asked.max_fuel);
    }
    let agent = Profile { agent, limits, thread_key: None, ..parent.profile.clone() };
    let context = parent.context.clone();
    let mut fork = begin(id, parent.owner.clone(), agent, context, head, now);
    fork.account = parent.account.filter(|_| !asked.is_own());
    fork.group = parent.group.as_ref().map(|group| group.of_fork(id));
    Ok(fork)
}

#[cfg(test)]
mod tests;
