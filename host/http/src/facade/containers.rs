//! `/api/v1/containers` and `/api/sessions/resume-preview`: sessions as the containers of threads.
//!
//! A container is an open session, its thread the `threadKey`, its repository the `projectId`, and the
//! client of a thread the `userId`.

use axum::Json;
use axum::http::StatusCode;

use crate::answers::CreatedJson;
use crate::error::ApiError;
use crate::model::facade::{
    ContainerDone, ContainerList, ContainerStatistics, ContainerThread, Preview,
};
use crate::request::{AnyJsonBody, Caller, Named, session_of};
use dormouse::{Host, Residency, SessionInfo, SessionOrder, SessionQuery, Status};

/// The statuses of sessions that go on.
const OPEN: [Status; 4] = [Status::Initializing, Status::Active, Status::Idle, Status::Paused];
/// The most containers that are listed.
const MAX_LISTED: usize = 200;

/// The caller's open sessions.
struct Open {
    /// Those that were active last, the newest first.
    sessions: Vec<SessionInfo>,
    /// How many there are.
    total: usize,
    /// How many of them are in conversation.
    active: usize,
}

/// `GET /api/v1/containers/sessions`
pub(crate) async fn list(Caller(host): Caller) -> Result<Json<ContainerList>, ApiError> {
    let Open { sessions, total, .. } = open(&host, SessionOrder::MostRecentlyActive).await?;
    Ok(Json(ContainerList::new(&sessions, total, host.clock().now())))
}

/// `GET /api/v1/containers/stats`
pub(crate) async fn statistics(
    Caller(host): Caller,
) -> Result<Json<ContainerStatistics>, ApiError> {
    let Open { sessions, total, active } = open(&host, SessionOrder::Oldest).await?;
    Ok(Json(ContainerStatistics::new(&sessions, total, active, host.clock().now())))
}

async fn open(host: &Host, order: SessionOrder) -> Result<Open, ApiError> {
    let mut open = Open { sessions: Vec::new(), total: 0, active: 0 };
    for status in OPEN {
        let query = SessionQuery {
            owner: Some(host.caller().clone()),
            status: Some(status),
            order,
            limit: MAX_LISTED,
            ..SessionQuery::default()
        };
        let found = host.sessions().list(query).await?;
        open.total += found.total;
        if matches!(status, Status::Initializing | Status::Active) {
            open.active += found.total;
        }
        open.sessions.extend(found.sessions);
    }
    if order.is_by_activity() {
        open.sessions.sort_by_key(|info| std::cmp::Reverse(info.session.last_activity_at));
    } else {
        open.sessions.sort_by_key(|info| info.session.id);
    }
    open.sessions.truncate(MAX_LISTED);
    Ok(open)
}

/// `POST /api/v1/containers/{id}/extend`: its idle limit begins anew.
pub(crate) async fn extend(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<ContainerDone>, ApiError> {
    let extended = async { Ok::<_, ApiError>(session_of(&host, &id)?.extend(None).await?) };
    let info = extended.await.map_err(|error| failed(error, &host))?;
    let message = match info.session.profile.limits.max_idle {
        Some(limit) => format!("Container extended by {} minutes", limit.as_secs() / 60),
        None => "Container has no idle limit, so there is nothing to extend".to_owned(),
    };
    Ok(Json(ContainerDone::new(message, host.clock().now())))
}

/// `POST /api/v1/containers/{id}/cleanup`: it is put to sleep, and restored when its thread goes on.
pub(crate) async fn clean_up(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<ContainerDone>, ApiError> {
    let slept = async { Ok::<_, ApiError>(session_of(&host, &id)?.sleep().await?) };
    slept.await.map_err(|error| failed(error, &host))?;
    let message = "Container cleaned up; its state is kept".to_owned();
    Ok(Json(ContainerDone::new(message, host.clock().now())))
}

/// An error as the clients of containers read it.
fn failed(error: ApiError, host: &Host) -> ApiError {
    error.with("success", false).with("timestamp", host.clock().now().to_string())
}

/// `POST /api/sessions/resume-preview`: wakes the session of a thread.
pub(crate) async fn resume_preview(
    Caller(host): Caller,
    AnyJsonBody(body): AnyJsonBody<ContainerThread>,
) -> Result<CreatedJson<Preview>, ApiError> {
    let (thread, client) = body.thread_and_client()?;
    let sessions = host.sessions();
    let found = sessions.of_thread(&thread, Some(&client)).await?;
    let open = found.filter(|info| OPEN.contains(&info.session.state.status()));
    let Some(info) = open else { return Err(no_thread(&thread)) };
    let id = info.session.id;
    let residency = match info.residency {
        // Somebody else wakes it, or it is there: a command would wait for the end of its turn.
        there @ (Residency::Resident | Residency::Waking) => there,
        Residency::Asleep => sessions.get(id).wake().await?.residency,
    };
    Ok(CreatedJson(Preview::new(id, residency)))
}

fn no_thread(thread: &str) -> ApiError {
    let message = format!("Session of the thread {thread} not found");
    ApiError::new(StatusCode::NOT_FOUND, "thread_not_found", message.as_str())
        .with("statusCode", StatusCode::NOT_FOUND.as_u16())
        .with("message", message)
}
