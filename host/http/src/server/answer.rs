//! What a connection serves: each request counts on its [`Connection`] until its answer has been handed
//! over, and each answer goes out in pieces that the link knows.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Request, Response, Version, header};
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use tower::Service;

use super::Reserved;
use super::link::Connection;

/// The most bytes of a piece of an answer.
const PIECE: usize = 64 << 10;

/// The API, for one connection.
#[derive(Clone)]
pub(super) struct Served {
    app: Router,
    link: Arc<Connection>,
    /// For who operates the server alone, and for one request.
    reserved: Option<Reserved>,
}

impl Served {
    pub(super) fn new(app: Router, link: Arc<Connection>, reserved: Option<Reserved>) -> Served {
        Served { app, link, reserved }
    }
}

impl<B> Service<Request<B>> for Served
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let open = Open::new(&self.link, request.version() == Version::HTTP_2);
        let reserved = self.reserved;
        if let Some(reserved) = reserved {
            request.extensions_mut().insert(reserved);
        }
        let answering = self.app.call(request);
        Box::pin(async move {
            let mut response = answering.await?;
            if reserved.is_some() && response.version() < Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(response.map(|body| Body::new(Answer { body, rest: Bytes::new(), open })))
        })
    }
}

/// A request that is under way while this lives.
struct Open(Arc<Connection>);

impl Open {
    fn new(link: &Arc<Connection>, multiplexed: bool) -> Open {
        link.request_came(multiplexed);
        Open(Arc::clone(link))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.answered();
    }
}

/// The body of an answer, in pieces.
struct Answer {
    body: Body,
    /// What is left of the frame that has come last.
    rest: Bytes,
    open: Open,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()? else {
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(bytes) => self.rest = bytes,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.rest.len().min(PIECE);
        let bytes = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(Piece::of(bytes, &self.open.0)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.remaining() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// A piece that the connection holds, until it has been written.
struct Piece {
    bytes: Bytes,
    link: Arc<Connection>,
    name: u64,
}

impl Piece {
    fn of(bytes: Bytes, link: &Arc<Connection>) -> Bytes {
        let (name, link) = (link.took(bytes.len()), Arc::clone(link));
        Bytes::from_owner(Piece { bytes, link, name })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.link.sent(self.name);
    }
}
