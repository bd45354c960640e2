//! The bodies of all requests but those that create a session.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::create::CreateSession;
use super::reading::{Body, FieldReader};
use super::value::{Count, Millis, SnapshotName, Time, Usd, Word};
use crate::error::ApiError;
use dormouse::{ForkLimits, MAX_FORKS, MAX_REASON, Message, OnBusy, Role, Visibility};

/// `POST /api/sessions/{id}/message`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SendMessage {
    /// The text of the message.
    #[schemars(required)]
    prompt: Option<String>,
    /// Whether the answer is a stream. Default: yes.
    pub(crate) streaming: Option<bool>,
    /// What becomes of the message while another is answered. Default: `queue`.
    on_busy: Option<Word<OnBusy>>,
}

impl SendMessage {
    /// The message.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn message(self) -> Result<Message, ApiError> {
        Ok(message(text("prompt", self.prompt)?, self.on_busy))
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
    /// The text of the message. It is needed, or `messages`.
    message: Option<String>,
    /// A conversation, of which the last message is sent: those before it the session knows.
    messages: Option<Vec<ChatMessage>>,
    /// The id of a session. Absent or empty: the session is a new one.
    session_id: Option<String>,
    /// What becomes of the message while another is answered. Default: `queue`.
    on_busy: Option<Word<OnBusy>>,
}

/// A message of a conversation.
#[derive(Debug, Deserialize, JsonSchema)]
struct ChatMessage {
    role: String,
    /// A text, or blocks of which those of the type `text` have one.
    content: Value,
}

impl ChatMessage {
    /// The text of a message of the user.
    ///
    /// # Errors
    /// It is of somebody else, or has no text.
    fn text(self) -> Result<String, ApiError> {
        if self.role != "user" {
            let problem = "must end with a message of the role `user`";
            return Err(ApiError::invalid_field("messages", problem));
        }
        let texts = match self.content {
            Value::String(text) => vec![text],
            Value::Array(blocks) => blocks.iter().map(block_text).collect::<Result<_, _>>()?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        };
        text("messages", Some(texts.join("\n")))
    }
}

fn block_text(block: &Value) -> Result<String, ApiError> {
    let text = block.get("text").and_then(Value::as_str);
    let text = text.filter(|_| block.get("type").is_none_or(|kind| kind == "text"));
    needed("messages", text.map(str::to_owned), "must have text alone in its last message")
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
    /// The message, and the session that it goes to.
    ///
    /// # Errors
    /// There is no text.
    pub(crate) fn message_and_recipient(self) -> Result<(Message, Recipient), ApiError> {
        let StreamFields { message: given, messages, session_id, on_busy } = self.fields;
        let given = match (given, messages.and_then(|mut messages| messages.pop())) {
            (None, Some(last)) => last.text()?,
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid_field("messages", "cannot go with message"));
            }
            (given, None) => text("message", given)?,
        };
        let new = || Recipient::New(Box::new(self.new.unwrap_or_default()));
        Ok((message(given, on_busy), session_id.map_or_else(new, Recipient::Session)))
    }
}

/// `POST /api/sessions/{id}/fork`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ForkSession {
    /// Default: the head.
    pub(crate) snapshot_id: Option<SnapshotName>,
    /// The commit whose files the snapshot has, in its place.
    pub(crate) commit: Option<String>,
    /// How many sessions to make. Default: 1.
    count: Option<Count>,
    /// What each of them may spend on its own: it is taken off what the session may spend. Default: they share what
    /// the session may spend of money and fuel.
    limits: Option<ForkedLimits>,
}

/// What a fork may spend on its own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ForkedLimits {
    /// Money, in US dollars.
    max_budget_usd: Option<Usd>,
    /// Fuel.
    max_fuel: Option<Count>,
    /// Turns. Default: as many as the session has left.
    max_turns: Option<Count>,
}

impl ForkSession {
    /// What each of them may spend on its own.
    pub(crate) fn limits(&self) -> ForkLimits {
        let Some(limits) = &self.limits else { return ForkLimits::default() };
        let count = |count: &Option<Count>| count.as_ref().map(|Count(count)| *count);
        ForkLimits {
            max_budget: limits.max_budget_usd.as_ref().map(|Usd(usd)| *usd),
            max_fuel: count(&limits.max_fuel),
            max_turns: count(&limits.max_turns),
        }
    }

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
    /// It is needed, or `commit`.
    pub(crate) snapshot_id: Option<SnapshotName>,
    /// The commit whose files the snapshot has.
    pub(crate) commit: Option<String>,
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

/// `POST /api/keys`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateKey {
    /// Who calls with the key: the owner of what that caller creates.
    #[schemars(required)]
    pub(crate) principal: Option<String>,
    /// What that caller may do. Default: `user`.
    pub(crate) role: Option<Word<Role>>,
    /// From when on the key admits nobody. Default: it does not end by itself.
    pub(crate) expires_at: Option<Time>,
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

/// The text of a field that is needed.
///
/// # Errors
/// There is none.
pub(super) fn text(name: &'static str, text: Option<String>) -> Result<String, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    needed(name, text, "is needed, and must not be empty")
}

fn message(text: String, on_busy: Option<Word<OnBusy>>) -> Message {
    let on_busy = on_busy.map_or_else(OnBusy::default, |Word(on_busy)| on_busy);
    Message::from(text).on_busy(on_busy)
}
