//! What owners spend on worlds: their accounts count it, also that of worlds which are gone.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Worlds, content_part, held};
use crate::accounts::SpentElsewhere;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{Principal, WorldPartId};
use dormouse_domain::limits::NanoUsd;
use dormouse_store::{StoreError, Transaction, WorldRow};

impl Worlds {
    /// What this owner has spent on worlds that are gone.
    async fn spent_on_gone(&self, owner: &Principal) -> Result<NanoUsd, StoreError> {
        let kept = self.store.world_part(spent_part(owner)).await?;
        let kept = kept.and_then(|kept| kept.as_ref().try_into().ok());
        Ok(NanoUsd(kept.map_or(0, i64::from_le_bytes)))
    }

    /// This owner has spent so much on something that leaves no world.
    pub(crate) async fn note_spent(
        &self,
        owner: &Principal,
        cost: NanoUsd,
    ) -> Result<(), StoreError> {
        let _parts = self.parts.lock().await;
        match self.spent_with(owner, cost).await? {
            Some(row) => self.store.commit(Transaction::worlds([row])).await,
            None => Ok(()),
        }
    }

    /// What has to be written where a world goes that has cost its owner so much.
    pub(super) async fn spent_with(
        &self,
        owner: &Principal,
        cost: NanoUsd,
    ) -> Result<Option<(WorldRow, Option<Bytes>)>, StoreError> {
        if cost.0 == 0 {
            return Ok(None);
        }
        let spent = self.spent_on_gone(owner).await? + cost;
        let kept = Bytes::copy_from_slice(&spent.0.to_le_bytes());
        Ok(Some((WorldRow::Part(spent_part(owner)), Some(kept))))
    }
}

#[async_trait]
impl SpentElsewhere for Worlds {
    async fn spent_by(&self, principal: &Principal) -> Result<NanoUsd, StoreError> {
        let there: NanoUsd = {
            let book = held(&self.book);
            let own = book.worlds.values().filter(|own| own.owner == *principal);
            own.map(|own| own.spent()).sum()
        };
        Ok(there + self.spent_on_gone(principal).await?)
    }
}

/// Where it is kept what an owner has spent on worlds that are gone.
fn spent_part(owner: &Principal) -> WorldPartId {
    let hash =
        blake3::derive_key("dormouse 2026: spent on worlds that are gone", owner.0.as_bytes());
    content_part(Digest(hash))
}
