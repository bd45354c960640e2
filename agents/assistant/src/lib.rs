//! Talks with a language model. The agent of sessions that are created without naming one.
//!
//! Its state is the conversation, which it sends to the model with each turn, and a todo list, which the model writes. What
//! the model says goes to the stream of the turn as it comes. It may use the files of the session, and the tools of the host
//! that the session has. The session's `config` says which model, and how: see `settings`.

mod history;
mod settings;

use dormouse_sdk::model::{self, Chat, RunError, ToolChoice, Tools};
use dormouse_sdk::{prelude::*, state, todo::Todos};
use history::{Forgotten, History};
use settings::Settings;

/// A conversation of fewer bytes is not worth the money of a summary.
const COMPACTED_FROM: usize = 16 << 10;
/// A conversation of more bytes is summarized before it goes on: about 100,000 tokens.
const COMPACTED_AT: usize = 400 << 10;
/// Asks for the text that takes the place of the conversation.
const SUMMARIZE: &str = "Summarize our conversation for yourself. You will go on with it from your summary alone, \
                         so keep what I have told you of me, what is decided, and what is still to do.";

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Assistant {
    history: History,
    #[serde(default)]
    todos: Todos,
}

impl Agent for Assistant {
    const STATE_VERSION: u32 = 2;

    fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
        let settings = Settings::of(host)?;
        if self.history.weight() > COMPACTED_AT {
            self.compact_if_possible(&settings, host);
        }
        if self.history.add(&turn.content)?.is_some() {
            self.remind();
        }
        let answer = self.ask(&settings, &settings.chat(host).forward(), host)?;
        Ok(Reply::text(answer))
    }

    /// Has the model summarize the conversation, and goes on from the summary.
    fn compact(&mut self, host: &Host) -> Result<Reply> {
        if self.history.bytes() < COMPACTED_FROM {
            return Err(Error::declined());
        }
        let summary = self.summarize(&Settings::of(host)?, host)?;
        Ok(Reply::text(summary))
    }

    /// The first version had no model, and remembered a name and facts.
    fn migrate(saved: &state::Saved) -> Result<Self, state::Error> {
        match saved.version {
            1 => Ok(Assistant {
                history: saved.decode::<history::First>()?.into(),
                todos: Todos::default(),
            }),
            other => Err(state::Error::UnsupportedVersion(other)),
        }
    }
}

export_agent!(Assistant, portable);

impl Assistant {
    /// Has the model summarize the conversation, which goes on from there.
    fn summarize(&mut self, settings: &Settings, host: &Host) -> Result<String> {
        self.history.add(&[Part::text(SUMMARIZE)])?;
        let chat = settings.chat(host).tool_choice(ToolChoice::None);
        let summary = self.ask(settings, &chat, host)?;
        if summary.is_empty() {
            return Err(Error::failed("the model gave no summary"));
        }
        self.history = History::from_summary(&summary);
        self.remind();
        Ok(summary)
    }

    /// The same, where that is not what the turn is for: without a summary the conversation goes on as it is.
    fn compact_if_possible(&mut self, settings: &Settings, host: &Host) {
        let before = self.history.clone();
        let messages = before.len();
        match self.summarize(settings, host) {
            Ok(_) => host.log().field("messages", messages).info("summarized the conversation"),
            Err(error) => {
                self.history = before;
                host.log().field("error", error).warn("the conversation is not summarized");
            }
        }
    }

    /// The model sees its list again: what it was told of the list may be gone.
    fn remind(&mut self) {
        if let Some(reminder) = self.todos.reminder() {
            self.history.begin_with(reminder);
        }
    }

    /// What the model says to the conversation. Where it is too long for the model, the older half of it is
    /// forgotten, until the question alone is left.
    fn ask(&mut self, settings: &Settings, chat: &Chat<'_>, host: &Host) -> Result<String> {
        let mut asked = self.history.len();
        loop {
            let error = match self.run(settings, chat.clone(), host) {
                Ok(()) => return Ok(self.history.said_since(asked)),
                Err(error) => error,
            };
            if !matches!(error, RunError::Model(model::Error::ContextTooLong(_))) {
                return Err(failure(&error));
            }
            let Some(Forgotten(messages)) = self.history.forget_older_half() else {
                return Err(failure(&error));
            };
            asked = asked.saturating_sub(messages);
            self.remind();
            host.log().field("messages", messages).warn("forgot what is too long for the model");
        }
    }

    /// Let the model use its tools until it is done.
    fn run(&mut self, settings: &Settings, chat: Chat<'_>, host: &Host) -> Result<(), RunError> {
        let Assistant { history, todos } = self;
        // The host leaves out those of its own that are not allowed.
        let mut tools = Tools::new()
            .rounds(settings.rounds())
            .of_todos(todos, host)
            .of_files(host.files())
            .only(|tool| settings.allows(tool))
            .of_host(host.tools());
        chat.run(history.conversation(), &mut tools).map(|_| ())
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
