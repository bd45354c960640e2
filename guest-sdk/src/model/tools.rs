//! The agent loop: run the tools that a model asks for, until it asks for none.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    answer::{Answer, StopReason},
    conversation::{Content, Conversation, Message, Role, ToolCall, ToolResult},
    error::Error,
    request::{Chat, Tool},
};
use crate::tools::HostTools;

/// How often a model is asked in one run, unless [`Tools::rounds`] says something else.
pub const DEFAULT_ROUNDS: u32 = 50;

/// Tools that an agent runs for a model, and how long it does so.
///
/// ```
/// # use dormouse_sdk::{model::{Answer, Conversation, Tool, Tools}, prelude::*, testing::MockHost};
/// #[derive(Deserialize)]
/// struct Add { a: i64, b: i64 }
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Calculator { conversation: Conversation }
///
/// impl Agent for Calculator {
///     fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
///         let number = json!({ "type": "integer" });
///         let schema = json!({
///             "type": "object",
///             "properties": { "a": number, "b": number },
///             "required": ["a", "b"],
///         });
///         let mut tools = Tools::new()
///             .tool(Tool::new("add", "Adds two numbers.", schema), |add: Add| Ok(add.a + add.b));
///         self.conversation.user(turn.text());
///         let chat = host.model().chat("claude-haiku-4-5").system("You count.");
///         let answer = chat.run(&mut self.conversation, &mut tools)?;
///         Ok(Reply::text(answer.text()))
///     }
/// }
///
/// let mut mock = MockHost::new()
///     .with_answer(Answer::of_tool_call("add", &json!({ "a": 40, "b": 2 })))
///     .with_answer(Answer::of_text("It is 42."));
/// let mut calculator = Calculator::default();
/// let reply = mock.turn(&mut calculator, "What is 40 + 2?").unwrap();
/// assert_eq!(reply, Reply::text("It is 42."));
/// assert_eq!(calculator.conversation.messages.len(), 4);
/// ```
pub struct Tools<'t> {
    tools: Vec<(Tool, Run<'t>)>,
    rounds: u32,
}

/// Runs a tool. An error goes to the model.
type Run<'t> = Box<dyn FnMut(&ToolCall) -> crate::Result<String> + 't>;

impl Default for Tools<'_> {
    fn default() -> Self {
        Tools::new()
    }
}

impl fmt::Debug for Tools<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.tools.iter().map(|(tool, _)| &tool.name);
        f.debug_list().entries(names).finish()
    }
}

impl<'t> Tools<'t> {
    /// No tools yet.
    pub fn new() -> Self {
        Tools { tools: Vec::new(), rounds: DEFAULT_ROUNDS }
    }

    /// Adds a tool, and what runs it. A text that it returns reaches the model as it is, and any other value as
    /// JSON. An error of it, and arguments that are not of the shape of `A`, reach the model as the failure
    /// of the tool, so that the model can do better.
    #[must_use]
    pub fn tool<A, R>(mut self, tool: Tool, mut run: impl FnMut(A) -> crate::Result<R> + 't) -> Self
    where
        A: DeserializeOwned,
        R: Serialize,
    {
        let run = move |call: &ToolCall| {
            let arguments = call.parse().map_err(|error| {
                crate::Error::invalid(format!("the arguments are not as the schema says: {error}"))
            })?;
            Ok(match serde_json::to_value(run(arguments)?)? {
                Value::String(text) => text,
                value => value.to_string(),
            })
        };
        self.tools.push((tool, Box::new(run)));
        self
    }

    /// Adds the tools of the host that the session may use, but those whose names are taken. What one cannot do
    /// reaches the model as its failure.
    ///
    /// ```
    /// # use dormouse_sdk::{model::{Answer, Conversation, Tools}, prelude::*, testing::MockHost, tools};
    /// # #[derive(Default)]
    /// # struct Reader;
    /// # impl Agent for Reader {
    /// # fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
    /// let mut conversation = Conversation::new();
    /// conversation.user(turn.text());
    /// let mut tools = Tools::new().of_host(host.tools());
    /// let answer = host.model().chat("").run(&mut conversation, &mut tools)?;
    /// # Ok(Reply::text(answer.text()))
    /// # }
    /// # }
    /// # let mut mock = MockHost::new()
    /// #     .with_tool("WebFetch", |_| Ok(tools::Answer::of_text("Example Domain")))
    /// #     .with_answer(Answer::of_tool_call("WebFetch", &json!({ "url": "https://example.com/" })))
    /// #     .with_answer(Answer::of_text("It is an example."));
    /// # assert_eq!(mock.turn(&mut Reader, "What is there?").unwrap(), Reply::text("It is an example."));
    /// # assert_eq!(mock.tool_calls().len(), 1);
    /// ```
    #[must_use]
    pub fn of_host(mut self, host: HostTools<'t>) -> Self {
        for tool in host.list() {
            if self.has(&tool.name) {
                continue;
            }
            let run = move |call: &ToolCall| {
                let answer = host.call_with_text(&call.name, &call.arguments)?;
                match answer.is_error {
                    false => Ok(answer.text()),
                    true => Err(crate::Error::failed(answer.text())),
                }
            };
            self.tools.push((tool, Box::new(run)));
        }
        self
    }

    /// Leaves out the tools that it has so far and whose names are not allowed, such as those that `allowedTools` of the
    /// session does not have.
    #[must_use]
    pub fn only(mut self, allows: impl Fn(&str) -> bool) -> Self {
        self.tools.retain(|(tool, _)| allows(&tool.name));
        self
    }

    /// Sets how often the model is asked in one run: [`DEFAULT_ROUNDS`] unless it is set.
    #[must_use]
    pub fn rounds(mut self, rounds: u32) -> Self {
        self.rounds = rounds;
        self
    }

    /// Whether it has a tool of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tools.iter().any(|(tool, _)| tool.name == name)
    }

    fn run(&mut self, call: &ToolCall) -> ToolResult {
        let Some((_, run)) = self.tools.iter_mut().find(|(tool, _)| tool.name == call.name) else {
            return call.failure(format!("there is no tool of the name `{}`", call.name));
        };
        match run(call) {
            Ok(content) => call.result(content),
            Err(error) => call.failure(error.to_string()),
        }
    }
}

/// Why a run did not come to its end. The conversation has all that was said, and can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// A model did not answer.
    Model(Error),
    /// The model still asked for tools after so many answers. All of them were run.
    TooManyRounds(u32),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Model(error) => error.fmt(f),
            RunError::TooManyRounds(rounds) => {
                write!(f, "the model was not done after {rounds} answers")
            }
        }
    }
}

impl std::error::Error for RunError {}

impl From<Error> for RunError {
    fn from(error: Error) -> Self {
        RunError::Model(error)
    }
}

impl Chat<'_> {
    /// Asks, runs the tools that the model asks for, and asks again with their results, until the model asks
    /// for none. Each message is added to the conversation, which comes after the messages that this request
    /// has besides. A long answer that its provider pauses goes on, and what the model thought goes back as it
    /// came.
    ///
    /// The answer is the last one, whatever its [`StopReason`] is: an answer that was cut off by its most tokens
    /// is no error.
    ///
    /// # Errors
    ///
    /// [`RunError`]. The conversation is kept as far as it came.
    pub fn run(
        mut self,
        conversation: &mut Conversation,
        tools: &mut Tools<'_>,
    ) -> Result<Answer, RunError> {
        self.request.tools.extend(tools.tools.iter().map(|(tool, _)| tool.clone()));
        self.request.messages.extend_from_slice(&conversation.messages);
        for _ in 0..tools.rounds {
            let asked = conversation.messages.len();
            let answer = self.ask()?;
            conversation.push(answer.message());
            let goes_on = match answer.stop {
                StopReason::ToolUse | StopReason::Pause => true,
                StopReason::End
                | StopReason::MaxTokens
                | StopReason::StopSequence
                | StopReason::Refusal => false,
            };
            // No provider takes a conversation in which a call has no result.
            let result = |call| match goes_on {
                true => tools.run(call),
                false => call.failure("not run: the answer ended before its end"),
            };
            let results = answer.tool_calls().map(result).map(Content::ToolResult).collect();
            conversation.push(Message { role: Role::User, content: results });
            if !goes_on {
                return Ok(answer);
            }
            self.request.messages.extend_from_slice(&conversation.messages[asked..]);
        }
        Err(RunError::TooManyRounds(tools.rounds))
    }
}

#[cfg(test)]
mod tests;
