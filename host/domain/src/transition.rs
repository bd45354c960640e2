//! What is told of a session that has moved from one state to another. Pure.

use crate::event::{Event, EventBody, ResumeCause, SessionUpdate};
use crate::session::Session;
use crate::state::{State, Status};
use crate::time::Timestamp;

/// The event that tells of a new state, with the time of the end noted where it is one.
pub fn ending(before: &Session, after: &mut Session, now: Timestamp) -> Option<Event> {
    let body = told(&before.state, &after.state)?;
    if after.state.status().is_final() {
        after.ended_at = Some(now);
    }
    Some(Event::session(after, now, body))
}

/// What is told of this move.
fn told(before: &State, after: &State) -> Option<EventBody> {
    // That the first turn has made the session active is told by `session.started`.
    let started = *before == State::Initializing && *after == State::Active;
    if before == after || started {
        return None;
    }
    let (was, status) = (before.status(), after.status());
    let resumed = EventBody::SessionResumed(ResumeCause::Asked { status, from: None });
    let reason = after.reason().cloned();
    Some(match after {
        State::Completed => EventBody::SessionCompleted,
        State::Terminated(reason) => EventBody::SessionTerminated { reason: reason.clone() },
        State::Error(reason) => EventBody::SessionError { reason: reason.clone(), damage: None },
        State::Paused(_) => EventBody::SessionPaused,
        State::Initializing | State::Active if matches!(was, Status::Paused | Status::Error) => {
            resumed
        }
        State::Idle if was == Status::Paused => resumed,
        State::Initializing | State::Active | State::Idle | State::Stopping(_) => {
            EventBody::SessionUpdated(SessionUpdate::Status { status, reason })
        }
    })
}
