//! `PATCH /api/sessions/{id}`: what a client changes of a session.

use axum::Json;

use super::error::ApiError;
use super::etag::{IfMatch, Tagged};
use super::model::ignored::Answered;
use super::model::patch::PatchSession;
use super::model::session::SessionBody;
use super::request::{JsonBody, OneSession};
use dormouse::SessionPatch;

/// `PATCH /api/sessions/{id}`
pub(super) async fn change(
    OneSession(session): OneSession,
    IfMatch(revision): IfMatch,
    JsonBody { body, ignored, .. }: JsonBody<PatchSession>,
) -> Result<Tagged<Json<Answered<SessionBody>>>, ApiError> {
    let patch = SessionPatch { revision, ..SessionPatch::try_from(body)? };
    Ok(Tagged::of(session.change(patch).await?, ignored, |session| session))
}
