//! The readers of the log of events: which events they see. Who publishes is nothing to them.

use std::collections::HashMap;

use dormouse_domain::agent::AgentOwner;
use dormouse_domain::event::{Cursor, Event, Subject};
use dormouse_domain::id::{Principal, SessionId};
use dormouse_store::{Bound, Logged, Store, StoreError};

/// A part of the log of events, as one reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSlice {
    /// Those of the events that the reader sees, in the order of their commits.
    pub events: Vec<Logged>,
    /// The cursor of the last event that was looked at, seen or not: what to go on after.
    pub next: Cursor,
    /// Whether there are more behind it already.
    pub more: bool,
}

/// Which events a reader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventFilter {
    /// All of them: for who operates the host.
    All,
    /// Those of this principal's sessions and agents, also when they are gone, and those of the agents
    /// that come with the host.
    SeenBy(Principal),
}

/// What a reader sees of the events after a cursor. As many are looked at as fit into `bound`, those
/// that the reader does not see included.
pub(crate) async fn slice(
    store: &dyn Store,
    filter: &EventFilter,
    after: Cursor,
    bound: Bound,
) -> Result<EventSlice, StoreError> {
    let found = store.events_after(after, bound).await?;
    let (next, more) = (found.end().unwrap_or(after), found.next.is_some());
    let events = match filter {
        EventFilter::All => found.entries,
        EventFilter::SeenBy(principal) => seen_by(store, principal, found.entries).await?,
    };
    Ok(EventSlice { events, next, more })
}

async fn seen_by(
    store: &dyn Store,
    principal: &Principal,
    all: Vec<Logged>,
) -> Result<Vec<Logged>, StoreError> {
    let mut known = HashMap::new();
    let mut seen = Vec::with_capacity(all.len());
    for logged in all {
        let is_seen = match &logged.event {
            Event { owner: Some(AgentOwner::Host), .. } => true,
            Event { owner: Some(AgentOwner::Principal(owner)), .. } => owner == principal,
            Event { owner: None, subject: Subject::Agent(_), .. } => false,
            // From before events had owners: it belongs to whoever has the session now.
            Event { owner: None, subject: Subject::Session(id), .. } => match known.get(id) {
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
