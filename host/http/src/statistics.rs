//! `GET /api/sessions/stats/summary`: what sessions come to.

use axum::{Extension, Json};

use super::error::ApiError;
use super::model::statistics::{Summary, SummaryQuery};
use super::request::{Caller, Filters};
use dormouse::Principal;

/// `GET /api/sessions/stats/summary`
pub(super) async fn summary(
    Caller(host): Caller,
    Extension(principal): Extension<Principal>,
    Filters(query): Filters<SummaryQuery>,
) -> Result<Json<Summary>, ApiError> {
    Ok(Json(host.sessions().statistics(query.of(principal)).await?.into()))
}
