//! Whether the server lives, whether it takes work, and its numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use super::Api;
use super::error::ApiError;
use super::model::health::{Health, HealthWord, Readiness, ReadinessWord, Root};

/// How far the timekeeper is behind, in an error: the field of [`Readiness`].
const LAG: &str = "timekeeperLagSeconds";

/// `GET /`: what there is.
pub(super) async fn root() -> Json<Root> {
    Json(Root {
        name: "dormouse",
        version: env!("CARGO_PKG_VERSION"),
        description: "A host for AI-agent sessions in WebAssembly",
        api: BTreeMap::from([
            ("agents", "/api/agents"),
            ("sessions", "/api/sessions"),
            ("message", "/api/sessions/{id}/message"),
            ("stream", "/api/agent/stream"),
            ("statistics", "/api/sessions/stats/summary"),
            ("cleanup", "/api/sessions/cleanup"),
            ("templates", "/api/templates"),
            ("events", "/api/events"),
            ("keys", "/api/keys"),
            ("containers", "/api/v1/containers/sessions"),
            ("conversations", "/sessions"),
            ("docs", "/docs"),
            ("openapi", "/api/openapi.json"),
        ]),
        health: vec!["/health", "/healthz", "/readyz", "/metrics"],
    })
}

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> Json<Health> {
    Json(Health { status: HealthWord::Ok })
}

/// A host whose timekeeper is further behind than this enforces no limit of time in time.
const MAX_LAG: Duration = Duration::from_secs(10);

/// `GET /readyz`: it takes work.
pub(super) async fn ready(State(api): State<Api>) -> Result<Json<Readiness>, ApiError> {
    if api.closing.begun.is_cancelled() {
        return Err(ApiError::shutting_down());
    }
    if let Some(cause) = api.host.failed().now_or_never() {
        tracing::error!(cause, "the host cannot go on");
        let error = "the host cannot go on and must be started again; its log has the reason";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "host_failed", error));
    }
    let lag = api.host.timekeeper_lag();
    if lag > MAX_LAG {
        let error = "the host is behind with the deadlines of its sessions; it is ready again when it has caught up";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timekeeper_behind", error)
            .with(LAG, lag.as_secs_f64())
            .retry_later());
    }
    Ok(Json(Readiness { status: ReadinessWord::Ready, timekeeper_lag_seconds: lag.as_secs_f64() }))
}

/// `GET /metrics`, for Prometheus.
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, ApiError> {
    let Some(metrics) = &api.options.metrics else {
        let error = "this host collects no metrics";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", error));
    };
    api.host.stats().record();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], metrics.render()).into_response())
}
