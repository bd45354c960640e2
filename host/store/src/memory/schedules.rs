//! The schedules, and what they do.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::MemoryStore;
use crate::page::Filling;
use crate::read::ReadSchedules;
use crate::{Bound, Page, StoreError, codec};
use dormouse_domain::id::ScheduleId;
use dormouse_domain::schedule::{ScheduledWork, SessionSchedule};

/// The schedules, by id.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    records: BTreeMap<ScheduleId, SessionSchedule>,
    work: BTreeMap<ScheduleId, ScheduledWork>,
}

impl Schedules {
    /// The revision of the record of a schedule.
    pub(super) fn revision(&self, id: ScheduleId) -> Option<u64> {
        self.records.get(&id).map(|record| record.revision)
    }

    /// Keep a record.
    pub(super) fn put(&mut self, record: SessionSchedule) {
        self.records.insert(record.id, record);
    }

    /// Keep what a schedule does.
    pub(super) fn put_work(&mut self, id: ScheduleId, work: ScheduledWork) {
        self.work.insert(id, work);
    }

    /// Remove a schedule.
    pub(super) fn remove(&mut self, id: ScheduleId) {
        self.records.remove(&id);
        self.work.remove(&id);
    }
}

#[async_trait]
impl ReadSchedules for MemoryStore {
    async fn schedule(&self, id: ScheduleId) -> Result<Option<SessionSchedule>, StoreError> {
        Ok(self.open()?.schedules.records.get(&id).cloned())
    }

    async fn scheduled_work(&self, id: ScheduleId) -> Result<Option<ScheduledWork>, StoreError> {
        Ok(self.open()?.schedules.work.get(&id).cloned())
    }

    async fn schedules(
        &self,
        after: Option<ScheduleId>,
        bound: Bound,
    ) -> Result<Page<SessionSchedule, ScheduleId>, StoreError> {
        let (state, mut page) = (self.open()?, Filling::new(bound));
        let behind = state.schedules.records.iter().filter(|(id, _)| Some(**id) > after);
        for (id, record) in behind {
            if !page.take(*id, codec::encode_schedule(record).len(), record.clone()) {
                break;
            }
        }
        Ok(page.page())
    }
}
