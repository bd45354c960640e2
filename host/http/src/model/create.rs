//! The body of `POST /api/sessions`, and of whatever else creates a session.

use super::fields::{Fields, Ignored};
use crate::agents::selector;
use crate::error::ApiError;
use dormouse::{Durability, NewSession, Pattern, ResumeFallback, Start};

/// Fields that ask for what this version does not do. Ignored, they would be promises.
const NOT_SUPPORTED: [&str; 1] = ["workspace"];

/// A session to create.
#[derive(Debug)]
pub(crate) struct Create {
    pub(crate) new: NewSession,
    /// What of the body has no meaning.
    pub(crate) ignored: Ignored,
}

impl Create {
    /// From the fields of a body.
    pub(crate) fn from_fields(mut body: Fields) -> Result<Create, ApiError> {
        for field in NOT_SUPPORTED {
            if body.any(field).is_some() {
                return Err(ApiError::not_supported(field));
            }
        }
        let pattern = match body.any("pattern") {
            None => Pattern::default(),
            Some(value) => value
                .as_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(ApiError::invalid_pattern)?,
        };
        let config = body.object("config")?;
        let mut configured = Fields::within("config.", config.clone());
        let agent = body.text("agent")?;
        // A text that can name no agent names none.
        agent.as_deref().map(selector).transpose()?;
        let mut new = NewSession {
            start: start(&mut body, &mut configured)?,
            agent,
            pattern,
            conversation_id: body.any("conversationId"),
            durability: body
                .word("durability", &[Durability::Turn, Durability::Sleep], Durability::as_str)?
                .unwrap_or_default(),
            resume_fallback: body.word(
                "resumeFallback",
                &[ResumeFallback::Parent, ResumeFallback::Fresh],
                ResumeFallback::as_str,
            )?,
            tags: body.texts("tags")?,
            description: body.text("description")?,
            user_id: body.text("userId")?,
            thread_key: body.text("threadKey")?,
            project_id: body.text("projectId")?,
            context: body.object("context")?,
            metadata: body.object("metadata")?,
            require_durable: body.flag("requireDurable")?.unwrap_or(false),
            ..NewSession::default()
        };
        // Those of the body win: they come last.
        take_limits(&mut new, &mut configured)?;
        take_limits(&mut new, &mut body)?;
        new.config = config;
        body.note_inner(&configured);
        // The configuration is the agent's and its clients', and may hold anything else.
        configured.finish()?;
        Ok(Create { new, ignored: body.finish()? })
    }
}

/// Where it starts from. An empty `resumeSessionId` is what clients send who have none.
fn start(body: &mut Fields, configured: &mut Fields) -> Result<Start, ApiError> {
    let template = body.text("template")?.map(Start::Template);
    let resume = configured.text("resumeSessionId")?;
    let resume = resume.filter(|id| !id.is_empty()).map(Start::Resume);
    match (template, resume) {
        (Some(_), Some(_)) => {
            Err(ApiError::invalid_field("template", "cannot go with config.resumeSessionId"))
        }
        (template, resume) => Ok(template.or(resume).unwrap_or_default()),
    }
}

fn take_limits(new: &mut NewSession, from: &mut Fields) -> Result<(), ApiError> {
    new.max_turns = from.count("maxTurns")?.or(new.max_turns);
    new.max_budget = from.money("maxBudgetUsd")?.or(new.max_budget);
    new.max_fuel = from.count("maxFuel")?.or(new.max_fuel);
    new.max_fuel_per_turn = from.count("maxFuelPerTurn")?.or(new.max_fuel_per_turn);
    new.max_memory_bytes = from.count("maxMemoryBytes")?.or(new.max_memory_bytes);
    new.turn_timeout = from.millis("turnTimeoutMs")?.or(new.turn_timeout);
    new.max_idle = from.millis("maxIdleTimeMs")?.or(new.max_idle);
    new.max_lifetime = from.millis("maxLifetimeMs")?.or(new.max_lifetime);
    new.sleep_after = from.millis("sleepAfterMs")?.or(new.sleep_after);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse::NanoUsd;
    use serde_json::{Value, json};

    fn create(value: Value) -> Result<Create, ApiError> {
        let Value::Object(object) = value else { panic!("tests write objects") };
        Create::from_fields(Fields::within("", object))
    }

    #[test]
    fn limits_of_the_body_win_over_those_of_the_configuration() {
        let body = json!({
            "config": { "maxTurns": 10, "maxBudgetUsd": 1.0, "model": "m" },
            "maxTurns": 3,
        });
        let new = create(body).unwrap().new;
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
        for field in NOT_SUPPORTED {
            let error = create(json!({ field: "x" })).unwrap_err();
            assert_eq!(
                (error.code(), error.body("r").more["field"].as_str()),
                ("not_supported", Some(field))
            );
            create(json!({ field: null })).unwrap();
        }
    }

    #[test]
    fn a_session_starts_fresh_from_a_snapshot_or_from_a_template() {
        let resumed = |id| json!({ "config": { "resumeSessionId": id } });
        assert_eq!(create(resumed("s")).unwrap().new.start, Start::Resume("s".to_owned()));
        assert_eq!(create(resumed("")).unwrap().new.start, Start::Fresh);
        let template = create(json!({ "template": "t" })).unwrap().new.start;
        assert_eq!(template, Start::Template("t".to_owned()));
        let mut both = resumed("s");
        both["template"] = json!("t");
        assert_eq!(create(both).unwrap_err().code(), "invalid_field");
    }

    #[test]
    fn words_that_are_not_known_are_answered_with_those_that_are() {
        let error = create(json!({ "durability": "never" })).unwrap_err();
        assert!(error.body("r").error.contains("turn, sleep"));
        let new = create(json!({ "durability": "sleep", "resumeFallback": "fresh" })).unwrap().new;
        assert_eq!(new.durability, Durability::Sleep);
        assert_eq!(new.resume_fallback, Some(ResumeFallback::Fresh));
    }

    #[test]
    fn a_body_with_nothing_in_it_is_an_ephemeral_session() {
        let new = create(json!({})).unwrap().new;
        assert_eq!(new.pattern, Pattern::Ephemeral);
        assert!(new.agent.is_none());
    }
}
