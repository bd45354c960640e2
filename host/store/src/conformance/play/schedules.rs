//! What is done to schedules, and that the store has what the model has of them.

use super::Model;
use crate::conformance::samples;
use crate::{Bound, Page, Store, StoreError, Transaction};
use dormouse_domain::id::ScheduleId;
use dormouse_domain::schedule::{ScheduledWork, SessionSchedule};
use uuid::Uuid;

/// A schedule is made where it is not there, and else changed or removed.
pub(super) async fn take(
    store: &dyn Store,
    model: &mut Model,
    number: u8,
    change: (SessionSchedule, Option<ScheduledWork>),
    remove: bool,
) -> Result<(), StoreError> {
    let id = samples::new_schedule(number).id;
    let (record, work) = change;
    let known = model.schedules.get(&id).map(|(record, _)| record.revision);
    let record = SessionSchedule { id, revision: known.map_or(1, |it| it + 1), ..record };
    refuse(store, &record, known.is_some()).await?;
    if remove {
        let removal = Transaction::remove_schedule(id, known.unwrap_or(1), Vec::new());
        match (store.commit(removal).await, known) {
            (Ok(()), Some(_)) => drop(model.schedules.remove(&id)),
            (Err(StoreError::ScheduleNotFound(told)), None) => assert_eq!(told, id),
            (other, known) => panic!("{other:?}, where there is {known:?}"),
        }
        return compare(store, model).await;
    }
    store.commit(Transaction::schedule(record.clone(), work.clone(), Vec::new())).await?;
    let before = model.schedules.remove(&id).and_then(|(_, work)| work);
    model.schedules.insert(id, (record, work.or(before)));
    compare(store, model).await
}

/// What follows nothing, or something else than is there, is not written.
async fn refuse(
    store: &dyn Store,
    record: &SessionSchedule,
    is_there: bool,
) -> Result<(), StoreError> {
    let id = record.id;
    let good = Transaction::schedule(record.clone(), None, Vec::new());
    let blind = Transaction { expect: Vec::new(), ..good.clone() };
    let later = SessionSchedule { revision: record.revision + 1, ..record.clone() };
    for bad in [blind, Transaction::schedule(later, None, Vec::new())] {
        match store.commit(bad).await {
            Err(StoreError::ScheduleConflict(told)) => assert_eq!(told, id),
            Err(StoreError::ScheduleNotFound(told)) => assert!(told == id && !is_there),
            other => panic!("{other:?}"),
        }
    }
    let new = SessionSchedule { revision: 1, ..record.clone() };
    if is_there {
        let again = store.commit(Transaction::schedule(new, None, Vec::new())).await;
        assert!(matches!(again, Err(StoreError::ScheduleConflict(told)) if told == id));
    }
    let twice = good.clone().and(good);
    assert!(matches!(store.commit(twice).await, Err(StoreError::ScheduleConflict(_))));
    Ok(())
}

/// That the store has what the model has, and nothing else.
pub(super) async fn compare(store: &dyn Store, model: &Model) -> Result<(), StoreError> {
    let all: Vec<SessionSchedule> =
        model.schedules.values().map(|(record, _)| record.clone()).collect();
    let every = Bound::entries(usize::MAX);
    assert_eq!(store.schedules(None, every).await?, Page { entries: all.clone(), next: None });
    if let [first, rest @ ..] = all.as_slice() {
        let page = store.schedules(None, Bound::entries(1)).await?;
        let next = Some(first.id).filter(|_| !rest.is_empty());
        assert_eq!(page, Page { entries: vec![first.clone()], next });
        assert_eq!(store.schedules(Some(first.id), every).await?.entries, rest);
    }
    for (id, (record, work)) in &model.schedules {
        assert_eq!(store.schedule(*id).await?.as_ref(), Some(record));
        assert_eq!(store.scheduled_work(*id).await?.as_ref(), work.as_ref());
    }
    let nobody = ScheduleId(Uuid::from_u128(404));
    assert_eq!(store.schedule(nobody).await?, None);
    assert_eq!(store.scheduled_work(nobody).await?, None);
    Ok(())
}
