//! The answer to an effect, as a journal keeps it.

use std::time::Duration;

use minicbor::{CborLen, Decode, Encode};

use super::effect::TokensRow;
use super::http::HttpNewsRow;
use super::turn::PartRow;
use dormouse_domain::ask::AskError;
use dormouse_domain::effect::EffectAnswer;
use dormouse_domain::model::{
    ModelAnswer, ModelContent, ModelError, ModelTool, StopReason, Thinking, ToolCall, ToolResult,
};
use dormouse_domain::tool::{ServerTool, ToolAnswer, ToolError, ToolListing};

#[derive(Encode, Decode, CborLen)]
pub(super) enum AnswerRow<'a> {
    #[n(0)]
    Model(#[b(0)] ModelAnswerRow<'a>),
    #[n(1)]
    ModelFailed(#[b(0)] ModelErrorRow<'a>),
    #[n(2)]
    Http(#[b(0)] HttpNewsRow<'a>),
    #[n(4)]
    Tool(#[b(0)] ToolAnswerRow<'a>),
    #[n(5)]
    ToolFailed(#[b(0)] ToolErrorRow<'a>),
    #[n(6)]
    ToolList(#[b(0)] ToolListingRow<'a>),
    #[n(7)]
    Peer(#[b(0)] Vec<PartRow<'a>>),
    #[n(8)]
    PeerFailed(#[b(0)] AskErrorRow<'a>),
}

#[derive(Encode, Decode, CborLen)]
pub(super) enum AskErrorRow<'a> {
    #[n(0)]
    UnknownPeer,
    #[n(1)]
    TooLarge,
    #[n(2)]
    Ended,
    #[n(3)]
    Paused,
    #[n(4)]
    Busy,
    #[n(5)]
    Cycle,
    #[n(6)]
    TimedOut,
    #[n(7)]
    Failed {
        #[b(0)]
        code: &'a str,
        #[b(1)]
        message: &'a str,
    },
    #[n(8)]
    Unavailable(#[b(0)] &'a str),
}

#[derive(Encode, Decode, CborLen)]
pub(super) struct ModelAnswerRow<'a> {
    #[b(0)]
    content: Vec<ContentRow<'a>>,
    #[n(1)]
    stop: StopRow,
    #[n(2)]
    usage: Option<TokensRow>,
    #[b(3)]
    model: &'a str,
}

#[derive(Encode, Decode, CborLen)]
enum ContentRow<'a> {
    #[n(0)]
    Text(#[b(0)] &'a str),
    #[n(1)]
    Image {
        #[b(0)]
        media_type: &'a str,
        #[cbor(b(1), with = "minicbor::bytes")]
        data: &'a [u8],
    },
    #[n(2)]
    ToolCall {
        #[b(0)]
        id: &'a str,
        #[b(1)]
        name: &'a str,
        #[b(2)]
        arguments: &'a str,
    },
    #[n(3)]
    ToolResult {
        #[b(0)]
        call: &'a str,
        #[b(1)]
        content: &'a str,
        #[n(2)]
        is_error: bool,
    },
    #[n(4)]
    Thinking {
        #[b(0)]
        text: &'a str,
        #[b(1)]
        block: &'a str,
    },
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
enum StopRow {
    #[n(0)]
    End,
    #[n(1)]
    ToolUse,
    #[n(2)]
    MaxTokens,
    #[n(3)]
    StopSequence,
    #[n(4)]
    Pause,
    #[n(5)]
    Refusal,
}

#[derive(Encode, Decode, CborLen)]
pub(super) enum ModelErrorRow<'a> {
    #[n(0)]
    RateLimited(#[n(0)] Option<Duration>),
    #[n(1)]
    Overloaded(#[n(0)] Option<Duration>),
    #[n(2)]
    Invalid(#[b(0)] &'a str),
    #[n(3)]
    ContextTooLong(#[b(0)] &'a str),
    #[n(4)]
    BudgetExceeded(#[b(0)] &'a str),
    #[n(5)]
    NotAllowed(#[b(0)] &'a str),
    #[n(6)]
    Unavailable(#[b(0)] &'a str),
    #[n(7)]
    Interrupted(#[b(0)] &'a str),
    #[n(8)]
    UnknownOutcome,
    #[n(9)]
    Refused(#[b(0)] &'a str),
}

#[derive(Encode, Decode, CborLen)]
pub(super) struct ToolAnswerRow<'a> {
    #[b(0)]
    content: Vec<PartRow<'a>>,
    #[n(1)]
    is_error: bool,
}

#[derive(Encode, Decode, CborLen)]
pub(super) enum ToolErrorRow<'a> {
    #[n(0)]
    NotAllowed(#[b(0)] &'a str),
    #[n(1)]
    Unknown(#[b(0)] &'a str),
    #[n(2)]
    Invalid(#[b(0)] &'a str),
    #[n(3)]
    Unavailable {
        #[b(0)]
        why: &'a str,
        #[n(1)]
        retry_after: Option<Duration>,
    },
    #[n(4)]
    TimedOut(#[b(0)] &'a str),
    #[n(5)]
    TooLarge(#[b(0)] &'a str),
    #[n(6)]
    BudgetExceeded(#[b(0)] &'a str),
    #[n(7)]
    UnknownOutcome,
}

impl AnswerRow<'_> {
    pub(super) fn of(answer: &EffectAnswer) -> AnswerRow<'_> {
        match answer {
            EffectAnswer::Model(Ok(answer)) => AnswerRow::Model(ModelAnswerRow::of(answer)),
            EffectAnswer::Model(Err(error)) => AnswerRow::ModelFailed(ModelErrorRow::of(error)),
            EffectAnswer::Http(news) => AnswerRow::Http(HttpNewsRow::of(news)),
            EffectAnswer::Tool(Ok(answer)) => AnswerRow::Tool(ToolAnswerRow::of(answer)),
            EffectAnswer::Tool(Err(error)) => AnswerRow::ToolFailed(ToolErrorRow::of(error)),
            EffectAnswer::ToolList(listing) => AnswerRow::ToolList(ToolListingRow::of(listing)),
            EffectAnswer::Ask(Ok(content)) => {
                AnswerRow::Peer(content.iter().map(PartRow::of).collect())
            }
            EffectAnswer::Ask(Err(error)) => AnswerRow::PeerFailed(AskErrorRow::of(error)),
        }
    }

    pub(super) fn answer(self) -> EffectAnswer {
        match self {
            AnswerRow::Model(answer) => EffectAnswer::Model(Ok(answer.answer())),
            AnswerRow::ModelFailed(error) => EffectAnswer::Model(Err(error.error())),
            AnswerRow::Http(news) => EffectAnswer::Http(news.news()),
            AnswerRow::Tool(answer) => EffectAnswer::Tool(Ok(answer.answer())),
            AnswerRow::ToolFailed(error) => EffectAnswer::Tool(Err(error.error())),
            AnswerRow::ToolList(listing) => EffectAnswer::ToolList(listing.listing()),
            AnswerRow::Peer(content) => {
                EffectAnswer::Ask(Ok(content.into_iter().map(PartRow::part).collect()))
            }
            AnswerRow::PeerFailed(error) => EffectAnswer::Ask(Err(error.error())),
        }
    }
}

#[derive(Encode, Decode, CborLen)]
pub(super) struct ToolListingRow<'a> {
    #[b(0)]
    tools: Vec<ServerToolRow<'a>>,
    #[b(1)]
    unavailable: Vec<&'a str>,
}

#[derive(Encode, Decode, CborLen)]
struct ServerToolRow<'a> {
    #[b(0)]
    name: &'a str,
    #[b(1)]
    description: &'a str,
    #[b(2)]
    schema: &'a str,
    #[n(3)]
    may_repeat: bool,
}

impl ServerToolRow<'_> {
    fn of(ServerTool { tool, may_repeat }: &ServerTool) -> ServerToolRow<'_> {
        ServerToolRow {
            name: &tool.name,
            description: &tool.description,
            schema: &tool.schema,
            may_repeat: *may_repeat,
        }
    }
}

impl ToolListingRow<'_> {
    fn of(listing: &ToolListing) -> ToolListingRow<'_> {
        ToolListingRow {
            tools: listing.tools.iter().map(ServerToolRow::of).collect(),
            unavailable: listing.unavailable.iter().map(String::as_str).collect(),
        }
    }

    fn listing(self) -> ToolListing {
        let tool = |row: ServerToolRow<'_>| ServerTool {
            tool: ModelTool {
                name: row.name.to_owned(),
                description: row.description.to_owned(),
                schema: row.schema.to_owned(),
            },
            may_repeat: row.may_repeat,
        };
        ToolListing {
            tools: self.tools.into_iter().map(tool).collect(),
            unavailable: self.unavailable.into_iter().map(str::to_owned).collect(),
        }
    }
}

impl ToolAnswerRow<'_> {
    fn of(answer: &ToolAnswer) -> ToolAnswerRow<'_> {
        let ToolAnswer { content, is_error } = answer;
        ToolAnswerRow { content: content.iter().map(PartRow::of).collect(), is_error: *is_error }
    }

    fn answer(self) -> ToolAnswer {
        let content = self.content.into_iter().map(PartRow::part).collect();
        ToolAnswer { content, is_error: self.is_error }
    }
}

impl ToolErrorRow<'_> {
    fn of(error: &ToolError) -> ToolErrorRow<'_> {
        match error {
            ToolError::NotAllowed(text) => ToolErrorRow::NotAllowed(text),
            ToolError::Unknown(name) => ToolErrorRow::Unknown(name),
            ToolError::Invalid(text) => ToolErrorRow::Invalid(text),
            ToolError::Unavailable { why, retry_after } => {
                ToolErrorRow::Unavailable { why, retry_after: *retry_after }
            }
            ToolError::TimedOut(text) => ToolErrorRow::TimedOut(text),
            ToolError::TooLarge(text) => ToolErrorRow::TooLarge(text),
            ToolError::BudgetExceeded(text) => ToolErrorRow::BudgetExceeded(text),
            ToolError::UnknownOutcome => ToolErrorRow::UnknownOutcome,
        }
    }

    fn error(self) -> ToolError {
        match self {
            ToolErrorRow::NotAllowed(text) => ToolError::NotAllowed(text.to_owned()),
            ToolErrorRow::Unknown(name) => ToolError::Unknown(name.to_owned()),
            ToolErrorRow::Invalid(text) => ToolError::Invalid(text.to_owned()),
            ToolErrorRow::Unavailable { why, retry_after } => {
                ToolError::Unavailable { why: why.to_owned(), retry_after }
            }
            ToolErrorRow::TimedOut(text) => ToolError::TimedOut(text.to_owned()),
            ToolErrorRow::TooLarge(text) => ToolError::TooLarge(text.to_owned()),
            ToolErrorRow::BudgetExceeded(text) => ToolError::BudgetExceeded(text.to_owned()),
            ToolErrorRow::UnknownOutcome => ToolError::UnknownOutcome,
        }
    }
}

impl AskErrorRow<'_> {
    fn of(error: &AskError) -> AskErrorRow<'_> {
        match error {
            AskError::UnknownPeer => AskErrorRow::UnknownPeer,
            AskError::TooLarge => AskErrorRow::TooLarge,
            AskError::Ended => AskErrorRow::Ended,
            AskError::Paused => AskErrorRow::Paused,
            AskError::Busy => AskErrorRow::Busy,
            AskError::Cycle => AskErrorRow::Cycle,
            AskError::TimedOut => AskErrorRow::TimedOut,
            AskError::Failed { code, message } => AskErrorRow::Failed { code, message },
            AskError::Unavailable(why) => AskErrorRow::Unavailable(why),
        }
    }

    fn error(self) -> AskError {
        match self {
            AskErrorRow::UnknownPeer => AskError::UnknownPeer,
            AskErrorRow::TooLarge => AskError::TooLarge,
            AskErrorRow::Ended => AskError::Ended,
            AskErrorRow::Paused => AskError::Paused,
            AskErrorRow::Busy => AskError::Busy,
            AskErrorRow::Cycle => AskError::Cycle,
            AskErrorRow::TimedOut => AskError::TimedOut,
            AskErrorRow::Failed { code, message } => {
                AskError::Failed { code: code.to_owned(), message: message.to_owned() }
            }
            AskErrorRow::Unavailable(why) => AskError::Unavailable(why.to_owned()),
        }
    }
}

impl ModelAnswerRow<'_> {
    fn of(answer: &ModelAnswer) -> ModelAnswerRow<'_> {
        ModelAnswerRow {
            content: answer.content.iter().map(ContentRow::of).collect(),
            stop: StopRow::of(answer.stop),
            usage: answer.usage.map(TokensRow::of),
            model: &answer.model,
        }
    }

    fn answer(self) -> ModelAnswer {
        ModelAnswer {
            content: self.content.into_iter().map(ContentRow::content).collect(),
            stop: self.stop.reason(),
            usage: self.usage.map(TokensRow::tokens),
            model: self.model.to_owned(),
        }
    }
}

impl ContentRow<'_> {
    fn of(content: &ModelContent) -> ContentRow<'_> {
        match content {
            ModelContent::Text(text) => ContentRow::Text(text),
            ModelContent::Image { media_type, data } => ContentRow::Image { media_type, data },
            ModelContent::ToolCall(ToolCall { id, name, arguments }) => {
                ContentRow::ToolCall { id, name, arguments }
            }
            ModelContent::ToolResult(ToolResult { call, content, is_error }) => {
                ContentRow::ToolResult { call, content, is_error: *is_error }
            }
            ModelContent::Thinking(Thinking { text, block }) => {
                ContentRow::Thinking { text, block }
            }
        }
    }

    fn content(self) -> ModelContent {
        let owned = str::to_owned;
        match self {
            ContentRow::Text(text) => ModelContent::Text(owned(text)),
            ContentRow::Image { media_type, data } => {
                ModelContent::Image { media_type: owned(media_type), data: data.to_owned() }
            }
            ContentRow::ToolCall { id, name, arguments } => ModelContent::ToolCall(ToolCall {
                id: owned(id),
                name: owned(name),
                arguments: owned(arguments),
            }),
            ContentRow::ToolResult { call, content, is_error } => {
                ModelContent::ToolResult(ToolResult {
                    call: owned(call),
                    content: owned(content),
                    is_error,
                })
            }
            ContentRow::Thinking { text, block } => {
                ModelContent::Thinking(Thinking { text: owned(text), block: owned(block) })
            }
        }
    }
}

impl StopRow {
    fn of(reason: StopReason) -> StopRow {
        match reason {
            StopReason::End => StopRow::End,
            StopReason::ToolUse => StopRow::ToolUse,
            StopReason::MaxTokens => StopRow::MaxTokens,
            StopReason::StopSequence => StopRow::StopSequence,
            StopReason::Pause => StopRow::Pause,
            StopReason::Refusal => StopRow::Refusal,
        }
    }

    fn reason(self) -> StopReason {
        match self {
            StopRow::End => StopReason::End,
            StopRow::ToolUse => StopReason::ToolUse,
            StopRow::MaxTokens => StopReason::MaxTokens,
            StopRow::StopSequence => StopReason::StopSequence,
            StopRow::Pause => StopReason::Pause,
            StopRow::Refusal => StopReason::Refusal,
        }
    }
}

impl ModelErrorRow<'_> {
    fn of(error: &ModelError) -> ModelErrorRow<'_> {
        match error {
            ModelError::RateLimited { retry_after } => ModelErrorRow::RateLimited(*retry_after),
            ModelError::Overloaded { retry_after } => ModelErrorRow::Overloaded(*retry_after),
            ModelError::Invalid(text) => ModelErrorRow::Invalid(text),
            ModelError::ContextTooLong(text) => ModelErrorRow::ContextTooLong(text),
            ModelError::BudgetExceeded(text) => ModelErrorRow::BudgetExceeded(text),
            ModelError::NotAllowed(text) => ModelErrorRow::NotAllowed(text),
            ModelError::Unavailable(text) => ModelErrorRow::Unavailable(text),
            ModelError::Interrupted { partial } => ModelErrorRow::Interrupted(partial),
            ModelError::UnknownOutcome => ModelErrorRow::UnknownOutcome,
            ModelError::Refused(text) => ModelErrorRow::Refused(text),
        }
    }

    fn error(self) -> ModelError {
        match self {
            ModelErrorRow::RateLimited(retry_after) => ModelError::RateLimited { retry_after },
            ModelErrorRow::Overloaded(retry_after) => ModelError::Overloaded { retry_after },
            ModelErrorRow::Invalid(text) => ModelError::Invalid(text.to_owned()),
            ModelErrorRow::ContextTooLong(text) => ModelError::ContextTooLong(text.to_owned()),
            ModelErrorRow::BudgetExceeded(text) => ModelError::BudgetExceeded(text.to_owned()),
            ModelErrorRow::NotAllowed(text) => ModelError::NotAllowed(text.to_owned()),
            ModelErrorRow::Unavailable(text) => ModelError::Unavailable(text.to_owned()),
            ModelErrorRow::Interrupted(text) => {
                ModelError::Interrupted { partial: text.to_owned() }
            }
            ModelErrorRow::UnknownOutcome => ModelError::UnknownOutcome,
            ModelErrorRow::Refused(text) => ModelError::Refused(text.to_owned()),
        }
    }
}
