//! The host as a component sees it: its imports.

mod metrics;
mod model;
mod peers;
mod timers;
mod tools;
mod view;

use serde_json::Value;

use crate::{
    bindings::handler::dormouse::agent as imports,
    files,
    log::Level,
    output,
    session::{CheckpointError, Limits, NanoUsd, Pattern, Usage},
};

#[derive(Debug)]
pub(crate) struct Backend;

impl Backend {
    pub(crate) fn id(&self) -> String {
        imports::session::get_id()
    }

    pub(crate) fn pattern(&self) -> Pattern {
        match imports::session::get_pattern() {
            imports::session::Pattern::Ephemeral => Pattern::Ephemeral,
            imports::session::Pattern::LongRunning => Pattern::LongRunning,
            imports::session::Pattern::Hybrid => Pattern::Hybrid,
            imports::session::Pattern::SingleContainer => Pattern::SingleContainer,
        }
    }

    pub(crate) fn config(&self, key: &str) -> Result<Option<Value>, serde_json::Error> {
        use imports::session::Value as Config;
        let Some(value) = imports::session::get_config(key) else {
            return Ok(None);
        };
        Ok(Some(match value {
            Config::Null => Value::Null,
            Config::Boolean(value) => value.into(),
            Config::Integer(value) => value.into(),
            Config::Number(value) => value.into(),
            Config::Text(value) => value.into(),
            Config::Json(document) => serde_json::from_str(&document)?,
        }))
    }

    pub(crate) fn limits(&self) -> Limits {
        let limits = imports::session::get_limits();
        Limits {
            turns: limits.turns,
            cost: limits.cost.map(NanoUsd),
            fuel: limits.fuel,
            fuel_per_turn: limits.fuel_per_turn,
            memory: limits.memory,
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let usage = imports::session::get_usage();
        Usage {
            turns: usage.turns,
            cost: NanoUsd(usage.cost),
            fuel: usage.fuel,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
        }
    }

    pub(crate) fn context(&self) -> String {
        imports::session::get_context()
    }

    pub(crate) fn checkpoint(&self) -> Option<String> {
        imports::session::get_checkpoint()
    }

    pub(crate) fn set_checkpoint(&self, checkpoint: &str) -> Result<(), CheckpointError> {
        use imports::session::CheckpointError as Refused;
        imports::session::set_checkpoint(checkpoint).map_err(|refused| match refused {
            Refused::TooLarge(bytes) => CheckpointError::TooLarge(bytes),
            Refused::Invalid(reason) => CheckpointError::Invalid(reason),
        })
    }

    pub(crate) fn workspace(&self) -> &'static str {
        files::WORKSPACE
    }

    pub(crate) fn stream_text(&self, delta: &str) -> Result<(), output::Error> {
        imports::output::text(delta).map_err(output_error)
    }

    pub(crate) fn stream_event(&self, name: &str, data: &str) -> Result<(), output::Error> {
        imports::output::event(name, data).map_err(output_error)
    }

    pub(crate) fn log(&self, level: Level, message: &str, fields: &[(String, String)]) {
        let level = match level {
            Level::Trace => imports::log::Level::Trace,
            Level::Debug => imports::log::Level::Debug,
            Level::Info => imports::log::Level::Info,
            Level::Warn => imports::log::Level::Warn,
            Level::Error => imports::log::Level::Error,
        };
        imports::log::log(level, message, fields);
    }
}

fn output_error(error: imports::output::Error) -> output::Error {
    match error {
        imports::output::Error::TooLarge(bytes) => output::Error::TooLarge(bytes),
        imports::output::Error::Invalid(reason) => output::Error::Invalid(reason),
    }
}
