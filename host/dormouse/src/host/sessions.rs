//! The sessions of a host: created, found, listed.

mod alongside;
mod check;

use std::sync::Arc;

pub(super) use alongside::Alongside;

use super::origin::{self, FoundOrigin, SnapshotOrigin};
use super::savings::Reached;
use super::templates::TemplateError;
use super::threads::Thread;
use super::{Host, SessionHandle, to_its_end};
use crate::catalog::AgentError;
use crate::session::request::{CommandError, SessionInfo};
use dormouse_domain::access::{Action, Forbidden};
use dormouse_domain::account;
use dormouse_domain::agent::{Agent, AgentRef, Digest};
use dormouse_domain::creation::{
    self, InvalidField, NewSession, NextOfThread, NotForThisSession, Resumption, StartFrom,
};
use dormouse_domain::deadline;
use dormouse_domain::event::{Event, EventBody};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::Residency;
use dormouse_domain::snapshot::{ResumeTrial, Snapshot};
use dormouse_domain::template::Template;
use dormouse_domain::turn::IdempotencyKey;
use dormouse_store::{
    NewSessionRecord, PAGE_BYTES, SessionCursor, SessionQuery, Statistics, StatisticsQuery,
    StoreError, Transaction,
};
use dormouse_workspace::DiffQuery;

/// Sessions that are looked through for those whose state is somewhere, and in how many reads.
const LOOKED_THROUGH: usize = 1_000;
const PAGES: usize = 10;

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
    /// The agent is a command, which lives for one turn, and the session is to live longer.
    #[error(
        "the agent '{agent}' is a command: it runs once and keeps nothing, so it serves no {pattern} \
         session; create an ephemeral one for each message"
    )]
    PatternUnsupported {
        /// The agent.
        agent: AgentRef,
        /// The pattern that was asked for.
        pattern: Pattern,
    },
    /// The agent is a population, which has members of simulations.
    #[error(
        "the agent '{0}' is a population: it has members of simulations, and answers no messages; name it in the          specification of a world"
    )]
    Population(AgentRef),
    /// The caller is a reader.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The snapshot to resume from belongs to somebody else, to another project or to another user.
    #[error("the snapshot to resume from belongs to another owner, project or user")]
    NotOwner,
    /// The snapshot is of another agent than the one that was asked for.
    #[error(
        "the snapshot is of another agent ({0}): name no agent, or upgrade the session that it is of"
    )]
    OtherAgent(Digest),
    /// The template is not there.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The state that the session should start from could not be saved or read.
    #[error(transparent)]
    Origin(#[from] CommandError),
    /// The idempotency key came with another request before, for this session. Nothing was created.
    #[error(
        "this idempotency key was sent with another request, for session {0}; send each request with a key of \
         its own"
    )]
    IdempotencyKeyReused(SessionId),
    /// The session that this request has created is not there any more. Nothing was created.
    #[error(
        "the request was handled before, and has created session {0}, which is not there any more"
    )]
    SessionGone(SessionId),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The snapshot that a new session starts from.
struct StartingPoint {
    snapshot: Snapshot,
    /// The agent that the session or template refers to which the snapshot is of.
    agent: AgentRef,
}

/// What a new session starts from.
struct Start {
    /// What is asked for, with what follows from the session that it resumes.
    new: NewSession,
    from: Option<StartingPoint>,
    /// What became of the wish to resume.
    resume: Option<Resumption>,
    /// The session and the snapshot that it is to go on from, or should have.
    tried: Option<(SessionId, SnapshotId)>,
}

/// A session that was created.
#[derive(Clone, Debug)]
pub struct CreatedSession {
    /// The session.
    pub session: SessionInfo,
    /// What became of the wish to resume, where there was one and this call has created the session.
    pub resume: Option<Resumption>,
    /// Whether it was created: a thread may have an open session already.
    pub is_new: bool,
    /// Whether an earlier call with the same idempotency key has created the session, which is as it is now.
    pub replayed: bool,
}

/// The sessions of a host.
#[derive(Clone)]
pub struct Sessions(pub(super) Host);

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct SessionListing {
    /// The sessions, in the order of the query.
    pub sessions: Vec<SessionInfo>,
    /// How many match, over all pages.
    pub total: usize,
    /// Where the list goes on, for `after` of the next query; `None` at its end.
    pub next: Option<SessionCursor>,
}

impl Sessions {
    /// Create a session. No instance is made before its first message.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use dormouse::{Host, NanoUsd, NewSession, Pattern, Status};
    ///
    /// let host = Host::builder().in_memory().build().await?;
    /// let limited = NewSession {
    ///     max_turns: Some(1),
    ///     max_budget: NanoUsd::from_usd(0.01),
    ///     ..NewSession::agent("counter").pattern(Pattern::Hybrid)
    /// };
    /// let session = host.sessions().create(limited).await?;
    /// session.send("the only message").await?;
    /// assert_eq!(session.status().await?, Status::Terminated);
    /// # host.shut_down().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CreateError`] names the field that is out of bounds.
    pub async fn create(&self, new: NewSession) -> Result<SessionHandle, CreateError> {
        Ok(self.get(self.create_with_info(new).await?.session.session.id))
    }

    /// Create a session, and return it as it is then instead of a handle, with what became of the
    /// wish to resume. Where its thread has an open session of the same user, that is the session. Where the
    /// last one has ended, or has lost its state, within seven days, the new one goes on from its head.
    ///
    /// # Errors
    /// As [`Sessions::create`].
    pub async fn create_with_info(&self, new: NewSession) -> Result<CreatedSession, CreateError> {
        self.create_with(new, Alongside::Nothing).await
    }

    /// Create a session once, however often the same request comes with this idempotency key: for
    /// [`IDEMPOTENCY_KEY_LIFETIME`](crate::IDEMPOTENCY_KEY_LIFETIME), also after a restart. The digest tells the
    /// request from others. A request that was refused leaves the key free.
    ///
    /// # Errors
    /// As [`Sessions::create`], and [`CreateError::IdempotencyKeyReused`].
    pub async fn create_once(
        &self,
        new: NewSession,
        key: &str,
        request: Digest,
    ) -> Result<CreatedSession, CreateError> {
        self.0.may(Action::Change)?;
        let key = IdempotencyKey { owner: self.0.caller().clone(), key: key.to_owned() };
        if let Some(created) = self.created_before(&key, request).await? {
            return Ok(created);
        }
        match self.create_with(new, Alongside::Key(key.clone(), request)).await {
            // The same request was faster.
            Err(CreateError::Store(StoreError::IdempotencyKeyUsed(session))) => {
                let created = self.created_before(&key, request).await?;
                created.ok_or(CreateError::SessionGone(session))
            }
            created => created,
        }
    }

    /// The session that an earlier request with this key has created.
    async fn created_before(
        &self,
        key: &IdempotencyKey,
        request: Digest,
    ) -> Result<Option<CreatedSession>, CreateError> {
        let inner = &self.0.inner;
        let Some(known) = inner.store.idempotency(key.clone()).await? else { return Ok(None) };
        if known.request != request {
            return Err(CreateError::IdempotencyKeyReused(known.session));
        }
        let session = inner.registry.get(known.session).await?;
        let session = session.ok_or(CreateError::SessionGone(known.session))?;
        Ok(Some(CreatedSession { session, resume: None, is_new: true, replayed: true }))
    }

    /// Create a session, or find it by its thread, and commit this with it.
    pub(super) async fn create_with(
        &self,
        new: NewSession,
        with: Alongside,
    ) -> Result<CreatedSession, CreateError> {
        self.0.may(Action::Change)?;
        let Some(key) = new.thread_key.clone() else {
            return self.create_new(new, None, with).await;
        };
        let this = self.clone();
        // The lock of the thread outlasts the commit. In a box, so that the other creations are as small as they are.
        to_its_end(Box::pin(async move { this.create_in_thread(key, new, with).await })).await
    }

    async fn create_in_thread(
        &self,
        key: String,
        new: NewSession,
        with: Alongside,
    ) -> Result<CreatedSession, CreateError> {
        let inner = &self.0.inner;
        let (owner, user_id) = (self.0.caller().clone(), new.user_id.clone());
        let _alone = inner.threads.lock(Thread { owner, user_id, key: key.clone() }).await;
        let Some(newest) = self.of_thread(&key, new.user_id.as_deref()).await? else {
            return self.create_new(new, None, with).await;
        };
        match creation::next_of_thread(&newest.session, inner.clock.now()) {
            NextOfThread::Here => {
                if let Some(more) = with.transaction(newest.session.id, inner.clock.now()) {
                    inner.store.commit(more).await?;
                }
                Ok(CreatedSession { session: newest, resume: None, is_new: false, replayed: false })
            }
            NextOfThread::From(head) => self.create_new(new.going_on_from(head), None, with).await,
            NextOfThread::Fresh => self.create_new(new, None, with).await,
            NextOfThread::Lost => self.create_new(new, Some(Resumption::NotFound), with).await,
        }
    }

    /// Create a session. `lost`: what is to be said of a state that it would have started from, had it not been
    /// told to start from another.
    async fn create_new(
        &self,
        new: NewSession,
        lost: Option<Resumption>,
        with: Alongside,
    ) -> Result<CreatedSession, CreateError> {
        let inner = &self.0.inner;
        // Checked once more when a turn asks for them: what the operator allows may change.
        inner.services.outside.servers(&new.config, &new.egress)?;
        // Before the agents are held: this may wait for a turn.
        let Start { new, from, resume, tried } = match new.start {
            StartFrom::Fresh => Start { new, from: None, resume: lost, tried: None },
            // In a box: most sessions start from nothing.
            StartFrom::Template(_) | StartFrom::Resume(_) => Box::pin(self.start(new)).await?,
        };
        self.0.check_peers(self.0.caller(), &new.peers)?;
        let _held = inner.catalog.hold().await;
        let now = inner.clock.now();
        let agent = match self.agent(&new, from.as_ref()).await {
            Err(refused @ (CreateError::OtherAgent(_) | CreateError::Agent(_))) => {
                self.note_refusal(tried).await?;
                return Err(refused);
            }
            Err(error) => return Err(error),
            Ok(agent) => agent,
        };
        check::fits(&new, &agent)?;
        self.check_members(&new).await?;
        let id = SessionId(inner.clock.new_id());
        let owner = self.0.caller().clone();
        let defaults = &inner.options.limits;
        let from_state = from.is_some();
        let reached =
            tried.zip(from.as_ref()).map(|((of, _), from)| Reached::by(of, &from.snapshot));
        let head = from.map(|from| from.snapshot.again(SnapshotId(inner.clock.new_id()), now));
        let (agent, start) = (agent.reference, head.as_ref());
        let session = Arc::new(creation::fresh(new, id, owner, agent, start, defaults, now)?);
        let mut events = vec![creation::event(&session, None)];
        if let Some(resume) = resume {
            metrics::counter!("dormouse_resumes_total", "outcome" => resume.as_str()).increment(1);
            let (by, outcome) = (self.0.caller().clone(), resume.into());
            let attempt = EventBody::ResumeAttempted { by, outcome };
            events.push(Event::session(&session, now, attempt));
        }
        let creation = NewSessionRecord { session: Arc::clone(&session), head };
        let mut transaction = Transaction::create(vec![creation], events);
        if session.account.is_some() {
            transaction = transaction.and(Transaction::new_account(account::own(&session)));
        }
        let user = session.profile.user_id.as_deref();
        transaction.expect.extend(inner.options.quotas.expected(&session.owner, user));
        if let Some(more) = with.transaction(id, now) {
            transaction = transaction.and(more);
        }
        if let Some((of, snapshot)) = tried {
            let trial = match from_state {
                true => ResumeTrial::Resumed,
                false => ResumeTrial::Refused,
            };
            transaction = transaction.and(Transaction::resume_tried(of, snapshot, trial, now));
        }
        match deadline::next(&session) {
            None => inner.store.commit(transaction).await?,
            Some((due, _)) => {
                let inner = Arc::clone(inner);
                // The timekeeper is told after the commit, also where the caller goes away meanwhile. Only this goes
                // to a task: to move all of the creation there costs as much as the rest of it.
                to_its_end(async move {
                    inner.store.commit(transaction).await?;
                    inner.services.wake_timekeeper_for(due);
                    Ok::<_, StoreError>(())
                })
                .await?;
            }
        }
        if let Some(reached) = reached {
            reached.count_savings(&*inner.store).await;
        }
        Ok(CreatedSession {
            session: inner.registry.info(session),
            resume,
            is_new: true,
            replayed: false,
        })
    }

    /// Note that a session should have started from this snapshot of that session, and could not.
    async fn note_refusal(&self, tried: Option<(SessionId, SnapshotId)>) -> Result<(), StoreError> {
        let (Some((of, snapshot)), inner) = (tried, &self.0.inner) else { return Ok(()) };
        let (trial, now) = (ResumeTrial::Refused, inner.clock.now());
        inner.store.commit(Transaction::resume_tried(of, snapshot, trial, now)).await
    }

    /// What a new session starts from.
    async fn start(&self, new: NewSession) -> Result<Start, CreateError> {
        let start = |new, from, resume| Start { new, from, resume, tried: None };
        let id = match &new.start {
            StartFrom::Fresh => return Ok(start(new, None, None)),
            StartFrom::Template(name) => {
                let Template { snapshot, agent, .. } = self.0.templates().get(name).await?;
                return Ok(start(new, Some(StartingPoint { snapshot, agent }), None));
            }
            StartFrom::Resume(id) => id,
        };
        let SnapshotOrigin { snapshot, session } = match origin::find(&self.0, id).await? {
            FoundOrigin::Here(origin) => *origin,
            FoundOrigin::Nothing => return Ok(start(new, None, Some(Resumption::NotFound))),
            FoundOrigin::Foreign => return Err(CreateError::NotOwner),
        };
        let (stale_after, now) = (self.0.inner.options.stale_after, self.0.inner.clock.now());
        let (new, resume) = match creation::resumed(new, &snapshot, &session, stale_after, now) {
            Ok(resumed) => resumed,
            Err(NotForThisSession::OtherProject | NotForThisSession::OtherUser) => {
                origin::tell_owner(&self.0, &session).await?;
                return Err(CreateError::NotOwner);
            }
        };
        let resume = match (resume, creation::max_changed_files(&new.config)?) {
            (Resumption::Resumed { from }, Some(most))
                if self.changed_since(session.id, from).await? > most =>
            {
                Resumption::Changed { from }
            }
            (resume, _) => resume,
        };
        let tried = Some((session.id, snapshot.id));
        let from = match resume {
            Resumption::Resumed { .. } => {
                Some(StartingPoint { snapshot, agent: session.profile.agent })
            }
            Resumption::Stale { .. } | Resumption::Changed { .. } | Resumption::NotFound => None,
        };
        Ok(Start { new, from, resume: Some(resume), tried })
    }

    /// How many paths differ between the files of a session as they are now and those of a snapshot of it.
    async fn changed_since(
        &self,
        session: SessionId,
        snapshot: SnapshotId,
    ) -> Result<u64, CommandError> {
        let session = self.get(session);
        let (then, now) =
            (session.workspace(Some(snapshot)).await?, session.workspace(None).await?);
        let counts = then.changes_to(&now, DiffQuery::default()).await?;
        Ok(counts.added + counts.changed + counts.removed)
    }

    /// The agent of a new session: the one that was asked for, and if it starts from a snapshot, no
    /// other than the snapshot's.
    async fn agent(
        &self,
        new: &NewSession,
        from: Option<&StartingPoint>,
    ) -> Result<Agent, CreateError> {
        let (inner, caller) = (&self.0.inner, self.0.caller());
        let agent = match (&new.agent, from) {
            (Some(agent), _) => {
                let selected = creation::selected(agent)?;
                let speaker = self.0.speaker(&selected).clone();
                inner.catalog.find(selected, &speaker).await?
            }
            (None, Some(StartingPoint { snapshot, agent })) => {
                inner.catalog.of_snapshot(snapshot.agent, agent, caller).await?
            }
            (None, None) => inner.catalog.find(inner.options.default_agent.clone(), caller).await?,
        };
        match from {
            Some(StartingPoint { snapshot, .. }) if snapshot.agent != agent.reference.digest => {
                Err(CreateError::OtherAgent(snapshot.agent))
            }
            Some(_) | None => Ok(agent),
        }
    }

    /// A handle on a session. Whether there is one shows at the first use.
    #[must_use]
    pub fn get(&self, id: SessionId) -> SessionHandle {
        SessionHandle::new(self.0.clone(), id)
    }

    /// The caller's sessions that match, or for an admin those of the owner that the query names or of all, in
    /// the order of the query. A page ends before it has more than
    /// [`PAGE_BYTES`](crate::PAGE_BYTES): then it may have fewer than were asked for, and `next` says
    /// where the list goes on.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn list(&self, mut query: SessionQuery) -> Result<SessionListing, StoreError> {
        if let Some(caller) = self.0.access().only() {
            query.owner = Some(caller.clone());
        }
        let page = self.0.inner.store.sessions(query).await?;
        let info = |session| self.0.inner.registry.info(session);
        let sessions = page.sessions.into_iter().map(info).collect();
        Ok(SessionListing { sessions, total: page.total, next: page.next })
    }

    /// The caller's sessions that match and whose guest state is there, in the order of the query. Only
    /// memory knows where a state is, so up to 1,000 sessions are looked through at a time: a page may have
    /// few sessions, or none, and a `next`; and `total` counts those that match, wherever their state is.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn list_resident(
        &self,
        mut query: SessionQuery,
        residency: Residency,
    ) -> Result<SessionListing, StoreError> {
        let (order, limit) = (query.order, query.limit);
        let mut found = SessionListing { sessions: Vec::new(), total: 0, next: query.after };
        query.limit = LOOKED_THROUGH / PAGES;
        let mut held = 0;
        for _ in 0..PAGES {
            let page = self.list(SessionQuery { after: found.next, ..query.clone() }).await?;
            (found.total, query.offset) = (page.total, 0);
            for info in page.sessions {
                if found.sessions.len() == limit {
                    return Ok(found);
                }
                let bytes = info.session.document_bytes();
                if held > 0 && held + bytes > PAGE_BYTES {
                    return Ok(found);
                }
                found.next = Some(SessionCursor::of(order, &info.session));
                if info.residency == residency {
                    held += bytes;
                    found.sessions.push(info);
                }
            }
            found.next = page.next;
            if found.next.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// What the caller's sessions that match come to, those that were removed included.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read.
    pub async fn statistics(&self, mut query: StatisticsQuery) -> Result<Statistics, StoreError> {
        query.owner = self.0.caller().clone();
        self.0.inner.store.statistics(query).await
    }
}
