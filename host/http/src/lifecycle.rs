//! What is asked of one session besides messages: sleep, wake, pause, resume, upgrade, complete, extend,
//! stop, kill, terminate, status.

use axum::Json;

use super::error::ApiError;
use super::etag::Tagged;
use super::model::ignored::{Answered, Ignored};
use super::model::request::{
    ExtendSession, ResumeSession, TerminateSession, UpgradeSession, needed,
};
use super::model::session::{Extended, Ordered, StatusBody, Terminated};
use super::model::value::SnapshotName;
use super::request::{JsonBody, OneSession};
use dormouse::{AgentSelector, Status};

type Answer = Result<Tagged<Json<Answered<Ordered>>>, ApiError>;

/// `GET …/status`
pub(super) async fn status(OneSession(session): OneSession) -> Result<Json<StatusBody>, ApiError> {
    Ok(Json(session.info().await?.into()))
}

/// `POST …/sleep`
pub(super) async fn sleep(OneSession(session): OneSession) -> Answer {
    Ok(Ordered::answer("Session is asleep", session.sleep().await?, Ignored::default()))
}

/// `POST …/wake`
pub(super) async fn wake(OneSession(session): OneSession) -> Answer {
    Ok(Ordered::answer("Session is awake", session.wake().await?, Ignored::default()))
}

/// `POST …/pause`
pub(super) async fn pause(OneSession(session): OneSession) -> Answer {
    Ok(Ordered::answer("Session is paused", session.pause().await?, Ignored::default()))
}

/// `POST …/resume`, from a snapshot on where the body names one.
pub(super) async fn resume(
    OneSession(session): OneSession,
    body: Option<JsonBody<ResumeSession>>,
) -> Answer {
    let JsonBody { body, ignored, .. } = body.unwrap_or_default();
    let snapshot = body.snapshot_id.map(|SnapshotName(id)| id);
    Ok(Ordered::answer("Session is resumed", session.resume(snapshot).await?, ignored))
}

/// `POST …/upgrade`
pub(super) async fn upgrade(
    OneSession(session): OneSession,
    JsonBody { body, ignored, .. }: JsonBody<UpgradeSession>,
) -> Answer {
    let agent: AgentSelector = needed("agent", body.agent, "is needed")?.parse()?;
    Ok(Ordered::answer("Session is upgraded", session.upgrade(agent).await?, ignored))
}

/// `POST …/complete`
pub(super) async fn complete(OneSession(session): OneSession) -> Answer {
    Ok(Ordered::answer("Session is completed", session.complete().await?, Ignored::default()))
}

/// `POST …/extend`
pub(super) async fn extend(
    OneSession(session): OneSession,
    body: Option<JsonBody<ExtendSession>>,
) -> Result<Tagged<Json<Answered<Extended>>>, ApiError> {
    let JsonBody { body, ignored, .. } = body.unwrap_or_default();
    Ok(Tagged::of(session.extend(body.time()?).await?, ignored, Extended::from))
}

/// `POST …/stop`
pub(super) async fn stop(OneSession(session): OneSession) -> Answer {
    let after = session.stop().await?;
    let message = if after.status() == Status::Stopping {
        "Session stops when its running turn is over"
    } else {
        "Session is stopped"
    };
    Ok(Ordered::answer(message, after, Ignored::default()))
}

/// `POST …/force-kill`
pub(super) async fn force_kill(OneSession(session): OneSession) -> Answer {
    Ok(Ordered::answer("Session was killed", session.force_kill().await?, Ignored::default()))
}

/// `POST …/terminate`
pub(super) async fn terminate(
    OneSession(session): OneSession,
    body: Option<JsonBody<TerminateSession>>,
) -> Result<Tagged<Json<Answered<Terminated>>>, ApiError> {
    let JsonBody { body, ignored, .. } = body.unwrap_or_default();
    let reason = body.reason()?;
    let after = session.terminate(&reason).await?;
    Ok(Tagged::of(after, ignored, |session| Terminated { session, reason }))
}
