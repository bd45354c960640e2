//! `/api/templates`: make, list, show, remove.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;

use super::error::ApiError;
use super::model::fields::Answered;
use super::model::session::Deleted;
use super::model::template::{TemplateBody, TemplateList};
use super::request::{Caller, JsonBody};
use dormouse::NewTemplate;

/// `POST /api/templates`
pub(super) async fn create(
    Caller(host): Caller,
    JsonBody(mut fields): JsonBody,
) -> Result<(StatusCode, Json<Answered<TemplateBody>>), ApiError> {
    let name = fields.text("name")?.ok_or_else(|| ApiError::invalid_field("name", "is needed"))?;
    let from = fields.text("sessionId")?;
    let needed = "is needed: the id of a snapshot, or of a session";
    let from = from.ok_or_else(|| ApiError::invalid_field("sessionId", needed))?;
    let new = NewTemplate { name, from, description: fields.text("description")? };
    let ignored = fields.finish()?;
    let answer = host.templates().create(new).await?.into();
    Ok((StatusCode::CREATED, Json(Answered { answer, ignored })))
}

/// `GET /api/templates`
pub(super) async fn list(Caller(host): Caller) -> Result<Json<TemplateList>, ApiError> {
    let found = host.templates().list().await?;
    let templates: Vec<TemplateBody> = found.into_iter().map(TemplateBody::from).collect();
    Ok(Json(TemplateList { count: templates.len(), templates }))
}

/// `GET /api/templates/{name}`
pub(super) async fn show(
    Caller(host): Caller,
    Path(name): Path<String>,
) -> Result<Json<TemplateBody>, ApiError> {
    Ok(Json(host.templates().get(&name).await?.into()))
}

/// `DELETE /api/templates/{name}`
pub(super) async fn remove(
    Caller(host): Caller,
    Path(name): Path<String>,
) -> Result<Json<Deleted>, ApiError> {
    host.templates().delete(&name).await?;
    Ok(Json(Deleted { success: true, id: name }))
}
