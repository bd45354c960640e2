//! `/api/experiments`: one world with many parameters and seeds. Create, pause, resume, read the results.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::Api;
use super::answers::{self, CreatedJson};
use super::error::ApiError;
use super::follow;
use super::guard;
use super::intake::RequestSlot;
use super::model::experiment::{
    CreateExperiment, ExperimentBody, ExperimentList, RunBody, RunPage, RunsQuery, csv_line,
};
use super::model::ignored::Answered;
use super::model::query::IdPageQuery;
use super::model::session::Deleted;
use super::model::simulation::StartSimulation;
use super::request::{Caller, Filters, JsonBody, Named, Params, Scoped};
use super::sse;
use dormouse::{
    ExperimentHandle, ExperimentId, ExperimentRecord, FOLLOW_BYTES, Host, Run, RunResult,
    SimulationStatus,
};

/// The most bytes of a table that is answered: it is made in memory.
const MAX_TABLE: usize = 64 << 20;
/// Runs of a table that are read at a time: the values of each have 64 KiB at most.
const PAGE: usize = 128;

/// `POST /api/experiments`
pub(super) async fn create(
    Caller(host): Caller,
    JsonBody { body, ignored, .. }: JsonBody<CreateExperiment>,
) -> Result<CreatedJson<Answered<ExperimentBody>>, ApiError> {
    let experiment = host.experiments().create(body.read()?).await?;
    let answer = ExperimentBody::from(&*experiment.record());
    Ok(CreatedJson(Answered { answer, ignored }))
}

/// `GET /api/experiments`
pub(super) async fn list(
    Scoped(host): Scoped,
    Filters(query): Filters<IdPageQuery>,
) -> Result<Json<ExperimentList>, ApiError> {
    Ok(Json(host.experiments().list(query.after()?, query.limit()).into()))
}

/// `GET /api/experiments/{id}`
pub(super) async fn show(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<ExperimentBody>, ApiError> {
    Ok(shown(&one(&host, &id)?))
}

/// `DELETE /api/experiments/{id}`
pub(super) async fn remove(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<Deleted>, ApiError> {
    one(&host, &id)?.delete().await?;
    Ok(Json(Deleted { success: true, id }))
}

/// `POST /api/experiments/{id}/pause`
pub(super) async fn pause(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<ExperimentBody>, ApiError> {
    let record = one(&host, &id)?.pause().await?;
    Ok(Json(ExperimentBody::from(&*record)))
}

/// `POST /api/experiments/{id}/resume`
pub(super) async fn resume(
    Caller(host): Caller,
    Named(id): Named,
    body: Option<JsonBody<StartSimulation>>,
) -> Result<Json<ExperimentBody>, ApiError> {
    let experiment = one(&host, &id)?;
    experiment.resume(body.unwrap_or_default().body.budget()).await?;
    Ok(shown(&experiment))
}

/// `GET /api/experiments/{id}/runs`
pub(super) async fn runs(
    Caller(host): Caller,
    Named(id): Named,
    Params(query): Params<RunsQuery>,
) -> Result<Json<RunPage>, ApiError> {
    let experiment = one(&host, &id)?;
    let from = query.from();
    let runs = experiment.runs(from, query.limit()).await?;
    Ok(Json(RunPage::of(&experiment.record(), from, runs)))
}

/// `GET /api/experiments/{id}/results.csv`: a line for each run that is over.
pub(super) async fn csv(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Response, ApiError> {
    let experiment = one(&host, &id)?;
    let head = csv_line::head(&experiment.record());
    table(&api, &slot, &experiment, (head, "text/csv; charset=utf-8"), csv_line::of).await
}

/// `GET /api/experiments/{id}/results.jsonl`: the same, as a JSON document a line.
pub(super) async fn jsonl(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Response, ApiError> {
    let experiment = one(&host, &id)?;
    let line = |record: &ExperimentRecord, run: Run, result: RunResult| {
        let body = RunBody::of(record, run, Some(result));
        serde_json::to_string(&body).unwrap_or_default() + "\n"
    };
    table(&api, &slot, &experiment, (String::new(), "application/x-ndjson"), line).await
}

/// A table with a line for each run that is over.
async fn table(
    api: &Api,
    slot: &RequestSlot,
    experiment: &ExperimentHandle,
    (mut text, content_type): (String, &'static str),
    line: impl Fn(&ExperimentRecord, Run, RunResult) -> String,
) -> Result<Response, ApiError> {
    let record = experiment.record();
    let mut charge = api.answers.of(slot.principal());
    let (mut from, mut charged) = (0, 0);
    while from < record.planned {
        let runs = experiment.runs(from, PAGE).await?;
        from += runs.len().max(1);
        for (run, result) in runs {
            if let Some(result) = result {
                text.push_str(&line(&record, run, result));
            }
        }
        if text.len() > MAX_TABLE {
            let error = "the table has more than 64 MiB; read the runs page by page";
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
                .with("limit", MAX_TABLE));
        }
        // What grows is twice there for a moment.
        charge.grow(2 * (text.len() - charged) as u64)?;
        charged = text.len();
    }
    let mut response = answers::respond(text.into_bytes(), charge);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// `GET /api/experiments/{id}/events`: how the experiment goes on, run by run, until it stands still.
pub(super) async fn events(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    Caller(host): Caller,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let experiment = one(&host, &id)?;
    let follower = api.followers.take(slot.principal(), 1).ok_or_else(follow::too_many)?;
    let mut held = api.answers.of(slot.principal());
    held.grow(FOLLOW_BYTES as u64)?;
    let (caller, pass) = (api.clone(), guard::Pass::of(&headers));
    Ok(sse::open(&api, slot, |waiting| async move {
        let (_follower, _held) = (follower, held);
        let mut record = experiment.record();
        loop {
            let body = serde_json::to_string(&ExperimentBody::from(&*record)).unwrap_or_default();
            let done = record.progress.done;
            waiting.push(format!("id: {done}\ndata: {body}\n\n")).await?;
            if record.status != SimulationStatus::Running || !pass.is_good(&caller) {
                return Ok(());
            }
            record = experiment.changed(&record).await;
        }
    }))
}

fn shown(experiment: &ExperimentHandle) -> Json<ExperimentBody> {
    Json(ExperimentBody::from(&*experiment.record()))
}

/// The experiment that a path names. A text that is no id is that of none.
fn one(host: &Host, text: &str) -> Result<ExperimentHandle, ApiError> {
    // The one way to write an id, and not the other four that a UUID has.
    let parsed = text.parse().ok().filter(|parsed: &ExperimentId| parsed.to_string() == text);
    let id = parsed.ok_or_else(|| ApiError::experiment_not_found(text))?;
    Ok(host.experiments().get(id)?)
}
