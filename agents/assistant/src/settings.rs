//! What the session's `config` says of the conversation, in the words that clients of agents use.

use dormouse_sdk::model::{Chat, DEFAULT_ROUNDS};
use dormouse_sdk::prelude::*;
use serde::de::DeserializeOwned;

/// | field of `config` | what it says |
/// | --- | --- |
/// | `model` | which model is asked; the host's default where it is left out |
/// | `systemPrompt` | the instructions: a text, or `{"type": "preset", "append": TEXT}` |
/// | `maxTurns` | how often the model is asked in one turn, at most: [`DEFAULT_ROUNDS`] unless it is fewer. The host counts the turns of the session by it besides. |
/// | `maxTokens` | the most tokens of one answer |
/// | `temperature` | how much chance there is in an answer, from 0 to 2 |
/// | `allowedTools` | the tools that the model may use; all where it is left out |
pub(crate) struct Settings {
    model: Option<String>,
    instructions: Option<Instructions>,
    max_turns: Option<u64>,
    max_tokens: Option<u32>,
    temperature: Option<f64>,
    allowed_tools: Option<Vec<String>>,
}

/// Instructions, as clients write them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Instructions {
    Text(String),
    /// Those of a product, which are not known here, and what the client adds to them.
    Preset {
        append: Option<String>,
    },
}

impl Settings {
    pub(crate) fn of(host: &Host) -> Result<Settings> {
        Ok(Settings {
            model: read(host, "model")?,
            instructions: read(host, "systemPrompt")?,
            max_turns: read(host, "maxTurns")?,
            max_tokens: read(host, "maxTokens")?,
            temperature: read(host, "temperature")?,
            allowed_tools: read(host, "allowedTools")?,
        })
    }

    /// A request as they say, without a conversation.
    pub(crate) fn chat<'a>(&self, host: &'a Host) -> Chat<'a> {
        let mut chat = host.model().chat(self.model.as_deref().unwrap_or_default());
        let instructions = match &self.instructions {
            Some(Instructions::Text(text)) => Some(text),
            Some(Instructions::Preset { append }) => append.as_ref(),
            None => None,
        };
        if let Some(text) = instructions {
            chat = chat.system(text);
        }
        if let Some(tokens) = self.max_tokens {
            chat = chat.max_tokens(tokens);
        }
        if let Some(temperature) = self.temperature {
            chat = chat.temperature(temperature);
        }
        chat
    }

    /// Whether the model may use the tool of this name.
    pub(crate) fn allows(&self, tool: &str) -> bool {
        let allowed = self.allowed_tools.as_ref();
        allowed.is_none_or(|allowed| allowed.iter().any(|name| name == tool))
    }

    /// How often the model is asked in one turn, at most.
    pub(crate) fn rounds(&self) -> u32 {
        let asked = self.max_turns.and_then(|turns| u32::try_from(turns).ok());
        asked.map_or(DEFAULT_ROUNDS, |turns| turns.clamp(1, DEFAULT_ROUNDS))
    }
}

/// A field of the configuration. `null` is as good as none.
fn read<T: DeserializeOwned>(host: &Host, field: &str) -> Result<Option<T>> {
    let value = host.session().config::<Option<T>>(field);
    let value = value.map_err(|error| Error::invalid(format!("config.{field}: {error}")))?;
    Ok(value.flatten())
}
