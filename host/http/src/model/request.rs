//! The bodies of all requests but those that create a session.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::create::CreateSession;
use super::reading::{Body, FieldReader};
use super::value::{Count, Millis, SnapshotName, Word};
use crate::error::ApiError;
use dormouse::{MAX_FORKS, MAX_REASON, Visibility};

/// `POST /api/sessions/{id}/message`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SendMessage {
    /// The text of the message.
    #[schemars(required)]
    prompt: Option<String>,
    /// Whether the answer is a stream. Default: yes.
    pub(crate) streaming: Option<bool>,
    /// What becomes of a message while another is answered: `queue` alone.
    on_busy: Option<String>,
}

impl SendMessage {
    /// The text of the message.
    ///
    /// # Errors
    /// There is none, or the body asks for what this version does not do.
    pub(crate) fn text(self) -> Result<String, ApiError> {
        only_queue(self.on_busy.as_deref())?;
        text("prompt", self.prompt)
    }
}

/// `POST /api/agent/stream`: a message to a session, or to a new one.
#[derive(Debug, JsonSchema)]
pub(crate) struct StreamMessage {
    #[schemars(flatten)]
    fields: StreamFields,
    /// What the new session is. Of a message to a session that is there, the host does not read it.
    #[schemars(flatten)]
    new: Option<CreateSession>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct StreamFields {
    /// The text of the message.
    #[schemars(required)]
    message: Option<String>,
    /// The id of a session. Absent or empty: the session is a new one.
    session_id: Option<String>,
    /// What becomes of a message while another is answered: `queue` alone.
    on_busy: Option<String>,
}

/// Which session a message goes to.
pub(crate) enum Recipient {
    /// The session of this id.
    Session(String),
    /// One that is created for it.
    New(Box<CreateSession>),
}

impl Body for StreamMessage {
    fn read(reader: &mut FieldReader<'_>) -> Result<StreamMessage, ApiError> {
        let mut fields: StreamFields = reader.take()?;
        fields.session_id = fields.session_id.filter(|id| !id.is_empty());
        let new = match fields.session_id {
            Some(_) => None,
            None => Some(CreateSession::read(reader)?),
        };
        Ok(StreamMessage { fields, new })
    }
}

impl StreamMessage {
    /// The text of the message, and the session that it goes to.
    ///
    /// # Errors
    /// There is no text, or the body asks for what this version does not do.
    pub(crate) fn text_and_recipient(self) -> Result<(String, Recipient), ApiError> {
        let StreamFields { message, session_id, on_busy } = self.fields;
        only_queue(on_busy.as_deref())?;
        let new = || Recipient::New(Box::new(self.new.unwrap_or_default()));
        Ok((text("message", message)?, session_id.map_or_else(new, Recipient::Session)))
    }
}

/// `POST /api/sessions/{id}/fork`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ForkSession {
    /// Default: the head.
    pub(crate) snapshot_id: Option<SnapshotName>,
    /// How many sessions to make. Default: 1.
    count: Option<Count>,
}

impl ForkSession {
    /// How many sessions to make.
    ///
    /// # Errors
    /// None, or too many.
    pub(crate) fn count(&self) -> Result<u32, ApiError> {
        let count = self.count.map_or(1, |Count(count)| count);
        let count = u32::try_from(count).ok().filter(|count| (1..=MAX_FORKS).contains(count));
        count.ok_or_else(|| ApiError::invalid_field("count", format!("must be 1 to {MAX_FORKS}")))
    }
}

/// `POST /api/sessions/{id}/rewind`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RewindSession {
    #[schemars(required)]
    pub(crate) snapshot_id: Option<SnapshotName>,
}

/// `POST /api/sessions/{id}/resume`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResumeSession {
    /// Default: the head.
    pub(crate) snapshot_id: Option<SnapshotName>,
}

/// `POST /api/sessions/{id}/upgrade`
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct UpgradeSession {
    /// The agent that the session goes on with.
    #[schemars(required)]
    pub(crate) agent: Option<String>,
}

/// `POST /api/sessions/{id}/extend`
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ExtendSession {
    /// How long the session may go without a message from now on. Default: its whole idle limit.
    ms: Option<Millis>,
    /// The same in minutes.
    minutes: Option<Count>,
}

impl ExtendSession {
    /// How long the session may go without a message from now on. `None`: its whole idle limit.
    ///
    /// # Errors
    /// It is given twice, or is nothing.
    pub(crate) fn time(self) -> Result<Option<Duration>, ApiError> {
        let minutes = |Count(minutes): Count| Duration::from_secs(minutes.saturating_mul(60));
        match (self.ms, self.minutes.map(minutes)) {
            (Some(_), Some(_)) => Err(ApiError::invalid_field("minutes", "cannot go with ms")),
            (Some(Millis(Duration::ZERO)), None) => {
                Err(ApiError::invalid_field("ms", "must be at least 1"))
            }
            (None, Some(Duration::ZERO)) => {
                Err(ApiError::invalid_field("minutes", "must be at least 1"))
            }
            (ms, minutes) => Ok(ms.map(|Millis(time)| time).or(minutes)),
        }
    }
}

/// `POST /api/sessions/{id}/terminate`
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct TerminateSession {
    /// Why. Default: `user_requested`.
    reason: Option<String>,
}

impl TerminateSession {
    /// Why the session ends.
    ///
    /// # Errors
    /// The reason is empty or too long.
    pub(crate) fn reason(self) -> Result<String, ApiError> {
        let reason = self.reason.unwrap_or_else(|| "user_requested".to_owned());
        if !(1..=MAX_REASON).contains(&reason.chars().count()) {
            let problem = format!("must have 1 to {MAX_REASON} characters");
            return Err(ApiError::invalid_field("reason", problem));
        }
        Ok(reason)
    }
}

/// `POST /api/templates`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateTemplate {
    #[schemars(required)]
    pub(crate) name: Option<String>,
    /// The id of a snapshot, or of a session.
    #[schemars(required)]
    pub(crate) session_id: Option<String>,
    pub(crate) description: Option<String>,
}

/// `PATCH /api/agents/{agent}`
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ChangeAgent {
    #[schemars(required)]
    pub(crate) visibility: Option<Word<Visibility>>,
}

/// A field that has to be there.
///
/// # Errors
/// It is not.
pub(crate) fn needed<T>(
    name: &'static str,
    value: Option<T>,
    problem: &'static str,
) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::invalid_field(name, problem))
}

fn text(name: &'static str, text: Option<String>) -> Result<String, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    needed(name, text, "is needed, and must not be empty")
}

/// Anything else would be a promise if it were ignored.
fn only_queue(on_busy: Option<&str>) -> Result<(), ApiError> {
    match on_busy {
        None | Some("queue") => Ok(()),
        Some(_) => Err(ApiError::not_supported("onBusy")),
    }
}
