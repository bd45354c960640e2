//! `/api/schedules`: create, list, show, change, remove, run.

use axum::Json;

use super::answers::CreatedJson;
use super::error::ApiError;
use super::model::ignored::Answered;
use super::model::query::IdPageQuery;
use super::model::schedule::{
    AskedPatch, AskedSchedule, CreateSchedule, PatchSchedule, RunBody, RunList, ScheduleBody,
    ScheduleDetail, ScheduleList,
};
use super::model::session::Deleted;
use super::request::{Caller, Filters, JsonBody, Named, Scoped};
use dormouse::{NewSchedule, ScheduleId, SchedulePatch};

/// `POST /api/schedules`
pub(super) async fn create(
    Caller(host): Caller,
    JsonBody { body, ignored, .. }: JsonBody<CreateSchedule>,
) -> Result<CreatedJson<Answered<ScheduleBody>>, ApiError> {
    let AskedSchedule { name, cron, session, message, max_failures } = body.try_into()?;
    let schedules = host.schedules();
    let cron = schedules.cron(&cron).await?;
    let new = NewSchedule { name, cron, session, message, max_failures };
    let answer = schedules.create(new).await?.into();
    Ok(CreatedJson(Answered { answer, ignored }))
}

/// `GET /api/schedules`
pub(super) async fn list(
    Scoped(host): Scoped,
    Filters(query): Filters<IdPageQuery>,
) -> Result<Json<ScheduleList>, ApiError> {
    let found = host.schedules().list(query.after()?, query.limit()).await?;
    Ok(Json(found.into()))
}

/// `GET /api/schedules/{id}`
pub(super) async fn show(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<ScheduleDetail>, ApiError> {
    let (schedules, id) = (host.schedules(), schedule_id(&id)?);
    let work = schedules.work(id).await?;
    Ok(Json(ScheduleDetail::of(schedules.get(id).await?, work)))
}

/// `PATCH /api/schedules/{id}`
pub(super) async fn change(
    Caller(host): Caller,
    Named(id): Named,
    JsonBody { body, ignored, .. }: JsonBody<PatchSchedule>,
) -> Result<Json<Answered<ScheduleBody>>, ApiError> {
    let (schedules, id) = (host.schedules(), schedule_id(&id)?);
    let AskedPatch { name, cron, session, message, max_failures, status } = body.try_into()?;
    let cron = match cron {
        Some(cron) => Some(schedules.cron(&cron).await?),
        None => None,
    };
    let patch = SchedulePatch { name, cron, max_failures, status, session, message };
    let answer = schedules.change(id, patch).await?.into();
    Ok(Json(Answered { answer, ignored }))
}

/// `DELETE /api/schedules/{id}`
pub(super) async fn remove(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<Deleted>, ApiError> {
    let id = schedule_id(&id)?;
    host.schedules().delete(id).await?;
    Ok(Json(Deleted { success: true, id: id.to_string() }))
}

/// `GET /api/schedules/{id}/runs`
pub(super) async fn runs(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<RunList>, ApiError> {
    Ok(Json(host.schedules().get(schedule_id(&id)?).await?.into()))
}

/// `POST /api/schedules/{id}/run`
pub(super) async fn run(Caller(host): Caller, Named(id): Named) -> Result<Json<RunBody>, ApiError> {
    let run = host.schedules().run(schedule_id(&id)?).await?;
    Ok(Json(RunBody::from(&run)))
}

/// The schedule that a path names. A text that is no id is that of no schedule.
fn schedule_id(text: &str) -> Result<ScheduleId, ApiError> {
    // The one way to write an id, and not the other four that a UUID has.
    let parsed = text.parse().ok().filter(|parsed: &ScheduleId| parsed.to_string() == text);
    parsed.ok_or_else(|| ApiError::schedule_not_found(text))
}
