//! `POST /api/sessions/cleanup`: the removal of many sessions.

use axum::Json;

use super::error::ApiError;
use super::model::cleanup::{CleanUpSessions, CleanedUpBody};
use super::model::ignored::Answered;
use super::request::{Caller, JsonBody};
use dormouse::Cleanup;

/// `POST /api/sessions/cleanup`
pub(super) async fn clean_up(
    Caller(host): Caller,
    JsonBody { body, ignored, .. }: JsonBody<CleanUpSessions>,
) -> Result<Json<Answered<CleanedUpBody>>, ApiError> {
    let cleanup = Cleanup::try_from(body)?;
    let dry_run = cleanup.dry_run;
    let cleaned = host.sessions().clean_up(cleanup).await?;
    Ok(Json(Answered { answer: CleanedUpBody::new(&cleaned, dry_run), ignored }))
}
