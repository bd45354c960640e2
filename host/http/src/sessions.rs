//! `/api/sessions`: create, list, show, remove.

use axum::Json;
use axum::http::StatusCode;

use super::error::ApiError;
use super::model::create::Create;
use super::model::session::{Created, Deleted, Resume, SessionBody, SessionList};
use super::request::{Caller, JsonBody, OneSession, Params};
use dormouse::{SessionId, SessionQuery};

/// `POST /api/sessions`
pub(super) async fn create(
    Caller(host): Caller,
    body: Option<JsonBody>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let fields = body.map(|JsonBody(fields)| fields).unwrap_or_default();
    let Create { new, ignored } = Create::from_fields(fields)?;
    let created = host.sessions().create_seen(new).await?;
    let resume = created.resume.map(Resume::from);
    let session = created.session.into();
    Ok((StatusCode::CREATED, Json(Created { session, resume, ignored })))
}

/// `GET /api/sessions`
pub(super) async fn list(
    Caller(host): Caller,
    mut params: Params,
) -> Result<Json<SessionList>, ApiError> {
    let page = usize::try_from(params.count("page")?.unwrap_or(1).max(1)).unwrap_or(usize::MAX);
    let page_size = params.limit("pageSize")?;
    let query = query(&mut params, page, page_size)?;
    params.finish()?;
    let found = host.sessions().list(query).await?;
    let sessions: Vec<SessionBody> = found.sessions.into_iter().map(SessionBody::from).collect();
    let (total, count) = (found.total, sessions.len());
    let next = found.next.map(|id| id.to_string());
    Ok(Json(SessionList { sessions, total, page, page_size, count, next }))
}

fn query(params: &mut Params, page: usize, page_size: usize) -> Result<SessionQuery, ApiError> {
    let pattern =
        params.text("pattern")?.map(|text| text.parse().map_err(|_| ApiError::invalid_pattern()));
    let status =
        params.text("status")?.map(|text| text.parse().map_err(|_| ApiError::invalid_status()));
    let after = params.text("after")?.map(|id| {
        let problem = "must be the `next` of a page: the id of a session";
        id.parse::<SessionId>().map_err(|_| ApiError::invalid_field("after", problem))
    });
    Ok(SessionQuery {
        owner: None,
        pattern: pattern.transpose()?,
        status: status.transpose()?,
        user_id: params.text("userId")?.map(str::to_owned),
        tags: tags(params),
        after: after.transpose()?,
        offset: (page - 1).saturating_mul(page_size),
        limit: page_size,
    })
}

/// The tags to look for: `tags=a,b` names two, and `tag=a,b` one that has a comma in it. Each may come
/// several times.
fn tags(params: &mut Params) -> Vec<String> {
    let listed = params.all("tags").flat_map(|list| list.split(',')).map(str::trim);
    let mut tags: Vec<String> = listed.filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
    tags.extend(params.all("tag").map(str::to_owned));
    tags
}

/// `GET /api/sessions/{id}`
pub(super) async fn show(OneSession(session): OneSession) -> Result<Json<SessionBody>, ApiError> {
    Ok(Json(session.look().await?.into()))
}

/// `DELETE /api/sessions/{id}`
pub(super) async fn remove(OneSession(session): OneSession) -> Result<Json<Deleted>, ApiError> {
    session.delete().await?;
    Ok(Json(Deleted { success: true, id: session.id().to_string() }))
}
