//! Members of groups: each is created at its first use, and all stand still while their group changes as one.
//!
//! A member has the id that follows from its coordinator and its name, and its record names a coordinator that has not
//! ended: the commit that creates it expects of that the revision at which it was open. So a group that has ended, or
//! is gone, gets no member any more.

use std::sync::Arc;

use tokio::sync::watch;

use super::registry::Registry;
use super::request::{Command, CommandError, Unavailable};
use super::services::Services;
use crate::catalog::AgentError;
use dormouse_domain::account::AccountChange;
use dormouse_domain::agent::ComponentKind;
use dormouse_domain::ask::AskError;
use dormouse_domain::creation::{self, InvalidField};
use dormouse_domain::group::{self, BegunAnew, Group};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::turn::TurnOutcome;
use dormouse_store::{Bound, Expect, NewSessionRecord, Store, StoreError, Transaction};

/// Turns of a member that are looked through at a time, and how often.
const LOOKED_THROUGH: usize = 100;
const PAGES: usize = 20;
/// How often the creation of a member is tried while its coordinator changes.
const ATTEMPTS: u32 = 16;

/// Why a member is not there.
#[derive(Debug, thiserror::Error)]
enum MemberError {
    #[error("its group has ended")]
    Ended,
    #[error("its agent answers no turns, or keeps nothing between them")]
    NoAgent,
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// See to it that the peer of a session is there: a member of its group is created where it is not. Of others, whoever
/// writes to them sees it.
///
/// # Errors
/// It cannot be created, and this is what its peer is told.
pub(crate) async fn provide(
    services: &Services,
    of: &Session,
    peer: SessionId,
) -> Result<(), AskError> {
    let Some(group) = &of.group else { return Ok(()) };
    let Some(name) = group.name_of(peer) else { return Ok(()) };
    create(services, group, name, peer).await.map_err(|error| {
        let session = group.coordinator;
        tracing::debug!(%session, member = name, %error, "a member cannot be created");
        match error {
            MemberError::Ended => AskError::Ended,
            error => AskError::Unavailable(format!("it cannot be created: {error}")),
        }
    })
}

async fn create(
    services: &Services,
    group: &Group,
    name: &str,
    id: SessionId,
) -> Result<(), MemberError> {
    let (store, catalog) = (&services.store, &services.catalog);
    for _ in 0..ATTEMPTS {
        if store.status(id)?.is_some() {
            return Ok(());
        }
        let coordinator = store.session(group.coordinator).await?.ok_or(MemberError::Ended)?;
        if coordinator.state.status().is_final() {
            return Err(MemberError::Ended);
        }
        let _held = catalog.hold().await;
        let agent = match group::agent_of(&coordinator.profile.config, name) {
            Some(agent) => catalog.find(creation::selected(agent)?, &coordinator.owner).await?,
            None => catalog.referred(&coordinator.profile.agent).await?,
        };
        if agent.component.exports.kind() != Some(ComponentKind::Agent) {
            return Err(MemberError::NoAgent);
        }
        let now = services.clock.now();
        let member = group::member(&coordinator, name, agent.reference, now);
        let member = Arc::new(member.ok_or(MemberError::Ended)?);
        match store.commit(creation_of(services, &coordinator, member)).await {
            // Somebody else was faster, or the coordinator has changed.
            Err(StoreError::Conflict(_)) => {}
            done => return Ok(done?),
        }
    }
    Err(StoreError::Conflict(group.coordinator).into())
}

fn creation_of(services: &Services, coordinator: &Session, member: Arc<Session>) -> Transaction {
    let event = creation::event(&member, None);
    let (owner, user) = (&member.owner, member.profile.user_id.as_deref());
    let expected = services.options.quotas.expected(owner, user);
    let account = member.account;
    let new = NewSessionRecord { session: Arc::clone(&member), head: None };
    let mut creation = Transaction::create(vec![new], vec![event]);
    creation.expect.push(Expect::Revision(coordinator.id, coordinator.revision));
    creation.expect.extend(expected);
    match account {
        Some(account) => {
            let joined = AccountChange { members: 1, ..AccountChange::default() };
            creation.and(Transaction::change_account(account, joined))
        }
        None => creation,
    }
}

/// Where a member was at a time.
pub(crate) enum MemberThen {
    /// At this snapshot.
    At(SnapshotId),
    /// It had done nothing yet.
    Fresh,
}

/// Where a member was when this snapshot of its coordinator was taken, by what is kept of it. Names of snapshots are in
/// the order in which they were taken, and that of a coordinator comes behind those that its members had by then.
///
/// # Errors
/// [`CommandError::MemberStateGone`]: nothing is kept of it from then.
pub(crate) async fn member_at(
    store: &dyn Store,
    member: &Session,
    coordinator: SnapshotId,
) -> Result<MemberThen, CommandError> {
    let group = member.group.as_ref();
    let gone = || {
        let name = group.and_then(|group| group.name.clone()).unwrap_or_default();
        CommandError::MemberStateGone(name)
    };
    let begun_anew = match group.map(|group| group.begun_anew(coordinator)) {
        Some(BegunAnew::At(at)) => Some(at),
        Some(BegunAnew::Forgotten) => return Err(gone()),
        Some(BegunAnew::Never) | None => None,
    };
    let kept = store.snapshots(member.id).await?;
    let by_then = kept.iter().filter(|kept| kept.id <= coordinator && Some(kept.id) > begun_anew);
    let at = by_then.max_by_key(|kept| kept.id);
    let (turn, since) = match at {
        Some(at) => (at.turn, Some(at.id)),
        None => (0, begun_anew),
    };
    if has_lost_turn(store, member, turn, since, coordinator).await? {
        return Err(gone());
    }
    match at {
        Some(at) => Ok(MemberThen::At(at.id)),
        // What a fork starts from is kept like any other snapshot, for a time.
        None if begun_anew.is_none() && member.parent.is_some() => Err(gone()),
        None => Ok(MemberThen::Fresh),
    }
}

/// Whether a member had answered a turn between these snapshots, the second one of its coordinator, whose state is not
/// kept: it was saved later, or is gone. Turns have their names from when they begin, out of the same row as snapshots. The
/// first turn to look at comes after `turn`.
async fn has_lost_turn(
    store: &dyn Store,
    member: &Session,
    mut turn: u64,
    since: Option<SnapshotId>,
    until: SnapshotId,
) -> Result<bool, StoreError> {
    for _ in 0..PAGES {
        let page = store.turns(member.id, turn, Bound::entries(LOOKED_THROUGH)).await?;
        for turn in page.entries {
            if turn.id.0 > until.0 {
                return Ok(false);
            }
            let is_later = since.is_none_or(|since| turn.id.0 > since.0);
            match turn.outcome {
                // It was under way then.
                TurnOutcome::Answered { snapshot: Some(snapshot), .. } if snapshot > until => {}
                TurnOutcome::Answered { .. } if is_later => return Ok(true),
                TurnOutcome::Answered { .. } | TurnOutcome::Failed(_) => {}
            }
        }
        match page.next {
            Some(next) => turn = next,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// What a driver is told to wait for once its session stands still.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    released: watch::Receiver<()>,
    /// Whether a turn that runs ends for it. Otherwise it is not to wait for one.
    pub(crate) ends_turn: bool,
}

impl Hold {
    /// Returns once nobody holds the session any more.
    pub(crate) async fn released(mut self) {
        while self.released.changed().await.is_ok() {}
    }
}

impl PartialEq for Hold {
    fn eq(&self, other: &Hold) -> bool {
        self.released.same_channel(&other.released)
    }
}

impl Eq for Hold {}

/// A session that stands still: its state is saved, and its driver does nothing, until this is dropped.
pub(crate) struct HeldSession {
    /// Its record.
    pub(crate) session: Arc<Session>,
    _held: watch::Sender<()>,
}

impl Registry {
    /// Have a session stand still. `ends_turn`: also where a turn runs, which ends.
    ///
    /// # Errors
    /// [`CommandError::TurnInProgress`], where it may not end one; its state cannot be saved.
    pub(crate) async fn hold(
        self: &Arc<Self>,
        id: SessionId,
        ends_turn: bool,
    ) -> Result<HeldSession, CommandError> {
        let (held, released) = watch::channel(());
        let hold = Command::Hold(Hold { released, ends_turn });
        let session = self.command(id, None, hold).await?;
        let session = session.ok_or(Unavailable::NotFound(id))?;
        Ok(HeldSession { session, _held: held })
    }

    /// Have all members of a group stand still that are there. Whoever calls this is, or holds, the coordinator.
    ///
    /// # Errors
    /// As [`Registry::hold`]: then none stands still.
    pub(crate) async fn hold_members(
        self: &Arc<Self>,
        group: &Group,
        ends_turns: bool,
    ) -> Result<Vec<HeldSession>, CommandError> {
        let mut held: Vec<HeldSession> = Vec::new();
        // A turn that ends may have created another one meanwhile.
        while let Some(next) = self.next_member(group, &held)? {
            held.push(self.hold(next, ends_turns).await?);
        }
        Ok(held)
    }

    fn next_member(
        &self,
        group: &Group,
        held: &[HeldSession],
    ) -> Result<Option<SessionId>, StoreError> {
        for (_, id) in group.ids() {
            let is_held = held.iter().any(|held| held.session.id == id);
            if !is_held && self.services().store.status(id)?.is_some() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}
