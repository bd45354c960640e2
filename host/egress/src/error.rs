//! Why a request has no response, and whether it may have reached its server.

use dormouse_domain::egress::{EgressHost, EgressRule};

use crate::redirect::MAX_REDIRECTS;
use crate::request::{
    MAX_REQUEST_BODY, MAX_REQUEST_HEADER_BYTES, MAX_REQUEST_HEADERS, MAX_URL_BYTES,
};
use crate::response::MAX_RESPONSE_HEADER_BYTES;

/// A request that has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct EgressFailure {
    /// Why.
    #[source]
    pub error: EgressError,
    /// Whether the server may know of the request.
    pub arrival: Arrival,
}

impl EgressFailure {
    pub(crate) fn not_sent(error: EgressError) -> EgressFailure {
        EgressFailure { error, arrival: Arrival::NotSent }
    }

    pub(crate) fn may_have_arrived(error: EgressError) -> EgressFailure {
        EgressFailure { error, arrival: Arrival::MayHaveArrived }
    }
}

/// What is refused before anything is sent.
impl From<EgressError> for EgressFailure {
    fn from(error: EgressError) -> EgressFailure {
        EgressFailure::not_sent(error)
    }
}

/// Whether a request has reached its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// No byte of it has left: it can be made again.
    NotSent,
    /// Nobody knows, or the server has it.
    MayHaveArrived,
}

/// Whose policy it is that refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyOwner {
    /// The operator's, of the whole host.
    Operator,
    /// That of the session.
    Session,
}

impl std::fmt::Display for PolicyOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PolicyOwner::Operator => "the operator of this host",
            PolicyOwner::Session => "its session",
        })
    }
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressTimeout {
    /// To find the addresses of the host.
    Lookup,
    /// To connect, with TLS.
    Connect,
    /// Until the headers of the response were there.
    FirstByte,
    /// Until the next bytes of the body came.
    BetweenBytes,
    /// The whole exchange.
    Total,
}

impl EgressTimeout {
    fn what(self) -> &'static str {
        match self {
            EgressTimeout::Lookup => "its name was not resolved",
            EgressTimeout::Connect => "it could not be connected to",
            EgressTimeout::FirstByte => "it did not answer",
            EgressTimeout::BetweenBytes => "it fell silent in the middle of its answer",
            EgressTimeout::Total => "its answer was not complete",
        }
    }
}

/// Why a request has no response. The texts are for the guest and for its author; none has a secret or a private
/// address in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The URL is none that requests can be sent to. Says why.
    #[error("the URL {0}")]
    InvalidUrl(&'static str),
    /// The method is no method, or one that is never sent.
    #[error(
        "the method must be one of HTTP, in capital letters, and neither CONNECT nor TRACE: GET, POST and so on"
    )]
    InvalidMethod,
    /// A header cannot be sent. Says why.
    #[error("the header `{name}` {problem}")]
    InvalidHeader {
        /// Its name, as far as it is one.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The URL is too long.
    #[error("the URL has more than {MAX_URL_BYTES} bytes")]
    UrlTooLong,
    /// There are too many headers, or they are too long.
    #[error(
        "the request has more than {MAX_REQUEST_HEADERS} headers, or more than {MAX_REQUEST_HEADER_BYTES} bytes of them"
    )]
    HeadersTooLarge,
    /// The body is too large.
    #[error("the body of the request has more than {MAX_REQUEST_BODY} bytes")]
    BodyTooLarge,
    /// A policy does not allow it. Says which, and the rule that would.
    #[error("this request is not allowed by {owner}; the rule `{rule}` would allow it")]
    NotAllowed {
        /// Whose policy refuses it.
        owner: PolicyOwner,
        /// The rule that would allow it.
        rule: EgressRule,
    },
    /// The host has no address that is public or listed by the operator. Not told is which ones it has.
    #[error(
        "{host} has no public address: the operator of this host can list private networks that may be reached \
         (egress-private)"
    )]
    PrivateAddress {
        /// The host.
        host: EgressHost,
    },
    /// The name of the host is not known, or nobody who knows it can be asked.
    #[error("{host} cannot be resolved")]
    UnknownHost {
        /// The host.
        host: EgressHost,
    },
    /// The operator has no secret of this name.
    #[error("there is no secret `{name}`: the operator of this host lists them (secrets)")]
    UnknownSecret {
        /// The name in the placeholder.
        name: String,
    },
    /// The secret does not belong to the host that it would go to.
    #[error(
        "the secret `{name}` is not for {host}: the operator of this host lists its hosts (secrets)"
    )]
    SecretNotForHost {
        /// The name of the secret.
        name: String,
        /// The host, with its port.
        host: String,
    },
    /// The secret would go over the open internet without encryption.
    #[error(
        "the secret `{name}` leaves over https alone, but to private networks that the operator lists"
    )]
    SecretNeedsTls {
        /// The name of the secret.
        name: String,
    },
    /// Too many requests are under way, of all, of one owner or to one host; this one has waited in vain. It can be
    /// made again later.
    #[error("too many requests are under way: try again later")]
    Busy,
    /// There is no memory for the response, or its owner has its share of it. It can be made again later, or with a
    /// smaller response.
    #[error("there is no memory for the response: try again later, or ask for less")]
    OutOfMemory,
    /// The server refuses connections, or cannot be reached.
    #[error("{host} cannot be connected to")]
    Unreachable {
        /// The host.
        host: EgressHost,
    },
    /// The server cannot show that it is the host, or speaks no TLS. Says why.
    #[error("no secure connection to {host} can be made: {problem}")]
    Insecure {
        /// The host.
        host: EgressHost,
        /// What TLS says.
        problem: String,
    },
    /// Something took too long.
    #[error("{host} took too long: {}", timeout.what())]
    TimedOut {
        /// The host.
        host: EgressHost,
        /// What took too long.
        timeout: EgressTimeout,
    },
    /// The connection broke, or what came over it is no HTTP.
    #[error("{host} has broken off the connection, or does not answer in HTTP/1.1")]
    Broken {
        /// The host.
        host: EgressHost,
    },
    /// The headers of the response are too large.
    #[error("the response has more than {MAX_RESPONSE_HEADER_BYTES} bytes of headers")]
    ResponseHeadersTooLarge,
    /// The body of the response is larger than the caller takes.
    #[error("the body of the response has more than {most} bytes")]
    ResponseTooLarge {
        /// The most that the caller takes, in bytes.
        most: usize,
    },
    /// A host that has a secret has answered in a form in which the secret cannot be found. It was told not to.
    #[error("{host} has secrets, so its response must not be compressed; but it is")]
    CompressedResponse {
        /// The host.
        host: EgressHost,
    },
    /// The response leads to where no request can go.
    #[error("the response redirects to no URL")]
    InvalidRedirect,
    /// The responses go on to redirect.
    #[error("there were more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    /// The host itself has failed. Its log says why.
    #[error("the request could not be made, because of an error of the host")]
    Host,
}

impl EgressError {
    /// The word for it in metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            EgressError::InvalidUrl(_)
            | EgressError::InvalidMethod
            | EgressError::InvalidHeader { .. }
            | EgressError::UrlTooLong
            | EgressError::HeadersTooLarge
            | EgressError::BodyTooLarge => "invalid",
            EgressError::NotAllowed { .. } => "not_allowed",
            EgressError::PrivateAddress { .. } => "private_address",
            EgressError::UnknownHost { .. } => "unknown_host",
            EgressError::UnknownSecret { .. }
            | EgressError::SecretNotForHost { .. }
            | EgressError::SecretNeedsTls { .. } => "secret_refused",
            EgressError::Busy => "busy",
            EgressError::OutOfMemory => "out_of_memory",
            EgressError::Unreachable { .. } => "unreachable",
            EgressError::Insecure { .. } => "insecure",
            EgressError::TimedOut { .. } => "timed_out",
            EgressError::Broken { .. } => "broken",
            EgressError::ResponseHeadersTooLarge | EgressError::ResponseTooLarge { .. } => {
                "too_large"
            }
            EgressError::CompressedResponse { .. } => "compressed",
            EgressError::InvalidRedirect | EgressError::TooManyRedirects => "redirect",
            EgressError::Host => "host",
        }
    }
}
