//! The body of `POST /api/sessions`, and of whatever else creates a session.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::reading::{Body, FieldReader};
use super::value::{ConversationId, Count, Millis, Rule, SessionName, Usd, Word};
use crate::error::ApiError;
use dormouse::{
    AgentSelector, Durability, JsonObject, MAX_PEERS, NewSession, Pattern, ResumeFallback,
    StartFrom,
};
use dormouse_domain::creation::{MAX_DESCRIPTION, MAX_LABEL, MAX_SESSION_RULES, MAX_TAGS};
use dormouse_domain::tool::{MAX_ALLOWED_TOOLS, MAX_TOOL_NAME};

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
    /// How it is hosted. Default: `ephemeral`; where `POST /api/agent/stream` creates it, `hybrid`.
    pattern: Option<Word<Pattern>>,
    /// `name`, `name@version`, `owner/name`, `owner/name@version` or a digest. Default: the agent of what the session
    /// starts from, else the default agent of the host.
    agent: Option<String>,
    /// The name of the template that it starts from. It cannot go with `config.resumeSessionId`.
    template: Option<String>,
    /// Kept as it is.
    #[schemars(with = "ConfigFields")]
    config: JsonObject,
    /// A string or a number.
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<Value>,
    /// When its state is saved: with each turn, or when it goes to sleep. Default: `turn`.
    durability: Option<Word<Durability>>,
    /// What it does by itself when its state is damaged. Default: it goes into `error`.
    resume_fallback: Option<Word<ResumeFallback>>,
    /// What its agent may reach over HTTP, where the operator allows it too: rules such as `GET api.example.com`,
    /// 8 KiB together. Default: nothing.
    #[schemars(length(max = MAX_SESSION_RULES))]
    egress: Vec<Rule>,
    /// Labels for lists: 1 to 200 characters each, 1,024 bytes together.
    #[schemars(length(max = MAX_TAGS))]
    tags: Vec<String>,
    /// What it is for.
    #[schemars(length(max = MAX_DESCRIPTION))]
    description: Option<String>,
    /// A label for the user that it serves.
    #[schemars(length(min = 1, max = MAX_LABEL))]
    user_id: Option<String>,
    /// The conversation that it continues: where the caller has an open session of this thread, that one is the answer.
    #[schemars(length(min = 1, max = MAX_LABEL))]
    thread_key: Option<String>,
    /// The project that it belongs to.
    #[schemars(length(min = 1, max = MAX_LABEL))]
    project_id: Option<String>,
    /// A document for its agent to read: 64 KiB at most.
    context: JsonObject,
    /// Anything else to keep: 64 KiB at most.
    metadata: JsonObject,
    /// The sessions that its agent may write to, each under the name that it has for it: 64 at most, of the same owner.
    #[schemars(extend("maxProperties" = MAX_PEERS))]
    peers: BTreeMap<String, SessionName>,
    /// Whether agents are refused whose state would not outlive the host. Default: `false`.
    require_durable: Option<bool>,
    /// Not supported by this version, and refused: ignored, it would be a promise.
    workspace: Option<Value>,
}

/// What the host reads in the configuration, which is the agent's and its clients', and may hold anything
/// else.
#[derive(Debug, Default, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
struct ConfigFields {
    #[schemars(flatten)]
    resume: ResumeFields,
    #[schemars(flatten)]
    limits: LimitFields,
    #[schemars(flatten)]
    #[expect(dead_code, reason = "its form is checked; the host reads it where it is kept")]
    tools: ToolFields,
}

/// What the agent of a session may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct ToolFields {
    /// The names of the tools of the host that its agent may use. Default: all that the host has.
    #[schemars(length(max = MAX_ALLOWED_TOOLS), inner(length(min = 1, max = MAX_TOOL_NAME)))]
    allowed_tools: Option<Vec<String>>,
}

/// Which state a session starts from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct ResumeFields {
    /// The id of a snapshot or of a session, or `SESSION@COMMIT`: the state with the files of this commit. Clients that have
    /// none send an empty one.
    #[schemars(length(max = MAX_LABEL))]
    resume_session_id: Option<String>,
    /// When the session does not go on from that state, but starts fresh. The host reads it in the configuration.
    resume_unless: Option<ResumeUnless>,
}

/// When a session does not go on from a state.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ResumeUnless {
    /// Where more files than this have changed since, in the session that the state is of.
    #[expect(dead_code, reason = "the configuration keeps it, and the host reads it there")]
    changed_files: Count,
}

/// What a session may spend.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct LimitFields {
    /// Turns over its whole life.
    #[schemars(range(min = 1))]
    max_turns: Option<Count>,
    /// Money over its whole life, more than 0.
    max_budget_usd: Option<Usd>,
    /// Fuel over its whole life.
    #[schemars(range(min = 1))]
    max_fuel: Option<Count>,
    /// Fuel of one turn. Default: that of the host, 10,000,000,000 unless configured.
    #[schemars(range(min = 1))]
    max_fuel_per_turn: Option<Count>,
    /// Memory of its agent. Default, and at most: that of the host, 256 MiB unless configured.
    #[schemars(range(min = 1))]
    max_memory_bytes: Option<Count>,
    /// How long one turn may take. Default: that of the host, 120,000 unless configured.
    #[schemars(range(min = 1))]
    turn_timeout_ms: Option<Millis>,
    /// How long it may go without a message. Default: for ever; with a `threadKey`, 45 minutes.
    #[schemars(range(min = 1))]
    max_idle_time_ms: Option<Millis>,
    /// How long before the end of `maxIdleTimeMs` an event warns of it.
    grace_period_ms: Option<Millis>,
    /// How long it may live. Default: for ever.
    #[schemars(range(min = 1))]
    max_lifetime_ms: Option<Millis>,
    /// How long after a turn its instance stays in memory. Default: while there is room; where it is `hybrid`, 60,000.
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
        Ok(ConfigFields { resume: reader.take()?, limits: reader.take()?, tools: reader.take()? })
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
            egress: Rule::policy(fields.egress)?,
            tags: fields.tags,
            description: fields.description,
            user_id: fields.user_id,
            thread_key: fields.thread_key,
            project_id: fields.project_id,
            context: fields.context,
            metadata: fields.metadata,
            peers: fields.peers.into_iter().map(|(name, SessionName(id))| (name, id)).collect(),
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
