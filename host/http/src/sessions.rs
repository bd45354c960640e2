//! `/api/sessions`: create, list, show, remove.

use axum::Json;
use axum::http::StatusCode;

use super::error::ApiError;
use super::etag::Tagged;
use super::model::create::CreateSession;
use super::model::listing::{SessionList, SessionsQuery};
use super::model::session::{Created, Deleted, Resume, SessionBody};
use super::request::{Caller, Filters, JsonBody, OneSession};
use dormouse::SessionQuery;

/// `POST /api/sessions`
pub(super) async fn create(
    Caller(host): Caller,
    body: Option<JsonBody<CreateSession>>,
) -> Result<Tagged<(StatusCode, Json<Created>)>, ApiError> {
    let JsonBody { body, ignored } = body.unwrap_or_default();
    let created = host.sessions().create_with_info(body.try_into()?).await?;
    let status = if created.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let resume = created.resume.map(Resume::from);
    let revision = created.session.session.revision;
    let session = created.session.into();
    let answer = (status, Json(Created { session, resume, ignored }));
    Ok(Tagged { revision, answer })
}

/// `GET /api/sessions`
pub(super) async fn list(
    Caller(host): Caller,
    Filters(query): Filters<SessionsQuery>,
) -> Result<Json<SessionList>, ApiError> {
    let (page, page_size, residency) = (query.page(), query.page_size(), query.residency());
    let (sessions, query) = (host.sessions(), SessionQuery::try_from(query)?);
    let found = match residency {
        Some(residency) => sessions.list_resident(query, residency).await?,
        None => sessions.list(query).await?,
    };
    Ok(Json(SessionList::new(found, page, page_size)))
}

/// `GET /api/sessions/{id}`
pub(super) async fn show(
    OneSession(session): OneSession,
) -> Result<Tagged<Json<SessionBody>>, ApiError> {
    let info = session.info().await?;
    Ok(Tagged { revision: info.session.revision, answer: Json(info.into()) })
}

/// `DELETE /api/sessions/{id}`
pub(super) async fn remove(OneSession(session): OneSession) -> Result<Json<Deleted>, ApiError> {
    session.delete().await?;
    Ok(Json(Deleted { success: true, id: session.id().to_string() }))
}
