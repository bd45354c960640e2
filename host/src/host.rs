//! The host as a library: everything that the API and the command line can do, and nothing else
//! does.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use tokio::task::JoinHandle;

use crate::agent::catalog::{AgentError, Catalog, Upload};
use crate::agent::{Agent, AgentSelector, Statefulness};
use crate::builder::{HostBuilder, HostOptions};
use crate::clock::Clock;
use crate::event::{Cursor, Event, EventKind};
use crate::memory::MemoryBudget;
use crate::session::creation::{self, InvalidField, NewSession};
use crate::session::id::{Principal, SessionId};
use crate::session::manager::{Ended, Manager, Order, OrderError, Running, SendError, Sight};
use crate::session::state::{Move, Reason};
use crate::store::{Logged, SessionQuery, Store, StoreError, StoreStats};
use crate::turn::output::{Delta, Output};
use crate::turn::record::{Part, TurnOutcome, TurnRecord, text_of};

/// The most bytes of one message, all parts together.
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// The most parts of one message.
pub const MAX_PARTS: usize = 100;
/// The most characters of a reason that a caller gives.
pub const MAX_REASON: usize = 200;

/// A running host. Cheap to clone: all clones are the same host.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use dormouse::{Host, NewSession, Pattern};
///
/// let host = Host::builder().in_memory().build().await?;
/// let counter = NewSession::with_agent("counter".parse()?).pattern(Pattern::Hybrid);
/// let session = host.sessions().create(counter).await?;
/// assert_eq!(session.send("hello").await?.text(), "turn 1: hello");
/// host.shut_down().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
    caller: Principal,
}

pub(crate) struct Inner {
    pub(crate) options: HostOptions,
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) manager: Arc<Manager>,
    pub(crate) memory: MemoryBudget,
    pub(crate) timekeeper: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.manager.abandon();
        self.timekeeper.abort();
    }
}

/// Numbers of a running host, for metrics and health.
#[derive(Clone, Copy, Debug)]
pub struct HostStats {
    /// Instances in memory.
    pub residents: usize,
    /// Messages that wait, over all sessions.
    pub queued: usize,
    /// Bytes of guest memory and of messages in flight.
    pub memory_used: u64,
    /// Bytes that these may take.
    pub memory_limit: u64,
    /// Sizes of the store.
    pub store: StoreStats,
}

impl Host {
    /// Configure a host.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    pub(crate) fn new(inner: Inner) -> Host {
        Host { inner: Arc::new(inner), caller: Principal::local() }
    }

    /// The same host, called by somebody else: what is created belongs to that principal, and what
    /// belongs to others does not exist.
    #[must_use]
    pub fn acting_as(&self, caller: Principal) -> Host {
        Host { inner: self.inner.clone(), caller }
    }

    /// The agents.
    #[must_use]
    pub fn agents(&self) -> Agents {
        Agents(self.clone())
    }

    /// The sessions.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions(self.clone())
    }

    /// The clock of this host.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// What this host was configured with.
    #[must_use]
    pub fn options(&self) -> &HostOptions {
        &self.inner.options
    }

    /// Numbers of this moment.
    #[must_use]
    pub fn stats(&self) -> HostStats {
        HostStats {
            residents: self.inner.manager.residents.instances(),
            queued: self.inner.manager.queued(),
            memory_used: self.inner.memory.used(),
            memory_limit: self.inner.memory.limit(),
            store: self.inner.store.stats(),
        }
    }

    /// Events after a cursor, over all sessions and agents, in the order of their commits; at most
    /// `limit`.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn events_after(
        &self,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        self.inner.store.events_after(cursor, limit).await
    }

    /// Returns when the host cannot go on: the store has failed for good, or a task of the host has
    /// died. Pending for ever otherwise. The process should then end; the next start goes on from
    /// what is on the disk.
    pub async fn failed(&self) -> String {
        tokio::select! {
            error = self.inner.store.failed() => error.to_string(),
            () = self.inner.manager.task_died() => "a task of the host has died".to_owned(),
        }
    }

    /// Let running turns finish, put everything to sleep, and let go of the files. Turns that run on
    /// for longer than the configured grace are killed.
    ///
    /// # Errors
    /// [`StoreError`] where the store could not be closed cleanly.
    ///
    /// # Panics
    /// If a task of the host has died of a panic, so that a test that caused it fails.
    pub async fn shut_down(&self) -> Result<(), StoreError> {
        self.inner.manager.shut_down(self.inner.options.shutdown_grace).await;
        self.inner.timekeeper.abort();
        let closed = self.inner.store.close().await;
        assert!(!self.inner.manager.has_panicked(), "a task of the host has died of a panic");
        closed
    }
}

/// The agents of a host.
#[derive(Clone)]
pub struct Agents(Host);

impl Agents {
    /// Check, compile and keep a component. The same name, version and bytes again change nothing.
    ///
    /// # Errors
    /// [`AgentError`]; a refusal says what is wrong with the component.
    pub async fn upload(
        &self,
        name: &str,
        version: &str,
        component: impl Into<Bytes>,
    ) -> Result<Upload, AgentError> {
        let (name, version) = (name.parse()?, version.parse()?);
        let owner = self.0.caller.clone();
        self.0.inner.catalog.upload(name, version, component.into(), owner).await
    }

    /// All agents, those that come with the host included.
    ///
    /// # Errors
    /// [`AgentError::Store`] where the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Agent>, AgentError> {
        self.0.inner.catalog.list().await
    }

    /// The agent of this name, name and version, or digest.
    ///
    /// # Errors
    /// [`AgentError::NotFound`]
    pub async fn get(&self, agent: AgentSelector) -> Result<Agent, AgentError> {
        self.0.inner.catalog.find(agent).await
    }

    /// Remove an agent that no session refers to.
    ///
    /// # Errors
    /// [`AgentError`]: it is not there, belongs to somebody else, or is in use.
    pub async fn remove(&self, agent: AgentSelector) -> Result<Agent, AgentError> {
        self.0.inner.catalog.remove(agent, &self.0.caller).await
    }
}

/// Why a session was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A field is out of bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// The agent is not there.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// `require_durable`, but the agent's state does not outlive the process.
    #[error("the agent does not save its state ({0}), and the session is required to be durable")]
    NotDurable(String),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The sessions of a host.
#[derive(Clone)]
pub struct Sessions(Host);

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The sessions, newest first.
    pub sessions: Vec<Sight>,
    /// How many match, over all pages.
    pub total: usize,
}

impl Sessions {
    /// Create a session. No instance is made before its first message.
    ///
    /// # Errors
    /// [`CreateError`] names the field that is out of bounds.
    pub async fn create(&self, new: NewSession) -> Result<SessionHandle, CreateError> {
        let inner = &self.0.inner;
        let selector = match &new.agent {
            Some(selector) => selector.clone(),
            None => inner.options.default_agent.clone(),
        };
        let agent = inner.catalog.find(selector).await?;
        if let Statefulness::Unsaved(why) = &agent.statefulness
            && new.require_durable
        {
            return Err(CreateError::NotDurable(why.clone()));
        }
        let id = SessionId(inner.clock.new_id());
        let now = inner.clock.now();
        let owner = self.0.caller.clone();
        let defaults = &inner.options.limits;
        let session = creation::create(new, id, owner, agent.reference, defaults, now)?;
        let event = Event::session(EventKind::SessionCreated, id.0, now)
            .with("pattern", session.profile.pattern.as_str())
            .with("agent", session.profile.agent.name.as_str());
        inner.store.create_session(session.clone(), vec![event]).await?;
        inner.manager.note_deadline(&session);
        Ok(SessionHandle { host: self.0.clone(), id })
    }

    /// A handle on a session. Whether there is one shows at the first use.
    #[must_use]
    pub fn get(&self, id: SessionId) -> SessionHandle {
        SessionHandle { host: self.0.clone(), id }
    }

    /// The caller's sessions that match, newest first.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn list(&self, mut query: SessionQuery) -> Result<Listing, StoreError> {
        query.owner = Some(self.0.caller.clone());
        let page = self.0.inner.store.sessions(query).await?;
        let sight = |session| self.0.inner.manager.sight(session);
        Ok(Listing { sessions: page.sessions.into_iter().map(sight).collect(), total: page.total })
    }
}

/// A handle on a session.
#[derive(Clone)]
pub struct SessionHandle {
    host: Host,
    id: SessionId,
}

/// What was asked for is not there, or the store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// There is no such session, or it belongs to somebody else.
    #[error("Session not found")]
    NotFound(SessionId),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LookError> for OrderError {
    fn from(error: LookError) -> OrderError {
        match error {
            LookError::NotFound(id) => OrderError::NotFound(id),
            LookError::Store(error) => OrderError::Store(error),
        }
    }
}

/// The answer to a message.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The turn that answered it.
    pub turn: TurnRecord,
    /// The session after it.
    pub session: Sight,
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

    /// Whether the state after the turn outlives the process.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        matches!(self.turn.outcome, TurnOutcome::Answered { snapshot: Some(_), .. })
    }
}

/// A message that is under way, or was refused for what it holds.
pub struct Message {
    /// Its parts.
    pub content: Vec<Part>,
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message { content: vec![Part::Text(text.to_owned())] }
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message { content: vec![Part::Text(text)] }
    }
}

impl From<Vec<Part>> for Message {
    fn from(content: Vec<Part>) -> Message {
        Message { content }
    }
}

/// A turn under way: what it streams, and in the end its reply.
pub struct Streaming {
    output: Output,
    manager: Arc<Manager>,
    answer: tokio::sync::oneshot::Receiver<Result<Ended, SendError>>,
}

impl Streaming {
    /// What the agent streams, from the beginning. Provisional until [`Streaming::reply`] is there.
    pub fn deltas(&self) -> impl Stream<Item = Delta> + Send + 'static {
        let output = self.output.clone();
        futures::stream::unfold((output, 0), |(output, place)| async move {
            let delta = output.get(place).await?;
            Some((delta, (output, place + 1)))
        })
    }

    /// The buffer that [`Streaming::deltas`] reads: it also tells when the agent is being called.
    #[must_use]
    pub fn output(&self) -> Output {
        self.output.clone()
    }

    /// Wait for the reply.
    ///
    /// # Errors
    /// [`SendError`], as [`SessionHandle::send`].
    pub async fn reply(self) -> Result<Reply, SendError> {
        let ended = self.answer.await.map_err(|_| SendError::ShuttingDown)??;
        Ok(Reply { session: self.manager.sight(ended.session), turn: ended.turn })
    }
}

impl SessionHandle {
    /// The name of the session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The session as it is.
    ///
    /// # Errors
    /// [`LookError::NotFound`]
    pub async fn look(&self) -> Result<Sight, LookError> {
        match self.manager().look(self.id).await? {
            Some(sight) if sight.session.owner == self.host.caller => Ok(sight),
            Some(_) | None => Err(LookError::NotFound(self.id)),
        }
    }

    /// Send a message and wait for the reply. The turn goes on if the caller does not wait.
    ///
    /// # Errors
    /// [`SendError`]: a message that begun no turn has left nothing behind; a turn that failed has
    /// left its bill and its record.
    pub async fn send(&self, message: impl Into<Message>) -> Result<Reply, SendError> {
        self.stream(message)?.reply().await
    }

    /// Send a message and follow what the agent streams.
    ///
    /// # Errors
    /// [`SendError`] where the message is not taken.
    pub fn stream(&self, message: impl Into<Message>) -> Result<Streaming, SendError> {
        let content = message.into().content;
        let bytes: usize = content.iter().map(Part::len).sum();
        if bytes > MAX_MESSAGE || content.len() > MAX_PARTS || content.is_empty() {
            return Err(SendError::TooLarge);
        }
        let (answer, output) = self.manager().send(self.id, self.host.caller.clone(), content)?;
        Ok(Streaming { output, answer, manager: self.manager().clone() })
    }

    /// What the running turn has streamed so far and will stream, with the number of the turn.
    ///
    /// # Errors
    /// [`LookError::NotFound`]
    pub async fn running(&self) -> Result<Option<(u64, Output)>, LookError> {
        self.look().await?;
        Ok(self.manager().running(self.id))
    }

    /// Drop the instance, once the running turn is over. The next message wakes the session where it
    /// was.
    ///
    /// # Errors
    /// [`OrderError::Unsaved`] where that would lose the state.
    pub async fn sleep(&self) -> Result<Sight, OrderError> {
        self.order(Order::Sleep).await
    }

    /// Make the instance now, so that the next message finds it.
    ///
    /// # Errors
    /// [`OrderError`]
    pub async fn wake(&self) -> Result<Sight, OrderError> {
        self.order(Order::Wake).await
    }

    /// End the session. The running turn may finish within the grace period; this returns before.
    ///
    /// # Errors
    /// [`OrderError::InvalidTransition`] where the session is over.
    pub async fn stop(&self) -> Result<Sight, OrderError> {
        let sight = self.look().await?;
        let reason = Reason::new("stopped");
        let step = Move::Stop(reason);
        sight.session.state.after(step.clone())?;
        let done = self.manager().post(self.id, Order::Move(step, Running::Finishes))?;
        if sight.running_turn.is_some() {
            return Ok(self.look().await?);
        }
        done.await.unwrap_or(Err(OrderError::ShuttingDown))?;
        Ok(self.look().await?)
    }

    /// End the session at once. The running turn is killed, and recorded as killed.
    ///
    /// # Errors
    /// [`OrderError::InvalidTransition`] where the session is over.
    pub async fn force_kill(&self) -> Result<Sight, OrderError> {
        self.order(Order::Move(Move::Terminate(Reason::new("force_killed")), Running::Dies)).await
    }

    /// End the session for a reason of the caller's. The running turn is killed.
    ///
    /// # Errors
    /// [`OrderError::InvalidTransition`] where the session is over.
    pub async fn terminate(&self, reason: &str) -> Result<Sight, OrderError> {
        let reason = Reason(reason.chars().take(MAX_REASON).collect());
        self.order(Order::Move(Move::Terminate(reason), Running::Dies)).await
    }

    /// Remove the session with all its turns. A running turn is killed.
    ///
    /// # Errors
    /// [`OrderError::NotFound`]
    pub async fn delete(&self) -> Result<(), OrderError> {
        self.look().await?;
        self.manager().order(self.id, Order::Delete).await?;
        Ok(())
    }

    /// Turns with numbers above `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// [`LookError::NotFound`]
    pub async fn turns(&self, after: u64, limit: usize) -> Result<Vec<TurnRecord>, LookError> {
        self.look().await?;
        Ok(self.host.inner.store.turns(self.id, after, limit).await?)
    }

    /// One turn.
    ///
    /// # Errors
    /// [`LookError::NotFound`] where there is no such session.
    pub async fn turn(&self, number: u64) -> Result<Option<TurnRecord>, LookError> {
        self.look().await?;
        Ok(self.host.inner.store.turn(self.id, number).await?)
    }

    /// What happened to the session after a cursor, in order, at most `limit`.
    ///
    /// # Errors
    /// [`LookError::NotFound`]
    pub async fn events(&self, after: Cursor, limit: usize) -> Result<Vec<Logged>, LookError> {
        self.look().await?;
        Ok(self.host.inner.store.session_events(self.id, after, limit).await?)
    }

    async fn order(&self, order: Order) -> Result<Sight, OrderError> {
        let sight = self.look().await?;
        if let Order::Move(step, _) = &order {
            // Before anything is asked of the running turn: an order that is refused kills nothing.
            sight.session.state.after(step.clone())?;
        }
        self.manager().order(self.id, order).await?;
        Ok(self.look().await?)
    }

    fn manager(&self) -> &Arc<Manager> {
        &self.host.inner.manager
    }
}
