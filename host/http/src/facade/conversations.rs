//! `/sessions/`: sessions as another session service has them, in snake_case.
//!
//! What the service keeps and the host does not know lies in the `metadata` of the session. An `agent_id`
//! that names an agent of the caller's is the agent; any other is a label, by which lists find the session.

use axum::Json;

use super::FACADE_IDLE;
use crate::answers::CreatedJson;
use crate::error::ApiError;
use crate::model::facade::{FacadeQuery, FacadeSession, FacadeSessionPatch, NewFacadeSession};
use crate::request::{AnyJsonBody, Caller, Named, Params, session_of};
use dormouse::{Host, NewSession, SessionHandle, SessionQuery};

/// `POST /sessions/`
pub(crate) async fn create(
    Caller(host): Caller,
    AnyJsonBody(body): AnyJsonBody<NewFacadeSession>,
) -> Result<CreatedJson<FacadeSession>, ApiError> {
    let created = async {
        let agent = agent_of(&host, body.agent_id()?).await;
        let new = NewSession { agent, max_idle: Some(FACADE_IDLE), ..NewSession::try_from(body)? };
        Ok::<_, ApiError>(host.sessions().create_with_info(new).await?)
    };
    let created = created.await.map_err(detailed)?;
    Ok(CreatedJson(created.session.into()))
}

/// The agent that an id names, where the caller can name one so.
async fn agent_of(host: &Host, id: &str) -> Option<String> {
    host.agents().get(id.parse().ok()?).await.ok()?;
    Some(id.to_owned())
}

/// `GET /sessions/?agent_id=&limit=`: newest first.
pub(crate) async fn list(
    Caller(host): Caller,
    Params(query): Params<FacadeQuery>,
) -> Result<Json<Vec<FacadeSession>>, ApiError> {
    let query =
        SessionQuery { limit: query.limit(), tags: query.tags(), ..SessionQuery::default() };
    let found = host.sessions().list(query).await?;
    Ok(Json(found.sessions.into_iter().map(FacadeSession::from).collect()))
}

/// `GET /sessions/{id}`
pub(crate) async fn show(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<FacadeSession>, ApiError> {
    let shown = async { Ok::<_, ApiError>(session_of(&host, &id)?.info().await?) };
    Ok(Json(shown.await.map_err(detailed)?.into()))
}

/// `PATCH /sessions/{id}`: replaces each document that it names.
pub(crate) async fn change(
    Caller(host): Caller,
    Named(id): Named,
    AnyJsonBody(body): AnyJsonBody<FacadeSessionPatch>,
) -> Result<Json<FacadeSession>, ApiError> {
    let changed = async {
        let session: SessionHandle = session_of(&host, &id)?;
        Ok::<_, ApiError>(session.change(body.patch()?).await?)
    };
    Ok(Json(changed.await.map_err(detailed)?.into()))
}

/// An error as the clients of the service read it.
fn detailed(error: ApiError) -> ApiError {
    let detail = error.sentence().to_owned();
    error.with("detail", detail)
}
