//! `/api/simulations`: worlds of many members. Create, start, pause, step, change, fork, compare, read.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Json};

use super::Api;
use super::answers::{self, CreatedJson};
use super::error::ApiError;
use super::follow;
use super::guard;
use super::intake::RequestSlot;
use super::model::ignored::Answered;
use super::model::query::IdPageQuery;
use super::model::session::Deleted;
use super::model::simulation::{
    CreateSimulation, DiffQuery, DifferenceBody, ForkList, ForkSimulation, MemberPage,
    MembersQuery, SendBody, SetAt, SetBody, SimulationBody, SimulationList, SpecBody,
    StartSimulation, StepSimulation, SurveyBody, SurveyedBody, TickBody, TickPage, TicksQuery,
    VerifiedBody,
};
use super::request::{Caller, Filters, JsonBody, Named, Params, Scoped};
use super::sse;
use dormouse::{FOLLOW_BYTES, Host, Part, SimulationHandle, SimulationId, SimulationStatus};

/// The most bytes of a bundle that is answered: it is made in memory.
const MAX_BUNDLE: u64 = 64 << 20;

/// `POST /api/simulations`
pub(super) async fn create(
    Caller(host): Caller,
    JsonBody { body, ignored, .. }: JsonBody<CreateSimulation>,
) -> Result<CreatedJson<Answered<SimulationBody>>, ApiError> {
    let (spec, start) = body.read()?;
    let world = host.simulations().create(spec).await?;
    // It is there, whether it goes on or not.
    if start && let Err(error) = world.start(None).await {
        tracing::warn!(simulation = %world.id(), %error, "a simulation was not started");
    }
    let answer = SimulationBody::from(&*world.record());
    Ok(CreatedJson(Answered { answer, ignored }))
}

/// `GET /api/simulations`
pub(super) async fn list(
    Scoped(host): Scoped,
    Filters(query): Filters<IdPageQuery>,
) -> Result<Json<SimulationList>, ApiError> {
    Ok(Json(host.simulations().list(query.after()?, query.limit()).into()))
}

/// `GET /api/simulations/{id}`
pub(super) async fn show(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<SimulationBody>, ApiError> {
    Ok(shown(&one(&host, &id)?))
}

/// `DELETE /api/simulations/{id}`
pub(super) async fn remove(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<Deleted>, ApiError> {
    one(&host, &id)?.delete().await?;
    Ok(Json(Deleted { success: true, id }))
}

/// `POST /api/simulations/{id}/start`
pub(super) async fn start(
    Caller(host): Caller,
    Named(id): Named,
    body: Option<JsonBody<StartSimulation>>,
) -> Result<Json<SimulationBody>, ApiError> {
    let world = one(&host, &id)?;
    world.start(body.unwrap_or_default().body.budget()).await?;
    Ok(shown(&world))
}

/// `POST /api/simulations/{id}/step`
pub(super) async fn step(
    Caller(host): Caller,
    Named(id): Named,
    body: Option<JsonBody<StepSimulation>>,
) -> Result<Json<SimulationBody>, ApiError> {
    let world = one(&host, &id)?;
    world.step(body.unwrap_or_default().body.ticks()).await?;
    Ok(shown(&world))
}

/// `POST /api/simulations/{id}/pause`
pub(super) async fn pause(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<SimulationBody>, ApiError> {
    let record = one(&host, &id)?.pause().await?;
    Ok(Json(SimulationBody::from(&*record)))
}

/// `POST /api/simulations/{id}/stop`
pub(super) async fn stop(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<SimulationBody>, ApiError> {
    let world = one(&host, &id)?;
    world.stop().await?;
    Ok(shown(&world))
}

/// `POST /api/simulations/{id}/set`
pub(super) async fn set(
    Caller(host): Caller,
    Named(id): Named,
    JsonBody { body, ignored, .. }: JsonBody<SetBody>,
) -> Result<Json<Answered<SetAt>>, ApiError> {
    let world = one(&host, &id)?;
    let at = world.set(body.read("")?).await?;
    Ok(Json(Answered { answer: SetAt { at }, ignored }))
}

/// `POST /api/simulations/{id}/send`
pub(super) async fn send(
    Caller(host): Caller,
    Named(id): Named,
    JsonBody { body, ignored, .. }: JsonBody<SendBody>,
) -> Result<Json<Answered<SetAt>>, ApiError> {
    let world = one(&host, &id)?;
    let at = world.send(body.read("")?).await?;
    Ok(Json(Answered { answer: SetAt { at }, ignored }))
}

/// `POST /api/simulations/{id}/survey`
pub(super) async fn survey(
    Caller(host): Caller,
    Named(id): Named,
    JsonBody { body, ignored, .. }: JsonBody<SurveyBody>,
) -> Result<Json<Answered<SurveyedBody>>, ApiError> {
    let world = one(&host, &id)?;
    let (role, members, text) = body.read()?;
    let survey = world.survey(&role, &members, vec![Part::Text(text)]).await?;
    Ok(Json(Answered { answer: SurveyedBody::of(&members, survey), ignored }))
}

/// `POST /api/simulations/{id}/fork`
pub(super) async fn fork(
    Caller(host): Caller,
    Named(id): Named,
    body: Option<JsonBody<ForkSimulation>>,
) -> Result<CreatedJson<ForkList>, ApiError> {
    let world = one(&host, &id)?;
    let (at, branches) = body.unwrap_or_default().body.read()?;
    let forks = world.fork(at, branches).await?;
    let simulations = forks.iter().map(|fork| SimulationBody::from(&*fork.record())).collect();
    Ok(CreatedJson(ForkList { simulations }))
}

/// `POST /api/simulations/{id}/verify`
pub(super) async fn verify(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<VerifiedBody>, ApiError> {
    let bundle = one(&host, &id)?.bundle().await?;
    let difference = host.simulations().verify(&bundle).await?;
    Ok(Json(VerifiedBody::of(&bundle.record.fingerprint, difference)))
}

/// `GET /api/simulations/{id}/spec`
pub(super) async fn spec(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<SpecBody>, ApiError> {
    Ok(Json(SpecBody::of(&one(&host, &id)?.spec().await?)))
}

/// `GET /api/simulations/{id}/ticks`
pub(super) async fn ticks(
    Caller(host): Caller,
    Named(id): Named,
    Params(query): Params<TicksQuery>,
) -> Result<Json<TickPage>, ApiError> {
    let world = one(&host, &id)?;
    let (record, from) = (world.record(), query.from());
    let ticks = world.ticks(from, query.limit()).await?;
    let ticks: Vec<_> =
        (from..).zip(ticks).map(|(tick, logged)| TickBody::of(&record, tick, logged)).collect();
    let next = from.saturating_add(ticks.len() as u64);
    let more = next < record.progress.ticks;
    Ok(Json(TickPage { count: ticks.len(), ticks, next, next_cursor: next, more }))
}

/// `GET /api/simulations/{id}/members`
pub(super) async fn members(
    Caller(host): Caller,
    Named(id): Named,
    Params(query): Params<MembersQuery>,
) -> Result<Json<MemberPage>, ApiError> {
    let world = one(&host, &id)?;
    let (role, from, limit) = query.read()?;
    Ok(Json(MemberPage::of(role, from, world.members(role, from, limit).await?)))
}

/// `GET /api/simulations/{id}/diff`
pub(super) async fn diff(
    Caller(host): Caller,
    Named(id): Named,
    Params(query): Params<DiffQuery>,
) -> Result<Json<DifferenceBody>, ApiError> {
    let world = one(&host, &id)?;
    let with = query.with.ok_or_else(|| ApiError::invalid_field("with", "is needed"))?;
    Ok(Json(world.difference(&one(&host, &with)?).await?.into()))
}

/// `GET /api/simulations/{id}/bundle`
pub(super) async fn bundle(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Response, ApiError> {
    let bundle = one(&host, &id)?.bundle().await?;
    let populations: u64 = bundle.populations.values().map(|bytes| bytes.len() as u64).sum();
    let record = &bundle.record;
    let outcome = record.hashes.len() as u64 * 32 + record.aggregates.len() as u64 * 64;
    if populations + outcome > MAX_BUNDLE {
        let error = "the bundle has more than 64 MiB; `dormouse sim run --out` writes larger ones";
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
            .with("limit", MAX_BUNDLE));
    }
    let mut charge = api.answers.of(slot.principal());
    charge.grow(2 * (populations + outcome) + (1 << 20))?;
    let write = move || {
        let mut bytes = Vec::new();
        bundle.write(&mut bytes).map(|()| bytes)
    };
    let written = api.documents.work(slot.principal(), populations + outcome, write).await?;
    let bytes = written.map_err(|error| ApiError::internal(error.to_string()))?;
    let mut response = answers::respond(bytes, charge);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    Ok(response)
}

/// `GET /api/simulations/{id}/events`: how the world goes on, about each second, until it stands still.
pub(super) async fn events(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    Caller(host): Caller,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let world = one(&host, &id)?;
    let follower = api.followers.take(slot.principal(), 1).ok_or_else(follow::too_many)?;
    let mut held = api.answers.of(slot.principal());
    held.grow(FOLLOW_BYTES as u64)?;
    let (caller, pass) = (api.clone(), guard::Pass::of(&headers));
    Ok(sse::open(&api, slot, |waiting| async move {
        let (_follower, _held) = (follower, held);
        let mut record = world.record();
        loop {
            let body = serde_json::to_string(&SimulationBody::from(&*record)).unwrap_or_default();
            let at = record.progress.ticks;
            waiting.push(format!("id: {at}\ndata: {body}\n\n")).await?;
            if record.status != SimulationStatus::Running || !pass.is_good(&caller) {
                return Ok(());
            }
            record = world.changed(&record).await;
        }
    }))
}

fn shown(world: &SimulationHandle) -> Json<SimulationBody> {
    let record: Arc<_> = world.record();
    Json(SimulationBody::from(&*record))
}

/// The simulation that a path names. A text that is no id is that of none.
fn one(host: &Host, text: &str) -> Result<SimulationHandle, ApiError> {
    // The one way to write an id, and not the other four that a UUID has.
    let parsed = text.parse().ok().filter(|parsed: &SimulationId| parsed.to_string() == text);
    let id = parsed.ok_or_else(|| ApiError::simulation_not_found(text))?;
    Ok(host.simulations().get(id)?)
}
