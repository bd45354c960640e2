//! What every request gets: an id, a span for its log lines, and errors of one shape.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{Instrument, Span, field};

use super::Api;
use super::error::ApiError;
use super::model::error::ErrorBody;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most characters of a request's id that a client may choose.
const MAX_ID: usize = 128;

/// The id of a request, in its extensions.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// Give the request its id: the client's, where that is sane, or a new one.
pub(super) async fn assign_request_id(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Response {
    let chosen = chosen_id(request.headers()).map(str::to_owned);
    let id = chosen.unwrap_or_else(|| api.host.clock().new_id().to_string());
    request.extensions_mut().insert(RequestId(id.as_str().into()));
    let clock = api.host.clock();
    let counted = Counted::of(&request, clock.monotonic());
    let mut response = next.run(request).await;
    counted.answered(response.status(), clock.monotonic());
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Run the request in its span, and write its error, if it ends with one.
pub(super) async fn render_errors(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    // Of this level, so that each line that is logged at all has its request.
    let span = tracing::error_span!(
        "request",
        request_id = %id,
        method = %request.method(),
        route = path.unwrap_or("none"),
        session = field::Empty,
        status = field::Empty,
    );
    async {
        let response = next.run(request).await;
        let response = with_error(response, &id);
        Span::current().record("status", response.status().as_u16());
        tracing::debug!("answered");
        response
    }
    .instrument(span)
    .await
}

/// A request as the metrics count it. Its labels are words of the server: no client can add to them.
struct Counted {
    method: &'static str,
    route: Option<MatchedPath>,
    since: Duration,
}

impl Counted {
    fn of(request: &Request, since: Duration) -> Counted {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = known.into_iter().find(|known| *known == request.method().as_str());
        Counted {
            method: method.unwrap_or("other"),
            route: request.extensions().get::<MatchedPath>().cloned(),
            since,
        }
    }

    /// Count the request once the head of its answer is there.
    fn answered(self, status: StatusCode, now: Duration) {
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str).to_owned();
        let seconds = now.saturating_sub(self.since).as_secs_f64();
        metrics::histogram!("dormouse_http_request_seconds", "route" => route.clone())
            .record(seconds);
        metrics::counter!(
            "dormouse_http_requests_total",
            "method" => self.method,
            "route" => route,
            "status" => status.as_str().to_owned(),
        )
        .increment(1);
    }
}

/// What a panic of a handler is answered with. It is a defect, and logged as one.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    ApiError::internal(format!("a handler has panicked: {}", text.unwrap_or("no message")))
        .into_response()
}

/// The client's own id of the request, where it is bounded and plain.
fn chosen_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/');
    ((1..=MAX_ID).contains(&text.len()) && text.chars().all(sane)).then_some(text)
}

fn with_error(mut response: Response, id: &str) -> Response {
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        // The router's own, which knows the methods that are allowed and tells them in a header.
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            let error = "this path does not take this method; the Allow header names those it does";
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", error)
        }
        None => return response,
    };
    if let Some(cause) = error.cause() {
        tracing::error!(code = error.code(), cause, "a request has failed");
    } else if error.status().is_server_error() {
        tracing::warn!(code = error.code(), "a request was not served");
    }
    write(response, &error.body(id))
}

fn write(response: Response, body: &ErrorBody) -> Response {
    let (mut head, _) = response.into_parts();
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(header::CONTENT_TYPE, json);
    head.headers.remove(header::CONTENT_LENGTH);
    // Strings and maps with string keys: there is nothing that JSON cannot hold.
    let text = serde_json::to_vec(body).unwrap_or_default();
    Response::from_parts(head, Body::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sane_id_of_the_client_is_taken() {
        let chosen = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(text).unwrap());
            chosen_id(&headers).is_some()
        };
        assert!(chosen("a-1_2.3:4/5"));
        for text in ["", "a b", "a\"b", "<x>", &"x".repeat(129)] {
            assert!(!chosen(text), "{text}");
        }
    }
}
