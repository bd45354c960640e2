//! Schedules: `d` id, the value the record of a schedule, which is written anew with each run; and `y` id, what it
//! does. Large work is staged.

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::super::Embedded;
use super::super::commit::{BlobPlacer, EncodedWrite, RowValue};
use super::super::commit_group::CommitGroup;
use super::super::engine;
use super::super::keys;
use super::super::upkeep::audit::Audit;
use super::{Table, malformed};
use crate::codec::{self, CodecError, RecordKind};
use crate::page::Filling;
use crate::read::ReadSchedules;
use crate::{Bound, Page, StoreError};
use dormouse_domain::id::ScheduleId;
use dormouse_domain::schedule::{ScheduledWork, SessionSchedule};

/// The prefix of all records.
const RECORD: u8 = b'd';
/// The prefix of what schedules do.
const WORK: u8 = b'y';

/// The schedules.
pub(super) struct ScheduleTable;

fn key_of(kind: u8, id: ScheduleId) -> [u8; 17] {
    let mut key = [kind; 17];
    key[1..].copy_from_slice(id.0.as_bytes());
    key
}

fn id_of(kind: u8, key: &[u8]) -> Option<ScheduleId> {
    let id = key.strip_prefix(&[kind])?.try_into().ok()?;
    Some(ScheduleId(Uuid::from_bytes(id)))
}

/// A record, encoded.
pub(super) fn encode(schedule: &SessionSchedule) -> EncodedWrite {
    let key = key_of(RECORD, schedule.id);
    let value = codec::seal(&key, &[&codec::encode_schedule(schedule)]);
    EncodedWrite::Rows(vec![(key.to_vec(), Some(RowValue::Here(value)))])
}

/// What a schedule does, encoded.
pub(super) fn encode_work(
    placer: &mut BlobPlacer<'_>,
    id: ScheduleId,
    work: &ScheduledWork,
) -> EncodedWrite {
    let key = key_of(WORK, id);
    let sealed = codec::seal(&key, &[&codec::encode_work(work)]);
    let value = if sealed.len() < engine::STAGE {
        RowValue::Here(sealed)
    } else {
        let bytes = sealed.len();
        placer.stage(&key, sealed.into());
        RowValue::Staged(bytes)
    };
    EncodedWrite::Rows(vec![(key.to_vec(), Some(value))])
}

/// The removal of a schedule.
pub(super) fn remove(id: ScheduleId) -> EncodedWrite {
    let row = |kind| (key_of(kind, id).to_vec(), None);
    EncodedWrite::Rows(vec![row(RECORD), row(WORK)])
}

/// Whether there is no schedule of this id, and nothing is left of one.
pub(super) fn expect_new(group: &mut CommitGroup<'_>, id: ScheduleId) -> Result<(), StoreError> {
    let key = key_of(RECORD, id);
    let is_free = group.row(&key)?.is_none() && group.row(&keys::aside(&key))?.is_none();
    if is_free { Ok(()) } else { Err(StoreError::ScheduleConflict(id)) }
}

/// Whether the record of a schedule has this revision.
pub(super) fn expect_revision(
    group: &mut CommitGroup<'_>,
    id: ScheduleId,
    revision: u64,
) -> Result<(), StoreError> {
    let key = key_of(RECORD, id);
    let Some(value) = group.row(&key)? else { return Err(StoreError::ScheduleNotFound(id)) };
    match decode(&key, &value) {
        Ok(known) if known.revision == revision => Ok(()),
        Ok(_) => Err(StoreError::ScheduleConflict(id)),
        Err(_) => Err(StoreError::Damaged(keys::describe(&key))),
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<SessionSchedule, CodecError> {
    let id = id_of(RECORD, key).ok_or_else(|| malformed("its key is no id"))?;
    codec::decode_schedule(id, &codec::unseal(RecordKind::Row, key, value)?)
}

fn decode_work(key: &[u8], value: &[u8]) -> Result<ScheduledWork, CodecError> {
    codec::decode_work(&codec::unseal(RecordKind::Row, key, value)?)
}

impl Table for ScheduleTable {
    fn has(&self, key: &[u8]) -> bool {
        matches!(key.first(), Some(&RECORD | &WORK))
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        match (id_of(RECORD, key), id_of(WORK, key)) {
            (Some(id), _) => Some(format!("schedule/{id}")),
            (None, id) => Some(format!("schedule/{}/work", id?)),
        }
    }

    fn check(&self, _: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        match key.first() {
            Some(&WORK) => decode_work(key, value).map(drop),
            Some(_) | None => decode(key, value).map(drop),
        }
    }
}

#[async_trait]
impl ReadSchedules for Embedded {
    async fn schedule(&self, id: ScheduleId) -> Result<Option<SessionSchedule>, StoreError> {
        self.read(move |shared| {
            let key = key_of(RECORD, id);
            let Some(value) = shared.disk.get(&key)? else { return Ok(None) };
            decode(&key, &value).map(Some).map_err(|error| shared.damaged(&key, &error))
        })
        .await
    }

    async fn scheduled_work(&self, id: ScheduleId) -> Result<Option<ScheduledWork>, StoreError> {
        self.read(move |shared| {
            let key = key_of(WORK, id);
            let Some(value) = shared.disk.get(&key)? else { return Ok(None) };
            decode_work(&key, &value).map(Some).map_err(|error| shared.damaged(&key, &error))
        })
        .await
    }

    async fn schedules(
        &self,
        after: Option<ScheduleId>,
        bound: Bound,
    ) -> Result<Page<SessionSchedule, ScheduleId>, StoreError> {
        self.read(move |shared| {
            let mut page = Filling::new(bound);
            let first =
                after.map_or(vec![RECORD], |after| [&key_of(RECORD, after)[..], &[0]].concat());
            for entry in shared.disk.from(&first, &[RECORD]) {
                let (key, value) = match entry {
                    Ok(entry) => entry,
                    Err(StoreError::Damaged(_)) => continue,
                    Err(error) => return Err(error),
                };
                let Some(id) = id_of(RECORD, &key) else { continue };
                match decode(&key, &value) {
                    Ok(schedule) => {
                        if !page.take(id, value.len(), schedule) {
                            break;
                        }
                    }
                    Err(error) => {
                        shared.damaged(&key, &error);
                        page.pass_over(id);
                    }
                }
            }
            Ok(page.page())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::engine::{Batch, Class};
    use super::super::super::tests::{open, small};
    use super::super::super::{held, upkeep};
    use super::*;
    use crate::conformance::samples;
    use crate::{Store, Transaction};
    use dormouse_domain::turn::Part;

    fn work(bytes: usize) -> ScheduledWork {
        let message = vec![Part::Text("m".repeat(bytes))];
        ScheduledWork { session: Default::default(), message }
    }

    #[tokio::test]
    async fn a_damaged_schedule_keeps_no_other_from_running_and_can_be_repaired() {
        let root = tempfile::tempdir().expect("there is room");
        let store = open(root.path());
        let (good, bad) = (samples::new_schedule(1), samples::new_schedule(2));
        for schedule in [&good, &bad] {
            let new = Transaction::schedule(schedule.clone(), Some(work(1)), Vec::new());
            store.commit(new).await.expect("it is new");
        }
        let mut batch = Batch::default();
        batch.put(Class::Rows, key_of(RECORD, bad.id).to_vec(), b"nothing".to_vec());
        let shared = held(&store.shared).clone().expect("it is open");
        shared.disk.write(batch).expect("it is written");
        drop(shared);
        let all = Page { entries: vec![good], next: None };
        assert_eq!(store.schedules(None, Bound::entries(9)).await.expect("it reads"), all);
        let read = store.schedule(bad.id).await;
        assert!(matches!(read, Err(StoreError::Damaged(_))));
        store.close().await.expect("it closes");

        let found = upkeep::check(root.path(), small()).expect("it reads");
        let told: Vec<_> = found.findings.iter().map(|finding| &*finding.what).collect();
        assert_eq!(told, [format!("schedule/{}: its checksum does not fit", bad.id)]);
        let repaired = upkeep::repair(root.path(), small()).expect("it is repaired");
        assert_eq!(repaired.left, [""; 0]);
        let store = open(root.path());
        assert_eq!(store.schedules(None, Bound::entries(9)).await.expect("it reads"), all);
    }

    #[tokio::test]
    async fn large_work_is_staged_and_replaced_and_goes_with_its_schedule() {
        let root = tempfile::tempdir().expect("there is room");
        let mut store = open(root.path());
        let mut schedule = samples::new_schedule(1);
        for bytes in [1 << 20, 10, 900_000] {
            let change = Transaction::schedule(schedule.clone(), Some(work(bytes)), Vec::new());
            store.commit(change).await.expect("it follows");
            let kept = store.scheduled_work(schedule.id).await.expect("it reads");
            assert_eq!(kept, Some(work(bytes)));
            store.close().await.expect("it closes");
            store = open(root.path());
            let kept = store.scheduled_work(schedule.id).await.expect("it reads");
            assert_eq!(kept, Some(work(bytes)));
            schedule.revision += 1;
        }
        let removal = Transaction::remove_schedule(schedule.id, 3, Vec::new());
        store.commit(removal).await.expect("it is there");
        assert_eq!(store.scheduled_work(schedule.id).await.expect("it reads"), None);
        store.close().await.expect("it closes");
        assert!(upkeep::check(root.path(), small()).expect("it reads").is_well());
    }
}
