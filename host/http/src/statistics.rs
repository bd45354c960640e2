//! `GET /api/sessions/stats/summary`: what sessions come to.

use axum::Json;

use super::error::ApiError;
use super::model::statistics::{Summary, SummaryQuery};
use super::request::{Filters, Scoped};

/// `GET /api/sessions/stats/summary`
pub(super) async fn summary(
    Scoped(host): Scoped,
    Filters(query): Filters<SummaryQuery>,
) -> Result<Json<Summary>, ApiError> {
    Ok(Json(host.sessions().statistics(query.of(host.caller().clone())).await?.into()))
}
