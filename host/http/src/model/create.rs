//! The body of `POST /api/sessions`, and of whatever else creates a session.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::reading::{Body, FieldReader};
use super::value::{Count, Millis, Usd, Word};
use crate::error::ApiError;
use dormouse::{
    AgentSelector, Durability, JsonObject, NewSession, Pattern, ResumeFallback, StartFrom,
};

/// A session to create. The limits of the body win over those of its configuration.
#[derive(Debug, Default, JsonSchema)]
pub(crate) struct CreateSession {
    #[schemars(flatten)]
    fields: SessionFields,
    #[schemars(flatten)]
    limits: LimitFields,
    /// Read in the `config` of the fields.
    #[schemars(skip)]
    configured: ConfigFields,
}

/// What a session is, besides its limits.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct SessionFields {
    pattern: Option<Word<Pattern>>,
    agent: Option<String>,
    template: Option<String>,
    /// Kept as it is.
    #[schemars(with = "ConfigFields")]
    config: JsonObject,
    /// A string or a number.
    conversation_id: Option<Value>,
    durability: Option<Word<Durability>>,
    resume_fallback: Option<Word<ResumeFallback>>,
    tags: Vec<String>,
    description: Option<String>,
    user_id: Option<String>,
    thread_key: Option<String>,
    project_id: Option<String>,
    context: JsonObject,
    metadata: JsonObject,
    require_durable: Option<bool>,
    /// Not supported by this version, and refused: ignored, it would be a promise.
    workspace: Option<Value>,
}

/// What the host reads in the configuration, which is the agent's and its clients', and may hold anything
/// else.
#[derive(Debug, Default, JsonSchema)]
struct ConfigFields {
    #[schemars(flatten)]
    resume: ResumeFields,
    #[schemars(flatten)]
    limits: LimitFields,
}

/// Which state a session starts from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct ResumeFields {
    /// The id of a snapshot or of a session. Clients that have none send an empty one.
    resume_session_id: Option<String>,
}

/// What a session may spend.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct LimitFields {
    max_turns: Option<Count>,
    max_budget_usd: Option<Usd>,
    max_fuel: Option<Count>,
    max_fuel_per_turn: Option<Count>,
    max_memory_bytes: Option<Count>,
    turn_timeout_ms: Option<Millis>,
    max_idle_time_ms: Option<Millis>,
    /// How long before the end of `maxIdleTimeMs` an event warns of it.
    grace_period_ms: Option<Millis>,
    max_lifetime_ms: Option<Millis>,
    sleep_after_ms: Option<Millis>,
    /// How long its state is kept while nobody uses it.
    keep_state_ms: Option<Millis>,
}

impl CreateSession {
    /// Whether it says how long the session lives.
    pub(crate) fn has_pattern(&self) -> bool {
        self.fields.pattern.is_some()
    }
}

impl Body for CreateSession {
    fn read(reader: &mut FieldReader<'_>) -> Result<CreateSession, ApiError> {
        let fields: SessionFields = reader.take()?;
        let limits = reader.take()?;
        if fields.workspace.is_some() {
            return Err(ApiError::not_supported("workspace"));
        }
        let configured = reader.inner("config.", &fields.config)?;
        Ok(CreateSession { fields, limits, configured })
    }
}

impl Body for ConfigFields {
    fn read(reader: &mut FieldReader<'_>) -> Result<ConfigFields, ApiError> {
        Ok(ConfigFields { resume: reader.take()?, limits: reader.take()? })
    }
}

impl TryFrom<CreateSession> for NewSession {
    type Error = ApiError;

    /// # Errors
    /// The session would start from two states, or the text for its agent can name none.
    fn try_from(body: CreateSession) -> Result<NewSession, ApiError> {
        let CreateSession { fields, limits, configured } = body;
        if let Some(agent) = &fields.agent {
            agent.parse::<AgentSelector>()?;
        }
        let mut new = NewSession {
            start: start(fields.template, configured.resume)?,
            agent: fields.agent,
            pattern: fields.pattern.map_or_else(Pattern::default, |Word(pattern)| pattern),
            config: fields.config,
            conversation_id: fields.conversation_id,
            durability: fields.durability.map_or_else(Durability::default, |Word(word)| word),
            resume_fallback: fields.resume_fallback.map(|Word(fallback)| fallback),
            tags: fields.tags,
            description: fields.description,
            user_id: fields.user_id,
            thread_key: fields.thread_key,
            project_id: fields.project_id,
            context: fields.context,
            metadata: fields.metadata,
            require_durable: fields.require_durable.unwrap_or(false),
            ..NewSession::default()
        };
        configured.limits.set(&mut new);
        limits.set(&mut new);
        Ok(new)
    }
}

fn start(template: Option<String>, resume: ResumeFields) -> Result<StartFrom, ApiError> {
    let template = template.map(StartFrom::Template);
    let resume = resume.resume_session_id.filter(|id| !id.is_empty()).map(StartFrom::Resume);
    match (template, resume) {
        (Some(_), Some(_)) => {
            Err(ApiError::invalid_field("template", "cannot go with config.resumeSessionId"))
        }
        (template, resume) => Ok(template.or(resume).unwrap_or_default()),
    }
}

impl LimitFields {
    /// Set the limits that are given, in the place of those that were set before.
    fn set(&self, new: &mut NewSession) {
        let count = |field: Option<Count>| field.map(|Count(count)| count);
        let time = |field: Option<Millis>| field.map(|Millis(time)| time);
        new.max_turns = count(self.max_turns).or(new.max_turns);
        new.max_budget = self.max_budget_usd.map(|Usd(amount)| amount).or(new.max_budget);
        new.max_fuel = count(self.max_fuel).or(new.max_fuel);
        new.max_fuel_per_turn = count(self.max_fuel_per_turn).or(new.max_fuel_per_turn);
        new.max_memory_bytes = count(self.max_memory_bytes).or(new.max_memory_bytes);
        new.turn_timeout = time(self.turn_timeout_ms).or(new.turn_timeout);
        new.max_idle = time(self.max_idle_time_ms).or(new.max_idle);
        new.idle_grace = time(self.grace_period_ms).or(new.idle_grace);
        new.max_lifetime = time(self.max_lifetime_ms).or(new.max_lifetime);
        new.sleep_after = time(self.sleep_after_ms).or(new.sleep_after);
        new.state_kept = time(self.keep_state_ms).or(new.state_kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reading::read;
    use dormouse::NanoUsd;
    use serde_json::json;

    fn create(value: Value) -> Result<NewSession, ApiError> {
        let Value::Object(object) = value else { panic!("tests write objects") };
        let (body, _) = read::<CreateSession>(object)?;
        body.try_into()
    }

    #[test]
    fn limits_of_the_body_win_over_those_of_the_configuration() {
        let body = json!({
            "config": { "maxTurns": 10, "maxBudgetUsd": 1.0, "model": "m" },
            "maxTurns": 3,
        });
        let new = create(body).unwrap();
        assert_eq!((new.max_turns, new.max_budget), (Some(3), Some(NanoUsd(1_000_000_000))));
        assert_eq!(new.config["model"], "m");
        assert_eq!(new.config["maxTurns"], 10);
    }

    #[test]
    fn an_unknown_pattern_is_answered_with_the_valid_ones() {
        for pattern in [json!("weekly"), json!(7)] {
            let error = create(json!({ "pattern": pattern })).unwrap_err();
            assert_eq!(error.code(), "invalid_pattern");
            assert_eq!(error.body("r").more["validPatterns"][1], "long-running");
        }
    }

    #[test]
    fn what_this_version_does_not_do_is_refused_by_name() {
        let error = create(json!({ "workspace": "x" })).unwrap_err();
        assert_eq!(error.code(), "not_supported");
        assert_eq!(error.body("r").more["field"], "workspace");
        create(json!({ "workspace": null })).unwrap();
    }

    #[test]
    fn a_session_starts_fresh_from_a_snapshot_or_from_a_template() {
        let resumed = |id| json!({ "config": { "resumeSessionId": id } });
        assert_eq!(create(resumed("s")).unwrap().start, StartFrom::Resume("s".to_owned()));
        assert_eq!(create(resumed("")).unwrap().start, StartFrom::Fresh);
        let template = create(json!({ "template": "t" })).unwrap().start;
        assert_eq!(template, StartFrom::Template("t".to_owned()));
        let mut both = resumed("s");
        both["template"] = json!("t");
        assert_eq!(create(both).unwrap_err().code(), "invalid_field");
    }

    #[test]
    fn words_that_are_not_known_are_answered_with_those_that_are() {
        let error = create(json!({ "durability": "never" })).unwrap_err();
        assert!(error.body("r").error.contains("turn, sleep"));
        let new = create(json!({ "durability": "sleep", "resumeFallback": "fresh" })).unwrap();
        assert_eq!(new.durability, Durability::Sleep);
        assert_eq!(new.resume_fallback, Some(ResumeFallback::Fresh));
    }

    #[test]
    fn a_body_with_nothing_in_it_is_an_ephemeral_session() {
        let new = create(json!({})).unwrap();
        assert_eq!(new.pattern, Pattern::Ephemeral);
        assert!(new.agent.is_none());
    }
}
