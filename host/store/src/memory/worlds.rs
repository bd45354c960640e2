//! What is kept of simulated worlds.

use async_trait::async_trait;
use bytes::Bytes;

use super::MemoryStore;
use crate::page::Filling;
use crate::read::ReadWorlds;
use crate::{Bound, Page, StoreError, WorldRow};
use dormouse_domain::id::{SimulationId, WorldPartId};

#[async_trait]
impl ReadWorlds for MemoryStore {
    async fn worlds(&self) -> Result<Vec<(SimulationId, Bytes)>, StoreError> {
        let state = self.open()?;
        let record = |(row, bytes): (&WorldRow, &Bytes)| match row {
            WorldRow::Record(id) => Some((*id, bytes.clone())),
            WorldRow::Ticks(..) | WorldRow::Part(_) => None,
        };
        Ok(state.worlds.iter().filter_map(record).collect())
    }

    async fn world_ticks(
        &self,
        id: SimulationId,
        from: u64,
        bound: Bound,
    ) -> Result<Page<(u64, Bytes), u64>, StoreError> {
        let (state, mut page) = (self.open()?, Filling::new(bound));
        let rows = WorldRow::Ticks(id, from)..=WorldRow::Ticks(id, u64::MAX);
        for (row, bytes) in state.worlds.range(rows) {
            let WorldRow::Ticks(_, last) = row else { continue };
            if !page.take(*last, bytes.len(), (*last, bytes.clone())) {
                break;
            }
        }
        Ok(page.page())
    }

    async fn world_part(&self, id: WorldPartId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.open()?.worlds.get(&WorldRow::Part(id)).cloned())
    }
}
