//! Messages: answered as one document, or as a stream of events.
//!
//! A stream begins when the agent is being called. Whatever is wrong before is answered as plain
//! JSON with its status, because no client looks for an error in a stream that did not begin.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

use super::Api;
use super::answers;
use super::documents;
use super::error::ApiError;
use super::frame::RequestId;
use super::held;
use super::intake::RequestSlot;
use super::model::ignored::{Answered, Ignored};
use super::model::message::ReplyBody;
use super::model::request::{Recipient, SendMessage, StreamMessage};
use super::request::{Caller, JsonBody, OneSession, session_of};
use super::sse::{self, Answering};
use dormouse::{Reply, SessionHandle};
use dormouse_base::memory::pool::Charge;

const SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");

/// What the request brings besides its body.
pub(super) struct Asked {
    api: Api,
    slot: RequestSlot,
    id: RequestId,
    since: Duration,
}

impl Asked {
    fn now(api: Api, slot: RequestSlot, id: RequestId) -> Asked {
        let since = api.host.clock().monotonic();
        Asked { api, slot, id, since }
    }
}

/// `POST /api/sessions/{id}/message`
pub(super) async fn send(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    Extension(id): Extension<RequestId>,
    OneSession(session): OneSession,
    headers: HeaderMap,
    JsonBody { body, ignored }: JsonBody<SendMessage>,
) -> Result<Response, ApiError> {
    let asked = Asked::now(api, slot, id);
    no_idempotency_key(&headers)?;
    let streaming = body.streaming.unwrap_or(true);
    let prompt = body.text()?;
    if streaming {
        return stream(asked, &session, prompt, ignored).await;
    }
    let reply = session.send(prompt).await?;
    let latency = asked.api.host.clock().monotonic().saturating_sub(asked.since);
    answer(&asked, &session, reply, latency, ignored).await
}

/// Answer with a reply. The turn is over and paid: where there is no memory for a large one, it is
/// dropped until there is, and read again.
async fn answer(
    asked: &Asked,
    session: &SessionHandle,
    reply: Reply,
    latency: Duration,
    ignored: Ignored,
) -> Result<Response, ApiError> {
    let (number, sight) = (reply.turn.number, reply.session.clone());
    let (principal, answers) = (asked.slot.principal(), &asked.api.answers);
    let length = documents::length_of(&reply.turn);
    let mut charge = answers.of(principal);
    if charge.grow(length).is_ok() {
        return render(asked, reply, latency, ignored, (length, charge)).await;
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
    let again = Reply { turn, session: sight };
    render(asked, again, latency, ignored, (length, charge)).await
}

/// Render a reply of about so many bytes, which are charged.
async fn render(
    asked: &Asked,
    reply: Reply,
    latency: Duration,
    ignored: Ignored,
    (length, mut charge): (u64, Charge),
) -> Result<Response, ApiError> {
    let render = move || json(ReplyBody::new(reply, latency), ignored);
    let rendered = asked.api.documents.work(asked.slot.principal(), length, render).await??;
    // What stands around the content.
    charge.force((rendered.len() as u64).saturating_sub(length));
    Ok(answers::respond(rendered, charge))
}

fn json(answer: ReplyBody, ignored: Ignored) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(&Answered { answer, ignored })
        .map_err(|error| ApiError::internal(error.to_string()))
}

/// `POST /api/agent/stream`
pub(super) async fn stream_agent(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    Extension(id): Extension<RequestId>,
    Caller(host): Caller,
    headers: HeaderMap,
    JsonBody { body, ignored }: JsonBody<StreamMessage>,
) -> Result<Response, ApiError> {
    let asked = Asked::now(api, slot, id);
    no_idempotency_key(&headers)?;
    let (text, to) = body.text_and_recipient()?;
    let session = match to {
        Recipient::Session(id) => session_of(&host, &id)?,
        Recipient::New(new) => host.sessions().create((*new).try_into()?).await?,
    };
    stream(asked, &session, text, ignored).await
}

async fn stream(
    asked: Asked,
    session: &SessionHandle,
    prompt: String,
    ignored: Ignored,
) -> Result<Response, ApiError> {
    let Asked { api, slot, id, since } = asked;
    let streaming = session.stream(prompt)?;
    let output = streaming.output();
    let mut reply = Box::pin(streaming.reply());
    let begun = tokio::select! {
        // In this order: a turn that has begun and ended is a stream, however short.
        biased;
        begun = output.begun() => begun,
        ended = &mut reply => return Err(never_begun(ended.err().map(ApiError::from))),
    };
    let Some(turn) = begun else {
        return Err(never_begun(reply.await.err().map(ApiError::from)));
    };
    let clock = api.host.clock().clone();
    let answering = Answering {
        output,
        session: session.clone(),
        reply,
        clock,
        since,
        request_id: id,
        ignored,
    };
    let mut response = sse::respond(&api, slot, sse::StreamPosition::start(turn), |writer| {
        answering.write(writer)
    });
    if let Ok(value) = HeaderValue::try_from(session.id().to_string()) {
        response.headers_mut().insert(SESSION_ID, value);
    }
    Ok(response)
}

fn never_begun(error: Option<ApiError>) -> ApiError {
    error.unwrap_or_else(|| ApiError::internal("a turn was answered that has not begun"))
}

/// What would be a promise if it were ignored.
fn no_idempotency_key(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key("idempotency-key") {
        return Err(ApiError::not_supported("Idempotency-Key"));
    }
    Ok(())
}
