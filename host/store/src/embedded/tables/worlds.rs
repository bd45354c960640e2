//! Simulated worlds: `v` id, the value what is known of one; `z` id number, what has come of its ticks up to that one; and
//! `p` id, something large, which is staged. What the values mean is for whoever runs worlds.

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::super::Embedded;
use super::super::commit::{BlobPlacer, EncodedWrite, RowValue};
use super::super::engine;
use super::super::upkeep::audit::Audit;
use super::{Table, malformed};
use crate::codec::{self, CodecError, RecordKind};
use crate::page::Filling;
use crate::read::ReadWorlds;
use crate::{Bound, Page, StoreError, WorldRow};
use dormouse_domain::id::{SimulationId, WorldPartId};

/// The prefix of what is known of worlds.
const RECORD: u8 = b'v';
/// The prefix of what has come of ticks.
const TICKS: u8 = b'z';
/// The prefix of what is large.
const PART: u8 = b'p';

/// Simulated worlds.
pub(super) struct WorldTable;

fn key_of(row: WorldRow) -> Vec<u8> {
    match row {
        WorldRow::Record(SimulationId(id)) => [&[RECORD][..], id.as_bytes()].concat(),
        WorldRow::Ticks(SimulationId(id), last) => {
            [&[TICKS][..], id.as_bytes(), &last.to_be_bytes()].concat()
        }
        WorldRow::Part(WorldPartId(id)) => [&[PART][..], id.as_bytes()].concat(),
    }
}

fn row_of(key: &[u8]) -> Option<WorldRow> {
    let (kind, rest) = key.split_first()?;
    let (id, rest) = rest.split_first_chunk()?;
    let id = Uuid::from_bytes(*id);
    match (*kind, rest) {
        (RECORD, []) => Some(WorldRow::Record(SimulationId(id))),
        (TICKS, last) => {
            let last = u64::from_be_bytes(last.try_into().ok()?);
            Some(WorldRow::Ticks(SimulationId(id), last))
        }
        (PART, []) => Some(WorldRow::Part(WorldPartId(id))),
        _ => None,
    }
}

/// What is kept or removed, encoded.
pub(super) fn encode(
    placer: &mut BlobPlacer<'_>,
    row: WorldRow,
    bytes: Option<&Bytes>,
) -> EncodedWrite {
    let key = key_of(row);
    let value = bytes.map(|bytes| {
        let sealed = codec::seal(&key, &[bytes]);
        if sealed.len() < engine::STAGE {
            return RowValue::Here(sealed);
        }
        placer.stage(&key, sealed.into());
        // How large it may be is for whoever runs worlds.
        RowValue::Staged(0)
    });
    EncodedWrite::Rows(vec![(key, value)])
}

fn decode(key: &[u8], value: &Bytes) -> Result<Bytes, CodecError> {
    let content = codec::unseal(RecordKind::Row, key, value)?;
    Ok(value.slice_ref(&content))
}

impl Table for WorldTable {
    fn has(&self, key: &[u8]) -> bool {
        matches!(key.first(), Some(&RECORD | &TICKS | &PART))
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        Some(match row_of(key)? {
            WorldRow::Record(id) => format!("simulation/{id}"),
            WorldRow::Ticks(id, last) => format!("simulation/{id}/ticks/{last}"),
            WorldRow::Part(id) => format!("simulation-part/{id}"),
        })
    }

    fn check(&self, _: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        row_of(key).ok_or_else(|| malformed("nobody has written this"))?;
        decode(key, value).map(drop)
    }
}

#[async_trait]
impl ReadWorlds for Embedded {
    async fn worlds(&self) -> Result<Vec<(SimulationId, Bytes)>, StoreError> {
        self.read(|shared| {
            let mut worlds = Vec::new();
            for entry in shared.disk.prefix(&[RECORD]) {
                let (key, value) = match entry {
                    Ok(entry) => entry,
                    Err(StoreError::Damaged(_)) => continue,
                    Err(error) => return Err(error),
                };
                let Some(WorldRow::Record(id)) = row_of(&key) else { continue };
                match decode(&key, &value) {
                    Ok(record) => worlds.push((id, record)),
                    Err(error) => drop(shared.damaged(&key, &error)),
                }
            }
            Ok(worlds)
        })
        .await
    }

    async fn world_ticks(
        &self,
        id: SimulationId,
        from: u64,
        bound: Bound,
    ) -> Result<Page<(u64, Bytes), u64>, StoreError> {
        self.read(move |shared| {
            let mut page = Filling::new(bound);
            let first = key_of(WorldRow::Ticks(id, from));
            for entry in shared.disk.from(&first, &first[..17]) {
                let (key, value) = entry?;
                let Some(WorldRow::Ticks(_, last)) = row_of(&key) else { continue };
                let ticks = decode(&key, &value).map_err(|error| shared.damaged(&key, &error))?;
                if !page.take(last, value.len(), (last, ticks)) {
                    break;
                }
            }
            Ok(page.page())
        })
        .await
    }

    async fn world_part(&self, id: WorldPartId) -> Result<Option<Bytes>, StoreError> {
        self.read(move |shared| {
            let key = key_of(WorldRow::Part(id));
            let Some(value) = shared.disk.get(&key)? else { return Ok(None) };
            decode(&key, &value).map(Some).map_err(|error| shared.damaged(&key, &error))
        })
        .await
    }
}
