//! `/api/agents`: upload, list, show, change who can name one, remove.

use axum::Json;
use axum::http::StatusCode;

use super::error::ApiError;
use super::model::agent::{AgentBody, AgentList};
use super::model::fields::Answered;
use super::request::{Caller, Component, JsonBody, OneAgent, Params};
use crate::agent::{Agent, AgentSelector, InvalidName, Visibility};
use crate::store::PAGE_BYTES;

/// The most agents of a page.
const MAX_LISTED: u64 = 1_000;

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
    let (name, version) = (needed("name")?.to_owned(), needed("version")?.to_owned());
    // In a task of its own: a client that goes away finds the agent when it comes back.
    let working = tokio::spawn(async move {
        let bytes = component.bytes.clone();
        let upload = host.agents().upload(&name, &version, bytes).await;
        drop(component);
        upload
    });
    let upload = working.await.map_err(|error| ApiError::internal(error.to_string()))??;
    let status = if upload.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(upload.agent.into())))
}

/// `GET /api/agents?after=&limit=`: all of them, as far as a page has room.
pub(super) async fn list(
    Caller(host): Caller,
    params: Params,
) -> Result<Json<AgentList>, ApiError> {
    let after = usize::try_from(params.count("after")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = params.count("limit")?.unwrap_or(MAX_LISTED).clamp(1, MAX_LISTED);
    let all = host.agents().list().await?;
    let (mut agents, mut bytes) = (Vec::new(), 0);
    for agent in all.iter().skip(after) {
        bytes += size_of(agent);
        if agents.len() as u64 == limit || (bytes > PAGE_BYTES && !agents.is_empty()) {
            break;
        }
        agents.push(AgentBody::from(agent.clone()));
    }
    let count = agents.len();
    let end = after.saturating_add(count);
    Ok(Json(AgentList { agents, count, next: (end < all.len()).then_some(end) }))
}

/// About how many bytes an agent takes in a list.
fn size_of(agent: &Agent) -> usize {
    let texts = agent.imports.iter().chain(&agent.capabilities).map(|text| text.len() + 4);
    texts.sum::<usize>() + 1_024
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
) -> Result<Json<Answered<AgentBody>>, ApiError> {
    let words = &Visibility::ALL;
    let visibility = fields.word("visibility", words, Visibility::as_str)?;
    let ignored = fields.finish()?;
    let visibility = visibility
        .ok_or_else(|| ApiError::invalid_field("visibility", "is needed: `private` or `public`"))?;
    let answer = host.agents().set_visibility(agent, visibility).await?.into();
    Ok(Json(Answered { answer, ignored }))
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
