//! What sessions share, while the last that has it goes: readers, writers and copies beside a removal.

use super::model::Model;
use super::play::compare;
use super::steps::Beside;
use super::{Fixture, play};
use crate::{NewSessionRecord, SnapshotDetail, StoreError, Transaction};
use dormouse_domain::id::SessionId;
use dormouse_domain::snapshot::Snapshot;

/// Remove a session, and do something beside that with a snapshot of it.
pub(super) async fn remove<F: Fixture>(
    fixture: &mut F,
    model: &mut Model,
    id: SessionId,
    of: &Snapshot,
    beside: Beside,
) -> Result<(), StoreError> {
    let store = fixture.store();
    let removal = store.commit(play::journal::removal(model, id));
    match beside {
        Beside::Reader => {
            let (removed, found) =
                tokio::join!(removal, store.snapshot(of.id, SnapshotDetail::Full));
            removed?;
            forget(model, id);
            let found = found?.map(|found| found.snapshot);
            assert!(found.is_none() || found.as_ref() == Some(of), "all of it or nothing");
        }
        Beside::Writer => {
            // They bring all that they start from, so it does not matter who else has it.
            let new = model.forks(of, 2);
            let create = store.commit(Transaction::create(new.clone(), Vec::new()));
            let (removed, created) = tokio::join!(removal, create);
            removed?;
            created?;
            forget(model, id);
            for NewSessionRecord { session, head } in &new {
                let wake_state = store.wake_state(session.id).await?.expect("it is there");
                assert_eq!(wake_state.head, *head);
            }
            model.created(new, &of.state);
        }
        Beside::Copy => {
            let (removed, copied) = tokio::join!(removal, fixture.copy());
            removed?;
            let before = model.clone();
            forget(model, id);
            if let Some(copy) = copied? {
                let is_before = copy.store().session(id).await?.is_some();
                whole(copy, if is_before { &before } else { model }).await?;
            }
        }
    }
    Ok(())
}

/// That a copy is what the store was at one moment, and has nothing that is of no use.
async fn whole<F: Fixture>(mut copy: F, model: &Model) -> Result<(), StoreError> {
    compare(copy.store(), model).await?;
    play::audit(&mut copy, model).await;
    copy.store().close().await
}

fn forget(model: &mut Model, id: SessionId) {
    model.remove(id);
}
