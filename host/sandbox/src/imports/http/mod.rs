//! `wasi:http`, of which a guest has the part that goes out: it sends requests, and none come in.
//!
//! ```text
//!  outgoing-request ─▶ handle ─▶ future-incoming-response ─▶ pollable ─▶ wait ─▶ World of the call
//! ```
//! A request leaves as a whole when its guest next waits for a response, once its body is finished; a response
//! is whole before the guest learns of it, and its body is read like a file. So all that a guest learns of its exchanges
//! it learns where it waits (`wait`). A future that is dropped gives its exchange up, and the end of a call ends all of
//! them.
//!
//! Where requests go, and whether they may, is not decided here.

mod body;
mod exchanges;
mod fields;
mod held;
mod request;
mod response;
mod types;
mod wait;

use wasmtime::component::Linker;

use super::interface::Interface;
use crate::guest::Guest;

pub(crate) use exchanges::HttpState;
pub(super) use exchanges::Wait;
pub(super) use wait::wait;

/// What [`add_to_linker`] adds, by name.
pub(super) const INTERFACES: [&str; 2] =
    ["wasi:http/types@0.2.12", "wasi:http/outgoing-handler@0.2.12"];

const NOT_HERE: &str = "requests that come in are not handed to agents";

/// What belongs to requests that come in, of which a guest has none.
const ABSENT: [&str; 14] = [
    "[method]incoming-request.method",
    "[method]incoming-request.path-with-query",
    "[method]incoming-request.scheme",
    "[method]incoming-request.authority",
    "[method]incoming-request.headers",
    "[method]incoming-request.consume",
    "[constructor]outgoing-response",
    "[method]outgoing-response.status-code",
    "[method]outgoing-response.set-status-code",
    "[method]outgoing-response.headers",
    "[method]outgoing-response.body",
    "[method]response-outparam.send-informational",
    "[static]response-outparam.set",
    "http-error-code",
];

/// A resource of which there are no handles.
enum IncomingRequest {}
enum OutgoingResponse {}
enum ResponseOutparam {}

/// Add all interfaces of [`INTERFACES`].
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let [types, handler] = INTERFACES;
    let mut types = Interface::new(linker, types)?;
    fields::link(&mut types)?;
    request::link(&mut types)?;
    response::link(&mut types)?;
    types.resource::<IncomingRequest>("incoming-request", |_, _| Ok(()))?;
    types.resource::<OutgoingResponse>("outgoing-response", |_, _| Ok(()))?;
    types.resource::<ResponseOutparam>("response-outparam", |_, _| Ok(()))?;
    for name in ABSENT {
        types.absent(name, NOT_HERE)?;
    }
    request::link_handler(&mut Interface::new(linker, handler)?)
}
