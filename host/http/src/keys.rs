//! `/api/keys`: create, list, revoke. For admins, and for everybody where there is no key.

use axum::Json;

use super::answers::CreatedJson;
use super::error::ApiError;
use super::model::ignored::Answered;
use super::model::key::{CreatedKeyBody, KeyBody, KeyList};
use super::model::request::{CreateKey, needed};
use super::model::value::{Time, Word};
use super::request::{Caller, JsonBody, Named};
use dormouse::{Action, KeyId, NewKey, Role};

/// `POST /api/keys`
pub(super) async fn create(
    Caller(host): Caller,
    JsonBody { body, ignored, .. }: JsonBody<CreateKey>,
) -> Result<CreatedJson<Answered<CreatedKeyBody>>, ApiError> {
    let missing = "is needed: the name of who calls with the key";
    let principal = needed("principal", body.principal, missing)?;
    let role = body.role.map_or(Role::User, |Word(role)| role);
    let expires_at = body.expires_at.map(|Time(at)| at);
    let created = host.keys().create(NewKey { principal, role, expires_at }).await?;
    Ok(CreatedJson(Answered { answer: created.into(), ignored }))
}

/// `GET /api/keys`
pub(super) async fn list(Caller(host): Caller) -> Result<Json<KeyList>, ApiError> {
    let keys: Vec<KeyBody> = host.keys().list()?.into_iter().map(KeyBody::from).collect();
    Ok(Json(KeyList { count: keys.len(), keys }))
}

/// `DELETE /api/keys/{id}`: the key as it was.
pub(super) async fn revoke(
    Caller(host): Caller,
    Named(id): Named,
) -> Result<Json<KeyBody>, ApiError> {
    // A caller who may not manage keys is told that, whatever the id is.
    host.may(Action::ManageKeys)?;
    let id: KeyId = id.parse().map_err(|_| ApiError::key_not_found(&id))?;
    Ok(Json(host.keys().revoke(id).await?.into()))
}
