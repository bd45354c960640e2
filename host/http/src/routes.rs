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
    Api, agents, answers, cleanup, compression, cors, docs, experiments, facade, frame, git, guard,
    health, history, intake, keys, lifecycle, messages, operations as of, patch, samples,
    schedules, sessions, simulations, snapshots, statistics, templates, timers, usage, workspace,
};
pub(super) use table::Description;
pub use table::Route;
use table::{Methods, Routes, delete, get, post};

/// All routes. The router is made of the same tables.
#[must_use]
pub fn all() -> Vec<Route> {
    described().into_iter().map(|(route, ..)| route).collect()
}

/// Who is let in to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Everybody.
    Open,
    /// Where there are keys, callers with one.
    Key,
}

/// All routes, with what the description of the API says of them.
pub(super) fn described() -> Vec<(Route, Description, Admission)> {
    let with = |admission| move |(route, description)| (route, description, admission);
    let api = large().list("/api").chain(small().list("/api"));
    let conversations = large_conversations().list("").chain(small_conversations().list(""));
    let open = open().list("").chain(operator().list("")).map(with(Admission::Open));
    let keyed = conversations.chain(repositories().list("")).chain(api);
    open.chain(keyed.map(with(Admission::Key))).collect()
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

/// Routes for callers that are known and may call, once their body is there and they have a place.
fn guarded(api: &Api, routes: Router<Api>) -> Router<Api> {
    routes
        .layer(from_fn_with_state(api.clone(), intake::limit_in_flight))
        .layer(from_fn_with_state(api.clone(), guard::authenticate))
}

/// What needs no key, and takes a place as everything else.
fn open() -> Routes {
    Routes::default()
        .route("/", get(health::root, of::health::root))
        .route("/docs", get(docs::page, of::docs::page))
        .route("/docs/style.css", get(docs::style, of::docs::style))
        .route("/api/openapi.json", get(docs::document, of::docs::document))
}

/// The façade that has no path of its own: its clients know the paths at the root.
fn conversations(api: &Api) -> Router<Api> {
    let small = small_conversations().and(repositories());
    guarded(api, answered(api, large_conversations(), small))
}

/// What clients of git ask for.
fn repositories() -> Routes {
    Routes::default()
        .route("/git/{repository}/info/refs", get(git::references, of::git::references))
        .route("/git/{repository}/git-upload-pack", post(git::upload_pack, of::git::upload_pack))
}

fn large_conversations() -> Routes {
    use facade::conversations::list;
    Routes::default()
        .route("/sessions", get(list, of::conversations::list))
        .route("/sessions/", get(list, of::conversations::list))
}

fn small_conversations() -> Routes {
    use facade::conversations::{change, create, show};
    Routes::default()
        .route("/sessions", post(create, of::conversations::create))
        .route("/sessions/", post(create, of::conversations::create))
        .route(
            "/sessions/{id}",
            get(show, of::conversations::show).patch(change, of::conversations::change),
        )
}

/// What whoever operates the server asks it: without a key, by the connections that are reserved for this
/// as well, and however many requests are under way.
fn operator() -> Routes {
    Routes::default()
        .route("/health", get(health::alive, of::health::alive))
        .route("/healthz", get(health::alive, of::health::alive))
        .route("/readyz", get(health::ready, of::health::ready))
        .route("/metrics", get(health::metrics, of::health::metrics))
}

/// What may be answered with many things, or with a large one.
fn large() -> Routes {
    Routes::default()
        .route("/agents", get(agents::list, of::agents::list))
        .route("/events", get(history::all_events, of::history::all_events))
        .route("/sessions", get(sessions::list, of::sessions::list))
        .route("/sessions/{id}/audit", get(history::audit, of::history::audit))
        .route("/sessions/{id}/snapshots", get(snapshots::list, of::snapshots::list))
        .route("/sessions/{id}/turns", get(history::turns, of::history::turns))
        .route("/sessions/{id}/turns/{turn}", get(history::turn, of::history::turn))
        .route("/sessions/{id}/turns/{turn}/trace", get(usage::trace, of::history::trace))
        .route("/sessions/{id}/usage", get(usage::usage, of::history::usage))
        .route("/sessions/{id}/members", get(sessions::members, of::history::members))
        .route("/sessions/{id}/timers", get(timers::timers, of::history::timers))
        .route("/sessions/{id}/metrics", get(samples::list, of::history::metrics))
        .route("/sessions/{id}/events", get(history::session_events, of::history::session_events))
        .route("/sessions/{id}/workspace", get(workspace::list, of::workspace::list))
        .route("/sessions/{id}/workspace.diff", get(workspace::diff, of::workspace::diff))
        .route("/templates", get(templates::list, of::templates::list))
        .route("/schedules", get(schedules::list, of::schedules::list))
        .route("/schedules/{id}/runs", get(schedules::runs, of::schedules::runs))
        .route("/simulations", get(simulations::list, of::simulations::list))
        .route("/experiments", get(experiments::list, of::experiments::list))
        .route("/experiments/{id}/runs", get(experiments::runs, of::experiments::runs))
        .route("/experiments/{id}/results.csv", get(experiments::csv, of::experiments::csv))
        .route("/experiments/{id}/results.jsonl", get(experiments::jsonl, of::experiments::jsonl))
        .route("/simulations/{id}/spec", get(simulations::spec, of::simulations::spec))
        .route("/simulations/{id}/ticks", get(simulations::ticks, of::simulations::ticks))
        .route("/simulations/{id}/members", get(simulations::members, of::simulations::members))
        .route("/simulations/{id}/diff", get(simulations::diff, of::simulations::diff))
        .route("/keys", get(keys::list, of::keys::list))
        .route("/v1/containers/sessions", get(facade::containers::list, of::containers::list))
        .route(
            "/v1/containers/stats",
            get(facade::containers::statistics, of::containers::statistics),
        )
}

fn small() -> Routes {
    Routes::default()
        .route("/agents", post(agents::upload, of::agents::upload))
        .route(
            "/agents/{*agent}",
            get(agents::show, of::agents::show)
                .patch(agents::change, of::agents::change)
                .delete(agents::remove, of::agents::remove),
        )
        .route("/agent/stream", post(messages::stream_agent, of::messages::stream_agent))
        .route("/sessions", post(sessions::create, of::sessions::create))
        .route(
            "/sessions/{id}",
            get(sessions::show, of::sessions::show)
                .patch(patch::change, of::sessions::change)
                .delete(sessions::remove, of::sessions::remove),
        )
        .route("/sessions/{id}/message", post(messages::send, of::messages::send))
        .route("/sessions/{id}/status", get(lifecycle::status, of::lifecycle::status))
        .route("/sessions/{id}/sleep", post(lifecycle::sleep, of::lifecycle::sleep))
        .route("/sessions/{id}/wake", post(lifecycle::wake, of::lifecycle::wake))
        .route("/sessions/{id}/stop", post(lifecycle::stop, of::lifecycle::stop))
        .route("/sessions/{id}/force-kill", post(lifecycle::force_kill, of::lifecycle::force_kill))
        .route("/sessions/{id}/terminate", post(lifecycle::terminate, of::lifecycle::terminate))
        .route("/sessions/{id}/pause", post(lifecycle::pause, of::lifecycle::pause))
        .route("/sessions/{id}/resume", post(lifecycle::resume, of::lifecycle::resume))
        .route("/sessions/{id}/upgrade", post(lifecycle::upgrade, of::lifecycle::upgrade))
        .route("/sessions/{id}/complete", post(lifecycle::complete, of::lifecycle::complete))
        .route("/sessions/{id}/extend", post(lifecycle::extend, of::lifecycle::extend))
        .route("/sessions/{id}/fork", post(snapshots::fork, of::snapshots::fork))
        .route("/sessions/{id}/rewind", post(snapshots::rewind, of::snapshots::rewind))
        .route("/sessions/{id}/workspace/{*path}", file())
        .route(
            "/sessions/{id}/workspace/ops",
            post(workspace::operate, of::workspace::operate).with_undescribed(file()),
        )
        .route(
            "/sessions/{id}/workspace.tar",
            get(workspace::download, of::workspace::download)
                .put(workspace::upload, of::workspace::upload),
        )
        .route("/sessions/stats/summary", get(statistics::summary, of::sessions::summary))
        .route("/sessions/cleanup", post(cleanup::clean_up, of::sessions::clean_up))
        .route(
            "/sessions/resume-preview",
            post(facade::containers::resume_preview, of::containers::resume_preview),
        )
        .route(
            "/v1/containers/{id}/extend",
            post(facade::containers::extend, of::containers::extend),
        )
        .route(
            "/v1/containers/{id}/cleanup",
            post(facade::containers::clean_up, of::containers::clean_up),
        )
        .route("/templates", post(templates::create, of::templates::create))
        .route(
            "/templates/{name}",
            get(templates::show, of::templates::show)
                .delete(templates::remove, of::templates::remove),
        )
        .route("/schedules", post(schedules::create, of::schedules::create))
        .route(
            "/schedules/{id}",
            get(schedules::show, of::schedules::show)
                .patch(schedules::change, of::schedules::change)
                .delete(schedules::remove, of::schedules::remove),
        )
        .route("/schedules/{id}/run", post(schedules::run, of::schedules::run))
        .route("/simulations", post(simulations::create, of::simulations::create))
        .route(
            "/simulations/{id}",
            get(simulations::show, of::simulations::show)
                .delete(simulations::remove, of::simulations::remove),
        )
        .route("/simulations/{id}/start", post(simulations::start, of::simulations::start))
        .route("/simulations/{id}/resume", post(simulations::start, of::simulations::resume))
        .route("/simulations/{id}/step", post(simulations::step, of::simulations::step))
        .route("/simulations/{id}/pause", post(simulations::pause, of::simulations::pause))
        .route("/simulations/{id}/stop", post(simulations::stop, of::simulations::stop))
        .route("/simulations/{id}/set", post(simulations::set, of::simulations::set))
        .route("/simulations/{id}/survey", post(simulations::survey, of::simulations::survey))
        .route("/simulations/{id}/send", post(simulations::send, of::simulations::send))
        .route("/simulations/{id}/fork", post(simulations::fork, of::simulations::fork))
        .route("/simulations/{id}/verify", post(simulations::verify, of::simulations::verify))
        .route("/simulations/{id}/bundle", get(simulations::bundle, of::simulations::bundle))
        .route("/simulations/{id}/events", get(simulations::events, of::simulations::events))
        .route("/experiments", post(experiments::create, of::experiments::create))
        .route(
            "/experiments/{id}",
            get(experiments::show, of::experiments::show)
                .delete(experiments::remove, of::experiments::remove),
        )
        .route("/experiments/{id}/pause", post(experiments::pause, of::experiments::pause))
        .route("/experiments/{id}/resume", post(experiments::resume, of::experiments::resume))
        .route("/experiments/{id}/events", get(experiments::events, of::experiments::events))
        .route("/keys", post(keys::create, of::keys::create))
        .route("/keys/{id}", delete(keys::revoke, of::keys::revoke))
}

/// What is done with a file of a session.
fn file() -> Methods {
    get(workspace::read, of::workspace::read)
        .put(workspace::write, of::workspace::write)
        .delete(workspace::remove, of::workspace::remove)
}

async fn no_such_route() -> ApiError {
    let error = "no such path; see GET /";
    ApiError::new(StatusCode::NOT_FOUND, "not_found", error)
}
