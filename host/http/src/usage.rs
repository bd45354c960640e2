//! What a session has used, and what a turn spent its time on.

use std::collections::HashMap;

use axum::Json;
use axum::extract::Path;

use super::error::ApiError;
use super::history::{turn_not_found, turn_number};
use super::model::query::PageQuery;
use super::model::trace::TraceBody;
use super::model::usage::SessionUsageBody;
use super::request::{OneSession, Params};

/// `GET …/usage?after=&limit=`
pub(super) async fn usage(
    OneSession(session): OneSession,
    Params(page): Params<PageQuery>,
) -> Result<Json<SessionUsageBody>, ApiError> {
    let usage = session.usage(page.after(), page.limit()).await?;
    Ok(Json(SessionUsageBody::new(session.id(), usage)))
}

/// `GET …/turns/{turn}/trace`
pub(super) async fn trace(
    OneSession(session): OneSession,
    path: Path<HashMap<String, String>>,
) -> Result<Json<TraceBody>, ApiError> {
    let trace = session.trace(turn_number(&path)).await?;
    trace.map(|trace| Json(trace.into())).ok_or_else(turn_not_found)
}
