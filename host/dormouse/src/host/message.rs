//! A message to a session, and the turn that answers it.

use std::sync::Arc;

use futures::Stream;

use super::SessionHandle;
use crate::session::idempotency;
use crate::session::request::{
    AnswerSource, FinishedTurn, FollowedKey, MAX_MESSAGE, MAX_PARTS, NewMessage, SendError,
    SessionInfo, Unavailable,
};
use crate::turn::output::TurnOutput;
use dormouse_domain::access::Action;
use dormouse_domain::agent::Digest;
use dormouse_domain::creation::InvalidField;
use dormouse_domain::json;
use dormouse_domain::message::{self, OnBusy};
use dormouse_domain::session::Session;
use dormouse_domain::turn::{
    Delta, IdempotencyKey, Part, Sender, TurnOutcome, TurnRecord, text_of,
};

/// Messages with more bytes are hashed on a thread that may block.
const HASHED_AT_ONCE: usize = 64 << 10;

/// A message to a session, made of parts: text, JSON documents, bytes with a media type.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use dormouse::{Host, Message, NewSession, Pattern};
///
/// let host = Host::builder().in_memory().build().await?;
/// let counter = NewSession::agent("counter").pattern(Pattern::Hybrid);
/// let session = host.sessions().create(counter).await?;
/// let order = || Message::from("a pizza").idempotency_key("order-17");
/// assert_eq!(session.send(order()).await?.text(), "turn 1: a pizza");
/// let again = session.send(order()).await?;
/// assert_eq!((again.text().as_str(), again.replayed), ("turn 1: a pizza", true));
/// # host.shut_down().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Its parts.
    pub content: Vec<Part>,
    /// However often the same message comes with this key, it begins one turn, which answers all of them: for
    /// [`IDEMPOTENCY_KEY_LIFETIME`](crate::IDEMPOTENCY_KEY_LIFETIME), also after a restart, and also where the turn
    /// failed. 1 to 255 visible ASCII characters, among the keys of the caller. A message that was refused before
    /// a turn began leaves the key free.
    pub idempotency_key: Option<String>,
    /// What becomes of the message while the session is busy.
    pub on_busy: OnBusy,
    /// The revision of the session that the message is meant for: with any other, it begins no turn.
    pub if_revision: Option<u64>,
}

impl Message {
    /// The same message, with an idempotency key.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Message {
        Message { idempotency_key: Some(key.into()), ..self }
    }

    /// The same message, and what becomes of it while the session is busy.
    #[must_use]
    pub fn on_busy(self, on_busy: OnBusy) -> Message {
        Message { on_busy, ..self }
    }

    /// The same message, for this revision of the session alone.
    #[must_use]
    pub fn if_revision(self, revision: u64) -> Message {
        Message { if_revision: Some(revision), ..self }
    }

    /// # Errors
    /// The message has no parts, too many or too many bytes, or a part or the key is not what it should be.
    /// Look at what can be said of a message without its session.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] or [`SendError::Invalid`], as sending it would be answered.
    pub fn check(&self) -> Result<(), SendError> {
        if self.on_busy == OnBusy::Interrupt && self.if_revision.is_some() {
            // The turn that it ends would give the session another revision.
            let problem = "cannot be interrupt with If-Match";
            return Err(InvalidField::new("onBusy", problem).into());
        }
        let count = self.content.len();
        if self.bytes() > MAX_MESSAGE || count > MAX_PARTS || count == 0 {
            return Err(SendError::TooLarge);
        }
        for (place, part) in (1..).zip(&self.content) {
            if let Part::Json(text) = part {
                json::check(text).map_err(|error| {
                    let problem = format!("part {place} is no JSON document: {error}");
                    InvalidField::new("content", problem)
                })?;
            }
        }
        if let Some(key) = &self.idempotency_key {
            message::check_idempotency_key(key)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.content.iter().map(Part::len).sum()
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::from(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::from(vec![Part::Text(text)])
    }
}

impl From<Vec<Part>> for Message {
    fn from(content: Vec<Part>) -> Message {
        Message { content, ..Message::default() }
    }
}

/// The answer to a message.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The turn that answered it.
    pub turn: TurnRecord,
    /// The session after it.
    pub session: SessionInfo,
    /// Whether an earlier message with the same idempotency key has begun the turn. The session is then as it
    /// is now.
    pub replayed: bool,
}

impl Reply {
    /// What was answered.
    #[must_use]
    pub fn content(&self) -> &[Part] {
        match &self.turn.outcome {
            TurnOutcome::Answered { content, .. } => content,
            TurnOutcome::Failed(_) => &[],
        }
    }

    /// The text of the answer.
    #[must_use]
    pub fn text(&self) -> String {
        text_of(self.content())
    }

    /// Whether the state after the turn outlives the process, or there is none.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        matches!(self.turn.outcome, TurnOutcome::Answered { durable: true, .. })
    }
}

/// A turn under way: what it streams, and in the end its reply.
pub struct TurnStream {
    session: SessionHandle,
    output: TurnOutput,
    source: Source,
}

/// Where the reply comes from.
enum Source {
    Driver(tokio::sync::oneshot::Receiver<Result<FinishedTurn, SendError>>),
    /// An earlier message with the same key waits or is being answered.
    Followed(Arc<FollowedKey>),
    /// An earlier message with the same key was answered by this turn.
    Recorded(u64),
}

/// A message that was checked, and its sender.
pub(super) struct AskedMessage {
    pub(super) sender: Sender,
    pub(super) content: Vec<Part>,
    pub(super) key: Option<IdempotencyKey>,
    /// The digest of the request that came with the key. `None`: that of the message to its session.
    pub(super) request: Option<Digest>,
    pub(super) on_busy: OnBusy,
    pub(super) if_revision: Option<u64>,
}

/// What has become of a message that was sent.
pub(super) enum Posted {
    /// It has come before, with the same key, and this turn has answered it.
    Recorded(u64),
    /// It waits for its session, or one does that came with the same key.
    Sent(AnswerSource),
}

impl TurnStream {
    /// What the agent streams, from the beginning. Provisional until [`TurnStream::reply`] is there. Nothing,
    /// where the turn was over before.
    pub fn deltas(&self) -> impl Stream<Item = Delta> + Send + 'static {
        let output = self.output.clone();
        futures::stream::unfold((output, 0), |(output, place)| async move {
            let place = output.place_from(place);
            let delta = output.get(place).await?;
            Some((delta, (output, place + 1)))
        })
    }

    /// The buffer that [`TurnStream::deltas`] reads: it also tells when the agent is being called.
    #[must_use]
    pub fn output(&self) -> TurnOutput {
        self.output.clone()
    }

    /// Whether an earlier message with the same idempotency key has begun the turn. Its reply is then read from
    /// the store, once [`TurnOutput::ended`].
    #[must_use]
    pub fn is_replay(&self) -> bool {
        match self.source {
            Source::Driver(_) => false,
            Source::Followed(_) | Source::Recorded(_) => true,
        }
    }

    /// The number of the turn, where it was over before the message came.
    #[must_use]
    pub fn recorded_turn(&self) -> Option<u64> {
        match self.source {
            Source::Recorded(turn) => Some(turn),
            Source::Driver(_) | Source::Followed(_) => None,
        }
    }

    /// Wait for the reply.
    ///
    /// # Errors
    /// [`SendError`], as [`SessionHandle::send`].
    pub async fn reply(self) -> Result<Reply, SendError> {
        match &self.source {
            Source::Recorded(turn) => self.session.replay(*turn).await,
            Source::Followed(key) => self.followed(key).await,
            Source::Driver(_) => self.answered().await,
        }
    }

    async fn answered(self) -> Result<Reply, SendError> {
        let registry = self.session.registry();
        let Source::Driver(answer) = self.source else { return Err(self.session.died()) };
        let Ok(ended) = answer.await else { return Err(self.session.died()) };
        let FinishedTurn { turn, session, replayed, .. } = ended?;
        Ok(Reply { session: registry.info(session), turn, replayed })
    }

    /// The reply to the message that came with this key first.
    async fn followed(&self, key: &FollowedKey) -> Result<Reply, SendError> {
        key.turn.output.ended().await;
        if let Some(refusal) = key.turn.refusal.get() {
            return Err(refusal.clone());
        }
        let (store, id) = (&self.session.host.inner.store, self.session.id);
        match idempotency::recorded_turn(&**store, &key.key, key.request, id).await? {
            Some(turn) => self.session.replay(turn).await,
            // The first message was dropped before a turn began.
            None => Err(self.session.died()),
        }
    }
}

impl SessionHandle {
    /// Send a message and wait for the reply. The turn goes on if the caller does not wait.
    ///
    /// # Errors
    /// [`SendError`]: a message that begun no turn has left nothing behind; a turn that failed has
    /// left its bill and its record.
    pub async fn send(&self, message: impl Into<Message>) -> Result<Reply, SendError> {
        self.stream(message).await?.reply().await
    }

    /// Send a message and follow what the agent streams. Returns when the message waits, without waiting for
    /// anything else but, for one with an idempotency key, a look into the store.
    ///
    /// # Errors
    /// [`SendError`] where the message is not taken.
    pub async fn stream(&self, message: impl Into<Message>) -> Result<TurnStream, SendError> {
        self.host.may(Action::Change)?;
        let message = message.into();
        message.check()?;
        let Message { content, idempotency_key, on_busy, if_revision } = message;
        let owner = self.host.caller().clone();
        let key = idempotency_key.map(|key| IdempotencyKey { owner, key });
        let (sender, request) = (Sender::User, None);
        let asked = AskedMessage { sender, content, key, request, on_busy, if_revision };
        let (source, output) = match self.post(asked).await? {
            Posted::Recorded(turn) => {
                let output = TurnOutput::default();
                output.end();
                (Source::Recorded(turn), output)
            }
            Posted::Sent(AnswerSource::Driver(answer, output)) => (Source::Driver(answer), output),
            Posted::Sent(AnswerSource::Followed(key)) => {
                let output = key.turn.output.clone();
                (Source::Followed(key), output)
            }
        };
        Ok(TurnStream { session: self.clone(), output, source })
    }

    /// Send a message that was checked.
    pub(super) async fn post(&self, asked: AskedMessage) -> Result<Posted, SendError> {
        let AskedMessage { sender, mut content, key, request, on_busy, if_revision } = asked;
        let key = match key {
            None => None,
            Some(name) => {
                self.check_owner()?;
                let request = match request {
                    Some(request) => request,
                    None => {
                        let digest;
                        (content, digest) = self.digest(content).await?;
                        digest
                    }
                };
                let store = &*self.host.inner.store;
                let recorded = idempotency::recorded_turn(store, &name, request, self.id).await?;
                if let Some(turn) = recorded {
                    return Ok(Posted::Recorded(turn));
                }
                Some((name, request))
            }
        };
        let rated = match on_busy {
            OnBusy::Interrupt => self.rated().await?,
            OnBusy::Queue | OnBusy::Reject => None,
        };
        let message = NewMessage { sender, content, key, on_busy, if_revision, rated };
        self.registry().send(self.id, self.host.access(), message).map(Posted::Sent)
    }

    /// To a caller who is not its owner there is no such session.
    fn check_owner(&self) -> Result<(), SendError> {
        match self.host.access().only() {
            Some(caller) if !self.host.inner.store.is_owner(self.id, caller)? => {
                Err(Unavailable::NotFound(self.id).into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The session, where its user may send so many messages in a minute: one that ends a turn is counted before
    /// it does.
    async fn rated(&self) -> Result<Option<Arc<Session>>, SendError> {
        self.check_owner()?;
        if !self.host.inner.services.counts_messages() {
            return Ok(None);
        }
        let session = self.registry().get(self.id).await?.ok_or(Unavailable::NotFound(self.id))?;
        Ok(Some(session.session))
    }

    /// The digest of a message to this session, with its parts.
    async fn digest(&self, content: Vec<Part>) -> Result<(Vec<Part>, Digest), SendError> {
        let id = self.id;
        let bytes: usize = content.iter().map(Part::len).sum();
        if bytes <= HASHED_AT_ONCE {
            let digest = message::digest(id, &content);
            return Ok((content, digest));
        }
        let hashing = tokio::task::spawn_blocking(move || {
            let digest = message::digest(id, &content);
            (content, digest)
        });
        hashing.await.map_err(|error| Unavailable::Host(error.to_string()).into())
    }

    /// The reply to a message that this turn has answered before.
    async fn replay(&self, number: u64) -> Result<Reply, SendError> {
        let turn = self.host.inner.store.turn(self.id, number).await?;
        let session = self.registry().get(self.id).await?.ok_or(Unavailable::NotFound(self.id))?;
        let turn = turn.ok_or(SendError::TurnGone(number))?;
        match &turn.outcome {
            TurnOutcome::Answered { .. } => Ok(Reply { turn, session, replayed: true }),
            TurnOutcome::Failed(_) => {
                let SessionInfo { session, residency, provided, .. } = session;
                let ended = FinishedTurn { turn, session, residency, provided, replayed: true };
                Err(SendError::Failed(Box::new(ended)))
            }
        }
    }

    /// Why nobody answers a message that was taken.
    fn died(&self) -> SendError {
        if self.registry().services().liveness.is_closed() {
            return Unavailable::ShuttingDown.into();
        }
        Unavailable::Host("its task has died".to_owned()).into()
    }
}
