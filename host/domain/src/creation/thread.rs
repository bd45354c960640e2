//! How a thread goes on: a conversation that finds its session again by the key of the thread.

use std::time::Duration;

use super::{NewSession, StartFrom};
use crate::id::SnapshotId;
use crate::session::Session;
use crate::state::State;
use crate::time::Timestamp;

/// How long a thread is gone on with from the state of a session that has ended, or has lost its own.
pub const THREAD_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How a thread goes on whose newest session is this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextOfThread {
    /// In this session.
    Here,
    /// In a new session, from the state that this one has had last.
    From(SnapshotId),
    /// In a new session, from nothing.
    Fresh,
    /// The same, although this one has had a state: it was too long ago, or was removed.
    Lost,
}

/// How a thread goes on whose newest session is this.
#[must_use]
pub fn next_of_thread(newest: &Session, now: Timestamp) -> NextOfThread {
    match newest.state {
        State::Initializing | State::Active | State::Idle | State::Paused(_) => NextOfThread::Here,
        State::Stopping(_) | State::Error(_) | State::Completed | State::Terminated(_) => {
            let ended = newest.ended_at.unwrap_or(newest.last_activity_at);
            match newest.head {
                Some(head) if now.since(ended) <= THREAD_KEPT => NextOfThread::From(head),
                None if newest.state_removed_at.is_none() => NextOfThread::Fresh,
                Some(_) | None => NextOfThread::Lost,
            }
        }
    }
}

impl NewSession {
    /// The same session, which starts from the state of this snapshot unless it is to start from another.
    #[must_use]
    pub fn going_on_from(mut self, head: SnapshotId) -> NewSession {
        if self.start == StartFrom::Fresh {
            self.start = StartFrom::Resume(head.to_string());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::creation::examples::session;
    use crate::state::{Cause, Resumable};

    const HEAD: SnapshotId = SnapshotId(Uuid::from_u128(7));

    #[test]
    fn a_thread_goes_on_in_its_open_session_and_else_from_the_state_of_the_last() {
        let mut newest = session();
        newest.head = Some(HEAD);
        let now = newest.last_activity_at.after(THREAD_KEPT);
        for (state, next) in [
            (State::Initializing, NextOfThread::Here),
            (State::Idle, NextOfThread::Here),
            (State::Paused(Resumable::Active), NextOfThread::Here),
            (State::Completed, NextOfThread::From(HEAD)),
            (State::Terminated(Cause::IdleTimeout.into()), NextOfThread::From(HEAD)),
            (State::Error(Cause::StateLost.into()), NextOfThread::From(HEAD)),
        ] {
            newest.state = state;
            assert_eq!(next_of_thread(&newest, now), next, "{}", newest.state.status());
        }
        let later = now.after(Duration::from_millis(1));
        assert_eq!(next_of_thread(&newest, later), NextOfThread::Lost, "it is too long ago");
        newest.ended_at = Some(now);
        assert_eq!(next_of_thread(&newest, later), NextOfThread::From(HEAD), "since its end");
        newest.head = None;
        assert_eq!(next_of_thread(&newest, now), NextOfThread::Fresh, "there was no state");
        newest.state_removed_at = Some(now);
        assert_eq!(next_of_thread(&newest, now), NextOfThread::Lost, "there is none any more");
    }

    #[test]
    fn where_a_caller_says_what_to_start_from_the_thread_does_not() {
        let own = NewSession { start: StartFrom::Template("t".into()), ..NewSession::default() };
        assert_eq!(own.clone().going_on_from(HEAD).start, own.start);
        let start = NewSession::default().going_on_from(HEAD).start;
        assert_eq!(start, StartFrom::Resume(HEAD.to_string()));
    }
}
