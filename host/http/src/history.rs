//! What has happened: turns and events, in pages, and the stream of a turn for who lost it.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::Api;
use super::error::ApiError;
use super::follow;
use super::frame::RequestId;
use super::intake::RequestSlot;
use super::model::event::{EventPage, LoggedBody};
use super::model::ignored::Ignored;
use super::model::message::StreamEvent;
use super::model::query::{CommitsQuery, EventsQuery, PageQuery};
use super::model::turn::{TurnBody, TurnPage};
use super::refusal::failed_turn;
use super::request::{OneSession, Params, Scoped};
use super::sse::{self, EventWriter, Gone, StreamPosition};
use dormouse::{Cursor, EventBatch, EventEntry, Page, SessionHandle, TurnOutcome};
use dormouse_base::shares::FairPermit;

/// `GET …/turns?after=&limit=`
pub(super) async fn turns(
    OneSession(session): OneSession,
    Params(page): Params<PageQuery>,
) -> Result<Json<TurnPage>, ApiError> {
    let Page { entries, next } = session.turns(page.after(), page.limit()).await?;
    let turns: Vec<TurnBody> = entries.into_iter().map(TurnBody::from).collect();
    Ok(Json(TurnPage { count: turns.len(), turns, next, next_cursor: next }))
}

/// `GET …/turns/{turn}`
pub(super) async fn turn(
    OneSession(session): OneSession,
    path: Path<HashMap<String, String>>,
    Params(query): Params<CommitsQuery>,
) -> Result<Json<TurnBody>, ApiError> {
    let turn = session.turn(turn_number(&path)).await?.ok_or_else(turn_not_found)?;
    let commit = if query.commits { session.commit_of(&turn).await? } else { None };
    let mut body = TurnBody::from(turn);
    body.commit = commit;
    Ok(Json(body))
}

/// `GET …/events`: a page of what happened to a session, a stream that goes on with it (`?follow=true`), or
/// the stream of its running turn.
pub(super) async fn session_events(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    Extension(id): Extension<RequestId>,
    OneSession(session): OneSession,
    headers: HeaderMap,
    query: Result<Params<EventsQuery>, ApiError>,
) -> Result<Response, ApiError> {
    let follows = query.as_ref().is_ok_and(|Params(query)| query.follow);
    if wants_stream(&headers) && !follows {
        return stream(api, slot, id, session, &headers).await;
    }
    let Params(query) = query?;
    if follows {
        let events = session.follow_events(follow::start(&headers, &query)?).await?;
        return follow::respond(&api, slot, &headers, events);
    }
    let after = query.after();
    let found = session.events(after, query.limit()).await?;
    Ok(Json(page(found, after)).into_response())
}

/// `GET …/audit?after=&limit=`: who has asked to resume, and what came of it.
pub(super) async fn audit(
    OneSession(session): OneSession,
    Params(query): Params<PageQuery>,
) -> Result<Json<EventPage>, ApiError> {
    let (after, limit) = (Cursor(query.after()), query.limit());
    let found = session.audit(after, limit).await?;
    Ok(Json(page(found, after)))
}

/// `GET /api/events`: a page of the log, or a stream that goes on with it.
pub(super) async fn all_events(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    Scoped(host): Scoped,
    headers: HeaderMap,
    Params(query): Params<EventsQuery>,
) -> Result<Response, ApiError> {
    if query.follow || wants_stream(&headers) {
        let events = host.follow_events(follow::start(&headers, &query)?);
        return follow::respond(&api, slot, &headers, events);
    }
    let EventBatch { events, next, more } = host.events_after(query.after(), query.limit()).await?;
    let events: Vec<LoggedBody> = events.into_iter().map(LoggedBody::from).collect();
    let (count, next) = (events.len(), next.0);
    Ok(Json(EventPage { count, events, next, next_cursor: next, more }).into_response())
}

fn page(found: Page<EventEntry, Cursor>, after: Cursor) -> EventPage {
    let (next, more) = (found.end().unwrap_or(after), found.next.is_some());
    let events: Vec<LoggedBody> = found.entries.into_iter().map(LoggedBody::from).collect();
    let (count, next) = (events.len(), next.0);
    EventPage { count, events, next, next_cursor: next, more }
}

/// The rest of a stream: of the turn that the client names, or of the one that runs.
async fn stream(
    api: Api,
    slot: RequestSlot,
    id: RequestId,
    session: SessionHandle,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let running = session.running().await?;
    let from = match (headers.get("last-event-id"), &running) {
        (Some(last), _) => {
            let place = last.to_str().ok().and_then(StreamPosition::parse);
            let problem = "must be the id of an event of a stream: turn.attempt.seq";
            place.ok_or_else(|| ApiError::invalid_field("Last-Event-ID", problem))?
        }
        (None, Some((turn, _))) => StreamPosition::start(*turn),
        // A client that reconnects by itself stops when it is told that there is no content.
        (None, None) => return Ok(StatusCode::NO_CONTENT.into_response()),
    };
    let output = running.filter(|(turn, _)| *turn == from.turn).map(|(_, output)| output);
    if output.is_none() && session.turn(from.turn).await?.is_none() {
        return Err(turn_not_found());
    }
    let (principal, shared) = (slot.principal().clone(), api.clone());
    Ok(sse::respond(&api, slot, from, |mut writer| async move {
        if let Some(output) = output {
            writer.follow(&output).await?;
        }
        let admitted = shared.readers.wait(&principal).await;
        conclude(&session, from.turn, writer, &id, admitted).await
    }))
}

/// Write what came of a turn that is over.
async fn conclude(
    session: &SessionHandle,
    number: u64,
    mut writer: EventWriter,
    id: &RequestId,
    admitted: FairPermit,
) -> Result<(), Gone> {
    let ended = async {
        let turn = session.turn(number).await?.ok_or_else(turn_not_found)?;
        let after = session.info().await?;
        match &turn.outcome {
            TurnOutcome::Answered { .. } => Ok((turn, after)),
            TurnOutcome::Failed(_) => Err(failed_turn(&turn, after)),
        }
    };
    match ended.await {
        Ok((turn, after)) => {
            writer.enter(turn.attempts).await?;
            // A reader that is slow keeps nobody from reading something else.
            drop(admitted);
            let duration = turn.duration;
            writer.conclude(session, turn, after, duration, Ignored::default()).await
        }
        Err(error) => writer.write(&StreamEvent::error(&error, &id.0)).await,
    }
}

/// The number of the turn that a path names. A text that is no number names number 0, which no turn has: a
/// session that is not there is told before a turn that is not.
pub(super) fn turn_number(path: &HashMap<String, String>) -> u64 {
    path.get("turn").and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn turn_not_found() -> ApiError {
    let error = "the session has no such turn, or it left nothing behind";
    ApiError::new(StatusCode::NOT_FOUND, "turn_not_found", error)
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepted.is_some_and(|accept| accept.contains("text/event-stream"))
}
