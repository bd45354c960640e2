//! When something is due for a session although nobody speaks to it.
//!
//! A pure function of the record, so that the store can keep all sessions in the order of their
//! next deadline and the manager finds what is due without walking them.

use std::time::Duration;

use super::pattern::Pattern;
use super::session::Session;
use super::state::{Cause, Move, State, Status};
use crate::time::Timestamp;

/// How long an ephemeral session is kept after its end.
pub const EPHEMERAL_KEPT: Duration = Duration::from_secs(60);

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// The session makes this move.
    Move(Move),
    /// The session is removed.
    Removal,
}

/// What is due next for this session, and when. `None`: nothing, however long it sleeps.
#[must_use]
pub fn next(session: &Session) -> Option<(Timestamp, Due)> {
    let limits = &session.profile.limits;
    let hybrid = session.profile.pattern == Pattern::Hybrid;
    let lifetime = end_of_life(session)
        .map(|(end, _)| (end, Due::Move(Move::Terminate(Cause::LifetimeExceeded.into()))));
    let idle = limits.max_idle.map(|idle| {
        let step = if hybrid { Move::Rest } else { Move::Terminate(Cause::IdleTimeout.into()) };
        (session.last_activity_at.after(idle), Due::Move(step))
    });
    match session.state {
        // A hybrid that nobody has ever spoken to, and that started from nothing, has nothing to
        // resume: it ends.
        State::Initializing if hybrid && session.head.is_none() => earlier(
            lifetime,
            idle.map(|(at, _)| (at, Due::Move(Move::Terminate(Cause::IdleTimeout.into())))),
        ),
        State::Initializing | State::Active => earlier(lifetime, idle),
        State::Idle | State::Paused(_) | State::Stopping(_) => lifetime,
        State::Error(_) => earlier(lifetime, removal(session)),
        State::Completed | State::Terminated(_) => removal(session),
    }
}

/// When this session ends, whatever it does, and how long it may live in all.
#[must_use]
pub fn end_of_life(session: &Session) -> Option<(Timestamp, Duration)> {
    let lifetime = session.profile.limits.max_lifetime?;
    Some((session.created_at.after(lifetime), lifetime))
}

fn removal(session: &Session) -> Option<(Timestamp, Due)> {
    let ended = session.ended_at.unwrap_or(session.last_activity_at);
    let over = session.state.status().is_final() || session.state.status() == Status::Error;
    (over && session.profile.pattern == Pattern::Ephemeral)
        .then(|| (ended.after(EPHEMERAL_KEPT), Due::Removal))
}

fn earlier(
    one: Option<(Timestamp, Due)>,
    other: Option<(Timestamp, Due)>,
) -> Option<(Timestamp, Due)> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.0 < one.0 { other } else { one }),
        (one, other) => one.or(other),
    }
}
