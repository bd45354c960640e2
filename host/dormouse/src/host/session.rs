//! A session of a host: what can be asked of it. What can be said to it is in `message`.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;

use super::Host;
use crate::event::{self, EventFilter};
use crate::session::registry::Registry;
use crate::session::request::{
    Command, CommandError, CommandResult, MAX_REASON, SessionInfo, Unavailable,
};
use crate::turn::admission;
use crate::turn::output::TurnOutput;
use dormouse_domain::access::Action;
use dormouse_domain::account::Account;
use dormouse_domain::event::{Cursor, SleepCause};
use dormouse_domain::group::Group;
use dormouse_domain::id::SessionId;
use dormouse_domain::patch::{SessionPatch, StatusChange};
use dormouse_domain::session::Session;
use dormouse_domain::state::{Cause, Move, Reason, Status};
use dormouse_domain::turn::TurnRecord;
use dormouse_store::{Bound, EventEntry, Page, StoreError};

/// A handle on a session.
#[derive(Clone)]
pub struct SessionHandle {
    pub(super) host: Host,
    pub(super) id: SessionId,
}

/// Why a session, or something of it, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SessionReadError {
    /// There is no such session, or it belongs to somebody else.
    #[error("Session not found")]
    NotFound(SessionId),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SessionReadError> for CommandError {
    fn from(error: SessionReadError) -> CommandError {
        match error {
            SessionReadError::NotFound(id) => Unavailable::NotFound(id).into(),
            SessionReadError::Store(error) => error.into(),
        }
    }
}

impl SessionHandle {
    pub(super) fn new(host: Host, id: SessionId) -> SessionHandle {
        SessionHandle { host, id }
    }

    /// The name of the session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The session as it is now: its record, and what memory knows of it besides.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn info(&self) -> Result<SessionInfo, SessionReadError> {
        // Before it is read: to a stranger a session answers as fast as one that is not there.
        if let Some(caller) = self.host.access().only()
            && !self.host.inner.store.is_owner(self.id, caller)?
        {
            return Err(SessionReadError::NotFound(self.id));
        }
        self.registry().get(self.id).await?.ok_or(SessionReadError::NotFound(self.id))
    }

    /// Where the session is in its life.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn status(&self) -> Result<Status, SessionReadError> {
        Ok(self.info().await?.status())
    }

    /// What the session shares with its forks, or with the session that it was forked from. `None`: it spends on its
    /// own.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn account(&self) -> Result<Option<Account>, SessionReadError> {
        match self.info().await?.session.account {
            Some(account) => Ok(self.host.inner.store.account(account).await?),
            None => Ok(None),
        }
    }

    /// What the running turn has streamed so far and will stream, with the number of the turn.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn running(&self) -> Result<Option<(u64, TurnOutput)>, SessionReadError> {
        self.info().await?;
        Ok(self.registry().running(self.id))
    }

    /// Drop the instance, once the running turn is over. The next message wakes the session where it
    /// was. The members of a group sleep with their coordinator.
    ///
    /// # Errors
    /// [`CommandError::Unsaved`] where that would lose the state.
    pub async fn sleep(&self) -> Result<SessionInfo, CommandError> {
        let asked = self.ask(Command::SleepAlone).await?;
        if !asked.session.group.as_ref().is_some_and(Group::is_coordinator) {
            return Ok(asked);
        }
        // Its members sleep first: what it saves is later than what they have saved.
        let sleep = Command::Sleep(SleepCause::Asked);
        let failed = self.ask_members(&asked.session, &sleep).await;
        let asked = self.ask(sleep).await?;
        failed.map(|()| asked)
    }

    /// Make the instance now, so that the next message finds it. The members of a group wake with their coordinator.
    ///
    /// # Errors
    /// [`CommandError`]
    pub async fn wake(&self) -> Result<SessionInfo, CommandError> {
        let asked = self.ask(Command::Wake).await?;
        self.ask_members(&asked.session, &Command::Wake).await?;
        Ok(asked)
    }

    /// End the session. The running turn may finish within the grace period; this returns before. One that
    /// is over stays as it is.
    ///
    /// # Errors
    /// [`CommandError`]
    pub async fn stop(&self) -> Result<SessionInfo, CommandError> {
        self.host.may(Action::Change)?;
        let info = self.info().await?;
        info.session.check_alone()?;
        if info.session.state.status().is_final() {
            return Ok(info);
        }
        let step = Move::Stop(Cause::Stopped.into());
        let (accepted, done) = self.registry().post(self.id, None, Command::Move(step))?;
        if !accepted.turn_in_progress {
            let done = done.await.unwrap_or_else(|_| Err(Unavailable::ShuttingDown.into()));
            return self.unless_over(done).await;
        }
        Ok(self.info().await?)
    }

    /// The session has done what it was for. A running turn is finished first. One that is completed
    /// stays as it is.
    ///
    /// # Errors
    /// [`CommandError::InvalidTransition`] where the session has ended otherwise.
    pub async fn complete(&self) -> Result<SessionInfo, CommandError> {
        let patch =
            SessionPatch { status: Some(StatusChange::Completed), ..SessionPatch::default() };
        self.change(patch).await
    }

    /// Change what a patch names: all of it in one commit, or nothing. It waits for the turn that runs; one
    /// that terminates the session kills it.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] names the field that would be out of bounds;
    /// [`CommandError::InvalidTransition`] where the state does not allow the status;
    /// [`CommandError::OtherRevision`] where the session is at another revision than the patch was made for.
    pub async fn change(&self, mut patch: SessionPatch) -> Result<SessionInfo, CommandError> {
        self.host.may(Action::Change)?;
        if let Some(peers) = &patch.peers {
            let before = self.info().await?.session;
            self.host.check_peers(&before.owner, peers)?;
        }
        if patch.status.is_some() {
            self.info().await?.session.check_alone()?;
        }
        if patch.status == Some(StatusChange::Terminated) {
            // One that is refused must kill nothing.
            let before = self.info().await?.session;
            let now = self.host.inner.clock.now();
            // Here and not again: the turn that this kills gives the session another revision.
            patch.check_revision(&before)?;
            patch.clone().apply(&before, &self.host.inner.options.limits, now)?;
        }
        self.ask(Command::Change(Box::new(patch))).await
    }

    /// Put off the end of the idle limit: until so long after now, or for the whole limit. An end that is
    /// later stays. A session without an idle limit stays as it is.
    ///
    /// # Errors
    /// [`CommandError::NotActive`] where the session is over; [`CommandError::Invalid`] where that is longer
    /// than 30 days.
    pub async fn extend(&self, by: Option<Duration>) -> Result<SessionInfo, CommandError> {
        self.ask(Command::Extend(by)).await
    }

    /// End the session at once. The running turn is killed, and recorded as killed. One that is over stays
    /// as it is.
    ///
    /// # Errors
    /// [`CommandError`]
    pub async fn force_kill(&self) -> Result<SessionInfo, CommandError> {
        self.end(Move::Terminate(Cause::ForceKilled.into())).await
    }

    /// End the session for a reason of the caller's. The running turn is killed. One that is over stays as
    /// it is.
    ///
    /// # Errors
    /// [`CommandError`]
    pub async fn terminate(&self, reason: &str) -> Result<SessionInfo, CommandError> {
        let reason = Reason(reason.chars().take(MAX_REASON).collect());
        self.end(Move::Terminate(reason)).await
    }

    /// Remove the session with all its turns, and with a coordinator its members. A running turn is killed.
    ///
    /// # Errors
    /// [`Unavailable::NotFound`]
    pub async fn delete(&self) -> Result<(), CommandError> {
        self.host.may(Action::Change)?;
        self.info().await?.session.check_alone()?;
        self.registry().command(self.id, None, Command::Delete).await?;
        Ok(())
    }

    /// Turns with numbers above `after`, in order, at most `limit`. A page ends before it has more than
    /// [`PAGE_BYTES`](crate::PAGE_BYTES); its `next` is the `after` of the one behind it.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn turns(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Page<TurnRecord, u64>, SessionReadError> {
        self.info().await?;
        Ok(self.host.inner.store.turns(self.id, after, Bound::entries(limit)).await?)
    }

    /// One turn.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`] where there is no such session.
    pub async fn turn(&self, number: u64) -> Result<Option<TurnRecord>, SessionReadError> {
        self.info().await?;
        Ok(self.host.inner.store.turn(self.id, number).await?)
    }

    /// What happened to the session after a cursor, in order, at most `limit`. A page ends before it has
    /// more than [`PAGE_BYTES`](crate::PAGE_BYTES).
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn events(
        &self,
        after: Cursor,
        limit: usize,
    ) -> Result<Page<EventEntry, Cursor>, SessionReadError> {
        self.info().await?;
        Ok(self.host.inner.store.session_events(self.id, after, Bound::entries(limit)).await?)
    }

    /// What happens to the session from a cursor on: first what has happened, then each event as soon as
    /// it is committed, the removal of the session included. None is left out and none comes twice. A
    /// reader that stops goes on later after the cursor of the last event that it got.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]. The stream ends with the first [`StoreError`]: [`StoreError::Closed`] when
    /// the host has shut down.
    pub async fn follow_events(
        &self,
        after: Cursor,
    ) -> Result<impl Stream<Item = Result<EventEntry, StoreError>> + Send + 'static, SessionReadError>
    {
        // The reader begins before the session is looked up: so it misses no removal in between.
        let events = event::tail(self.host.inner.store.clone(), after, EventFilter::Of(self.id));
        self.info().await?;
        Ok(events)
    }

    /// Give a command that asks nothing of the running turn.
    pub(super) async fn ask(&self, command: Command) -> Result<SessionInfo, CommandError> {
        self.host.may(Action::Change)?;
        let caller = self.host.access().only().cloned();
        let session = self.registry().command(self.id, caller, command).await?;
        let session = session.ok_or(Unavailable::NotFound(self.id))?;
        Ok(self.registry().info(session))
    }

    /// Give a command to the members of the group of a coordinator that take messages: to all of them, also where one
    /// cannot carry it out.
    async fn ask_members(&self, session: &Session, command: &Command) -> Result<(), CommandError> {
        let mut failed = None;
        for member in self.members_of(session).await? {
            if admission::is_open(member.state.status()) {
                let done = self.registry().command(member.id, None, command.clone()).await;
                failed = failed.or(done.err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The members of the group that the session is the coordinator of, as far as they are there, by their names. A
    /// session that is no coordinator has none.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn members(&self) -> Result<Vec<SessionInfo>, SessionReadError> {
        let session = self.info().await?.session;
        let members = self.members_of(&session).await?;
        Ok(members.into_iter().map(|member| self.registry().info(member)).collect())
    }

    async fn members_of(&self, session: &Session) -> Result<Vec<Arc<Session>>, StoreError> {
        let group = session.group.as_ref().filter(|group| group.is_coordinator());
        let mut members = Vec::new();
        for (_, id) in group.into_iter().flat_map(Group::ids) {
            members.extend(self.host.inner.store.session(id).await?.map(Arc::new));
        }
        Ok(members)
    }

    /// Give a command that ends the session, and the running turn with it.
    async fn end(&self, step: Move) -> Result<SessionInfo, CommandError> {
        self.host.may(Action::Change)?;
        let info = self.info().await?;
        info.session.check_alone()?;
        if info.session.state.status().is_final() {
            return Ok(info);
        }
        let done = self.registry().command(self.id, None, Command::Move(step)).await;
        self.unless_over(done).await
    }

    /// The session after a command that ends it, also where it has ended meanwhile by itself.
    async fn unless_over(&self, done: CommandResult) -> Result<SessionInfo, CommandError> {
        match done {
            Ok(Some(session)) => Ok(self.registry().info(session)),
            Ok(None) => Err(Unavailable::NotFound(self.id).into()),
            Err(CommandError::InvalidTransition(refused)) if refused.from.is_final() => {
                Ok(self.info().await?)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.host.inner.registry
    }
}
