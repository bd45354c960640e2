//! When a session wakes itself.

use axum::Json;

use super::error::ApiError;
use super::model::timer::TimersBody;
use super::request::OneSession;

/// `GET …/timers`
pub(super) async fn timers(OneSession(session): OneSession) -> Result<Json<TimersBody>, ApiError> {
    Ok(Json(TimersBody::of(&session.info().await?.session.timers)))
}
