//! Messages: answered as one document, or as a stream of events.
//!
//! A stream begins when the agent is being called. Whatever is wrong before is answered as plain
//! JSON with its status, because no client looks for an error in a stream that did not begin.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::answers;
use super::documents;
use super::error::ApiError;
use super::etag::{IfMatch, Tagged};
use super::frame::RequestId;
use super::held;
use super::idempotency::{self, CREATION, RequestKey};
use super::intake::RequestSlot;
use super::model::create::CreateSession;
use super::model::ignored::{Answered, Ignored};
use super::model::message::{Dialect, ReplyBody};
use super::model::request::{Recipient, SendMessage, StreamMessage};
use super::request::{Caller, JsonBody, OneSession, note_session, session_of};
use super::sse;
use super::turn_stream::TurnAnswer;
use dormouse::{
    CreateError, Digest, Host, Message, NewSession, Pattern, Reply, SendError, SessionHandle,
    TurnStream,
};
use dormouse_base::memory::pool::Charge;

const SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");

/// What the request brings besides its body.
pub(super) struct Asked {
    api: Api,
    slot: RequestSlot,
    id: RequestId,
    since: Duration,
    key: Option<String>,
    if_revision: Option<u64>,
}

impl FromRequestParts<Api> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Asked, ApiError> {
        let RequestKey(key) = RequestKey::from_request_parts(parts, api).await?;
        let IfMatch(if_revision) = IfMatch::from_request_parts(parts, api).await?;
        let missing = || ApiError::internal("a request has no place or no id");
        let slot = parts.extensions.get::<RequestSlot>().cloned().ok_or_else(missing)?;
        let id = parts.extensions.get::<RequestId>().cloned().ok_or_else(missing)?;
        let since = api.host.clock().monotonic();
        Ok(Asked { api: api.clone(), slot, id, since, key, if_revision })
    }
}

impl Asked {
    fn latency(&self) -> Duration {
        self.api.host.clock().monotonic().saturating_sub(self.since)
    }

    /// The message, with what the headers of the request say of it.
    fn message(&self, message: Message) -> Message {
        Message { idempotency_key: self.key.clone(), if_revision: self.if_revision, ..message }
    }
}

/// `POST /api/sessions/{id}/message`
pub(super) async fn send(
    asked: Asked,
    OneSession(session): OneSession,
    JsonBody { body, ignored, .. }: JsonBody<SendMessage>,
) -> Result<Response, ApiError> {
    let streaming = body.streaming.unwrap_or(true);
    let turn = session.stream(asked.message(body.message()?)).await?;
    if streaming {
        return stream(asked, &session, turn, Dialect::Session, ignored).await;
    }
    // A reply that is read from the store may be large, and many may wait for the same.
    let _admitted = match turn.is_replay() {
        true => {
            turn.output().ended().await;
            Some(asked.api.readers.wait(asked.slot.principal()).await)
        }
        false => None,
    };
    let reply = turn.reply().await?;
    answer(&asked, &session, reply, ignored).await
}

/// Answer with a reply. The turn is over and paid: where there is no memory for a large one, it is
/// dropped until there is, and read again.
async fn answer(
    asked: &Asked,
    session: &SessionHandle,
    reply: Reply,
    ignored: Ignored,
) -> Result<Response, ApiError> {
    let (number, info, replayed) = (reply.turn.number, reply.session.clone(), reply.replayed);
    let (principal, answers) = (asked.slot.principal(), &asked.api.answers);
    let length = documents::length_of(&reply.turn);
    let mut charge = answers.of(principal);
    if charge.grow(length).is_ok() {
        return render(asked, reply, ignored, (length, charge)).await;
    }
    drop(reply);
    let patience = asked.api.options.stall_timeout;
    let charge = held::afford(answers, principal, length, patience).await;
    let turn = match charge.is_some() {
        true => session.turn(number).await?,
        false => None,
    };
    let (Some(charge), Some(turn)) = (charge, turn) else {
        let error = "the turn was answered, and the host has no memory for the answer now: do not \
                     send the message again, but GET the turn later";
        let busy = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "answer_not_sent", error);
        return Err(busy.with("turn", number).with("id", session.id().to_string()));
    };
    let again = Reply { turn, session: info, replayed };
    render(asked, again, ignored, (length, charge)).await
}

/// Render a reply of about so many bytes, which are charged.
async fn render(
    asked: &Asked,
    reply: Reply,
    ignored: Ignored,
    (length, mut charge): (u64, Charge),
) -> Result<Response, ApiError> {
    let (latency, replayed) = (asked.latency(), reply.replayed);
    let revision = reply.session.session.revision;
    let render = move || json(ReplyBody::new(reply, latency), ignored);
    let rendered = asked.api.documents.work(asked.slot.principal(), length, render).await??;
    // What stands around the content.
    charge.force((rendered.len() as u64).saturating_sub(length));
    let mut answer = answers::respond(rendered, charge);
    idempotency::mark(&mut answer, replayed);
    Ok(Tagged { revision, answer }.into_response())
}

fn json(answer: ReplyBody, ignored: Ignored) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(&Answered { answer, ignored })
        .map_err(|error| ApiError::internal(error.to_string()))
}

/// `POST /api/agent/stream`
pub(super) async fn stream_agent(
    asked: Asked,
    Caller(host): Caller,
    JsonBody { body, ignored, digest }: JsonBody<StreamMessage>,
) -> Result<Response, ApiError> {
    let (message, to) = body.message_and_recipient()?;
    let message = asked.message(message);
    // Before a session is created for it.
    message.check()?;
    let (session, created) = match to {
        Recipient::Session(id) => (session_of(&host, &id)?, false),
        Recipient::New(new) => {
            let key = asked.key.as_deref().zip(digest);
            let created = create(&host, *new, key).await?;
            note_session(created.id());
            (created, true)
        }
    };
    let turn = session.stream(message).await?;
    stream(asked, &session, turn, Dialect::Agent { created }, ignored).await
}

/// The session that this request creates: one that a second message continues, unless it is told otherwise, or
/// its agent is a command, which serves one message.
async fn create(
    host: &Host,
    body: CreateSession,
    key: Option<(&str, Digest)>,
) -> Result<SessionHandle, ApiError> {
    let has_pattern = body.has_pattern();
    let new = NewSession::try_from(body)?;
    if has_pattern {
        return Ok(create_once(host, new, key).await?);
    }
    let ephemeral = NewSession { pattern: Pattern::Ephemeral, ..new.clone() };
    match create_once(host, NewSession { pattern: Pattern::Hybrid, ..new }, key).await {
        Err(CreateError::PatternUnsupported { .. }) => Ok(create_once(host, ephemeral, key).await?),
        created => Ok(created?),
    }
}

/// A new session; with a key, the one that the same request has created before.
async fn create_once(
    host: &Host,
    new: NewSession,
    key: Option<(&str, Digest)>,
) -> Result<SessionHandle, CreateError> {
    let Some((key, digest)) = key else { return host.sessions().create(new).await };
    let created = host.sessions().create_once(new, &format!("{key}{CREATION}"), digest).await?;
    Ok(host.sessions().get(created.session.session.id))
}

async fn stream(
    asked: Asked,
    session: &SessionHandle,
    turn: TurnStream,
    dialect: Dialect,
    ignored: Ignored,
) -> Result<Response, ApiError> {
    let (is_replay, recorded, output) = (turn.is_replay(), turn.recorded_turn(), turn.output());
    let mut reply: futures::future::BoxFuture<'_, _> = Box::pin(turn.reply());
    let begun = match recorded {
        Some(turn) => Some(turn),
        None => output.begun().await,
    };
    let (number, replayed) = match begun {
        Some(number) => (number, is_replay),
        // The turn has not begun, or was over before: then the reply is there.
        None => {
            let ended = reply.await;
            let number = replayed_turn(&ended);
            reply = Box::pin(std::future::ready(ended));
            match number {
                Some(number) => (number, true),
                None => return Err(never_begun(reply.await.err().map(ApiError::from))),
            }
        }
    };
    let before = match dialect {
        Dialect::Session => None,
        Dialect::Agent { .. } => Some(session.info().await?),
    };
    let Asked { api, slot, id, since, .. } = asked;
    let answer = TurnAnswer {
        output,
        session: session.clone(),
        before,
        reply,
        replayed,
        api: api.clone(),
        principal: slot.principal().clone(),
        since,
        request_id: id,
        ignored,
    };
    let mut response = sse::respond(&api, slot, sse::StreamPosition::start(number), |writer| {
        answer.write(writer.speaking(dialect))
    });
    if let Ok(value) = HeaderValue::try_from(session.id().to_string()) {
        response.headers_mut().insert(SESSION_ID, value);
    }
    idempotency::mark(&mut response, replayed);
    Ok(response)
}

/// The turn that has answered an earlier message with the same key.
fn replayed_turn(ended: &Result<Reply, SendError>) -> Option<u64> {
    match ended {
        Ok(reply) => reply.replayed.then_some(reply.turn.number),
        Err(SendError::Failed(ended)) => ended.replayed.then_some(ended.turn.number),
        Err(_) => None,
    }
}

fn never_begun(error: Option<ApiError>) -> ApiError {
    error.unwrap_or_else(|| ApiError::internal("a turn was answered that has not begun"))
}
