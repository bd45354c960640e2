//! The removal of many sessions: what is asked and what is answered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::needed;
use super::value::{Id, Millis, Word};
use crate::error::ApiError;
use dormouse::{CleanedUp, Cleanup, Pattern, Status};

/// `POST /api/sessions/cleanup`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CleanUpSessions {
    /// Default: sessions that are completed or terminated.
    status: Option<Word<Status>>,
    pattern: Option<Word<Pattern>>,
    user_id: Option<String>,
    /// How long they were not active, at least.
    #[schemars(required)]
    older_than_ms: Option<Millis>,
    /// Whether to remove nothing, and count.
    dry_run: Option<bool>,
}

impl TryFrom<CleanUpSessions> for Cleanup {
    type Error = ApiError;

    /// # Errors
    /// It does not say how old.
    fn try_from(body: CleanUpSessions) -> Result<Cleanup, ApiError> {
        let Millis(older_than) = needed("olderThanMs", body.older_than_ms, "is needed")?;
        Ok(Cleanup {
            status: body.status.map(|Word(status)| status),
            pattern: body.pattern.map(|Word(pattern)| pattern),
            user_id: body.user_id,
            older_than,
            dry_run: body.dry_run.unwrap_or(false),
        })
    }
}

/// What a cleanup has removed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CleanedUp")]
pub(crate) struct CleanedUpBody {
    success: bool,
    dry_run: bool,
    /// How many were removed, or would be.
    count: usize,
    /// Whether there may be more: ask again.
    more: bool,
    #[schemars(with = "Vec<Id>")]
    ids: Vec<String>,
}

impl CleanedUpBody {
    /// What was removed, or would be.
    pub(crate) fn new(cleaned: &CleanedUp, dry_run: bool) -> CleanedUpBody {
        let ids: Vec<String> = cleaned.removed.iter().map(ToString::to_string).collect();
        CleanedUpBody { success: true, dry_run, count: ids.len(), more: cleaned.more, ids }
    }
}
