//! HTTP exchanges of a guest: what it sends, what it is answered, and what it waits for.
//!
//! An exchange begins when its guest next waits for a response, of this exchange or of another, and its answer is whole
//! before the guest learns of it. So what a guest sees of its exchanges is decided where it waits, and nowhere else:
//! one wait is one effect, with the requests that leave at its beginning and the answers that have come at its end.

use std::time::Duration;

use bytes::Bytes;

use crate::journal::EffectFailure;

/// The most exchanges that a turn has under way at a time.
pub const MAX_EXCHANGES: usize = 16;

/// Headers that are about a connection or the framing of a message: the host writes those that are needed.
pub const HEADERS_OF_THE_HOST: [&str; 12] = [
    "connection",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request, as its guest has made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Where to.
    pub url: String,
    /// Its headers, in order.
    pub headers: Vec<(String, Bytes)>,
    /// Its body.
    pub body: Bytes,
    /// How long to wait, at most.
    pub patience: HttpPatience,
}

/// How long a guest wants to wait for parts of an exchange. `None`: as long as the host lets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpPatience {
    /// For the connection.
    pub connect: Option<Duration>,
    /// For the first byte of the response.
    pub first_byte: Option<Duration>,
    /// From one piece of the response to the next.
    pub between_bytes: Option<Duration>,
}

/// A response, all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// Its status.
    pub status: u16,
    /// Its headers, in order.
    pub headers: Vec<(String, Bytes)>,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct HttpError {
    /// What kind of failure it is.
    pub kind: HttpErrorKind,
    /// What to do about it, for whoever wrote the agent.
    pub text: String,
}

/// Kinds of failures of exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// The operator of the host or the session does not allow it. Nothing was sent.
    NotAllowed,
    /// The request is none that can be sent.
    Invalid,
    /// The name of the host is not known.
    UnknownHost,
    /// The host has no public address.
    PrivateAddress,
    /// The host cannot be connected to.
    Unreachable,
    /// It cannot be connected to in a way that nobody can listen to.
    Tls,
    /// It took too long.
    TimedOut,
    /// The response is larger than a response may be.
    TooLarge,
    /// The connection broke off, or what came is not HTTP.
    Broken,
    /// The host of the agent cannot do it now.
    Busy,
    /// Nobody knows what has become of the request, and it is none that may be sent twice.
    UnknownOutcome,
}

impl HttpErrorKind {
    /// All of them.
    pub const ALL: [HttpErrorKind; 11] = [
        HttpErrorKind::NotAllowed,
        HttpErrorKind::Invalid,
        HttpErrorKind::UnknownHost,
        HttpErrorKind::PrivateAddress,
        HttpErrorKind::Unreachable,
        HttpErrorKind::Tls,
        HttpErrorKind::TimedOut,
        HttpErrorKind::TooLarge,
        HttpErrorKind::Broken,
        HttpErrorKind::Busy,
        HttpErrorKind::UnknownOutcome,
    ];
}

/// What came of an exchange.
pub type HttpAnswer = Result<HttpResponse, HttpError>;

/// A guest waits, and has exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpWait {
    /// The requests that leave now, with their numbers in the turn, which go up.
    pub send: Vec<(u32, HttpRequest)>,
    /// The numbers of exchanges that the guest has given up since it waited last.
    pub given_up: Vec<u32>,
    /// What else ends the wait: times, with the places that the guest knows them by.
    pub times: Vec<(u32, Duration)>,
    /// Whether it only looks what there is.
    pub is_look: bool,
}

/// What has ended a wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpNews {
    /// The exchanges that are over, by number, with what came of them.
    pub ended: Vec<(u32, HttpAnswer)>,
    /// The places of the times that have come.
    pub times: Vec<u32>,
}

impl HttpErrorKind {
    /// What a line of the ledger says of it.
    #[must_use]
    pub fn failure(self) -> EffectFailure {
        match self {
            HttpErrorKind::NotAllowed | HttpErrorKind::PrivateAddress => EffectFailure::NotAllowed,
            HttpErrorKind::Invalid => EffectFailure::Invalid,
            HttpErrorKind::UnknownHost
            | HttpErrorKind::Unreachable
            | HttpErrorKind::Tls
            | HttpErrorKind::Busy => EffectFailure::Unavailable,
            HttpErrorKind::TimedOut => EffectFailure::TimedOut,
            HttpErrorKind::TooLarge => EffectFailure::TooLarge,
            HttpErrorKind::Broken => EffectFailure::Interrupted,
            HttpErrorKind::UnknownOutcome => EffectFailure::UnknownOutcome,
        }
    }
}

impl HttpRequest {
    /// Its size in bytes, as far as its guest decides it.
    #[must_use]
    pub fn size(&self) -> u64 {
        size(&self.headers, &self.body) + (self.method.len() + self.url.len()) as u64
    }

    /// The host that it is for, for people. Empty where its URL is none.
    #[must_use]
    pub fn host(&self) -> String {
        let url = url::Url::parse(&self.url).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Whether its headers have one of this name, which is in lower case.
    #[must_use]
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(it, _)| it.eq_ignore_ascii_case(name))
    }
}

impl HttpResponse {
    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        size(&self.headers, &self.body)
    }
}

fn size(headers: &[(String, Bytes)], body: &Bytes) -> u64 {
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    (headers + body.len()) as u64
}
