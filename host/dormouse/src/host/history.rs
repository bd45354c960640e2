//! The history of a session: its snapshots, and what can be started from them.

use std::collections::HashMap;
use std::sync::Arc;

use super::session::{SessionHandle, SessionReadError};
use super::{origin, to_its_end};
use crate::accounts::AccountKey;
use crate::catalog::AgentError;
use crate::session::request::{Command, CommandError, SessionInfo};
use crate::turn::admission::TurnDenied;
use dormouse_domain::access::Action;
use dormouse_domain::account::{self, Account, AccountChange, AccountId, Amounts};
use dormouse_domain::agent::{AgentSelector, ComponentKind, Digest};
use dormouse_domain::creation::{self, ForkLimits, InvalidField};
use dormouse_domain::event::{Cursor, Event, EventBody};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::limits::{Limit, NanoUsd};
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::{ResumeObstacle, ResumeTrial, Snapshot};
use dormouse_domain::state::Move;
use dormouse_store::{
    Bound, EventEntry, NewSessionRecord, Page, SnapshotDetail, SnapshotSummary, StoreError,
    Transaction,
};

/// The most sessions that one fork makes.
pub const MAX_FORKS: u32 = 256;
/// The most bytes that the documents of all forks of a call take together: each fork has its own.
const MAX_FORKED_BYTES: usize = 8 << 20;
/// Events that are looked through at a time.
const LOOKED_THROUGH: usize = 500;
/// How often events are looked through for one page.
const PAGES: usize = 20;

/// How many sessions to fork, and from which snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Fork {
    /// The snapshot to start from. `None`: the state after the last turn.
    pub snapshot: Option<SnapshotId>,
    /// How many sessions to make: 1 to 256.
    pub count: u32,
    /// What each of them may spend on its own. Default: what the session that is forked has left of turns, and what
    /// all of them have left together of money and fuel.
    pub limits: ForkLimits,
}

impl Default for Fork {
    fn default() -> Fork {
        Fork { snapshot: None, count: 1, limits: ForkLimits::default() }
    }
}

/// Why a session was not forked. Nothing was created.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The number of forks is out of bounds.
    #[error("count must be 1 to {MAX_FORKS}")]
    Count,
    /// The session is the coordinator of a group of so many sessions, and all of their forks together are too many.
    #[error(
        "all of a group is forked, which has {0} sessions: count must be 1 to {MAX_FORKS} / {0}"
    )]
    GroupCount(usize),
    /// The session has nothing left that a fork could spend.
    #[error("a fork has the limits that are left: {0}")]
    Spent(TurnDenied),
    /// The limits that the forks are to have are none, or lack one that the session has.
    #[error(transparent)]
    Limits(#[from] InvalidField),
    /// The session and those that share its account have not as much left as the forks are to have. Has what
    /// nobody has spent or holds.
    #[error(
        "the forks are to have more than is left: there are {} US dollars and {} units of fuel",
        .0.money.as_usd(),
        .0.fuel
    )]
    Short(Amounts),
    /// The agent of the snapshot has been removed.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The session or the snapshot is not there, or its state could not be saved.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl From<StoreError> for ForkError {
    fn from(error: StoreError) -> ForkError {
        ForkError::Command(error.into())
    }
}

impl From<SessionReadError> for ForkError {
    fn from(error: SessionReadError) -> ForkError {
        ForkError::Command(error.into())
    }
}

impl SessionHandle {
    /// The snapshots that are kept of the session, newest first.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn snapshots(&self) -> Result<Vec<SnapshotSummary>, SessionReadError> {
        self.info().await?;
        Ok(self.host.inner.store.snapshots(self.id).await?)
    }

    /// Why no new session can start from each of these snapshots of the session, in their order. `None`: one can.
    /// Damage is known of those alone from which one was to start.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn resume_obstacles(
        &self,
        snapshots: &[SnapshotSummary],
    ) -> Result<Vec<Option<ResumeObstacle>>, SessionReadError> {
        let of = self.info().await?.session;
        let inner = &self.host.inner;
        let (stale_after, now) = (inner.options.stale_after, inner.clock.now());
        let has_thread = of.profile.thread_key.is_some();
        let mut agents: HashMap<Digest, bool> = HashMap::new();
        let mut obstacles = Vec::with_capacity(snapshots.len());
        for snapshot in snapshots {
            let is_there = match agents.get(&snapshot.agent) {
                Some(is_there) => *is_there,
                None => {
                    let (catalog, referred) = (&inner.catalog, &of.profile.agent);
                    let is_there = catalog.has_agent(snapshot.agent, referred, &of.owner).await?;
                    agents.insert(snapshot.agent, is_there);
                    is_there
                }
            };
            let is_stale = creation::is_stale(snapshot.taken_at, has_thread, stale_after, now);
            obstacles.push(match (snapshot.resumes.is_damaged, is_there, is_stale) {
                (true, _, _) => Some(ResumeObstacle::Damaged),
                (false, false, _) => Some(ResumeObstacle::AgentRemoved),
                (false, true, true) => Some(ResumeObstacle::Stale),
                (false, true, false) => None,
            });
        }
        Ok(obstacles)
    }

    /// Make sessions that start from a snapshot of this one, all of them or none; of the coordinator of a group, groups
    /// whose members are where its members were when the snapshot was taken. They have spent
    /// nothing, and share with this one what it may spend of money and fuel, unless they are given limits of their
    /// own, which are taken off this one's. Its thread stays its own. The first fork waits for a turn that runs.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use dormouse::{Fork, Host, NewSession, Pattern};
    ///
    /// let host = Host::builder().in_memory().build().await?;
    /// let notepad = NewSession::agent("notepad").pattern(Pattern::Hybrid);
    /// let session = host.sessions().create(notepad).await?;
    /// session.send("add milk").await?;
    /// for fork in session.fork(Fork { count: 2, ..Fork::default() }).await? {
    ///     let fork = host.sessions().get(fork.session.id);
    ///     assert!(fork.send("list").await?.text().contains("milk"));
    /// }
    /// # host.shut_down().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ForkError`]
    pub async fn fork(&self, fork: Fork) -> Result<Vec<SessionInfo>, ForkError> {
        let this = self.clone();
        to_its_end(async move { this.fork_now(fork).await }).await
    }

    async fn fork_now(&self, fork: Fork) -> Result<Vec<SessionInfo>, ForkError> {
        if !(1..=MAX_FORKS).contains(&fork.count) {
            return Err(ForkError::Count);
        }
        let inner = &self.host.inner;
        self.host.may(Action::Change).map_err(CommandError::from)?;
        let parent = self.info().await?.session;
        parent.check_alone().map_err(CommandError::from)?;
        if parent.document_bytes().saturating_mul(fork.count as usize) > MAX_FORKED_BYTES {
            let what = "the documents of all forks together, in bytes";
            return Err(StoreError::TooLarge { what, limit: MAX_FORKED_BYTES }.into());
        }
        if let (None, Some(at)) = (fork.snapshot, parent.state_removed_at) {
            return Err(CommandError::StateRemoved(at).into());
        }
        let from = match fork.snapshot {
            Some(id) => Some(self.own(id).await?),
            // Where it is, shows once it stands still.
            None if parent.group.is_some() => None,
            None => match origin::head(&self.host, &parent).await? {
                Some(id) => Some(self.own(id).await?),
                None => None,
            },
        };
        let parent = self.with_account(parent).await?;
        let account = parent.account.ok_or(StoreError::NotFound(self.id))?;
        let hold = inner.services.accounts.hold(AccountKey::Family(account)).await?;
        let standing = hold.standing();
        if let (Some(NanoUsd(0)), Some(max)) = (standing.money_left(), standing.limits.money) {
            return Err(ForkError::Spent(TurnDenied::BudgetExceeded(Limit::Budget(max))));
        }
        if let (Some(0), Some(max)) = (standing.fuel_left(), standing.limits.fuel) {
            return Err(ForkError::Spent(TurnDenied::FuelExceeded(Limit::Fuel(max))));
        }
        let granted = fork.limits.granted(fork.count, standing.limits)?;
        hold.more(granted).await.map_err(|short| ForkError::Short(short.left))?;
        // From here on nobody is waited for who may wait for the group.
        let mut group = self.hold_group(&parent, fork.snapshot).await?;
        let each = 1 + group.members();
        if each.saturating_mul(fork.count as usize) > MAX_FORKS as usize {
            return Err(ForkError::GroupCount(each));
        }
        if group.document_bytes().saturating_mul(fork.count as usize) > MAX_FORKED_BYTES {
            let what = "the documents of all forks together, in bytes";
            return Err(StoreError::TooLarge { what, limit: MAX_FORKED_BYTES }.into());
        }
        let (parent, from) = match (group.coordinator(), from) {
            (Some(held), None) => match held.head {
                Some(head) => (Arc::clone(held), Some(self.own(head).await?)),
                None => (Arc::clone(held), None),
            },
            (Some(held), from) => (Arc::clone(held), from),
            (None, from) => (parent, from),
        };
        // What came before may have waited for a turn.
        let _held = inner.catalog.hold().await;
        // It has to be there still, whichever it is.
        let referred = &parent.profile.agent;
        let digest = from.as_ref().map_or(referred.digest, |from| from.agent);
        let agent = inner.catalog.of_snapshot(digest, referred, &parent.owner).await?;
        let now = inner.clock.now();
        group.find_agents(&inner.catalog).await?;
        let (mut forks, mut members, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut accounts = Vec::new();
        for _ in 0..fork.count {
            let id = SessionId(inner.clock.new_id());
            // Before that of their coordinator, so that it is the later one.
            let heads = group.heads(&inner.clock);
            let head = from.as_ref().map(|from| from.again(SnapshotId(inner.clock.new_id()), now));
            let agent = agent.reference.clone();
            let fork = creation::forked(&parent, head.as_ref(), agent, &fork.limits, (id, now));
            let mut session = fork.map_err(|spent| ForkError::Spent(spent.into()))?;
            if session.group.is_some() && session.account.is_none() {
                // A group has an account, also where it is not that of the group that it is a fork of.
                session.account = Some(AccountId(id));
                accounts.push(Account { members: each as u64, ..account::own(&session) });
            }
            events.push(creation::event(&session, Some(parent.id)));
            for (member, of) in group.forked(&session, heads, now) {
                events.push(creation::event(&member.session, Some(of.id)));
                members.push(member);
            }
            forks.push(NewSessionRecord { session: Arc::new(session), head });
        }
        let from = from.map(|from| from.id);
        let forked = EventBody::SessionForked { count: fork.count, from };
        events.push(Event::session(&parent, now, forked));
        let sessions: Vec<_> = forks.iter().map(|fork| Arc::clone(&fork.session)).collect();
        forks.extend(members);
        let mut adding = Transaction::create(forks, events);
        for account in accounts {
            adding = adding.and(Transaction::new_account(account));
        }
        let user = parent.profile.user_id.as_deref();
        adding.expect.extend(inner.options.quotas.expected(&parent.owner, user));
        if let Some(from) = from {
            let trial = ResumeTrial::Resumed;
            adding = adding.and(Transaction::resume_tried(parent.id, from, trial, now));
        }
        let each = i64::try_from(each).unwrap_or(i64::MAX);
        let members = if fork.limits.is_own() { 0 } else { i64::from(fork.count) * each };
        let change = AccountChange { members, granted, ..AccountChange::default() };
        adding = adding.and(Transaction::change_account(account, change));
        let changing = hold.changing().await;
        inner.store.commit(adding).await?;
        hold.changed(change);
        drop(changing);
        metrics::counter!("dormouse_forks_total").increment(sessions.len() as u64);
        for session in &sessions {
            inner.services.note_deadline(session);
        }
        Ok(sessions.into_iter().map(|session| inner.registry.info(session)).collect())
    }

    /// Go back to a snapshot. What came after it stays among the snapshots, and what was spent stays
    /// spent. The members of a group go back with their coordinator, to where they were when the snapshot was taken.
    ///
    /// # Errors
    /// [`CommandError::TurnInProgress`] while a turn of the session or of a member runs; [`CommandError::NoSnapshot`];
    /// [`CommandError::MemberStateGone`]; [`CommandError::MemberOfGroup`].
    pub async fn rewind(&self, snapshot: SnapshotId) -> Result<SessionInfo, CommandError> {
        self.info().await?.session.check_alone()?;
        self.ask(Command::Rewind(snapshot)).await
    }

    /// Take no messages until the session is resumed. Members of a group take none while their coordinator takes none.
    ///
    /// # Errors
    /// [`CommandError::InvalidTransition`]
    pub async fn pause(&self) -> Result<SessionInfo, CommandError> {
        self.info().await?.session.check_alone()?;
        self.ask(Command::Move(Move::Pause)).await
    }

    /// Take messages again, after a pause or an error: from where the session is, or from a snapshot.
    ///
    /// # Errors
    /// [`CommandError::InvalidTransition`]; [`Unavailable::Damaged`](crate::Unavailable::Damaged) names the snapshot to resume from.
    pub async fn resume(&self, snapshot: Option<SnapshotId>) -> Result<SessionInfo, CommandError> {
        if snapshot.is_some() {
            self.info().await?.session.check_alone()?;
        }
        self.ask(Command::Resume(snapshot)).await
    }

    /// Let another version of the agent take the session over, with the state that the old one saves
    /// by its own `state` export. It is tried on a copy first, and if the first turn with the new
    /// version fails, the session goes back to the old one by itself.
    ///
    /// # Errors
    /// [`CommandError::NotUpgraded`] says what went wrong; the session is as it was.
    pub async fn upgrade(&self, agent: AgentSelector) -> Result<SessionInfo, UpgradeError> {
        let catalog = &self.host.inner.catalog;
        self.host.may(Action::Change).map_err(CommandError::from)?;
        let session = self.info().await.map_err(CommandError::from)?.session;
        // As the owner of the session names it, whoever asks.
        let agent = catalog.find(agent, &session.owner).await?;
        let why = match agent.component.exports.kind() {
            Some(ComponentKind::Agent) | None => None,
            Some(ComponentKind::Command) => Some("a command, which keeps no state"),
            Some(ComponentKind::Population) => Some("a population, which answers no turns"),
        };
        if let Some(why) = why {
            let why = format!("the new version is {why} and takes no session over");
            return Err(CommandError::NotUpgraded(why).into());
        }
        Ok(self.ask(Command::Upgrade(agent.reference)).await?)
    }

    /// Which principals have asked to go on from the session's snapshots, or from those of another session
    /// with this one, and what came of it: events after a cursor, in order, at most `limit`. At most 10,000 of the
    /// session's events are looked through at a time: a page may have few entries, or none, and a
    /// `next`.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn audit(
        &self,
        after: Cursor,
        limit: usize,
    ) -> Result<Page<EventEntry, Cursor>, SessionReadError> {
        self.info().await?;
        let mut audit = Page { entries: Vec::new(), next: Some(after) };
        for _ in 0..PAGES {
            let Some(cursor) = audit.next else { break };
            let bound = Bound::entries(LOOKED_THROUGH);
            let page = self.host.inner.store.session_events(self.id, cursor, bound).await?;
            audit.next = page.next;
            for logged in page.entries.into_iter().filter(|logged| logged.event.kind().is_audited())
            {
                if audit.entries.len() == limit {
                    audit.next = audit.entries.last().map(|last: &EventEntry| last.cursor);
                    return Ok(audit);
                }
                audit.entries.push(logged);
            }
        }
        Ok(audit)
    }

    /// This session with an account that others can share.
    async fn with_account(&self, session: Arc<Session>) -> Result<Arc<Session>, CommandError> {
        if session.account.is_some() {
            return Ok(session);
        }
        Ok(self.ask(Command::Share).await?.session)
    }

    /// A snapshot of this session, without the data of its chunks.
    async fn own(&self, id: SnapshotId) -> Result<Snapshot, CommandError> {
        match self.host.inner.store.snapshot(id, SnapshotDetail::Metadata).await? {
            Some(kept) if kept.session == self.id => Ok(kept.snapshot),
            Some(_) | None => Err(CommandError::NoSnapshot(id)),
        }
    }
}

/// Why a session was not upgraded. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The new agent is not there.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// It was not carried out.
    #[error(transparent)]
    Command(#[from] CommandError),
}
