//! `/api/sessions`: create, list, show, remove.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::etag::Tagged;
use super::idempotency::{self, RequestKey};
use super::model::create::CreateSession;
use super::model::listing::{MemberList, SessionList, SessionsQuery};
use super::model::session::{Created, Deleted, Resume, SessionBody};
use super::request::{Caller, Filters, JsonBody, OneSession, Scoped, note_session};
use dormouse::{Digest, SessionQuery};

/// `POST /api/sessions`
pub(super) async fn create(
    Caller(host): Caller,
    RequestKey(key): RequestKey,
    body: Option<JsonBody<CreateSession>>,
) -> Result<Response, ApiError> {
    let JsonBody { body, ignored, digest } = body.unwrap_or_default();
    let (new, sessions) = (body.try_into()?, host.sessions());
    let created = match key {
        None => sessions.create_with_info(new).await?,
        Some(key) => sessions.create_once(new, &key, digest.unwrap_or(Digest::of(b""))).await?,
    };
    let status = if created.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let resume = created.resume.map(Resume::from);
    let revision = created.session.session.revision;
    note_session(created.session.session.id);
    let session = created.session.into();
    let answer = (status, Json(Created { session, resume, ignored }));
    let mut response = Tagged { revision, answer }.into_response();
    idempotency::mark(&mut response, created.replayed);
    Ok(response)
}

/// `GET /api/sessions`
pub(super) async fn list(
    Scoped(host): Scoped,
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

/// `GET /api/sessions/{id}/members`
pub(super) async fn members(OneSession(session): OneSession) -> Result<Json<MemberList>, ApiError> {
    Ok(Json(session.members().await?.into()))
}

/// `DELETE /api/sessions/{id}`
pub(super) async fn remove(OneSession(session): OneSession) -> Result<Json<Deleted>, ApiError> {
    session.delete().await?;
    Ok(Json(Deleted { success: true, id: session.id().to_string() }))
}
