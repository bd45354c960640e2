//! Sends the HTTP requests of guests: nothing else in the host opens a connection for one.
//!
//! ```text
//!  EgressRequest ─▶ request   is it well formed, and within its bounds?
//!                ─▶ policies  do the operator and the session allow method, host and port?
//!                ─▶ secrets   placeholders in headers become values, for the hosts of the secret alone
//!                ─▶ places    a connection, of those that principals share
//!                ─▶ resolve   a name becomes addresses, once
//!                ─▶ networks  which of them are public, or listed by the operator?
//!                ─▶ exchange  one connection to one of these, one request, one response of bounded size and time
//!                ─▶ secrets   values become placeholders
//! ```
//! Invariants: a connection goes to an address that was checked for this very request; nobody looks the name up
//! again. Each request has a connection of its own, so that no guest finds the rest of another's exchange on it, and
//! no client sends a request twice. A redirect is a request like any other (`redirect`). No secret is in an error, a
//! log line or a `Debug`.
//!
//! Knows no session, no journal and no guest: who calls says whose request it is, and keeps account of it.

#![deny(missing_docs)]

mod collect;
mod connection;
mod egress;
mod error;
mod networks;
mod places;
mod redirect;
mod request;
mod resolve;
mod response;
mod secrets;
mod stream;

pub use egress::{Egress, EgressOptions, Grant, InvalidEgress};
pub use error::{Arrival, EgressError, EgressFailure, EgressTimeout, PolicyOwner};
pub use networks::{InvalidNetworks, Networks};
pub use redirect::{Followed, MAX_REDIRECTS};
pub use request::{
    BodyLimit, EgressRequest, EgressTimes, LimitAction, MAX_REQUEST_BODY, MAX_REQUEST_HEADER_BYTES,
    MAX_REQUEST_HEADERS, MAX_RESPONSE_BODY, MAX_URL_BYTES,
};
pub use resolve::{Resolver, SystemResolver};
pub use response::{EgressResponse, MAX_RESPONSE_HEADER_BYTES};
pub use secrets::{EgressSecret, InvalidSecret};
pub use stream::EgressStream;
