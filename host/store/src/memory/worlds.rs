//! What is kept of simulated worlds.

use async_trait::async_trait;
use bytes::Bytes;

use super::MemoryStore;
use super::state::StoredData;
use crate::page::Filling;
use crate::read::ReadWorlds;
use crate::{Bound, Page, StoreError, WorldRow};
use dormouse_domain::id::{ExperimentId, SimulationId, WorldPartId};
use dormouse_domain::simulation::CallPlace;

impl StoredData {
    /// The rows that have a place, in the order of their keys.
    fn world_rows<C: Copy>(
        &self,
        bound: Bound,
        place_of: impl Fn(WorldRow) -> Option<C>,
    ) -> Page<(C, Bytes), C> {
        let mut page = Filling::new(bound);
        for (row, bytes) in &self.worlds {
            let Some(place) = place_of(*row) else { continue };
            if !page.take(place, bytes.len(), (place, bytes.clone())) {
                break;
            }
        }
        page.page()
    }
}

#[async_trait]
impl ReadWorlds for MemoryStore {
    async fn worlds(&self) -> Result<Vec<(SimulationId, Bytes)>, StoreError> {
        let state = self.open()?;
        let record = |(row, bytes): (&WorldRow, &Bytes)| match row {
            WorldRow::Record(id) => Some((*id, bytes.clone())),
            WorldRow::Ticks(..)
            | WorldRow::Part(_)
            | WorldRow::Call(..)
            | WorldRow::Calls(..)
            | WorldRow::Experiment(_) => None,
        };
        Ok(state.worlds.iter().filter_map(record).collect())
    }

    async fn experiments(&self) -> Result<Vec<(ExperimentId, Bytes)>, StoreError> {
        let state = self.open()?;
        let record = |(row, bytes): (&WorldRow, &Bytes)| match row {
            WorldRow::Experiment(id) => Some((*id, bytes.clone())),
            WorldRow::Record(_)
            | WorldRow::Ticks(..)
            | WorldRow::Part(_)
            | WorldRow::Call(..)
            | WorldRow::Calls(..) => None,
        };
        Ok(state.worlds.iter().filter_map(record).collect())
    }

    async fn world_ticks(
        &self,
        id: SimulationId,
        from: u64,
        bound: Bound,
    ) -> Result<Page<(u64, Bytes), u64>, StoreError> {
        let place = |row: WorldRow| row.ticks_of(id).filter(|last| *last >= from);
        Ok(self.open()?.world_rows(bound, place))
    }

    async fn world_open_calls(
        &self,
        id: SimulationId,
        after: Option<CallPlace>,
        bound: Bound,
    ) -> Result<Page<(CallPlace, Bytes), CallPlace>, StoreError> {
        let is_behind = |place: &CallPlace| after.is_none_or(|after| *place > after);
        Ok(self.open()?.world_rows(bound, |row| row.call_of(id).filter(is_behind)))
    }

    async fn world_calls(
        &self,
        id: SimulationId,
        from: u64,
        bound: Bound,
    ) -> Result<Page<(u64, Bytes), u64>, StoreError> {
        let place = |row: WorldRow| row.calls_of(id).filter(|last| *last >= from);
        Ok(self.open()?.world_rows(bound, place))
    }

    async fn world_part(&self, id: WorldPartId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.open()?.worlds.get(&WorldRow::Part(id)).cloned())
    }
}
