//! The snapshots of a session: list, fork, rewind.

use axum::extract::State;
use axum::{Extension, Json};

use super::Api;
use super::answers::CreatedJson;
use super::error::ApiError;
use super::etag::Tagged;
use super::intake::RequestSlot;
use super::model::ignored::Answered;
use super::model::query::CommitsQuery;
use super::model::request::{ForkSession, RewindSession, needed};
use super::model::session::{Ordered, SessionBody};
use super::model::snapshot::{Forked, SnapshotBody, SnapshotList};
use super::model::value::SnapshotName;
use super::request::{JsonBody, OneSession, Params};
use dormouse::{Fork, SessionHandle, SnapshotId};

/// `GET …/snapshots`: those that are kept, newest first. There are never many.
pub(super) async fn list(
    OneSession(session): OneSession,
    Params(query): Params<CommitsQuery>,
) -> Result<Json<SnapshotList>, ApiError> {
    let of = session.info().await?.session;
    let found = session.snapshots().await?;
    let obstacles = session.resume_obstacles(&found).await?;
    let commits =
        if query.commits { session.commits(&found).await? } else { vec![None; found.len()] };
    let body = |((summary, obstacle), commit)| SnapshotBody::new(summary, obstacle, commit, &of);
    let snapshots = found.into_iter().zip(obstacles).zip(commits);
    let snapshots: Vec<SnapshotBody> = snapshots.map(body).collect();
    Ok(Json(SnapshotList { count: snapshots.len(), snapshots }))
}

/// `POST …/fork`
pub(super) async fn fork(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    OneSession(session): OneSession,
    body: Option<JsonBody<ForkSession>>,
) -> Result<CreatedJson<Answered<Forked>>, ApiError> {
    let JsonBody { body, ignored, .. } = body.unwrap_or_default();
    let count = body.count()?;
    let snapshot = named(&session, body.snapshot_id, body.commit.as_deref()).await?;
    let forks = session.fork(Fork { snapshot, count, limits: body.limits() }).await?;
    // Not before: a fork may wait for a turn, and nobody's lists wait for that.
    let _admitted = api.readers.wait(slot.principal()).await;
    let sessions: Vec<SessionBody> = forks.into_iter().map(SessionBody::from).collect();
    let answer = Forked { count: sessions.len(), sessions };
    Ok(CreatedJson(Answered { answer, ignored }))
}

/// `POST …/rewind`
pub(super) async fn rewind(
    OneSession(session): OneSession,
    JsonBody { body, ignored, .. }: JsonBody<RewindSession>,
) -> Result<Tagged<Json<Answered<Ordered>>>, ApiError> {
    let snapshot = named(&session, body.snapshot_id, body.commit.as_deref()).await?;
    let snapshot = needed("snapshotId", snapshot, "is needed, or commit")?;
    Ok(Ordered::answer("Session is rewound", session.rewind(snapshot).await?, ignored))
}

/// The snapshot that is named, by its id or by the commit of its files.
async fn named(
    session: &SessionHandle,
    snapshot: Option<SnapshotName>,
    commit: Option<&str>,
) -> Result<Option<SnapshotId>, ApiError> {
    match (snapshot, commit) {
        (Some(_), Some(_)) => {
            Err(ApiError::invalid_field("commit", "names what snapshotId names: send one of them"))
        }
        (Some(SnapshotName(id)), None) => Ok(Some(id)),
        (None, Some(commit)) => Ok(Some(session.snapshot_of(commit).await?)),
        (None, None) => Ok(None),
    }
}
