//! What is asked of one session besides messages: sleep, wake, pause, resume, upgrade,
//! stop, kill, terminate, status.

use axum::Json;

use super::agents::selector;
use super::error::ApiError;
use super::model::fields::{Answered, Ignored};
use super::model::session::{Ordered, StatusBody, Terminated};
use super::request::{JsonBody, OneSession};
use dormouse::{MAX_REASON, Sight};

type Answer = Result<Json<Answered<Ordered>>, ApiError>;

/// `GET …/status`
pub(super) async fn status(OneSession(session): OneSession) -> Result<Json<StatusBody>, ApiError> {
    Ok(Json(session.look().await?.into()))
}

/// `POST …/sleep`
pub(super) async fn sleep(OneSession(session): OneSession) -> Answer {
    Ok(done("Session is asleep", session.sleep().await?, Ignored::default()))
}

/// `POST …/wake`
pub(super) async fn wake(OneSession(session): OneSession) -> Answer {
    Ok(done("Session is awake", session.wake().await?, Ignored::default()))
}

/// `POST …/pause`
pub(super) async fn pause(OneSession(session): OneSession) -> Answer {
    Ok(done("Session is paused", session.pause().await?, Ignored::default()))
}

/// `POST …/resume`, from a snapshot on where the body names one.
pub(super) async fn resume(OneSession(session): OneSession, body: Option<JsonBody>) -> Answer {
    let mut fields = body.map(|JsonBody(fields)| fields).unwrap_or_default();
    let snapshot = fields.snapshot()?;
    let ignored = fields.finish()?;
    Ok(done("Session is resumed", session.resume(snapshot).await?, ignored))
}

/// `POST …/upgrade`
pub(super) async fn upgrade(
    OneSession(session): OneSession,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let agent = fields.text("agent")?;
    let ignored = fields.finish()?;
    let agent = agent.ok_or_else(|| ApiError::invalid_field("agent", "is needed"))?;
    let agent = selector(&agent)?;
    Ok(done("Session is upgraded", session.upgrade(agent).await?, ignored))
}

/// `POST …/stop`
pub(super) async fn stop(OneSession(session): OneSession) -> Answer {
    let after = session.stop().await?;
    let message = if after.running_turn.is_some() {
        "Session stops when its running turn is over"
    } else {
        "Session is stopped"
    };
    Ok(done(message, after, Ignored::default()))
}

/// `POST …/force-kill`
pub(super) async fn force_kill(OneSession(session): OneSession) -> Answer {
    Ok(done("Session was killed", session.force_kill().await?, Ignored::default()))
}

/// `POST …/terminate`
pub(super) async fn terminate(
    OneSession(session): OneSession,
    body: Option<JsonBody>,
) -> Result<Json<Answered<Terminated>>, ApiError> {
    let mut fields = body.map(|JsonBody(fields)| fields).unwrap_or_default();
    let reason = fields.text("reason")?.unwrap_or_else(|| "user_requested".to_owned());
    let ignored = fields.finish()?;
    let length = reason.chars().count();
    if !(1..=MAX_REASON).contains(&length) {
        let problem = format!("must have 1 to {MAX_REASON} characters");
        return Err(ApiError::invalid_field("reason", problem));
    }
    let session = session.terminate(&reason).await?.into();
    Ok(Json(Answered { answer: Terminated { session, reason }, ignored }))
}

pub(super) fn done(
    message: &'static str,
    session: Sight,
    ignored: Ignored,
) -> Json<Answered<Ordered>> {
    Json(Answered { answer: Ordered { success: true, message, session: session.into() }, ignored })
}
