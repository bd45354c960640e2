//! `/api/agents`: upload, list, show, change who can name one, remove.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use tracing::Instrument;

use super::error::ApiError;
use super::frame::RequestId;
use super::model::agent::{AgentBody, AgentList, UploadBody, UploadWord};
use super::model::ignored::Answered;
use super::model::query::{PageQuery, UploadQuery};
use super::model::request::{ChangeAgent, needed};
use super::model::value::Word;
use super::request::{Caller, Component, JsonBody, OneAgent, Params, Scoped};
use dormouse::{Agent, AgentRef, PAGE_BYTES, UploadState, UploadStatus};

/// The most agents of a page.
const MAX_LISTED: u64 = 1_000;

/// RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The preference for an answer before the work is done.
const RESPOND_ASYNC: &str = "respond-async";

/// `POST /api/agents?name=&version=`
pub(super) async fn upload(
    Caller(host): Caller,
    Extension(id): Extension<RequestId>,
    Params(query): Params<UploadQuery>,
    headers: HeaderMap,
    Component(bytes): Component,
) -> Result<Response, ApiError> {
    let missing = "is needed, as a parameter of the query";
    let name = needed("name", query.name, missing)?;
    let version = needed("version", query.version, missing)?;
    // In a task of its own: a client that goes away before the host has begun loses nothing either.
    let working = async move {
        let agents = host.agents();
        if prefers_async(&headers) {
            return Ok(accepted(agents.upload_in_background(&name, &version, bytes).await?, &id));
        }
        let upload = agents.upload(&name, &version, bytes).await?;
        let status = if upload.created { StatusCode::CREATED } else { StatusCode::OK };
        Ok((status, Json(AgentBody::from(upload.agent))).into_response())
    };
    tokio::spawn(working.in_current_span())
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?
}

/// The answer to an upload that is not waited for.
fn accepted(status: UploadStatus, id: &RequestId) -> Response {
    let AgentRef { name, version, .. } = &status.reference;
    let location = format!("/api/agents/{name}@{version}");
    let headers = [(PREFERENCE_APPLIED, RESPOND_ASYNC.to_owned()), (header::LOCATION, location)];
    (StatusCode::ACCEPTED, headers, Json(status_body(status, id))).into_response()
}

/// Whether the client asks for an answer before the work is done.
fn prefers_async(headers: &HeaderMap) -> bool {
    let all = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = all.flat_map(|value| value.split(','));
    preferences.any(|preference| {
        let name = preference.split(';').next().unwrap_or(preference);
        name.trim().eq_ignore_ascii_case(RESPOND_ASYNC)
    })
}

/// `GET /api/agents?after=&limit=`: all of them, as far as a page has room.
pub(super) async fn list(
    Scoped(host): Scoped,
    Params(page): Params<PageQuery>,
) -> Result<Json<AgentList>, ApiError> {
    let after = usize::try_from(page.after()).unwrap_or(usize::MAX);
    let limit = page.limit_within(MAX_LISTED);
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
    let next = (end < all.len()).then_some(end);
    Ok(Json(AgentList { agents, count, next, next_cursor: next }))
}

/// About how many bytes an agent takes in a list.
fn size_of(agent: &Agent) -> usize {
    let texts = agent
        .component
        .imports
        .iter()
        .chain(&agent.component.capabilities)
        .map(|text| text.len() + 4);
    texts.sum::<usize>() + 1_024
}

/// `GET /api/agents/{agent}`: the agent, or how far the caller's upload of it has come.
pub(super) async fn show(
    Caller(host): Caller,
    Extension(id): Extension<RequestId>,
    OneAgent(agent): OneAgent,
) -> Result<Response, ApiError> {
    Ok(match host.agents().upload_status(agent).await? {
        UploadStatus { state: UploadState::Ready(agent), .. } => {
            Json(AgentBody::from(*agent)).into_response()
        }
        status => Json(status_body(status, &id)).into_response(),
    })
}

/// What is told of an upload: of one that was refused, what the upload itself would have been answered.
fn status_body(status: UploadStatus, id: &RequestId) -> UploadBody {
    let UploadStatus { reference, state } = status;
    let word = UploadWord::from(&state);
    let refusal = match state {
        UploadState::Compiling | UploadState::Ready(_) => None,
        UploadState::Refused(error) => {
            let error = ApiError::from(error);
            if let Some(cause) = error.cause() {
                tracing::error!(code = error.code(), cause, "an upload has failed");
            }
            Some(error.body(&id.0))
        }
    };
    UploadBody::new(&reference, word, refusal)
}

/// `PATCH /api/agents/{agent}`
pub(super) async fn change(
    Caller(host): Caller,
    OneAgent(agent): OneAgent,
    JsonBody { body, ignored, .. }: JsonBody<ChangeAgent>,
) -> Result<Json<Answered<AgentBody>>, ApiError> {
    let missing = "is needed: `private` or `public`";
    let Word(visibility) = needed("visibility", body.visibility, missing)?;
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
