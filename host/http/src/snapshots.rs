//! The snapshots of a session: list, fork, rewind.

use axum::extract::State;
use axum::{Extension, Json};

use super::Api;
use super::answers::CreatedJson;
use super::error::ApiError;
use super::etag::Tagged;
use super::intake::RequestSlot;
use super::model::ignored::Answered;
use super::model::request::{ForkSession, RewindSession, needed};
use super::model::session::{Ordered, SessionBody};
use super::model::snapshot::{Forked, SnapshotBody, SnapshotList};
use super::model::value::SnapshotName;
use super::request::{JsonBody, OneSession};
use dormouse::Fork;

/// `GET …/snapshots`: those that are kept, newest first. There are never many.
pub(super) async fn list(OneSession(session): OneSession) -> Result<Json<SnapshotList>, ApiError> {
    let of = session.info().await?.session;
    let found = session.snapshots().await?;
    let obstacles = session.resume_obstacles(&found).await?;
    let body = |(summary, obstacle)| SnapshotBody::new(summary, obstacle, &of);
    let snapshots: Vec<SnapshotBody> = found.into_iter().zip(obstacles).map(body).collect();
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
    let snapshot = body.snapshot_id.map(|SnapshotName(id)| id);
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
    let SnapshotName(snapshot) = needed("snapshotId", body.snapshot_id, "is needed")?;
    Ok(Ordered::answer("Session is rewound", session.rewind(snapshot).await?, ignored))
}
