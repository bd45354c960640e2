//! What is kept of simulated worlds.

use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use super::Model;
use crate::conformance::examples::most;
use crate::conformance::steps::CALL_PLACES;
use crate::{Page, Store, StoreError, Transaction, WorldRow};
use dormouse_domain::id::{SimulationId, WorldPartId};

/// Each row is kept with so many bytes in place of what was, or removed.
pub(super) async fn take(
    store: &dyn Store,
    model: &mut Model,
    rows: BTreeMap<WorldRow, Option<usize>>,
) -> Result<(), StoreError> {
    let bytes = |size: usize| Bytes::from(vec![size.to_le_bytes()[0]; size]);
    let rows: Vec<_> = rows.into_iter().map(|(row, size)| (row, size.map(bytes))).collect();
    store.commit(Transaction::worlds(rows.clone())).await?;
    for (row, bytes) in rows {
        match bytes {
            Some(bytes) => drop(model.worlds.insert(row, bytes)),
            None => drop(model.worlds.remove(&row)),
        }
    }
    compare(store, model).await
}

/// That the store has what the model has, and nothing else.
pub(super) async fn compare(store: &dyn Store, model: &Model) -> Result<(), StoreError> {
    let (mut worlds, mut experiments) = (Vec::new(), Vec::new());
    for (row, bytes) in &model.worlds {
        match row {
            WorldRow::Record(id) => worlds.push((*id, bytes.clone())),
            WorldRow::Experiment(id) => experiments.push((*id, bytes.clone())),
            WorldRow::Ticks(..) | WorldRow::Part(_) | WorldRow::Call(..) | WorldRow::Calls(..) => {}
        }
    }
    assert_eq!(store.worlds().await?, worlds);
    assert_eq!(store.experiments().await?, experiments);
    for number in 0..4 {
        let part = WorldPartId(Uuid::from_u128(number));
        let known = model.worlds.get(&WorldRow::Part(part));
        assert_eq!(store.world_part(part).await?.as_ref(), known);
        let world = SimulationId(Uuid::from_u128(number));
        for limit in [1, 99] {
            compare_pages(store, model, world, limit).await?;
        }
    }
    Ok(())
}

/// That the store has those rows of a world that are read in pages, on pages of so many entries.
async fn compare_pages(
    store: &dyn Store,
    model: &Model,
    world: SimulationId,
    limit: usize,
) -> Result<(), StoreError> {
    for from in [0, 4] {
        let is_asked = |last: &u64| *last >= from;
        let known = page_of(model, limit, |row| row.ticks_of(world).filter(is_asked));
        assert_eq!(store.world_ticks(world, from, most(limit)).await?, known);
        let known = page_of(model, limit, |row| row.calls_of(world).filter(is_asked));
        assert_eq!(store.world_calls(world, from, most(limit)).await?, known);
    }
    for after in [None, Some(CALL_PLACES[1]), Some(CALL_PLACES[3])] {
        let known = page_of(model, limit, |row| {
            row.call_of(world).filter(|place| after.is_none_or(|after| *place > after))
        });
        assert_eq!(store.world_open_calls(world, after, most(limit)).await?, known);
    }
    Ok(())
}

/// The first of those rows of the model that have a place.
fn page_of<C: Copy>(
    model: &Model,
    limit: usize,
    place_of: impl Fn(WorldRow) -> Option<C>,
) -> Page<(C, Bytes), C> {
    let placed = |(row, bytes): (&WorldRow, &Bytes)| Some((place_of(*row)?, bytes.clone()));
    let mut entries: Vec<_> = model.worlds.iter().filter_map(placed).collect();
    let goes_on = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().map(|(place, _)| *place).filter(|_| goes_on);
    Page { entries, next }
}
