//! `/api/templates`: make, list, show, remove.

use axum::Json;

use super::answers::CreatedJson;
use super::error::ApiError;
use super::model::ignored::Answered;
use super::model::request::{CreateTemplate, needed};
use super::model::session::Deleted;
use super::model::template::{TemplateBody, TemplateList};
use super::request::{Caller, JsonBody, Named, Scoped};
use dormouse::NewTemplate;

/// `POST /api/templates`
pub(super) async fn create(
    Caller(host): Caller,
    JsonBody { body, ignored, .. }: JsonBody<CreateTemplate>,
) -> Result<CreatedJson<Answered<TemplateBody>>, ApiError> {
    let name = needed("name", body.name, "is needed")?;
    let missing = "is needed: the id of a snapshot, or of a session";
    let from = needed("sessionId", body.session_id, missing)?;
    let new = NewTemplate { name, from, description: body.description };
    let answer = host.templates().create(new).await?.into();
    Ok(CreatedJson(Answered { answer, ignored }))
}

/// `GET /api/templates`
pub(super) async fn list(Scoped(host): Scoped) -> Result<Json<TemplateList>, ApiError> {
    let found = host.templates().list().await?;
    let templates: Vec<TemplateBody> = found.into_iter().map(TemplateBody::from).collect();
    Ok(Json(TemplateList { count: templates.len(), templates }))
}

/// `GET /api/templates/{name}`
pub(super) async fn show(
    Scoped(host): Scoped,
    Named(name): Named,
) -> Result<Json<TemplateBody>, ApiError> {
    Ok(Json(host.templates().get(&name).await?.into()))
}

/// `DELETE /api/templates/{name}`
pub(super) async fn remove(
    Scoped(host): Scoped,
    Named(name): Named,
) -> Result<Json<Deleted>, ApiError> {
    host.templates().delete(&name).await?;
    Ok(Json(Deleted { success: true, id: name }))
}
