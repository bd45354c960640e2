//! Talks with a language model. The agent of sessions that are created without naming one.
//!
//! Its state is the conversation, which it sends to the model with each turn. What the model says goes to the
//! stream of the turn as it comes. The session's `config` says which model, and how: see `settings`.

mod history;
mod settings;

use dormouse_sdk::model::{self, Chat, RunError, Tools};
use dormouse_sdk::{prelude::*, state};
use history::{Forgotten, History};
use settings::Settings;

/// A conversation of fewer bytes is not worth the money of a summary.
const COMPACTED_FROM: usize = 16 << 10;
/// Asks for the text that takes the place of the conversation.
const SUMMARIZE: &str = "Summarize our conversation for yourself. You will go on with it from your summary alone, \
                         so keep what I have told you of me, what is decided, and what is still to do.";

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Assistant {
    history: History,
}

impl Agent for Assistant {
    const STATE_VERSION: u32 = 2;

    fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
        let settings = Settings::of(host)?;
        self.history.add(&turn.content)?;
        let answer = self.ask(&settings, &settings.chat(host).forward(), host)?;
        Ok(Reply::text(answer))
    }

    /// Has the model summarize the conversation, and goes on from the summary.
    fn compact(&mut self, host: &Host) -> Result<Reply> {
        if self.history.bytes() < COMPACTED_FROM {
            return Err(Error::declined());
        }
        let settings = Settings::of(host)?;
        self.history.add(&[Part::text(SUMMARIZE)])?;
        let summary = self.ask(&settings, &settings.chat(host), host)?;
        if summary.is_empty() {
            return Err(Error::failed("the model gave no summary"));
        }
        self.history = History::from_summary(&summary);
        Ok(Reply::text(summary))
    }

    /// The first version had no model, and remembered a name and facts.
    fn migrate(saved: &state::Saved) -> Result<Self, state::Error> {
        match saved.version {
            1 => Ok(Assistant { history: saved.decode::<history::First>()?.into() }),
            other => Err(state::Error::UnsupportedVersion(other)),
        }
    }
}

export_agent!(Assistant, portable);

impl Assistant {
    /// What the model says to the conversation. Where it is too long for the model, the older half of it is
    /// forgotten, until the question alone is left.
    fn ask(&mut self, settings: &Settings, chat: &Chat<'_>, host: &Host) -> Result<String> {
        let mut tools = Tools::new().rounds(settings.rounds());
        let mut asked = self.history.len();
        loop {
            let answer = chat.clone().run(self.history.conversation(), &mut tools);
            let error = match answer {
                Ok(_) => return Ok(self.history.said_since(asked)),
                Err(error) => error,
            };
            if !matches!(error, RunError::Model(model::Error::ContextTooLong(_))) {
                return Err(failure(&error));
            }
            let Some(Forgotten(messages)) = self.history.forget_older_half() else {
                return Err(failure(&error));
            };
            asked = asked.saturating_sub(messages);
            host.log().field("messages", messages).warn("forgot what is too long for the model");
        }
    }
}

/// Why there is no answer, in the words of the model's error: whoever reads `budget-exceeded: …` knows why.
fn failure(error: &RunError) -> Error {
    let text = error.to_string();
    match error {
        RunError::Model(error) => match error {
            // The sender can say something else, or something shorter.
            model::Error::Invalid(_)
            | model::Error::Refused(_)
            | model::Error::ContextTooLong(_) => Error::invalid(text),
            model::Error::RateLimited(_)
            | model::Error::Overloaded(_)
            | model::Error::BudgetExceeded(_)
            | model::Error::NotAllowed(_)
            | model::Error::Unavailable(_)
            | model::Error::Interrupted(_)
            | model::Error::UnknownOutcome => Error::failed(text),
        },
        RunError::TooManyRounds(_) => Error::failed(text),
    }
}

#[cfg(test)]
mod tests;
