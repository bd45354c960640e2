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

/// How long before the end of its idle limit a session is warned of that, at most half of the limit, where
/// its creator does not say otherwise.
pub const IDLE_GRACE: Duration = Duration::from_secs(5 * 60);

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// The session makes this move.
    Move(Move),
    /// An event warns of the end of the idle limit.
    IdleWarning {
        /// When the limit is reached.
        end: Timestamp,
    },
    /// The session is removed.
    Removal,
}

/// What is due next for this session, and when. `None`: nothing, however long it sleeps.
#[must_use]
pub fn next(session: &Session) -> Option<(Timestamp, Due)> {
    let lifetime = end_of_life(session)
        .map(|(end, _)| (end, Due::Move(Move::Terminate(Cause::LifetimeExceeded.into()))));
    match session.state {
        State::Initializing | State::Active | State::Idle => {
            earlier(lifetime, earlier(idle_warning(session), idle_end(session)))
        }
        State::Paused(_) | State::Stopping(_) => lifetime,
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

/// When the idle limit of this session is reached, if nobody speaks to it before. `None`: it has no such
/// limit, or the limit does not count now.
#[must_use]
pub fn idle_deadline(session: &Session) -> Option<Timestamp> {
    let counts = match session.state {
        State::Initializing | State::Active => true,
        // A hybrid that is idle has reached it.
        State::Idle => session.profile.pattern != Pattern::Hybrid,
        State::Paused(_)
        | State::Stopping(_)
        | State::Error(_)
        | State::Completed
        | State::Terminated(_) => false,
    };
    let end = session.last_activity_at.after(session.profile.limits.max_idle.filter(|_| counts)?);
    Some(session.idle.extended_until.map_or(end, |until| end.max(until)))
}

fn idle_end(session: &Session) -> Option<(Timestamp, Due)> {
    // A hybrid that nobody has ever spoken to, and that started from nothing, has nothing to resume: it
    // ends.
    let has_nothing = session.state == State::Initializing && session.head.is_none();
    let rests = session.profile.pattern == Pattern::Hybrid && !has_nothing;
    let step = if rests { Move::Rest } else { Move::Terminate(Cause::IdleTimeout.into()) };
    Some((idle_deadline(session)?, Due::Move(step)))
}

fn idle_warning(session: &Session) -> Option<(Timestamp, Due)> {
    let (limits, end) = (&session.profile.limits, idle_deadline(session)?);
    let grace = limits.idle_grace.unwrap_or(IDLE_GRACE).min(limits.max_idle? / 2);
    (session.idle.warned_of != Some(end)).then(|| (end.before(grace), Due::IdleWarning { end }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::creation::examples::session;

    const MINUTE: Duration = Duration::from_secs(60);

    fn idling(pattern: Pattern, max_idle: Duration) -> Session {
        let mut session = session();
        session.profile.pattern = pattern;
        session.profile.limits.max_idle = Some(max_idle);
        session.state = State::Active;
        session
    }

    #[test]
    fn an_idle_limit_is_warned_of_once_and_then_reached() {
        let mut session = idling(Pattern::Hybrid, 45 * MINUTE);
        let end = session.last_activity_at.after(45 * MINUTE);
        assert_eq!(next(&session), Some((end.before(IDLE_GRACE), Due::IdleWarning { end })));
        session.idle.warned_of = Some(end);
        assert_eq!(next(&session), Some((end, Due::Move(Move::Rest))));
    }

    #[test]
    fn a_warning_comes_after_half_of_a_short_limit_and_as_early_as_is_asked_for() {
        let mut session = idling(Pattern::LongRunning, 4 * MINUTE);
        let due = |session: &Session| next(session).map(|(at, _)| at);
        assert_eq!(due(&session), Some(session.last_activity_at.after(2 * MINUTE)));
        session.profile.limits.idle_grace = Some(MINUTE);
        assert_eq!(due(&session), Some(session.last_activity_at.after(3 * MINUTE)));
    }

    #[test]
    fn an_extension_puts_the_end_off_and_a_shorter_one_does_not_bring_it_nearer() {
        let mut session = idling(Pattern::LongRunning, 45 * MINUTE);
        let (active, end) = (session.last_activity_at, idle_deadline(&session));
        session.idle.extended_until = Some(active.after(MINUTE));
        assert_eq!(idle_deadline(&session), end);
        session.idle.extended_until = Some(active.after(60 * MINUTE));
        assert_eq!(idle_deadline(&session), Some(active.after(60 * MINUTE)));
        session.idle.warned_of = end;
        assert!(matches!(next(&session), Some((_, Due::IdleWarning { .. }))), "of the new end");
    }

    #[test]
    fn a_session_that_is_paused_or_rests_has_no_idle_limit() {
        let mut session = idling(Pattern::Hybrid, 45 * MINUTE);
        session.state = State::Idle;
        assert_eq!((idle_deadline(&session), next(&session)), (None, None));
        session.profile.pattern = Pattern::LongRunning;
        assert!(
            idle_deadline(&session).is_some(),
            "one that was put to rest by hand goes on idling"
        );
        session.state = State::Active.after(Move::Pause).expect("it pauses");
        assert_eq!((idle_deadline(&session), next(&session)), (None, None));
    }
}
