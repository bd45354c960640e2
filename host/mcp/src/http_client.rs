//! Streamable HTTP, by the one way out of the host.
//!
//! A request is a POST, and its answer a JSON document or a stream of events. The host opens no stream for what a server
//! may send without being asked: it would hold a connection for each server of each owner. It resumes a stream that was
//! cut off before its answer.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderName, HeaderValue};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, RequestId};
use rmcp::transport::streamable_http_client::{
    HttpStatusError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::{Error as SseError, Sse, SseStream};

use crate::error::told;
use crate::refused::refused;
use crate::scan::{MAX_MESSAGE, Refusal, Scan};
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::id::Principal;
use dormouse_egress::{
    BodyLimit, Egress, EgressError, EgressFailure, EgressRequest, EgressStream, Grant, LimitAction,
};

/// The most bytes of a page that says what is wrong.
const MAX_PROBLEM: usize = 4 << 10;
/// The most bytes of the name of an HTTP session.
const MAX_SESSION: usize = 1 << 10;

type Failed = StreamableHttpError<EgressFailure>;
type Events = BoxStream<'static, Result<Sse, SseError>>;

/// Sends the requests to one server.
#[derive(Clone)]
pub(crate) struct HttpClient {
    pub(crate) egress: Arc<Egress>,
    pub(crate) owner: Principal,
    pub(crate) headers: Arc<[(String, String)]>,
    /// What its session may reach. `None`: the operator has named the URL.
    pub(crate) policy: Option<Arc<EgressPolicy>>,
}

impl HttpClient {
    fn request(
        &self,
        method: &str,
        uri: &str,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> EgressRequest {
        let mut request = EgressRequest::new(method, uri);
        for (name, value) in self.headers.iter() {
            request = request.with_header(name, value);
        }
        for (name, value) in &headers {
            request = request.with_header(name.as_str(), value);
        }
        if let Some(session) = session {
            request = request.with_header("mcp-session-id", session);
        }
        request.limit = BodyLimit { most: MAX_MESSAGE, action: LimitAction::Refuse };
        request
    }

    async fn open(&self, request: &EgressRequest) -> Result<EgressStream, Failed> {
        let grant = match &self.policy {
            Some(policy) => Grant::Session(policy),
            None => Grant::Operator,
        };
        self.egress.open(&self.owner, request, grant).await.map_err(StreamableHttpError::Client)
    }
}

impl StreamableHttpClient for HttpClient {
    type Error = EgressFailure;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let mut request = self
            .request("POST", &uri, session_id.as_deref(), custom_headers)
            .with_header("content-type", "application/json")
            .with_header("accept", "application/json, text/event-stream");
        request.body = serde_json::to_vec(&message)?.into();
        let asked = match message {
            JsonRpcMessage::Request(request) => Some(request.id),
            JsonRpcMessage::Response(_)
            | JsonRpcMessage::Notification(_)
            | JsonRpcMessage::Error(_) => None,
        };
        let mut response = self.open(&request).await?;
        match response.status {
            202 | 204 => return Ok(StreamableHttpPostResponse::Accepted),
            200..=299 => {}
            404 if session_id.is_some() => return Err(StreamableHttpError::SessionExpired),
            status => return Err(problem(status, &mut response).await),
        }
        let session = text_of(&response, "mcp-session-id").filter(|it| it.len() <= MAX_SESSION);
        let media_type = text_of(&response, "content-type").unwrap_or_default();
        match (media_type.split(';').next().unwrap_or_default().trim(), asked) {
            ("text/event-stream", asked) => {
                Ok(StreamableHttpPostResponse::Sse(events(response, asked), session))
            }
            // A notification has no answer, whatever a server says to it.
            (_, None) => Ok(StreamableHttpPostResponse::Accepted),
            ("application/json", Some(asked)) => {
                let message = document(&mut response, asked).await?;
                Ok(StreamableHttpPostResponse::Json(message, session))
            }
            (other, Some(_)) => Err(StreamableHttpError::UnexpectedContentType(Some(told(other)))),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        let request = self.request("DELETE", &uri, Some(&session_id), custom_headers);
        match self.open(&request).await?.status {
            200..=299 => Ok(()),
            _ => Err(StreamableHttpError::ServerDoesNotSupportDeleteSession),
        }
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Events, Failed> {
        let Some(last) = last_event_id else {
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        };
        let request = self
            .request("GET", &uri, session_id.as_deref(), custom_headers)
            .with_header("accept", "text/event-stream")
            .with_header("last-event-id", last);
        let mut response = self.open(&request).await?;
        match response.status {
            200 => Ok(events(response, None)),
            405 => Err(StreamableHttpError::ServerDoesNotSupportSse),
            status => Err(problem(status, &mut response).await),
        }
    }
}

fn text_of(response: &EgressStream, header: &str) -> Option<String> {
    response.header(header).and_then(|value| std::str::from_utf8(value).ok()).map(str::to_owned)
}

/// Why a server does not answer.
async fn problem(status: u16, response: &mut EgressStream) -> Failed {
    if status == 429 || status >= 500 {
        let retry_after = text_of(response, "retry-after");
        return HttpStatusError::new(status, retry_after).into();
    }
    let mut page = Vec::new();
    while let Ok(Some(piece)) = response.next().await {
        page.extend_from_slice(&piece);
        if page.len() > MAX_PROBLEM {
            break;
        }
    }
    let page = told(&String::from_utf8_lossy(&page));
    StreamableHttpError::UnexpectedServerResponse(format!("HTTP {status}: {page}").into())
}

/// The answer to a request that is one document.
async fn document(
    response: &mut EgressStream,
    asked: RequestId,
) -> Result<rmcp::model::ServerJsonRpcMessage, Failed> {
    let bytes = match response.collect().await {
        Ok(bytes) => bytes,
        Err(error) => return Ok(refused(refusal(&error), asked)),
    };
    if let Some(refusal) = scan_of(&bytes).refusal() {
        return Ok(refused(refusal, asked));
    }
    let parsing = tokio::task::spawn_blocking(move || serde_json::from_slice(&bytes));
    Ok(parsing.await?.unwrap_or_else(|_| refused(Refusal::Unreadable, asked)))
}

fn refusal(error: &EgressError) -> Refusal {
    match error {
        EgressError::ResponseTooLarge { .. } => Refusal::TooLarge,
        EgressError::OutOfMemory => Refusal::OutOfMemory,
        _ => Refusal::Unreadable,
    }
}

fn scan_of(message: &[u8]) -> Scan {
    let mut scan = Scan::default();
    scan.read(message);
    scan
}

/// The events of a response. A request whose answer is refused, or stands behind more than is taken, is answered with
/// that.
fn events(response: EgressStream, asked: Option<RequestId>) -> Events {
    let pieces = futures::stream::try_unfold(response, async |mut response| {
        Ok::<_, EgressError>(response.next().await?.map(|piece: Bytes| (piece, response)))
    });
    let screened = move |event: Result<Sse, SseError>| match event {
        Ok(mut event) => {
            let scan = scan_of(event.data.as_deref().unwrap_or_default().as_bytes());
            if let Some(refusal) = scan.refusal() {
                event.data = scan.answers().and_then(|id| text(refusal, id));
            }
            Ok(event)
        }
        Err(SseError::Body(error)) => match (error.downcast_ref::<EgressError>(), asked.clone()) {
            (Some(too_much @ EgressError::ResponseTooLarge { .. }), Some(asked)) => {
                let data = text(refusal(too_much), asked).unwrap_or_default();
                Ok(Sse::default().data(data))
            }
            (Some(_) | None, _) => Err(SseError::Body(error)),
        },
        Err(error) => Err(error),
    };
    SseStream::from_bytes_stream(Box::pin(pieces)).map(screened).boxed()
}

fn text(refusal: Refusal, id: RequestId) -> Option<String> {
    serde_json::to_string(&refused(refusal, id)).ok()
}
