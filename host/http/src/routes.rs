//! Which path leads to which handler, and what a request passes on its way.

mod table;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;

use super::error::ApiError;
use super::{
    Api, agents, answers, cleanup, compression, cors, facade, frame, guard, health, history,
    intake, keys, lifecycle, messages, patch, sessions, snapshots, statistics, templates,
};
pub use table::Route;
use table::{Routes, delete, get, post};

/// All routes. The router is made of the same tables.
#[must_use]
pub fn all() -> Vec<Route> {
    let api = large().list("/api").chain(small().list("/api"));
    let conversations = large_conversations().list("").chain(small_conversations().list(""));
    open().list("").chain(operator().list("")).chain(conversations).chain(api).collect()
}

/// All routes. Each router brings the guard that is its own; here stands what every request passes.
pub(super) fn router(api: Api) -> Router {
    let everybody = open()
        .router()
        .fallback(no_such_route)
        .layer(from_fn(guard::refuse_reserved))
        .nest("/api", self::api(&api))
        .merge(conversations(&api));
    let all = everybody
        .merge(operator().router())
        .layer(from_fn_with_state(api.clone(), guard::check_origin))
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(frame::panicked))
        .layer(from_fn(frame::render_errors))
        .layer(option_layer(cors::layer(&api.options.allowed_origins)))
        .layer(from_fn_with_state(api.clone(), frame::assign_request_id));
    all.with_state(api)
}

/// What a caller may do and see, below `/api`: the caller has to be known, and a request has to find a
/// place among those under way.
fn api(api: &Api) -> Router<Api> {
    guarded(api, answered(api, large(), small()).fallback(no_such_route))
}

/// Routes whose answers are charged before they are made.
fn answered(api: &Api, large: Routes, small: Routes) -> Router<Api> {
    let large = large.router().layer(from_fn_with_state(api.clone(), answers::charge_large));
    let small = small.router().layer(from_fn_with_state(api.clone(), answers::charge_small));
    let large = large
        .layer(compression::layer())
        .layer(from_fn_with_state(api.clone(), compression::charge));
    Router::new().merge(large).merge(small)
}

/// Routes for callers that are known, once their body is there and they have a place.
fn guarded(api: &Api, routes: Router<Api>) -> Router<Api> {
    routes
        .layer(from_fn_with_state(api.clone(), guard::check_access))
        .layer(from_fn_with_state(api.clone(), intake::limit_in_flight))
        .layer(from_fn_with_state(api.clone(), guard::authenticate))
}

/// What needs no key, and takes a place as everything else.
fn open() -> Routes {
    Routes::default().route("/", get(health::root))
}

/// The façade that has no path of its own: its clients know the paths at the root.
fn conversations(api: &Api) -> Router<Api> {
    guarded(api, answered(api, large_conversations(), small_conversations()))
}

fn large_conversations() -> Routes {
    use facade::conversations::list;
    Routes::default().route("/sessions", get(list)).route("/sessions/", get(list))
}

fn small_conversations() -> Routes {
    use facade::conversations::{change, create, show};
    Routes::default()
        .route("/sessions", post(create))
        .route("/sessions/", post(create))
        .route("/sessions/{id}", get(show).patch(change))
}

/// What whoever operates the server asks it: without a key, by the connections that are reserved for this
/// as well, and however many requests are under way.
fn operator() -> Routes {
    Routes::default()
        .route("/health", get(health::alive))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
}

/// What may be answered with many things, or with a large one.
fn large() -> Routes {
    Routes::default()
        .route("/agents", get(agents::list))
        .route("/events", get(history::all_events))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{id}/audit", get(history::audit))
        .route("/sessions/{id}/snapshots", get(snapshots::list))
        .route("/sessions/{id}/turns", get(history::turns))
        .route("/sessions/{id}/turns/{turn}", get(history::turn))
        .route("/sessions/{id}/events", get(history::session_events))
        .route("/templates", get(templates::list))
        .route("/keys", get(keys::list))
        .route("/v1/containers/sessions", get(facade::containers::list))
        .route("/v1/containers/stats", get(facade::containers::statistics))
}

fn small() -> Routes {
    Routes::default()
        .route("/agents", post(agents::upload))
        .route("/agents/{*agent}", get(agents::show).patch(agents::change).delete(agents::remove))
        .route("/agent/stream", post(messages::stream_agent))
        .route("/sessions", post(sessions::create))
        .route("/sessions/{id}", get(sessions::show).patch(patch::change).delete(sessions::remove))
        .route("/sessions/{id}/message", post(messages::send))
        .route("/sessions/{id}/status", get(lifecycle::status))
        .route("/sessions/{id}/sleep", post(lifecycle::sleep))
        .route("/sessions/{id}/wake", post(lifecycle::wake))
        .route("/sessions/{id}/stop", post(lifecycle::stop))
        .route("/sessions/{id}/force-kill", post(lifecycle::force_kill))
        .route("/sessions/{id}/terminate", post(lifecycle::terminate))
        .route("/sessions/{id}/pause", post(lifecycle::pause))
        .route("/sessions/{id}/resume", post(lifecycle::resume))
        .route("/sessions/{id}/upgrade", post(lifecycle::upgrade))
        .route("/sessions/{id}/complete", post(lifecycle::complete))
        .route("/sessions/{id}/extend", post(lifecycle::extend))
        .route("/sessions/{id}/fork", post(snapshots::fork))
        .route("/sessions/{id}/rewind", post(snapshots::rewind))
        .route("/sessions/stats/summary", get(statistics::summary))
        .route("/sessions/cleanup", post(cleanup::clean_up))
        .route("/sessions/resume-preview", post(facade::containers::resume_preview))
        .route("/v1/containers/{id}/extend", post(facade::containers::extend))
        .route("/v1/containers/{id}/cleanup", post(facade::containers::clean_up))
        .route("/templates", post(templates::create))
        .route("/templates/{name}", get(templates::show).delete(templates::remove))
        .route("/keys", post(keys::create))
        .route("/keys/{id}", delete(keys::revoke))
}

async fn no_such_route() -> ApiError {
    let error = "no such path; see GET /";
    ApiError::new(StatusCode::NOT_FOUND, "not_found", error)
}
