//! The snapshots of a session: list, fork, rewind.

use axum::Json;
use axum::http::StatusCode;

use super::error::ApiError;
use super::lifecycle::done;
use super::model::fields::Answered;
use super::model::session::{Ordered, SessionBody};
use super::model::snapshot::{Forked, SnapshotBody, SnapshotList};
use super::request::{JsonBody, OneSession};
use dormouse::{Fork, MAX_FORKS};

/// `GET …/snapshots`: those that are kept, newest first. There are never many.
pub(super) async fn list(OneSession(session): OneSession) -> Result<Json<SnapshotList>, ApiError> {
    let head = session.look().await?.session.head;
    let found = session.snapshots().await?;
    let body = |summary| SnapshotBody::new(summary, head);
    let snapshots: Vec<SnapshotBody> = found.into_iter().map(body).collect();
    Ok(Json(SnapshotList { count: snapshots.len(), snapshots }))
}

/// `POST …/fork`
pub(super) async fn fork(
    OneSession(session): OneSession,
    body: Option<JsonBody>,
) -> Result<(StatusCode, Json<Answered<Forked>>), ApiError> {
    let mut fields = body.map(|JsonBody(fields)| fields).unwrap_or_default();
    let snapshot = fields.snapshot()?;
    let count = fields.count("count")?.unwrap_or(1);
    let count = u32::try_from(count).ok().filter(|count| (1..=MAX_FORKS).contains(count));
    let count = count
        .ok_or_else(|| ApiError::invalid_field("count", format!("must be 1 to {MAX_FORKS}")))?;
    let ignored = fields.finish()?;
    let forks = session.fork(Fork { snapshot, count }).await?;
    let sessions: Vec<SessionBody> = forks.into_iter().map(SessionBody::from).collect();
    let answer = Forked { count: sessions.len(), sessions };
    Ok((StatusCode::CREATED, Json(Answered { answer, ignored })))
}

/// `POST …/rewind`
pub(super) async fn rewind(
    OneSession(session): OneSession,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Answered<Ordered>>, ApiError> {
    let snapshot = fields.snapshot()?;
    let ignored = fields.finish()?;
    let snapshot = snapshot.ok_or_else(|| ApiError::invalid_field("snapshotId", "is needed"))?;
    Ok(done("Session is rewound", session.rewind(snapshot).await?, ignored))
}
