//! The log of events: a caller's own, and all of it for who operates the host.

use std::collections::HashMap;

use super::{Host, LookError, Storage};
use dormouse_domain::agent::AgentOwner;
use dormouse_domain::event::{Cursor, Subject};
use dormouse_domain::id::SessionId;
use dormouse_store::{Bound, Logged, Page, StoreError};

/// A part of the log of events, as one caller sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSlice {
    /// Those of the events that the caller sees, in the order of their commits.
    pub events: Vec<Logged>,
    /// The cursor of the last event that was looked at, seen or not: what to go on after.
    pub next: Cursor,
    /// Whether there are more behind it already.
    pub more: bool,
}

impl Host {
    /// What happened after a cursor to the caller's sessions and agents, and to the agents that come
    /// with the host. Looks at `limit` events at most, and no more of them than
    /// [`PAGE_BYTES`](crate::PAGE_BYTES), those of others included. What is gone belongs to nobody: the events of a session that was deleted are for [`Storage::events_after`] alone.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn events_after(
        &self,
        cursor: Cursor,
        limit: usize,
    ) -> Result<EventSlice, StoreError> {
        let found = self.store().events_after(cursor, limit).await?;
        let (next, more) = (found.end().unwrap_or(cursor), found.next.is_some());
        let mut known = HashMap::new();
        let mut events = Vec::with_capacity(found.entries.len());
        for logged in found.entries {
            let is_seen = match &logged.event.subject {
                Subject::Agent { owner: Some(AgentOwner::Host), .. } => true,
                Subject::Agent { owner: Some(AgentOwner::Principal(owner)), .. } => {
                    *owner == self.caller
                }
                Subject::Agent { owner: None, .. } => false,
                Subject::Session(id) => match known.get(id) {
                    Some(is_own) => *is_own,
                    None => *known.entry(*id).or_insert(self.owns(SessionId(*id)).await?),
                },
            };
            if is_seen {
                events.push(logged);
            }
        }
        Ok(EventSlice { events, next, more })
    }

    async fn owns(&self, session: SessionId) -> Result<bool, StoreError> {
        match self.sessions().get(session).look().await {
            Ok(_) => Ok(true),
            Err(LookError::NotFound(_)) => Ok(false),
            Err(LookError::Store(error)) => Err(error),
        }
    }
}

impl Storage {
    /// All events after a cursor, over all sessions and agents, in the order of their commits; at most
    /// `limit`. A page ends before it has more than [`PAGE_BYTES`](crate::PAGE_BYTES).
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn events_after(
        &self,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Page<Logged, Cursor>, StoreError> {
        self.0.inner.store.events_after(cursor, Bound::entries(limit)).await
    }
}
