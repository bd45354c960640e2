//! What is told of a session that has moved from one state to another. Pure.

use crate::event::{Event, EventKind};
use crate::session::Session;
use crate::state::{State, Status};
use crate::time::Timestamp;

/// The event that tells of a new state, with the time of the end noted where it is one.
pub fn ending(before: &Session, after: &mut Session, now: Timestamp) -> Option<Event> {
    let status = after.state.status();
    // That the first turn has made the session active is told by `session.started`.
    let started = before.state == State::Initializing && after.state == State::Active;
    if before.state == after.state || started {
        return None;
    }
    let kind = match status {
        Status::Completed => EventKind::SessionCompleted,
        Status::Terminated => EventKind::SessionTerminated,
        Status::Error => EventKind::SessionError,
        Status::Paused => EventKind::SessionPaused,
        Status::Initializing | Status::Active
            if matches!(before.state.status(), Status::Paused | Status::Error) =>
        {
            EventKind::SessionResumed
        }
        Status::Idle if before.state.status() == Status::Paused => EventKind::SessionResumed,
        Status::Initializing | Status::Active | Status::Idle | Status::Stopping => {
            EventKind::SessionUpdated
        }
    };
    if status.is_final() {
        after.ended_at = Some(now);
    }
    let mut event = Event::session(kind, after.id.0, now).with("status", status.as_str());
    if let Some(reason) = after.state.reason() {
        event = event.with("reason", reason.0.as_str());
    }
    if kind == EventKind::SessionUpdated {
        event = event.with("updates", vec!["status"]);
    }
    Some(event)
}
