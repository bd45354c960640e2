//! The conversation so far, which has bounds.

use dormouse_sdk::model::{Content, Conversation, Image, Message, Role};
use dormouse_sdk::prelude::*;

/// More is never sent to a model. A request of the contract is 16 MiB at most; the answer needs room, too.
const MAX_BYTES: usize = 8 << 20;
/// A request of the contract has 10,000 messages at most.
const MAX_MESSAGES: usize = 5_000;
/// An image is about 1,600 tokens, of four bytes each.
const IMAGE_WEIGHT: usize = 6_400;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    conversation: Conversation,
}

/// So many of the oldest messages are gone.
pub(crate) struct Forgotten(pub(crate) usize);

impl History {
    /// The conversation that a summary of another one begins.
    pub(crate) fn from_summary(summary: &str) -> History {
        let mut history = History::default();
        let text = format!("Your summary of our conversation so far:\n{summary}");
        history.exchange(text, "I go on from this summary.".to_owned());
        history
    }

    /// Adds what the user says. Where there is more than a request may hold, the older half is forgotten; it is
    /// not the oldest message alone, because providers keep what they have read of a conversation that begins
    /// as the last one did. Says what is forgotten, if anything is.
    pub(crate) fn add(&mut self, parts: &[Part]) -> Result<Option<Forgotten>> {
        let mut content = Vec::new();
        for part in parts {
            content.extend(content_of(part)?);
        }
        if content.is_empty() {
            return Err(Error::invalid("the message is empty"));
        }
        self.conversation.push(Message { role: Role::User, content });
        let mut all = None;
        while self.bytes() > MAX_BYTES || self.len() > MAX_MESSAGES {
            let Some(Forgotten(more)) = self.forget_older_half() else { break };
            let Forgotten(before) = all.unwrap_or(Forgotten(0));
            all = Some(Forgotten(before + more));
        }
        Ok(all)
    }

    /// Puts a text before all that is said.
    pub(crate) fn begin_with(&mut self, text: String) {
        if let Some(first) = self.conversation.messages.first_mut() {
            first.content.insert(0, Content::Text(text));
        }
    }

    /// The conversation, to go on with.
    pub(crate) fn conversation(&mut self) -> &mut Conversation {
        &mut self.conversation
    }

    /// The number of its messages.
    pub(crate) fn len(&self) -> usize {
        self.conversation.messages.len()
    }

    /// The bytes of its texts and images.
    pub(crate) fn bytes(&self) -> usize {
        self.conversation.messages.iter().flat_map(|message| &message.content).map(size).sum()
    }

    /// The same as far as a model reads it: it takes an image for less than the image has bytes.
    pub(crate) fn weight(&self) -> usize {
        let weight = |part: &Content| match part {
            Content::Image(_) => IMAGE_WEIGHT,
            part => size(part),
        };
        self.conversation.messages.iter().flat_map(|message| &message.content).map(weight).sum()
    }

    /// What the model has said after so many messages.
    pub(crate) fn said_since(&self, messages: usize) -> String {
        let since = self.conversation.messages.iter().skip(messages);
        let said = since.filter(|message| message.role == Role::Assistant);
        let texts = said.flat_map(|message| &message.content).filter_map(|part| match part {
            Content::Text(text) => Some(text.as_str()),
            Content::Image(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_)
            | Content::Thinking(_) => None,
        });
        texts.collect()
    }

    /// Forgets the older half of the questions, with what was said to them. `None`: there is but one.
    pub(crate) fn forget_older_half(&mut self) -> Option<Forgotten> {
        let messages = self.conversation.messages.iter().enumerate().skip(1);
        let questions: Vec<usize> =
            messages.filter(|(_, message)| is_question(message)).map(|(at, _)| at).collect();
        let first = *questions.get(questions.len() / 2)?;
        self.conversation.messages.drain(..first);
        Some(Forgotten(first))
    }

    fn exchange(&mut self, question: String, answer: String) {
        self.conversation.user(question).push(Message::assistant(answer));
    }
}

/// Whether a conversation can begin with this message. Results of tools go with the calls before them.
fn is_question(message: &Message) -> bool {
    let has_result = message.content.iter().any(|part| matches!(part, Content::ToolResult(_)));
    message.role == Role::User && !has_result
}

fn size(part: &Content) -> usize {
    match part {
        Content::Text(text) => text.len(),
        Content::Image(image) => image.data.len(),
        Content::ToolCall(call) => call.arguments.len(),
        Content::ToolResult(result) => result.content.len(),
        Content::Thinking(thinking) => thinking.text.len() + thinking.block.len(),
    }
}

/// What a model reads of a part. No provider takes a text that is empty.
fn content_of(part: &Part) -> Result<Option<Content>> {
    Ok(match part {
        Part::Text(text) if text.is_empty() => None,
        Part::Text(text) => Some(Content::Text(text.clone())),
        Part::Json(json) => Some(Content::Text(json.as_str().to_owned())),
        Part::Blob(blob) if blob.media_type.starts_with("image/") => {
            let (media_type, data) = (blob.media_type.clone(), blob.data.clone());
            Some(Content::Image(Image { media_type, data }))
        }
        Part::Blob(blob) => {
            let kind = &blob.media_type;
            let text = format!("the assistant reads text, JSON and images, and no `{kind}`");
            return Err(Error::invalid(text));
        }
    })
}

/// The state of the first version.
#[derive(Deserialize)]
pub(crate) struct First {
    memory: Memory,
}

/// What the first version was told.
#[derive(Deserialize)]
struct Memory {
    name: Option<String>,
    facts: Vec<String>,
}

/// It becomes what was said about it.
impl From<First> for History {
    fn from(first: First) -> History {
        let mut history = History::default();
        if let Some(name) = first.memory.name {
            history.exchange(format!("My name is {name}."), format!("Nice to meet you, {name}."));
        }
        for fact in first.memory.facts {
            history.exchange(format!("Remember that {fact}"), format!("I will remember: {fact}"));
        }
        history
    }
}
