//! What becomes of a session whose state is removed, because nobody has used it for as long as it is kept.
//! Pure. When that is due, [`deadline`](crate::deadline) says.
//!
//! The record, the turns and the bill stay. A session that is open is in `error` from then on, so that nobody
//! goes on with it as if it remembered: whoever resumes it has it begin anew.

use crate::event::{Event, EventBody};
use crate::session::Session;
use crate::state::{Cause, Move};
use crate::time::Timestamp;
use crate::transition;

/// The record of a session after its state was removed, and what is told of that.
#[must_use]
pub fn remove_state(before: &Session, now: Timestamp) -> (Session, Vec<Event>) {
    let mut after = before.clone();
    after.set_head(None);
    after.before_upgrade = None;
    after.state_removed_at = Some(now);
    // One that is over stays as it ended.
    if let Ok(state) = before.state.after(Move::Fail(Cause::StateExpired.into())) {
        after.state = state;
    }
    let removed =
        before.head.map(|head| Event::session(before, now, EventBody::StateRemoved { head }));
    let ending = transition::ending(before, &mut after, now);
    (after, removed.into_iter().chain(ending).collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::creation::examples::session;
    use crate::event::EventKind;
    use crate::id::SnapshotId;
    use crate::state::State;

    fn kinds(events: &[Event]) -> Vec<EventKind> {
        events.iter().map(Event::kind).collect()
    }

    #[test]
    fn an_open_session_without_its_state_takes_no_messages_until_it_is_resumed() {
        let mut open = session();
        open.head = Some(SnapshotId(Uuid::from_u128(7)));
        open.state = State::Idle;
        let (after, events) = remove_state(&open, Timestamp(9));
        assert_eq!(after.state, State::Error(Cause::StateExpired.into()));
        assert_eq!((after.head, after.state_removed_at), (None, Some(Timestamp(9))));
        assert_eq!(kinds(&events), [EventKind::StateRemoved, EventKind::SessionError]);
        let mut resumed = after.clone();
        resumed.forgive();
        assert_eq!(resumed.state_removed_at, None);
    }

    #[test]
    fn a_session_that_is_over_stays_as_it_ended() {
        let mut over = session();
        over.head = Some(SnapshotId(Uuid::from_u128(7)));
        over.state = State::Completed;
        over.ended_at = Some(Timestamp(6));
        let (after, events) = remove_state(&over, Timestamp(9));
        assert_eq!((&after.state, after.ended_at), (&State::Completed, Some(Timestamp(6))));
        assert_eq!(after.state_removed_at, Some(Timestamp(9)));
        assert_eq!(kinds(&events), [EventKind::StateRemoved]);
    }
}
