//! What is read of a store whose commits fail: what the store behind it says.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::FaultyStore;
use crate::read::{
    FilesLease, ReadAccounts, ReadAgents, ReadEvents, ReadFiles, ReadIdempotency, ReadJournal,
    ReadKeys, ReadMail, ReadSchedules, ReadSessions, ReadSnapshots, ReadStatistics, ReadTemplates,
    ReadTurns, ReadWorlds, StoredKeys, StoredMail,
};
use crate::{
    AgentQuery, Bound, EventEntry, Page, SessionPage, SessionQuery, SnapshotDetail,
    SnapshotSummary, Statistics, StatisticsQuery, StoreError, StoredSnapshot, WakeState,
};
use dormouse_domain::account::{Account, AccountId};
use dormouse_domain::agent::{Agent, Digest};
use dormouse_domain::event::Cursor;
use dormouse_domain::id::{
    ExperimentId, Principal, ScheduleId, SessionId, SimulationId, SnapshotId, WorldPartId,
};
use dormouse_domain::journal::{JournalEntry, OpenTurn, TurnAttempts};
use dormouse_domain::mail::MailboxSize;
use dormouse_domain::schedule::{ScheduledWork, SessionSchedule};
use dormouse_domain::session::Session;
use dormouse_domain::simulation::CallPlace;
use dormouse_domain::state::Status;
use dormouse_domain::template::{Template, TemplateSummary};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{IdempotencyKey, IdempotencyRecord, TurnRecord};

#[async_trait]
impl ReadSessions for FaultyStore {
    fn is_owner(&self, id: SessionId, principal: &Principal) -> Result<bool, StoreError> {
        self.store.is_owner(id, principal)
    }

    fn status(&self, id: SessionId) -> Result<Option<Status>, StoreError> {
        self.store.status(id)
    }

    async fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        self.store.session(id).await
    }

    async fn wake_state(&self, id: SessionId) -> Result<Option<WakeState>, StoreError> {
        self.store.wake_state(id).await
    }

    async fn sessions(&self, query: SessionQuery) -> Result<SessionPage, StoreError> {
        self.store.sessions(query).await
    }

    async fn due(
        &self,
        after: Option<(Timestamp, SessionId)>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        self.store.due(after, now, limit).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.store.next_due(now).await
    }
}

#[async_trait]
impl ReadStatistics for FaultyStore {
    async fn statistics(&self, query: StatisticsQuery) -> Result<Statistics, StoreError> {
        self.store.statistics(query).await
    }

    fn session_count(&self, owner: &Principal, user: Option<&str>) -> Result<u64, StoreError> {
        self.store.session_count(owner, user)
    }
}

#[async_trait]
impl ReadTurns for FaultyStore {
    async fn turns(
        &self,
        session: SessionId,
        after: u64,
        bound: Bound,
    ) -> Result<Page<TurnRecord, u64>, StoreError> {
        self.store.turns(session, after, bound).await
    }

    async fn turn(
        &self,
        session: SessionId,
        number: u64,
    ) -> Result<Option<TurnRecord>, StoreError> {
        self.store.turn(session, number).await
    }
}

#[async_trait]
impl ReadSnapshots for FaultyStore {
    async fn snapshots(&self, session: SessionId) -> Result<Vec<SnapshotSummary>, StoreError> {
        self.store.snapshots(session).await
    }

    async fn snapshot(
        &self,
        id: SnapshotId,
        depth: SnapshotDetail,
    ) -> Result<Option<StoredSnapshot>, StoreError> {
        self.store.snapshot(id, depth).await
    }
}

impl ReadFiles for FaultyStore {
    fn file_blob(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.store.file_blob(digest)
    }

    fn lease_files(&self, version: Digest) -> FilesLease {
        self.store.lease_files(version)
    }
}

#[async_trait]
impl ReadTemplates for FaultyStore {
    async fn template(
        &self,
        owner: Principal,
        name: String,
    ) -> Result<Option<Template>, StoreError> {
        self.store.template(owner, name).await
    }

    async fn templates(&self, owner: Principal) -> Result<Vec<TemplateSummary>, StoreError> {
        self.store.templates(owner).await
    }
}

#[async_trait]
impl ReadAgents for FaultyStore {
    async fn agent(&self, query: AgentQuery) -> Result<Option<Agent>, StoreError> {
        self.store.agent(query).await
    }

    async fn agents(&self, usable_by: Option<Principal>) -> Result<Vec<Agent>, StoreError> {
        self.store.agents(usable_by).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.store.component(digest).await
    }
}

#[async_trait]
impl ReadEvents for FaultyStore {
    fn end(&self) -> watch::Receiver<Cursor> {
        self.store.end()
    }

    async fn events_after(
        &self,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<EventEntry, Cursor>, StoreError> {
        self.store.events_after(cursor, bound).await
    }

    async fn session_events(
        &self,
        session: SessionId,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<EventEntry, Cursor>, StoreError> {
        self.store.session_events(session, cursor, bound).await
    }
}

#[async_trait]
impl ReadIdempotency for FaultyStore {
    async fn idempotency(
        &self,
        key: IdempotencyKey,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        self.store.idempotency(key).await
    }
}

#[async_trait]
impl ReadKeys for FaultyStore {
    async fn keys(&self) -> Result<StoredKeys, StoreError> {
        self.store.keys().await
    }
}

#[async_trait]
impl ReadJournal for FaultyStore {
    async fn open_turns(&self) -> Result<Vec<SessionId>, StoreError> {
        self.store.open_turns().await
    }

    async fn open_turn(
        &self,
        session: SessionId,
    ) -> Result<Option<(OpenTurn, TurnAttempts)>, StoreError> {
        self.store.open_turn(session).await
    }

    async fn journal(
        &self,
        session: SessionId,
        after: u32,
        bound: Bound,
    ) -> Result<Page<JournalEntry, u32>, StoreError> {
        self.store.journal(session, after, bound).await
    }
}

#[async_trait]
impl ReadWorlds for FaultyStore {
    async fn worlds(&self) -> Result<Vec<(SimulationId, Bytes)>, StoreError> {
        self.store.worlds().await
    }

    async fn experiments(&self) -> Result<Vec<(ExperimentId, Bytes)>, StoreError> {
        self.store.experiments().await
    }

    async fn world_ticks(
        &self,
        id: SimulationId,
        from: u64,
        bound: Bound,
    ) -> Result<Page<(u64, Bytes), u64>, StoreError> {
        self.store.world_ticks(id, from, bound).await
    }

    async fn world_open_calls(
        &self,
        id: SimulationId,
        after: Option<CallPlace>,
        bound: Bound,
    ) -> Result<Page<(CallPlace, Bytes), CallPlace>, StoreError> {
        self.store.world_open_calls(id, after, bound).await
    }

    async fn world_calls(
        &self,
        id: SimulationId,
        from: u64,
        bound: Bound,
    ) -> Result<Page<(u64, Bytes), u64>, StoreError> {
        self.store.world_calls(id, from, bound).await
    }

    async fn world_part(&self, id: WorldPartId) -> Result<Option<Bytes>, StoreError> {
        self.store.world_part(id).await
    }
}

#[async_trait]
impl ReadSchedules for FaultyStore {
    async fn schedule(&self, id: ScheduleId) -> Result<Option<SessionSchedule>, StoreError> {
        self.store.schedule(id).await
    }

    async fn scheduled_work(&self, id: ScheduleId) -> Result<Option<ScheduledWork>, StoreError> {
        self.store.scheduled_work(id).await
    }

    async fn schedules(
        &self,
        after: Option<ScheduleId>,
        bound: Bound,
    ) -> Result<Page<SessionSchedule, ScheduleId>, StoreError> {
        self.store.schedules(after, bound).await
    }
}

#[async_trait]
impl ReadAccounts for FaultyStore {
    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.store.account(id).await
    }
}

#[async_trait]
impl ReadMail for FaultyStore {
    async fn mailboxes(&self) -> Result<Vec<(SessionId, MailboxSize)>, StoreError> {
        self.store.mailboxes().await
    }

    async fn first_mail(&self, session: SessionId) -> Result<Option<StoredMail>, StoreError> {
        self.store.first_mail(session).await
    }
}
