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
    /// A timer sends its agent a turn.
    Timer,
    /// The members of its group end, because it has ended.
    GroupEnd,
    /// The state is removed, and the record stays.
    StateRemoval,
    /// The session is removed.
    Removal,
}

impl Due {
    /// Whether it cannot be undone: it waits where the clock may be wrong.
    #[must_use]
    pub fn removes(&self) -> bool {
        match self {
            Due::Move(_) | Due::IdleWarning { .. } | Due::Timer | Due::GroupEnd => false,
            Due::StateRemoval | Due::Removal => true,
        }
    }
}

/// What is due next for this session, and when. `None`: nothing, however long it sleeps.
#[must_use]
pub fn next(session: &Session) -> Option<(Timestamp, Due)> {
    all(session).min_by_key(|(at, _)| *at)
}

/// All that is due, also where one thing comes before another. Of what is due at the same time, the first goes
/// first.
fn all(session: &Session) -> impl Iterator<Item = (Timestamp, Due)> {
    let lifetime = end_of_life(session)
        .map(|(end, _)| (end, Due::Move(Move::Terminate(Cause::LifetimeExceeded.into()))));
    let all = match session.state {
        State::Initializing | State::Active | State::Idle => {
            let timer = session.timers.next().map(|at| (at, Due::Timer));
            [lifetime, timer, idle_warning(session), idle_end(session), state_removal(session)]
        }
        State::Paused(_) => [lifetime, state_removal(session), None, None, None],
        State::Stopping(_) => [lifetime, None, None, None, None],
        State::Error(_) => [lifetime, removal(session), state_removal(session), None, None],
        State::Completed | State::Terminated(_) => {
            [group_end(session), removal(session), state_removal(session), None, None]
        }
    };
    all.into_iter().flatten()
}

/// What is due for this session at this time, and since when. What removes waits where `may_remove` says so of the
/// time at which it was due. A warning of an end that has come as well is left out: nobody could heed it.
#[must_use]
pub fn due(
    session: &Session,
    now: Timestamp,
    may_remove: impl Fn(Timestamp) -> bool,
) -> Option<(Timestamp, Due)> {
    let is_late = |due: &Due| matches!(due, Due::IdleWarning { end } if *end <= now);
    let has_come = all(session).filter(|(at, _)| *at <= now);
    let may_be = has_come.filter(|(at, due)| !is_late(due) && (!due.removes() || may_remove(*at)));
    may_be.min_by_key(|(at, _)| *at)
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

fn group_end(session: &Session) -> Option<(Timestamp, Due)> {
    let group = session.group.as_ref().filter(|group| group.is_coordinator())?;
    (!group.has_ended)
        .then(|| (session.ended_at.unwrap_or(session.last_activity_at), Due::GroupEnd))
}

fn removal(session: &Session) -> Option<(Timestamp, Due)> {
    let ended = session.ended_at.unwrap_or(session.last_activity_at);
    let over = session.state.status().is_final() || session.state.status() == Status::Error;
    (over && session.profile.pattern == Pattern::Ephemeral)
        .then(|| (ended.after(EPHEMERAL_KEPT), Due::Removal))
}

/// The state goes when nobody has used it for as long as it is kept, but never while the session has its idle
/// limit before it.
fn state_removal(session: &Session) -> Option<(Timestamp, Due)> {
    let kept = session.profile.limits.state_kept.filter(|_| session.head.is_some())?;
    if session.check_alone().is_err() && session.ended_at.is_none() {
        // A member is of use as long as its group is.
        return None;
    }
    let used =
        session.ended_at.map_or(session.last_activity_at, |at| at.max(session.last_activity_at));
    let end = used.after(kept);
    let end = idle_deadline(session).map_or(end, |idle| idle.max(end));
    // Nor while its agent wants to be woken.
    let wakes = !session.state.status().is_final() && session.state.status() != Status::Error;
    let end = session.timers.next().filter(|_| wakes).map_or(end, |timer| timer.max(end));
    Some((rounded_up(end, kept), Due::StateRemoval))
}

/// This time, later by a hundredth of `period` at most: the turns of a conversation rarely move it, so the store
/// rarely has to move the session among those that are due.
fn rounded_up(time: Timestamp, period: Duration) -> Timestamp {
    let step = i64::try_from(period.as_millis() / 100).unwrap_or(i64::MAX).max(1);
    let steps = time.0.saturating_add(step - 1).div_euclid(step);
    Timestamp(steps.saturating_mul(step))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::creation::examples::session;
    use crate::id::SnapshotId;

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
    fn whoever_is_too_late_for_the_warning_comes_to_the_end() {
        let session = idling(Pattern::Hybrid, 45 * MINUTE);
        let end = session.last_activity_at.after(45 * MINUTE);
        let due = |now| due(&session, now, |_| true);
        assert_eq!(due(end.before(2 * IDLE_GRACE)), None);
        let warning = Some((end.before(IDLE_GRACE), Due::IdleWarning { end }));
        assert_eq!(due(end.before(MINUTE)), warning);
        assert_eq!(due(end), Some((end, Due::Move(Move::Rest))));
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

    /// A hybrid session that has a state, and keeps it for a hundred minutes.
    fn remembering() -> Session {
        let mut session = session();
        session.profile.pattern = Pattern::Hybrid;
        session.profile.limits.state_kept = Some(100 * MINUTE);
        session.head = Some(SnapshotId(uuid::Uuid::from_u128(7)));
        session.state = State::Idle;
        session.last_activity_at = Timestamp(0);
        session
    }

    fn minutes(minutes: u32) -> Timestamp {
        Timestamp(0).after(minutes * MINUTE)
    }

    #[test]
    fn the_state_that_nobody_uses_is_removed_in_each_status_that_lasts() {
        let mut session = remembering();
        for state in [
            State::Idle,
            State::Paused(crate::state::Resumable::Idle),
            State::Error(Cause::StateLost.into()),
            State::Completed,
        ] {
            session.state = state;
            assert_eq!(next(&session), Some((minutes(100), Due::StateRemoval)));
        }
        session.ended_at = Some(minutes(30));
        assert_eq!(next(&session), Some((minutes(130), Due::StateRemoval)), "since its end");
        session.head = None;
        assert_eq!(next(&session), None, "there is nothing to remove");
    }

    #[test]
    fn the_state_is_kept_for_as_long_as_the_session_may_be_idle() {
        let mut session = remembering();
        session.state = State::Active;
        session.profile.limits.max_idle = Some(300 * MINUTE);
        session.idle.warned_of = idle_deadline(&session);
        assert_eq!(next(&session), Some((minutes(300), Due::Move(Move::Rest))));
        session.state = State::Idle;
        assert_eq!(next(&session), Some((minutes(100), Due::StateRemoval)), "it is reached");
    }

    #[test]
    fn the_state_is_kept_for_the_timers_of_a_session_that_is_open() {
        let mut session = remembering();
        session.timers = crate::timer::Timers::due_at(Some(minutes(500)));
        assert_eq!(next(&session), Some((minutes(500), Due::Timer)));
        session.state = State::Paused(crate::state::Resumable::Idle);
        assert_eq!(next(&session), Some((minutes(500), Due::StateRemoval)), "they wait");
        session.state = State::Completed;
        assert_eq!(next(&session), Some((minutes(100), Due::StateRemoval)));
    }

    #[test]
    fn where_removals_wait_the_rest_of_what_is_due_does_not() {
        let mut session = remembering();
        session.profile.limits.max_lifetime = Some(200 * MINUTE);
        session.created_at = Timestamp(0);
        assert_eq!(next(&session), Some((minutes(100), Due::StateRemoval)));
        let end = Due::Move(Move::Terminate(Cause::LifetimeExceeded.into()));
        let due = |now| due(&session, now, |_| false);
        assert_eq!((due(minutes(150)), due(minutes(200))), (None, Some((minutes(200), end))));
    }

    proptest! {
        #[test]
        fn what_is_rounded_up_is_later_by_a_hundredth_at_most_and_in_the_same_order(
            one in 0..1_i64 << 50,
            other in 0..1_i64 << 50,
            period in 1..1_u64 << 40,
        ) {
            let period = Duration::from_millis(period);
            let rounded = |at| rounded_up(Timestamp(at), period);
            prop_assert!(rounded(one) >= Timestamp(one));
            prop_assert!(rounded(one).since(Timestamp(one)) <= period / 100);
            prop_assert_eq!(rounded(one.min(other)), rounded(one).min(rounded(other)));
        }
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
