//! The log of events: a caller's own, and all of it for an admin.

use futures::Stream;

use super::Host;
use crate::event::{self, EventBatch, EventFilter};
use dormouse_domain::event::Cursor;
use dormouse_store::{Bound, EventEntry, StoreError};

impl Host {
    /// What happened after a cursor to the caller's sessions and agents, also to those that are gone
    /// since, and to the agents that come with the host; to everybody's, and to the keys of the API, where
    /// the caller is an admin. Looks at `limit` events at most, and no more of them than
    /// [`PAGE_BYTES`](crate::PAGE_BYTES), those of others included. An event that does not decode is
    /// passed over, and [`Storage::check`](crate::Storage::check) names it.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn events_after(
        &self,
        cursor: Cursor,
        limit: usize,
    ) -> Result<EventBatch, StoreError> {
        let bound = Bound::entries(limit);
        event::slice(&*self.inner.store, &self.event_filter(), cursor, bound).await
    }

    /// What happens from a cursor on to whatever [`Host::events_after`] tells the caller of: first what
    /// has happened, then each event as soon as it is committed. None is left out and none comes twice.
    /// A reader that stops goes on later after the cursor of the last event that it got.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::pin::pin;
    ///
    /// use dormouse::{Cursor, EventKind, Host, NewSession, Pattern};
    /// use futures::TryStreamExt;
    ///
    /// let host = Host::builder().in_memory().build().await?;
    /// let mut events = pin!(host.follow_events(Cursor(0)));
    /// host.sessions().create(NewSession::agent("counter").pattern(Pattern::Hybrid)).await?;
    /// while let Some(logged) = events.try_next().await? {
    ///     if logged.event.kind() == EventKind::SessionCreated {
    ///         break;
    ///     }
    /// }
    /// # host.shut_down().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The stream ends with the first [`StoreError`]: [`StoreError::Closed`] when the host has shut down.
    pub fn follow_events(
        &self,
        after: Cursor,
    ) -> impl Stream<Item = Result<EventEntry, StoreError>> + Send + 'static {
        event::tail(self.inner.store.clone(), after, self.event_filter())
    }

    fn event_filter(&self) -> EventFilter {
        match self.access.only() {
            None => EventFilter::All,
            Some(caller) => EventFilter::SeenBy(caller.clone()),
        }
    }
}
