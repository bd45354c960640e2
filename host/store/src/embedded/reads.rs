//! What is read of the store, on its readers' threads; and at once what the index in memory knows.

use std::panic::{AssertUnwindSafe, catch_unwind};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::leases::Lease;
use super::readers::told_by;
use super::tables::blobs::BlobId;
use super::{Embedded, keys};
use crate::read::{
    FilesLease, ReadAgents, ReadEvents, ReadFiles, ReadSessions, ReadSnapshots, ReadTemplates,
    ReadTurns,
};
use crate::{
    AgentQuery, Bound, EventEntry, Page, SessionPage, SessionQuery, SnapshotDetail,
    SnapshotSummary, StoreError, StoredSnapshot, WakeState,
};
use dormouse_domain::agent::{Agent, Digest};
use dormouse_domain::event::Cursor;
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::state::Status;
use dormouse_domain::template::{Template, TemplateSummary};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::TurnRecord;

#[async_trait]
impl ReadSessions for Embedded {
    fn is_owner(&self, id: SessionId, principal: &Principal) -> Result<bool, StoreError> {
        self.ask(|index| index.is_owner(id, principal))
    }

    fn status(&self, id: SessionId) -> Result<Option<Status>, StoreError> {
        self.ask(|index| index.status(id))
    }

    async fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        self.read(move |shared| shared.session(id)).await
    }

    async fn wake_state(&self, id: SessionId) -> Result<Option<WakeState>, StoreError> {
        self.read(move |shared| shared.wake_state(id)).await
    }

    async fn sessions(&self, query: SessionQuery) -> Result<SessionPage, StoreError> {
        self.read(move |shared| shared.page(&query)).await
    }

    async fn due(
        &self,
        after: Option<(Timestamp, SessionId)>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        self.ask(|index| index.due(after, now, limit))
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.ask(|index| index.next_due(now))
    }
}

#[async_trait]
impl ReadTurns for Embedded {
    async fn turns(
        &self,
        session: SessionId,
        after: u64,
        bound: Bound,
    ) -> Result<Page<TurnRecord, u64>, StoreError> {
        self.read(move |shared| shared.turns(session, after, bound)).await
    }

    async fn turn(
        &self,
        session: SessionId,
        number: u64,
    ) -> Result<Option<TurnRecord>, StoreError> {
        self.read(move |shared| shared.turn(session, number)).await
    }
}

#[async_trait]
impl ReadSnapshots for Embedded {
    async fn snapshots(&self, session: SessionId) -> Result<Vec<SnapshotSummary>, StoreError> {
        self.read(move |shared| shared.snapshots(session)).await
    }

    async fn snapshot(
        &self,
        id: SnapshotId,
        depth: SnapshotDetail,
    ) -> Result<Option<StoredSnapshot>, StoreError> {
        self.read(move |shared| shared.snapshot(id, depth)).await
    }
}

impl ReadFiles for Embedded {
    fn file_blob(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        let shared = self.opened()?;
        // sled panics where it finds its own files damaged.
        let read = catch_unwind(AssertUnwindSafe(|| shared.file_blob(digest)));
        read.unwrap_or_else(|panic| Err(StoreError::Io(told_by(&*panic))))
    }

    fn lease_files(&self, version: Digest) -> FilesLease {
        let lease = self.opened().map(|shared| {
            let mut lease = Lease::new(&shared.leases);
            lease.add(BlobId::File(version));
            lease
        });
        // A store that is closed removes nothing.
        lease.map_or_else(|_| FilesLease::new(()), FilesLease::new)
    }
}

#[async_trait]
impl ReadTemplates for Embedded {
    async fn template(
        &self,
        owner: Principal,
        name: String,
    ) -> Result<Option<Template>, StoreError> {
        let key = keys::template(&owner, &name);
        if !self.ask(|index| index.has_template(&key))? {
            return Ok(None);
        }
        self.read(move |shared| shared.template(&key)).await
    }

    async fn templates(&self, owner: Principal) -> Result<Vec<TemplateSummary>, StoreError> {
        self.read(move |shared| shared.templates(&owner)).await
    }
}

#[async_trait]
impl ReadAgents for Embedded {
    async fn agent(&self, query: AgentQuery) -> Result<Option<Agent>, StoreError> {
        self.ask(|index| index.agents.find(&query).cloned())
    }

    async fn agents(&self, usable_by: Option<Principal>) -> Result<Vec<Agent>, StoreError> {
        self.read(move |shared| Ok(shared.index().agents.usable_by(usable_by.as_ref()))).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.read(move |shared| shared.component(digest)).await
    }
}

#[async_trait]
impl ReadEvents for Embedded {
    fn end(&self) -> watch::Receiver<Cursor> {
        self.end.clone()
    }

    async fn events_after(
        &self,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<EventEntry, Cursor>, StoreError> {
        // Whoever follows the log asks at its end most of the time.
        if self.ask(|index| index.cursor <= cursor)? {
            return Ok(Page { entries: Vec::new(), next: None });
        }
        self.read(move |shared| shared.events_after(cursor, bound)).await
    }

    async fn session_events(
        &self,
        session: SessionId,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<EventEntry, Cursor>, StoreError> {
        self.read(move |shared| shared.session_events(session, cursor, bound)).await
    }
}
