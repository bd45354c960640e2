//! `/api/agents`: upload, list, show, change who can name one, remove.

use axum::Json;
use axum::http::StatusCode;

use super::error::ApiError;
use super::model::agent::{AgentBody, AgentList};
use super::request::{Caller, Component, JsonBody, OneAgent, Params};
use crate::agent::{AgentSelector, InvalidName, Visibility};

/// `POST /api/agents?name=&version=`
pub(super) async fn upload(
    Caller(host): Caller,
    params: Params,
    component: Component,
) -> Result<(StatusCode, Json<AgentBody>), ApiError> {
    let needed = |name| {
        let missing = || ApiError::invalid_field(name, "is needed, as a parameter of the query");
        params.text(name).ok_or_else(missing)
    };
    let (name, version) = (needed("name")?, needed("version")?);
    let upload = host.agents().upload(name, version, component.bytes.clone()).await?;
    let status = if upload.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(upload.agent.into())))
}

/// `GET /api/agents`
pub(super) async fn list(Caller(host): Caller) -> Result<Json<AgentList>, ApiError> {
    let agents: Vec<AgentBody> =
        host.agents().list().await?.into_iter().map(AgentBody::from).collect();
    Ok(Json(AgentList { count: agents.len(), agents }))
}

/// `GET /api/agents/{agent}`
pub(super) async fn show(
    Caller(host): Caller,
    OneAgent(agent): OneAgent,
) -> Result<Json<AgentBody>, ApiError> {
    Ok(Json(host.agents().get(agent).await?.into()))
}

/// `PATCH /api/agents/{agent}`
pub(super) async fn change(
    Caller(host): Caller,
    OneAgent(agent): OneAgent,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<AgentBody>, ApiError> {
    let words = &Visibility::ALL;
    let visibility = fields.word("visibility", words, Visibility::as_str)?;
    let visibility = visibility
        .ok_or_else(|| ApiError::invalid_field("visibility", "is needed: `private` or `public`"))?;
    Ok(Json(host.agents().set_visibility(agent, visibility).await?.into()))
}

/// `DELETE /api/agents/{agent}`
pub(super) async fn remove(
    Caller(host): Caller,
    OneAgent(agent): OneAgent,
) -> Result<Json<AgentBody>, ApiError> {
    Ok(Json(host.agents().remove(agent).await?.into()))
}

/// What a text says that names an agent. One that cannot name any names none.
pub(super) fn selector(text: &str) -> Result<AgentSelector, ApiError> {
    text.parse().map_err(|error: InvalidName| {
        ApiError::new(StatusCode::NOT_FOUND, "agent_not_found", error.to_string())
            .with("agent", error.text)
    })
}
