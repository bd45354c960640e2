//! Tools of the host as a component sees them: the import `tools`, which is in a component only if it uses one.

use std::time::Duration;

use serde_json::Value;

use super::{Backend, imports::model as wire_model, imports::tools as wire};
use crate::{
    handler::{Json, Part},
    model::Tool,
    tools::{Answer, Error},
};

impl Backend {
    pub(crate) fn tools(&self) -> Vec<Tool> {
        let tool = |tool: wire_model::Tool| Tool {
            name: tool.name,
            description: tool.description,
            // The host has checked that it is JSON.
            schema: serde_json::from_str(&tool.schema).unwrap_or(Value::Null),
        };
        wire::list().into_iter().map(tool).collect()
    }

    pub(crate) fn call_tool(&self, name: &str, arguments: &str) -> Result<Answer, Error> {
        wire::call(name, arguments).map(Answer::from).map_err(Error::from)
    }
}

impl From<wire::Answer> for Answer {
    fn from(answer: wire::Answer) -> Self {
        let content = answer.content.into_iter().map(|part| match part {
            wire::Content::Text(text) => Part::Text(text),
            wire::Content::Json(text) => Part::Json(Json::from_text(text)),
            wire::Content::Blob(blob) => Part::blob(blob.media_type, blob.data),
        });
        Answer { content: content.collect(), is_error: answer.is_error }
    }
}

impl From<wire::Error> for Error {
    fn from(error: wire::Error) -> Self {
        match error {
            wire::Error::NotAllowed(why) => Error::NotAllowed(why),
            wire::Error::Unknown => Error::Unknown,
            wire::Error::Invalid(why) => Error::Invalid(why),
            wire::Error::Unavailable(wire::Unavailable { reason, retry_after }) => {
                Error::Unavailable { reason, retry_after: retry_after.map(Duration::from_millis) }
            }
            wire::Error::TimedOut(why) => Error::TimedOut(why),
            wire::Error::TooLarge(why) => Error::TooLarge(why),
            wire::Error::BudgetExceeded(why) => Error::BudgetExceeded(why),
            wire::Error::UnknownOutcome => Error::UnknownOutcome,
        }
    }
}
