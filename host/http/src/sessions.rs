//! `/api/sessions`: create, list, show, remove.

use axum::Json;
use axum::http::StatusCode;

use super::error::ApiError;
use super::model::create::CreateSession;
use super::model::query::SessionsQuery;
use super::model::session::{Created, Deleted, Resume, SessionBody, SessionList};
use super::model::value::{EndOfPage, Word};
use super::request::{Caller, JsonBody, OneSession, Params};
use dormouse::{SessionCursor, SessionOrder, SessionQuery, Timestamp};

/// `POST /api/sessions`
pub(super) async fn create(
    Caller(host): Caller,
    body: Option<JsonBody<CreateSession>>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let JsonBody { body, ignored } = body.unwrap_or_default();
    let created = host.sessions().create_with_info(body.try_into()?).await?;
    let resume = created.resume.map(Resume::from);
    let session = created.session.into();
    Ok((StatusCode::CREATED, Json(Created { session, resume, ignored })))
}

/// `GET /api/sessions`
pub(super) async fn list(
    Caller(host): Caller,
    Params(query): Params<SessionsQuery>,
) -> Result<Json<SessionList>, ApiError> {
    let (page, page_size) = (query.page(), query.page_size());
    let found = host.sessions().list(wanted(query)).await?;
    let sessions: Vec<SessionBody> = found.sessions.into_iter().map(SessionBody::from).collect();
    let (total, count) = (found.total, sessions.len());
    let next = found.next.map(|place| place.id.to_string());
    Ok(Json(SessionList { sessions, total, page, page_size, count, next }))
}

fn wanted(query: SessionsQuery) -> SessionQuery {
    SessionQuery {
        tags: query.all_tags(),
        offset: (query.page() - 1).saturating_mul(query.page_size()),
        limit: query.page_size(),
        pattern: query.pattern.map(|Word(pattern)| pattern),
        status: query.status.map(|Word(status)| status),
        user_id: query.user_id,
        after: query.after.map(|EndOfPage(id)| {
            SessionCursor::new(SessionOrder::Newest, Timestamp::default(), id)
        }),
        ..SessionQuery::default()
    }
}

/// `GET /api/sessions/{id}`
pub(super) async fn show(OneSession(session): OneSession) -> Result<Json<SessionBody>, ApiError> {
    Ok(Json(session.info().await?.into()))
}

/// `DELETE /api/sessions/{id}`
pub(super) async fn remove(OneSession(session): OneSession) -> Result<Json<Deleted>, ApiError> {
    session.delete().await?;
    Ok(Json(Deleted { success: true, id: session.id().to_string() }))
}
