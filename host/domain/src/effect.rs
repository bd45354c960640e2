//! Effects: what a guest asks of the outside world while it is called, and the answers.
//!
//! An effect goes through the one gate, the `World` of the call; who is behind the gate (a provider of
//! models, a journal, a simulation) no effect knows.

use blake3::Hasher;

use crate::agent::Digest;
use crate::ask::{AskError, PeerAsk};
use crate::http::{HttpNews, HttpRequest, HttpWait};
use crate::model::{
    AnswerFormat, ModelAnswer, ModelContent, ModelError, ModelMessage, ModelRequest, ModelRole,
    ModelTool, ToolChoice,
};
use crate::tool::{ToolAnswer, ToolError, ToolListing, ToolRequest};
use crate::turn::Part;

/// What a guest asks of the outside world.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// One completion of a language model.
    Model(ModelCall),
    /// To wait for HTTP exchanges, of which some leave now.
    Http(HttpWait),
    /// One call of a tool of the host.
    Tool(ToolRequest),
    /// Which tools the servers have that the session names.
    ListTools,
    /// A question to the agent of another session.
    Ask(PeerAsk),
}

/// A request to a language model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCall {
    /// What is asked.
    pub request: ModelRequest,
    /// Whether the text of the answer goes to the stream of the turn as it comes.
    pub forward: bool,
}

/// What the outside world answers: also that it does not, because a guest sees that too.
#[derive(Clone, Debug, PartialEq)]
pub enum EffectAnswer {
    /// To [`Effect::Model`].
    Model(Result<ModelAnswer, ModelError>),
    /// To [`Effect::Ask`].
    Ask(Result<Vec<Part>, AskError>),
    /// To [`Effect::Http`].
    Http(HttpNews),
    /// To [`Effect::Tool`].
    Tool(Result<ToolAnswer, ToolError>),
    /// To [`Effect::ListTools`].
    ToolList(ToolListing),
}

impl EffectAnswer {
    /// The answer to [`Effect::Model`].
    ///
    /// # Errors
    /// [`EffectError::Host`]: it answers something else.
    pub fn of_model(self) -> Result<Result<ModelAnswer, ModelError>, EffectError> {
        match self {
            EffectAnswer::Model(answered) => Ok(answered),
            EffectAnswer::Tool(_)
            | EffectAnswer::Http(_)
            | EffectAnswer::ToolList(_)
            | EffectAnswer::Ask(_) => Err(something_else()),
        }
    }

    /// The answer to [`Effect::Tool`].
    ///
    /// # Errors
    /// [`EffectError::Host`]: it answers something else.
    pub fn of_tool(self) -> Result<Result<ToolAnswer, ToolError>, EffectError> {
        match self {
            EffectAnswer::Tool(answered) => Ok(answered),
            EffectAnswer::Model(_)
            | EffectAnswer::Http(_)
            | EffectAnswer::ToolList(_)
            | EffectAnswer::Ask(_) => Err(something_else()),
        }
    }

    /// The answer to [`Effect::Http`].
    ///
    /// # Errors
    /// [`EffectError::Host`]: it answers something else.
    pub fn of_http(self) -> Result<HttpNews, EffectError> {
        match self {
            EffectAnswer::Http(news) => Ok(news),
            EffectAnswer::Model(_)
            | EffectAnswer::Tool(_)
            | EffectAnswer::ToolList(_)
            | EffectAnswer::Ask(_) => Err(something_else()),
        }
    }

    /// The answer to [`Effect::ListTools`].
    ///
    /// # Errors
    /// [`EffectError::Host`]: it answers something else.
    pub fn of_tool_list(self) -> Result<ToolListing, EffectError> {
        match self {
            EffectAnswer::ToolList(listing) => Ok(listing),
            EffectAnswer::Model(_)
            | EffectAnswer::Tool(_)
            | EffectAnswer::Http(_)
            | EffectAnswer::Ask(_) => Err(something_else()),
        }
    }

    /// The answer to [`Effect::Ask`].
    ///
    /// # Errors
    /// [`EffectError::Host`]: it answers something else.
    pub fn of_ask(self) -> Result<Result<Vec<Part>, AskError>, EffectError> {
        match self {
            EffectAnswer::Ask(answered) => Ok(answered),
            EffectAnswer::Model(_)
            | EffectAnswer::Tool(_)
            | EffectAnswer::Http(_)
            | EffectAnswer::ToolList(_) => Err(something_else()),
        }
    }
}

fn something_else() -> EffectError {
    EffectError::Host("an effect has the answer to another kind of effect".to_owned())
}

/// Why the guest gets no answer at all: its call ends here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EffectError {
    /// The guest asks for something else than it did when the turn was run before.
    #[error("{0}")]
    Diverged(String),
    /// The turn has more effects, or larger answers, than one turn may have. The text says which bound.
    #[error("{0}")]
    TooMany(String),
    /// What the effect is to be noted in cannot be written.
    #[error("{0}")]
    Host(String),
    /// Whoever runs this guest answers no effects.
    #[error("nothing outside of the agent can be reached here")]
    NoWorld,
}

/// The kinds of effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectKind {
    /// [`Effect::Model`]
    Model,
    /// An exchange that leaves with an [`Effect::Http`].
    Http,
    /// [`Effect::Http`], without its exchanges.
    HttpWait,
    /// [`Effect::Tool`]
    Tool,
    /// [`Effect::ListTools`]
    ToolList,
    /// [`Effect::Ask`]
    Ask,
}

impl EffectKind {
    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EffectKind::Model => "model",
            EffectKind::Http => "http",
            EffectKind::HttpWait => "http_wait",
            EffectKind::Tool => "tool",
            EffectKind::ToolList => "tool_list",
            EffectKind::Ask => "ask",
        }
    }
}

/// What may be done about an effect of which nobody knows whether it has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectClass {
    /// It costs nothing and changes nothing: it is repeated.
    Pure,
    /// It is done once however often it is asked for, because each attempt has the same key: it is repeated.
    Keyed,
    /// It costs money and changes nothing: it is repeated, and the lost attempt is paid.
    Paid,
    /// It may change something each time that it is done: it is never repeated, and the guest is told that nobody knows.
    Once,
}

impl EffectClass {
    /// Whether it is done again where nobody knows whether it was done.
    #[must_use]
    pub fn may_repeat(self) -> bool {
        match self {
            EffectClass::Pure | EffectClass::Keyed | EffectClass::Paid => true,
            EffectClass::Once => false,
        }
    }
}

impl Effect {
    /// Which kind it is of.
    #[must_use]
    pub fn kind(&self) -> EffectKind {
        match self {
            Effect::Model(_) => EffectKind::Model,
            Effect::Http(_) => EffectKind::HttpWait,
            Effect::Tool(_) => EffectKind::Tool,
            Effect::ListTools => EffectKind::ToolList,
            Effect::Ask(_) => EffectKind::Ask,
        }
    }

    /// What may be done about it where its outcome is unknown.
    #[must_use]
    pub fn class(&self) -> EffectClass {
        match self {
            Effect::Model(_) => EffectClass::Paid,
            Effect::Http(_) | Effect::ListTools => EffectClass::Pure,
            Effect::Tool(request) => request.class(),
            Effect::Ask(_) => EffectClass::Keyed,
        }
    }

    /// Two effects have the same digest if they ask for the same; exchanges have digests of their own. It stays the same in all versions of the
    /// host: each field is hashed with its length before it, in the order of its type.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut canon = Canon(Hasher::new_derive_key("dormouse 0.1 effect"));
        match self {
            Effect::Model(ModelCall { request, forward }) => {
                canon.text("model").flag(*forward).request(request);
            }
            Effect::Ask(ask) => {
                canon.text("ask").ask(ask);
            }
            Effect::Tool(ToolRequest { name, arguments }) => {
                canon.text("tool").text(name).text(arguments);
            }
            Effect::ListTools => {
                canon.text("tool_list");
            }
            Effect::Http(HttpWait { send: _, given_up, times, is_look }) => {
                let number = |canon: &mut Canon, number: u32| {
                    canon.number(u64::from(number));
                };
                canon.text("http_wait").flag(*is_look);
                canon.list(given_up, |canon, exchange| number(canon, *exchange));
                // How long it still is depends on when the guest waits.
                canon.list(times, |canon, (place, _)| number(canon, *place));
            }
        }
        canon.digest()
    }
}

impl HttpRequest {
    /// Two requests have the same digest if they are the same, in all versions of the host.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let HttpRequest { method, url, headers, body, patience: _ } = self;
        let mut canon = Canon(Hasher::new_derive_key("dormouse 0.1 effect"));
        canon.text("http").text(method).text(url);
        canon.list(headers, |canon, (name, value)| {
            canon.text(name).bytes(value);
        });
        canon.bytes(body).digest()
    }

    /// What may be done about it where its outcome is unknown, by what its method promises (RFC 9110, 9.2.1) and by the
    /// header `idempotency-key`.
    #[must_use]
    pub fn class(&self) -> EffectClass {
        match self.method.as_str() {
            "GET" | "HEAD" | "OPTIONS" => EffectClass::Pure,
            _ if self.has_header("idempotency-key") => EffectClass::Keyed,
            _ => EffectClass::Once,
        }
    }
}

/// Hashes values so that no two of them are alike.
struct Canon(Hasher);

impl Canon {
    fn number(&mut self, number: u64) -> &mut Canon {
        self.0.update(&number.to_le_bytes());
        self
    }

    fn digest(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }

    fn flag(&mut self, flag: bool) -> &mut Canon {
        self.number(u64::from(flag))
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Canon {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Canon {
        self.bytes(text.as_bytes())
    }

    fn option<T>(&mut self, value: Option<T>, then: impl FnOnce(&mut Canon, T)) -> &mut Canon {
        self.flag(value.is_some());
        if let Some(value) = value {
            then(self, value);
        }
        self
    }

    fn list<T>(&mut self, list: &[T], each: impl Fn(&mut Canon, &T)) -> &mut Canon {
        self.number(list.len() as u64);
        for item in list {
            each(self, item);
        }
        self
    }

    fn request(&mut self, request: &ModelRequest) {
        let ModelRequest {
            model,
            system,
            messages,
            tools,
            tool_choice,
            max_tokens,
            temperature,
            stop,
            seed,
            format,
        } = request;
        self.text(model).option(system.as_deref(), |canon, text| {
            canon.text(text);
        });
        self.list(messages, Canon::message).list(tools, Canon::tool);
        match tool_choice {
            ToolChoice::Auto => self.number(0),
            ToolChoice::None => self.number(1),
            ToolChoice::Any => self.number(2),
            ToolChoice::Named(name) => self.number(3).text(name),
        };
        self.option(*max_tokens, |canon, tokens| {
            canon.number(u64::from(tokens));
        });
        self.option(*temperature, |canon, value| {
            canon.number(value.to_bits());
        });
        self.list(stop, |canon, text| {
            canon.text(text);
        });
        self.option(*seed, |canon, seed| {
            canon.number(seed);
        });
        match format {
            AnswerFormat::Text => self.number(0),
            AnswerFormat::Schema(schema) => self.number(1).text(schema),
        };
    }

    fn ask(&mut self, ask: &PeerAsk) {
        let PeerAsk { to, address, content, timeout } = ask;
        self.option(*to, |canon, to| {
            canon.bytes(to.0.as_bytes());
        });
        self.text(address).list(content, Canon::part);
        self.number(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Text(text) => self.number(0).text(text),
            Part::Json(text) => self.number(1).text(text),
            Part::Blob { media_type, data } => self.number(2).text(media_type).bytes(data),
        };
    }

    fn message(&mut self, message: &ModelMessage) {
        let ModelMessage { role, content } = message;
        self.number(match role {
            ModelRole::User => 0,
            ModelRole::Assistant => 1,
        });
        self.list(content, Canon::content);
    }

    fn content(&mut self, content: &ModelContent) {
        match content {
            ModelContent::Text(text) => self.number(0).text(text),
            ModelContent::Image { media_type, data } => self.number(1).text(media_type).bytes(data),
            ModelContent::ToolCall(call) => {
                self.number(2).text(&call.id).text(&call.name).text(&call.arguments)
            }
            ModelContent::ToolResult(result) => {
                self.number(3).text(&result.call).text(&result.content).flag(result.is_error)
            }
            ModelContent::Thinking(thinking) => {
                self.number(4).text(&thinking.text).text(&thinking.block)
            }
        };
    }

    fn tool(&mut self, tool: &ModelTool) {
        self.text(&tool.name).text(&tool.description).text(&tool.schema);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use std::time::Duration;

    fn asking(change: impl FnOnce(&mut ModelRequest)) -> Digest {
        let mut request = ModelRequest { model: "m".to_owned(), ..ModelRequest::default() };
        change(&mut request);
        Effect::Model(ModelCall { request, forward: false }).digest()
    }

    #[test]
    fn requests_that_differ_anywhere_have_different_digests() {
        let text = |text: &str| ModelContent::Text(text.to_owned());
        let user = |content| ModelMessage { role: ModelRole::User, content };
        let digests = [
            asking(|_| {}),
            asking(|request| request.model = "n".to_owned()),
            asking(|request| request.system = Some(String::new())),
            asking(|request| request.messages = vec![user(vec![text("ab")])]),
            asking(|request| request.messages = vec![user(vec![text("a"), text("b")])]),
            asking(|request| request.messages = vec![user(vec![text("a")]), user(vec![text("b")])]),
            asking(|request| request.tool_choice = ToolChoice::Any),
            asking(|request| request.tool_choice = ToolChoice::Named(String::new())),
            asking(|request| request.max_tokens = Some(0)),
            asking(|request| request.temperature = Some(0.0)),
            asking(|request| request.stop = vec![String::new()]),
            asking(|request| request.seed = Some(0)),
            asking(|request| request.format = AnswerFormat::Schema(String::new())),
        ];
        for (place, digest) in digests.iter().enumerate() {
            assert!(!digests[..place].contains(digest), "{place}");
        }
        assert_eq!(asking(|_| {}), asking(|_| {}));
    }

    fn calling(name: &str, arguments: &str) -> Digest {
        let (name, arguments) = (name.to_owned(), arguments.to_owned());
        Effect::Tool(ToolRequest { name, arguments }).digest()
    }

    #[test]
    fn calls_of_tools_that_differ_anywhere_have_different_digests() {
        let digests = [calling("ab", "{}"), calling("a", "b{}"), calling("ab", "{ }")];
        assert!(digests[0] != digests[1] && digests[0] != digests[2] && digests[1] != digests[2]);
    }

    #[test]
    fn the_digest_is_the_same_in_all_versions_of_the_host() {
        let digest = asking(|request| request.seed = Some(7)).to_string();
        assert_eq!(digest, "0df1958f176cce09f8e12d632ba5bdb9a1ea7d1e56e229ac0804595bdcdb2381");
        let digest = calling("WebFetch", "{}").to_string();
        assert_eq!(digest, "0024623bcdbb99daffe5d17c426a14c158f295f8513d24cc91394d031bb8463c");
    }

    #[test]
    fn questions_that_differ_anywhere_have_different_digests() {
        let to = |number: u128| Some(SessionId(uuid::Uuid::from_u128(number)));
        let ask = |to, address: &str, text: &str, seconds| {
            Effect::Ask(PeerAsk {
                to,
                address: address.to_owned(),
                content: vec![Part::Text(text.to_owned())],
                timeout: Duration::from_secs(seconds),
            })
            .digest()
        };
        let digests = [
            ask(None, "a", "b", 1),
            ask(to(1), "a", "b", 1),
            ask(to(2), "a", "b", 1),
            ask(to(1), "ab", "", 1),
            ask(to(1), "a", "c", 1),
            ask(to(1), "a", "b", 2),
        ];
        for (place, digest) in digests.iter().enumerate() {
            assert!(!digests[..place].contains(digest), "{place}");
        }
    }
}
