//! What answers hold: charged from when they are rendered until they are written.
//!
//! What may be large, a page of a list or one turn, is read and rendered by a few requests at a time;
//! the others wait in a queue that principals share. So what is in memory and not charged yet is
//! bounded by that number.

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::FutureExt;
use serde::Serialize;

use super::Api;
use super::error::ApiError;
use super::held;
use dormouse::Principal;
use dormouse_base::memory::pool::Charge;

/// Answers that have no more bytes are bounded by their number alone.
const SMALL: u64 = 4 << 10;

/// Charge what the answer holds.
pub(super) async fn charge_small(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let done = Done::of(&request);
    charge(&api, &principal, done, next.run(request).await)
}

/// The same for what may be large: a few at a time.
pub(super) async fn charge_large(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let _admitted = api.readers.wait(&principal).await;
    let done = Done::of(&request);
    charge(&api, &principal, done, next.run(request).await)
}

/// In the extensions of an answer: what it holds is charged.
#[derive(Clone, Copy)]
struct Charged;

/// Answer with a JSON document that is charged.
pub(super) fn respond(rendered: Vec<u8>, charge: Charge) -> Response {
    let mut response = Response::new(Body::from(held::charged(rendered.into(), charge)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response.extensions_mut().insert(Charged);
    response
}

/// Something that was created, as a JSON document.
pub(super) struct CreatedJson<T>(pub(super) T);

impl<T: Serialize> IntoResponse for CreatedJson<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

/// What a request has done by the time that its answer is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Nothing: it may as well be refused now.
    Nothing,
    /// What it asked for. To refuse the answer would make its client ask for it again.
    Something,
}

impl Done {
    fn of(request: &Request) -> Done {
        if request.method().is_safe() { Done::Nothing } else { Done::Something }
    }
}

fn charge(
    api: &Api,
    principal: &Principal,
    done: Done,
    response: Response,
) -> Result<Response, ApiError> {
    let length = response.body().size_hint().exact().filter(|length| *length > SMALL);
    let Some(length) = length.filter(|_| response.extensions().get::<Charged>().is_none()) else {
        return Ok(response);
    };
    let mut charge = api.answers.of(principal);
    match done {
        Done::Nothing => charge.grow(length)?,
        // The next request of this principal finds no room.
        Done::Something => charge.force(length),
    }
    let (head, body) = response.into_parts();
    let whole = to_bytes(body, usize::MAX).now_or_never().and_then(Result::ok);
    let whole = whole.ok_or_else(|| ApiError::internal("an answer was rendered and not there"))?;
    Ok(Response::from_parts(head, Body::from(held::charged(whole, charge))))
}
