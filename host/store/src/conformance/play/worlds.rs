//! What is kept of simulated worlds.

use bytes::Bytes;
use uuid::Uuid;

use super::Model;
use crate::{Bound, Store, StoreError, Transaction, WorldRow};
use dormouse_domain::id::{SimulationId, WorldPartId};

/// Something of this size is kept in place of what was, or removed.
pub(super) async fn take(
    store: &dyn Store,
    model: &mut Model,
    row: WorldRow,
    size: Option<usize>,
) -> Result<(), StoreError> {
    let bytes = size.map(|size| Bytes::from(vec![size.to_le_bytes()[0]; size]));
    store.commit(Transaction::worlds([(row, bytes.clone())])).await?;
    match bytes {
        Some(bytes) => drop(model.worlds.insert(row, bytes)),
        None => drop(model.worlds.remove(&row)),
    }
    compare(store, model).await
}

/// That the store has what the model has, and nothing else.
pub(super) async fn compare(store: &dyn Store, model: &Model) -> Result<(), StoreError> {
    let record = |(row, bytes): (&WorldRow, &Bytes)| match row {
        WorldRow::Record(id) => Some((*id, bytes.clone())),
        WorldRow::Ticks(..) | WorldRow::Part(_) => None,
    };
    let records: Vec<_> = model.worlds.iter().filter_map(record).collect();
    assert_eq!(store.worlds().await?, records);
    for number in 0..4 {
        let part = WorldPartId(Uuid::from_u128(number));
        let known = model.worlds.get(&WorldRow::Part(part));
        assert_eq!(store.world_part(part).await?.as_ref(), known);
        let world = SimulationId(Uuid::from_u128(number));
        for from in [0, 4] {
            let rows = WorldRow::Ticks(world, from)..=WorldRow::Ticks(world, u64::MAX);
            let ticks = |(row, bytes): (&WorldRow, &Bytes)| match row {
                WorldRow::Ticks(_, last) => (*last, bytes.clone()),
                WorldRow::Record(_) | WorldRow::Part(_) => panic!("{row:?} among ticks"),
            };
            let known: Vec<_> = model.worlds.range(rows).map(ticks).collect();
            let all = store.world_ticks(world, from, Bound { entries: 99, bytes: 1 << 30 }).await?;
            assert_eq!((all.entries, all.next), (known.clone(), None));
            let first = store.world_ticks(world, from, Bound::entries(1)).await?;
            let next = known.first().map(|(last, _)| *last).filter(|_| known.len() > 1);
            assert_eq!(first.next, next);
        }
    }
    Ok(())
}
