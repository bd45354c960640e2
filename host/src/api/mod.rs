//! The HTTP API: parse, one call of the host, render.
//!
//! [`serve`] listens; [`router`] is the same without a socket, for tests and for programs that have
//! a server of their own. A file a resource; what goes over the wire is in `model/`, what goes wrong
//! in `error.rs` and `refusal.rs`. From the outside in, a request passes `frame.rs` (its id, its
//! span, the shape of errors), `guard.rs` (who may ask), and its handler.
//!
//! No rule of a session is decided here, and nothing below is known but the host.

mod agents;
mod error;
mod frame;
mod guard;
mod health;
mod history;
mod lifecycle;
mod messages;
mod model;
mod options;
mod refusal;
mod request;
mod routes;
mod server;
mod sessions;
mod snapshots;
mod sse;
mod templates;

use std::sync::Arc;

use axum::Router;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use options::{ApiKey, ApiOptions, InvalidKey};
pub use server::serve;

use crate::host::Host;

/// Uploads in memory at a time; the others wait.
const UPLOADS: usize = 4;

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
    /// One for each request under way.
    slots: Arc<Semaphore>,
    /// One for each upload in memory.
    uploads: Arc<Semaphore>,
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
        let slots = Arc::new(Semaphore::new(options.max_requests));
        let uploads = Arc::new(Semaphore::new(UPLOADS));
        Api(Arc::new(Shared { host, options, names, closing, slots, uploads }))
    }
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
