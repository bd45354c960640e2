//! The numbers that the agent of a session has sampled.

use axum::Json;

use super::error::ApiError;
use super::model::query::SamplesQuery;
use super::model::sample::SamplePage;
use super::request::{Filters, OneSession};

/// `GET …/metrics?name=&after=&limit=`
pub(super) async fn list(
    OneSession(session): OneSession,
    Filters(query): Filters<SamplesQuery>,
) -> Result<Json<SamplePage>, ApiError> {
    let found = session.metrics(query.name.as_deref(), query.after(), query.limit()).await?;
    Ok(Json(found.into()))
}
