//! Simulated worlds.
//!
//! | key | value |
//! | --- | --- |
//! | `v` id | what is known of a world |
//! | `z` id tick | what has come of its ticks up to this one |
//! | `n` id tick role member number | a call that a member makes in a tick that the log does not have yet |
//! | `e` id tick | the calls that members have made in the ticks of a piece of the log that ends with this one |
//! | `p` id | something large |
//! | `E` id | what is known of an experiment |
//!
//! A value that is large is staged. What the values mean is for whoever runs worlds.

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::super::commit::{BlobPlacer, EncodedWrite, RowValue};
use super::super::engine;
use super::super::upkeep::audit::Audit;
use super::super::{Embedded, EmbeddedShared};
use super::{Table, malformed};
use crate::codec::{self, CodecError, RecordKind};
use crate::page::Filling;
use crate::read::ReadWorlds;
use crate::{Bound, Page, StoreError, WorldRow};
use dormouse_domain::id::{ExperimentId, SimulationId, WorldPartId};
use dormouse_domain::simulation::CallPlace;

/// The prefix of what is known of worlds.
const RECORD: u8 = b'v';
/// The prefix of what has come of ticks.
const TICKS: u8 = b'z';
/// The prefix of calls that the log does not have yet.
const CALL: u8 = b'n';
/// The prefix of recordings.
const CALLS: u8 = b'e';
/// The prefix of what is large.
const PART: u8 = b'p';
/// The prefix of what is known of experiments.
const EXPERIMENT: u8 = b'E';
/// How much of a key is the prefix and the world, in bytes.
const WORLD: usize = 17;

/// Simulated worlds.
pub(super) struct WorldTable;

fn key_of(row: WorldRow) -> Vec<u8> {
    match row {
        WorldRow::Record(SimulationId(id)) => [&[RECORD][..], id.as_bytes()].concat(),
        WorldRow::Ticks(SimulationId(id), last) => {
            [&[TICKS][..], id.as_bytes(), &last.to_be_bytes()].concat()
        }
        WorldRow::Part(WorldPartId(id)) => [&[PART][..], id.as_bytes()].concat(),
        WorldRow::Call(SimulationId(id), CallPlace { at, role, member, number }) => {
            let (at, role) = (at.to_be_bytes(), role.to_be_bytes());
            let (member, number) = (member.to_be_bytes(), number.to_be_bytes());
            [&[CALL][..], id.as_bytes(), &at, &role, &member, &number].concat()
        }
        WorldRow::Calls(SimulationId(id), last) => {
            [&[CALLS][..], id.as_bytes(), &last.to_be_bytes()].concat()
        }
        WorldRow::Experiment(ExperimentId(id)) => [&[EXPERIMENT][..], id.as_bytes()].concat(),
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
        (CALL, place) => Some(WorldRow::Call(SimulationId(id), place_of(place)?)),
        (CALLS, last) => {
            let last = u64::from_be_bytes(last.try_into().ok()?);
            Some(WorldRow::Calls(SimulationId(id), last))
        }
        (EXPERIMENT, []) => Some(WorldRow::Experiment(ExperimentId(id))),
        _ => None,
    }
}

/// The place of a call, as the end of its key says it.
fn place_of(bytes: &[u8]) -> Option<CallPlace> {
    let (at, rest) = bytes.split_first_chunk()?;
    let (role, rest) = rest.split_first_chunk()?;
    let (member, number) = rest.split_first_chunk()?;
    Some(CallPlace {
        at: u64::from_be_bytes(*at),
        role: u32::from_be_bytes(*role),
        member: u32::from_be_bytes(*member),
        number: u32::from_be_bytes(number.try_into().ok()?),
    })
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
        matches!(key.first(), Some(&RECORD | &TICKS | &PART | &CALL | &CALLS | &EXPERIMENT))
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        Some(match row_of(key)? {
            WorldRow::Record(id) => format!("simulation/{id}"),
            WorldRow::Ticks(id, last) => format!("simulation/{id}/ticks/{last}"),
            WorldRow::Part(id) => format!("simulation-part/{id}"),
            WorldRow::Call(id, CallPlace { at, role, member, number }) => {
                format!("simulation/{id}/calls/{at}/{role}/{member}/{number}")
            }
            WorldRow::Calls(id, last) => format!("simulation/{id}/recording/{last}"),
            WorldRow::Experiment(id) => format!("experiment/{id}"),
        })
    }

    fn check(&self, _: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        row_of(key).ok_or_else(|| malformed("nobody has written this"))?;
        decode(key, value).map(drop)
    }
}

impl EmbeddedShared {
    /// All rows of one kind that is read as a whole, each by its id. What is damaged is passed over.
    fn records<I>(
        &self,
        prefix: u8,
        id_of: impl Fn(WorldRow) -> Option<I>,
    ) -> Result<Vec<(I, Bytes)>, StoreError> {
        let mut records = Vec::new();
        for entry in self.disk.prefix(&[prefix]) {
            let (key, value) = match entry {
                Ok(entry) => entry,
                Err(StoreError::Damaged(_)) => continue,
                Err(error) => return Err(error),
            };
            let Some(id) = row_of(&key).and_then(&id_of) else { continue };
            match decode(&key, &value) {
                Ok(record) => records.push((id, record)),
                Err(error) => drop(self.damaged(&key, &error)),
            }
        }
        Ok(records)
    }

    /// The rows of one world and one kind from the key `first` on, which has both, each with its place.
    fn world_rows<C: Copy>(
        &self,
        first: &[u8],
        bound: Bound,
        place_of: impl Fn(WorldRow) -> Option<C>,
    ) -> Result<Page<(C, Bytes), C>, StoreError> {
        let mut page = Filling::new(bound);
        for entry in self.disk.from(first, &first[..WORLD]) {
            let (key, value) = entry?;
            let Some(place) = row_of(&key).and_then(&place_of) else { continue };
            let bytes = decode(&key, &value).map_err(|error| self.damaged(&key, &error))?;
            if !page.take(place, value.len(), (place, bytes)) {
                break;
            }
        }
        Ok(page.page())
    }
}

#[async_trait]
impl ReadWorlds for Embedded {
    async fn worlds(&self) -> Result<Vec<(SimulationId, Bytes)>, StoreError> {
        let id = |row| if let WorldRow::Record(id) = row { Some(id) } else { None };
        self.read(move |shared| shared.records(RECORD, id)).await
    }

    async fn experiments(&self) -> Result<Vec<(ExperimentId, Bytes)>, StoreError> {
        let id = |row| if let WorldRow::Experiment(id) = row { Some(id) } else { None };
        self.read(move |shared| shared.records(EXPERIMENT, id)).await
    }

    async fn world_ticks(
        &self,
        id: SimulationId,
        from: u64,
        bound: Bound,
    ) -> Result<Page<(u64, Bytes), u64>, StoreError> {
        let first = key_of(WorldRow::Ticks(id, from));
        self.read(move |shared| shared.world_rows(&first, bound, |row| row.ticks_of(id))).await
    }

    async fn world_open_calls(
        &self,
        id: SimulationId,
        after: Option<CallPlace>,
        bound: Bound,
    ) -> Result<Page<(CallPlace, Bytes), CallPlace>, StoreError> {
        let first = match after {
            Some(after) => [&key_of(WorldRow::Call(id, after))[..], &[0]].concat(),
            None => [&[CALL][..], id.0.as_bytes()].concat(),
        };
        self.read(move |shared| shared.world_rows(&first, bound, |row| row.call_of(id))).await
    }

    async fn world_calls(
        &self,
        id: SimulationId,
        from: u64,
        bound: Bound,
    ) -> Result<Page<(u64, Bytes), u64>, StoreError> {
        let first = key_of(WorldRow::Calls(id, from));
        self.read(move |shared| shared.world_rows(&first, bound, |row| row.calls_of(id))).await
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

#[cfg(test)]
mod tests {
    use super::super::super::engine::{Batch, Class};
    use super::super::super::held;
    use super::super::super::tests::open;
    use super::super::{LAYOUT, describe};
    use super::*;
    use crate::embedded::keys;
    use crate::{Store, Transaction};

    /// Change what is durable, as damage or an earlier version would.
    fn change(store: &Embedded, key: &[u8], value: Vec<u8>) {
        let mut batch = Batch::default();
        batch.put(Class::Rows, key.to_vec(), value);
        let shared = held(&store.shared).clone().expect("it is open");
        shared.disk.write(batch).expect("it is written");
    }

    #[test]
    fn calls_have_names_and_keys_that_are_read_as_they_were_written() {
        let world = SimulationId(Uuid::from_u128(7));
        let place = CallPlace { at: 1 << 40, role: 2, member: 3 << 20, number: 4 };
        let (call, calls) = (WorldRow::Call(world, place), WorldRow::Calls(world, 9));
        for row in [call, calls] {
            let key = key_of(row);
            assert_eq!(row_of(&key), Some(row));
            assert_eq!(row_of(&key[..key.len() - 1]), None);
            assert_eq!(row_of(&[&key[..], &[0]].concat()), None);
        }
        let name = format!("simulation/{world}/calls/{}/2/{}/4", 1_u64 << 40, 3 << 20);
        assert_eq!(describe(&key_of(call)), name);
        assert_eq!(describe(&key_of(calls)), format!("simulation/{world}/recording/9"));
    }

    #[tokio::test]
    async fn a_directory_from_before_there_were_calls_keeps_its_worlds_and_takes_calls() {
        let root = tempfile::tempdir().expect("there is room");
        let store = open(root.path());
        let world = SimulationId(Uuid::from_u128(1));
        let record = (WorldRow::Record(world), Some(Bytes::from_static(b"known")));
        store.commit(Transaction::worlds([record])).await.expect("it is kept");
        change(&store, keys::FORMAT, codec::seal(keys::FORMAT, &[&[12]]));
        store.close().await.expect("it closes");

        let store = open(root.path());
        let shared = held(&store.shared).clone().expect("it is open");
        let layout = shared.disk.get(keys::FORMAT).expect("it reads").expect("it is there");
        assert_eq!(layout, codec::seal(keys::FORMAT, &[&[LAYOUT]]));
        let worlds = store.worlds().await.expect("it reads");
        assert_eq!(worlds, [(world, Bytes::from_static(b"known"))]);
        let place = CallPlace { at: 0, role: 0, member: 0, number: 0 };
        let row = WorldRow::Call(world, place);
        let call = (row, Some(Bytes::from_static(b"asked")));
        store.commit(Transaction::worlds([call])).await.expect("it is kept");
        let calls = store.world_open_calls(world, None, Bound::entries(9)).await;
        let entries = vec![(place, Bytes::from_static(b"asked"))];
        assert_eq!(calls.expect("it reads"), Page { entries, next: None });

        change(&store, &key_of(row), b"nothing".to_vec());
        let read = store.world_open_calls(world, None, Bound::entries(9)).await;
        assert!(matches!(read, Err(StoreError::Damaged(key)) if key == describe(&key_of(row))));
    }
}
