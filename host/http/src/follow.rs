//! The log of events as a stream: what has happened after a cursor, and then each event as it happens.
//!
//! The id of an event of the stream is its cursor. A client that lost the connection sends the last one as
//! `Last-Event-ID`, and gets what it has missed. A reader that does not keep up is disconnected, as the
//! readers of turns are (`sse.rs`).
//!
//! Whoever follows the log reads all of it, whatever of that is the caller's: so how many do is bounded,
//! and principals share it.

use std::pin::pin;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::{Stream, StreamExt};

use super::Api;
use super::error::ApiError;
use super::guard;
use super::intake::RequestSlot;
use super::model::event::LoggedBody;
use super::model::query::EventsQuery;
use super::sse;
use dormouse::{Cursor, EventEntry, FOLLOW_BYTES, StoreError};

/// How many readers follow the log at a time.
pub(super) const FOLLOWERS: u64 = 256;

/// After which event a stream goes on. The header is newer than the query: a client that reconnects by
/// itself sends the query that it began with.
pub(super) fn start(headers: &HeaderMap, query: &EventsQuery) -> Result<Cursor, ApiError> {
    let Some(last) = headers.get("last-event-id") else { return Ok(query.after()) };
    let cursor = last.to_str().ok().and_then(|last| last.parse().ok()).map(Cursor);
    let problem = "must be the id of an event of the log: a number";
    cursor.ok_or_else(|| ApiError::invalid_field("Last-Event-ID", problem))
}

/// Answer with a stream of these events.
///
/// # Errors
/// The caller follows the log as often as it may, or the host has no memory for one more.
pub(super) fn respond<S>(
    api: &Api,
    slot: RequestSlot,
    headers: &HeaderMap,
    events: S,
) -> Result<Response, ApiError>
where
    S: Stream<Item = Result<EventEntry, StoreError>> + Send + 'static,
{
    let follower = api.followers.take(slot.principal(), 1).ok_or_else(too_many)?;
    let mut held = api.answers.of(slot.principal());
    held.grow(FOLLOW_BYTES as u64)?;
    let (caller, pass) = (api.clone(), guard::Pass::of(headers));
    Ok(sse::open(api, slot, |waiting| async move {
        let (_follower, _held) = (follower, held);
        let mut events = pin!(events);
        // The stream ends with the host. A reader goes on with the next one.
        while let Some(Ok(logged)) = events.next().await {
            // A key that was revoked, or has expired, is told nothing more.
            if !pass.is_good(&caller) {
                break;
            }
            waiting.push(rendered(logged)).await?;
        }
        Ok(())
    }))
}

fn rendered(logged: EventEntry) -> String {
    let cursor = logged.cursor.0;
    // Strings, numbers and maps with string keys: there is nothing that JSON cannot hold.
    let event = serde_json::to_string(&LoggedBody::from(logged)).unwrap_or_default();
    let event = sse::in_one_line(&event).unwrap_or(event);
    format!("id: {cursor}\ndata: {event}\n\n")
}

pub(super) fn too_many() -> ApiError {
    let error = "too many streams of events are open; close some, or try again later";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", error).retry_later()
}
