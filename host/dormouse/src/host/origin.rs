//! Where a session, a fork or a template starts from: a snapshot, found by its id or by its session's.

use std::str::FromStr;

use uuid::Uuid;

use super::Host;
use crate::session::request::{Command, CommandError};
use dormouse_domain::event::{Event, EventBody, ResumeOutcome};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::Snapshot;
use dormouse_store::{SnapshotDetail, StoreError, Transaction};

/// A snapshot, without the data of its chunks, and the session that it belongs to.
pub(super) struct SnapshotOrigin {
    pub(super) snapshot: Snapshot,
    pub(super) session: Session,
}

/// What an id leads to.
pub(super) enum FoundOrigin {
    Here(Box<SnapshotOrigin>),
    Nothing,
    /// It belongs to somebody else, who has been told.
    Foreign,
}

/// The snapshot of this id, or the head of the session of this id, or, as `SESSION@COMMIT`, the snapshot of a session whose
/// files are those of a commit. What no snapshot holds yet of a session that is named is saved first.
pub(super) async fn find(host: &Host, id: &str) -> Result<FoundOrigin, CommandError> {
    let (id, commit) = match id.split_once('@') {
        Some((session, commit)) => (session, Some(commit)),
        None => (id, None),
    };
    let Ok(id) = Uuid::from_str(id) else { return Ok(FoundOrigin::Nothing) };
    let store = &host.inner.store;
    let session = SessionId(id);
    let kept = match store.session(session).await? {
        Some(found) if found.owner != *host.caller() => return foreign(host, &found).await,
        Some(found) => {
            let snapshot = match commit {
                Some(commit) => match host.sessions().get(session).snapshot_of(commit).await {
                    Err(CommandError::NoCommit(_)) => None,
                    found => Some(found?),
                },
                None => head(host, &found).await?,
            };
            match snapshot {
                Some(snapshot) => store.snapshot(snapshot, SnapshotDetail::Metadata).await?,
                None => None,
            }
        }
        None if commit.is_some() => None,
        None => store.snapshot(SnapshotId(id), SnapshotDetail::Metadata).await?,
    };
    let Some(kept) = kept else { return Ok(FoundOrigin::Nothing) };
    let Some(session) = store.session(kept.session).await? else { return Ok(FoundOrigin::Nothing) };
    if session.owner != *host.caller() {
        return foreign(host, &session).await;
    }
    Ok(FoundOrigin::Here(Box::new(SnapshotOrigin { snapshot: kept.snapshot, session })))
}

/// The head of a session, with all its turns in it.
pub(super) async fn head(
    host: &Host,
    session: &Session,
) -> Result<Option<SnapshotId>, CommandError> {
    if session.unsaved_turns == 0 {
        return Ok(session.head);
    }
    let registry = &host.inner.registry;
    let after = registry.command(session.id, host.access.only().cloned(), Command::Save).await?;
    match after {
        Some(after) if after.unsaved_turns > 0 => Err(CommandError::Unsaved(after.unsaved_turns)),
        Some(after) => Ok(after.head),
        None => Ok(None),
    }
}

async fn foreign(host: &Host, session: &Session) -> Result<FoundOrigin, CommandError> {
    tell_owner(host, session).await?;
    Ok(FoundOrigin::Foreign)
}

/// Tell the owner of a session, in its audit trail, that somebody asked for what is not theirs.
pub(super) async fn tell_owner(host: &Host, session: &Session) -> Result<(), CommandError> {
    let (by, outcome) = (host.caller().clone(), ResumeOutcome::NotOwner);
    let attempt = EventBody::ResumeAttempted { by, outcome };
    let event = Event::session(session, host.inner.clock.now(), attempt);
    metrics::counter!("dormouse_resumes_total", "outcome" => outcome.as_str()).increment(1);
    match host.inner.store.commit(Transaction::log(session.id, vec![event])).await {
        // It has been deleted meanwhile: then there is nobody to be told.
        Ok(()) | Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
