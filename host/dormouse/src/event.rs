//! The readers of the log of events: which events they see, and how they follow the log. They do not know
//! who publishes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::{Stream, stream};
use tokio::sync::watch;

use dormouse_domain::agent::AgentOwner;
use dormouse_domain::event::{Cursor, Event, EventSubject};
use dormouse_domain::id::{Principal, SessionId};
use dormouse_store::{Bound, EventEntry, Store, StoreError};

/// How much of the log a reader that follows it reads at a time, and holds.
const READ: Bound = Bound { entries: 256, bytes: FOLLOW_BYTES };

/// How many bytes of events a reader holds at most that follows the log.
pub const FOLLOW_BYTES: usize = 256 * 1024;

/// A part of the log of events, as one reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventBatch {
    /// The events that the reader sees, in the order of their commits.
    pub events: Vec<EventEntry>,
    /// The cursor of the last event that was looked at, seen or not: the next read goes on after it.
    pub next: Cursor,
    /// Whether there are more behind it already.
    pub more: bool,
}

/// Which events a reader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventFilter {
    /// All events: for the operator of the host.
    All,
    /// The events of this principal's sessions and agents, also when they are gone, and those of the agents
    /// that come with the host.
    SeenBy(Principal),
    /// Those of this session: for who has it.
    Of(SessionId),
}

/// All events after a cursor that a reader sees, in the order of their commits, each of them once: those
/// that are there, and then each as soon as it is committed. Waits without polling. A cursor beyond the
/// end of the log waits until the log has come there. Ends with the first error, which is
/// [`StoreError::Closed`] when the store is closed, and the reason when the store has failed for good: go
/// on after the last event that came.
pub(crate) fn tail(
    store: Arc<dyn Store>,
    after: Cursor,
    filter: EventFilter,
) -> impl Stream<Item = Result<EventEntry, StoreError>> + Send + 'static {
    let end = store.end();
    let replay = match filter {
        EventFilter::Of(session) => Some(Replay { session, end: *end.borrow() }),
        EventFilter::All | EventFilter::SeenBy(_) => None,
    };
    let tail = Tail { end, store, filter, replay, after, read: VecDeque::new() };
    stream::try_unfold(tail, |mut tail| async move {
        loop {
            if let Some(logged) = tail.read.pop_front() {
                return Ok(Some((logged, tail)));
            }
            tail.read_on().await?;
        }
    })
}

/// A reader that follows the log.
struct Tail {
    store: Arc<dyn Store>,
    filter: EventFilter,
    end: watch::Receiver<Cursor>,
    /// What comes before the log, where the reader follows one session.
    replay: Option<Replay>,
    /// The last event that was looked at, seen or not.
    after: Cursor,
    /// Events that were read and are not handed out yet.
    read: VecDeque<EventEntry>,
}

/// The past of one session: its own index leads to it, without the events of others.
#[derive(Clone, Copy)]
struct Replay {
    session: SessionId,
    /// Where the log ended when the reader began. What comes later is read in the log, because the index
    /// goes with the session when somebody removes that.
    end: Cursor,
}

impl Tail {
    /// Read what comes next, once there is something: perhaps nothing that this reader sees.
    async fn read_on(&mut self) -> Result<(), StoreError> {
        let after = self.after;
        let end = tokio::select! {
            biased;
            end = self.end.wait_for(|end| *end > after) => *end.map_err(|_| StoreError::Closed)?,
            error = self.store.failed() => return Err(error),
        };
        let (slice, end) = match self.replay {
            Some(Replay { session, end }) => {
                (slice_of(&*self.store, session, after, READ).await?, end)
            }
            None => (slice(&*self.store, &self.filter, after, READ).await?, end),
        };
        if !slice.more {
            self.replay = None;
        }
        self.after = goes_on_after(&slice, end);
        self.read.extend(slice.events);
        Ok(())
    }
}

/// After which event a reader goes on that has read this slice, when the log ended at `end` before.
fn goes_on_after(slice: &EventBatch, end: Cursor) -> Cursor {
    // Where nothing is left to read, what lies between the last event and the end does not decode.
    if slice.more { slice.next } else { slice.next.max(end) }
}

/// What a reader sees of the events after a cursor. As many are looked at as fit into `bound`, those
/// that the reader does not see included.
pub(crate) async fn slice(
    store: &dyn Store,
    filter: &EventFilter,
    after: Cursor,
    bound: Bound,
) -> Result<EventBatch, StoreError> {
    let found = store.events_after(after, bound).await?;
    let (next, more) = (found.end().unwrap_or(after), found.next.is_some());
    let events = match filter {
        EventFilter::All => found.entries,
        EventFilter::SeenBy(principal) => seen_by(store, principal, found.entries).await?,
        EventFilter::Of(session) => {
            let is_of =
                |logged: &EventEntry| logged.event.subject == EventSubject::Session(*session);
            found.entries.into_iter().filter(is_of).collect()
        }
    };
    Ok(EventBatch { events, next, more })
}

/// The events of a session after a cursor, by its own index: as many as fit into `bound`.
async fn slice_of(
    store: &dyn Store,
    session: SessionId,
    after: Cursor,
    bound: Bound,
) -> Result<EventBatch, StoreError> {
    let found = store.session_events(session, after, bound).await?;
    let (next, more) = (found.end().unwrap_or(after), found.next.is_some());
    Ok(EventBatch { events: found.entries, next, more })
}

async fn seen_by(
    store: &dyn Store,
    principal: &Principal,
    all: Vec<EventEntry>,
) -> Result<Vec<EventEntry>, StoreError> {
    let mut known = HashMap::new();
    let mut seen = Vec::with_capacity(all.len());
    for logged in all {
        let is_seen = match &logged.event {
            Event { owner: Some(AgentOwner::Host), .. } => true,
            Event { owner: Some(AgentOwner::Principal(owner)), .. } => owner == principal,
            Event {
                owner: None,
                subject: EventSubject::Agent(_) | EventSubject::Key(_) | EventSubject::Schedule(_),
                ..
            } => false,
            // From before events had owners: it belongs to whoever has the session now.
            Event { owner: None, subject: EventSubject::Session(id), .. } => match known.get(id) {
                Some(is_own) => *is_own,
                None => *known.entry(*id).or_insert(owns(store, principal, *id).await?),
            },
        };
        if is_seen {
            seen.push(logged);
        }
    }
    Ok(seen)
}

async fn owns(
    store: &dyn Store,
    principal: &Principal,
    session: SessionId,
) -> Result<bool, StoreError> {
    match store.session(session).await {
        Ok(found) => Ok(found.is_some_and(|session| session.owner == *principal)),
        // Nobody knows whose it is.
        Err(StoreError::Damaged(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_on_behind_what_does_not_decode_at_the_end() {
        let slice = |next, more| EventBatch { events: Vec::new(), next: Cursor(next), more };
        assert_eq!(goes_on_after(&slice(3, true), Cursor(9)), Cursor(3));
        assert_eq!(goes_on_after(&slice(3, false), Cursor(9)), Cursor(9));
        assert_eq!(
            goes_on_after(&slice(11, false), Cursor(9)),
            Cursor(11),
            "more has come meanwhile"
        );
    }
}
