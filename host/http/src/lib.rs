//! The HTTP API: parse, one call of the host, render.
//!
//! [`serve`] listens; [`router`] is the same without a socket, for tests and for programs that have
//! a server of their own. A file a resource; what goes over the wire is in `model/`, what goes wrong
//! in `error.rs` and `refusal.rs`. `routes.rs` merges the routers and says which guards stand before
//! each; `openapi.rs` describes all of them. From the outside in, a request passes `frame.rs` (its id, its
//! span, the shape of errors), `guard.rs` (who may ask), `intake.rs` (its body, and its place among the
//! others), `answers.rs` (the memory that its answer takes), and its handler. What is large is read and
//! rendered in `documents.rs`.
//!
//! No rule of a session is decided here, and nothing below is known but the host.

mod agents;
mod answers;
mod cleanup;
mod codes;
mod compression;
mod cors;
mod describe;
mod docs;
mod documents;
mod error;
mod etag;
mod experiments;
mod facade;
mod follow;
mod frame;
mod git;
mod guard;
mod health;
mod held;
mod history;
mod idempotency;
mod intake;
mod keys;
mod lifecycle;
mod messages;
mod model;
mod openapi;
mod operation;
mod operations;
mod options;
mod patch;
mod reference;
mod refusal;
mod request;
mod routes;
mod samples;
mod schedules;
mod server;
mod sessions;
mod simulations;
mod snapshots;
mod sse;
mod statistics;
mod templates;
mod timers;
mod turn_stream;
mod usage;
mod workspace;

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

pub use cors::{InvalidOrigin, Origin};
pub use openapi::openapi;
pub use options::{ApiKey, ApiOptions, InvalidKey};
pub use reference::reference;
pub use routes::{Route, all as routes};
pub use server::serve;

use self::documents::Documents;
use self::follow::FOLLOWERS;
use self::held::pool;
use dormouse::{Host, Principal};
use dormouse_base::memory::pool::Pool;
use dormouse_base::rate::RateLimit;
use dormouse_base::shares::{Callers, FairSemaphore, Shares};
use dormouse_domain::turn::MAX_REPLY_BYTES;

/// Large answers that are read and rendered at a time; the others wait.
const READERS: usize = 8;

/// How much larger than what it tells an answer can be: JSON has six bytes for a control character.
const ESCAPED: u64 = 6;

/// All routes of the API, for requests that come by another way than [`serve`].
pub fn router(host: Host, options: ApiOptions) -> Router {
    routes::router(Api::new(host, options, Vec::new(), Closing::default()))
}

/// What all handlers share.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    host: Host,
    options: ApiOptions,
    /// What this server calls itself, besides the configured names: `host` or `host:port`.
    names: Vec<String>,
    closing: Closing,
    /// How many principals share what follows.
    callers: Callers,
    /// How often each principal may send a request.
    requests: Option<RateLimit<Principal>>,
    /// One for each request whose body is on its way.
    arriving: Shares,
    /// One for each request under way.
    slots: Shares,
    /// Memory for bodies.
    bodies: Pool,
    /// Memory for answers.
    answers: Pool,
    readers: FairSemaphore,
    documents: Documents,
    /// One for each reader that follows the log of events.
    followers: Shares,
}

/// How the server comes to its end.
#[derive(Clone, Default)]
struct Closing {
    /// New requests are no longer wanted.
    begun: CancellationToken,
    /// Streams that are still open end now.
    streams: CancellationToken,
}

impl Api {
    fn new(host: Host, options: ApiOptions, names: Vec<String>, closing: Closing) -> Api {
        let callers = if options.keys.len() > 1 { Callers::several() } else { Callers::one() };
        let requests = options.max_requests_per_minute.map(RateLimit::per_minute);
        let largest_body = host.options().max_component_bytes.max(options.max_body as u64);
        Api(Arc::new(Shared {
            arriving: Shares::new(options.max_connections as u64, callers.clone()),
            slots: Shares::new(options.max_requests as u64, callers.clone()),
            bodies: pool(host.memory(), largest_body, callers.clone()),
            answers: pool(host.memory(), MAX_REPLY_BYTES * ESCAPED, callers.clone()),
            readers: FairSemaphore::new(READERS, callers.clone()),
            documents: Documents::new(callers.clone()),
            followers: Shares::new(FOLLOWERS, callers.clone()),
            callers,
            requests,
            host,
            options,
            names,
            closing,
        }))
    }
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
