//! Commands: changes of a session that are not turns. Each is one commit.

use std::sync::Arc;

use crate::session::members::Hold;
use crate::session::request::{Command, CommandError, CommandResult, Unavailable};
use crate::turn::admission;
use dormouse_domain::account::AccountChange;
use dormouse_domain::deadline::{self, Due};
use dormouse_domain::event::{Event, EventBody, SleepCause};
use dormouse_domain::inactive::NotActive;
use dormouse_domain::residence::Residence;
use dormouse_domain::retention;
use dormouse_domain::session::{Residency, Session};
use dormouse_domain::snapshot::Snapshot;
use dormouse_domain::state::{InvalidTransition, Move, State, Status};
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Timer;
use dormouse_domain::transition;
use dormouse_domain::turn::{Part, Sender};
use dormouse_store::{StoreError, Transaction};

use super::{Driver, NotWoken, Resident, WakeError};

/// How often the removal of a group is tried while it gets members.
const ATTEMPTS: u32 = 16;

/// Why a move was not made.
pub(super) enum MoveError {
    Invalid(InvalidTransition),
    Store(StoreError),
}

impl From<MoveError> for CommandError {
    fn from(error: MoveError) -> CommandError {
        match error {
            MoveError::Invalid(error) => CommandError::InvalidTransition(error),
            MoveError::Store(error) => error.into(),
        }
    }
}

impl Driver<'_> {
    /// Carry out a command. Answers with the session after it; `None` where it was removed.
    pub(super) async fn command(&mut self, command: Command) -> CommandResult {
        let loaded = match command {
            Command::Wake => self.load().await.map(drop),
            Command::Sleep(_)
            | Command::SleepAlone
            | Command::Save
            | Command::Rewind(_)
            | Command::Resume(_)
            | Command::Upgrade(_)
            | Command::Move(..)
            | Command::Change(_)
            | Command::ChangeFiles(_)
            | Command::Extend(_)
            | Command::Due
            | Command::Share
            | Command::Hold(_)
            | Command::RemoveUnused(_)
            | Command::Delete => self.load_record().await.map(drop),
        };
        if let Err(error) = loaded {
            return Err(self.command_refusal(error));
        }
        match command {
            Command::Sleep(cause) => self.sleep(cause).await?,
            Command::SleepAlone if self.own_group().is_some() => {}
            Command::SleepAlone => self.sleep(SleepCause::Asked).await?,
            Command::Save => self.save_now().await?,
            Command::Rewind(snapshot) => self.rewind(snapshot).await?,
            Command::Resume(snapshot) => self.resume(snapshot).await?,
            Command::Upgrade(agent) => self.upgrade(agent).await?,
            Command::Wake => self.wake_by_hand().await?,
            Command::Move(Move::Stop(reason)) => {
                // The running turn is over by now: nothing is left to wait for.
                let moves = vec![Move::Stop(reason.clone()), Move::Terminate(reason)];
                self.make_moves(moves).await?;
            }
            Command::Move(step) => self.make_moves(vec![step]).await?,
            Command::Change(patch) => self.change(*patch).await?,
            Command::ChangeFiles(change) => self.change_files(&change).await?,
            Command::Extend(by) => self.extend(by).await?,
            Command::Share => self.share_account().await?,
            Command::Due => return self.do_what_is_due().await,
            Command::RemoveUnused(since) => return self.remove_unused(since).await,
            Command::Hold(hold) => return self.stand_still(&hold).await,
            Command::Delete => {
                self.delete().await?;
                return Ok(None);
            }
        }
        Ok(self.memory.session().cloned())
    }

    /// Make these moves in one commit.
    pub(super) async fn make_moves(&mut self, moves: Vec<Move>) -> Result<(), MoveError> {
        let Some(before) = self.memory.session().cloned() else { return Ok(()) };
        let mut after = Session::clone(&before);
        for step in moves {
            after.state = after.state.after(step).map_err(MoveError::Invalid)?;
        }
        let now = self.services.clock.now();
        let ending = transition::ending(&before, &mut after, now);
        self.commit(after, None, ending).await.map_err(MoveError::Store)?;
        self.drop_guest_at_rest();
        Ok(())
    }

    /// Drop the instance where the session, as it is now, needs none.
    pub(super) fn drop_guest_at_rest(&mut self) {
        let Some(session) = self.memory.session() else { return };
        match session.state {
            State::Completed | State::Terminated(_) | State::Error(_) => self.drop_guest(),
            State::Idle if session.unsaved_turns == 0 => self.drop_guest(),
            State::Initializing
            | State::Active
            | State::Idle
            | State::Paused(_)
            | State::Stopping(_) => {}
        }
    }

    /// Commit a new record, and with it a new head where there is one. Memory follows.
    pub(super) async fn commit(
        &mut self,
        after: Session,
        head: Option<Snapshot>,
        more: impl IntoIterator<Item = Event>,
    ) -> Result<(), StoreError> {
        let update = |after: Arc<Session>, events| Transaction::update(after, head, events);
        self.commit_as(update, after, more).await
    }

    /// Commit a new record by the transaction that is made of it and of the events. Memory follows.
    pub(super) async fn commit_as(
        &mut self,
        transaction: impl FnOnce(Arc<Session>, Vec<Event>) -> Transaction,
        mut after: Session,
        more: impl IntoIterator<Item = Event>,
    ) -> Result<(), StoreError> {
        let mut events = self.pending_events().await;
        events.extend(more);
        after.revision += 1;
        if let Some(residence) = self.memory.residence() {
            after.residence = residence;
        }
        let after = Arc::new(after);
        let transaction = transaction(Arc::clone(&after), events);
        if let Err(error) = self.services.store.commit(transaction).await {
            self.forget();
            return Err(error);
        }
        self.services.note_deadline(&after);
        self.memory.set_session(after);
        Ok(())
    }

    async fn sleep(&mut self, cause: SleepCause) -> Result<(), CommandError> {
        self.save_now().await?;
        if let Some(resident) = self.memory.take_resident() {
            let Resident { session, guest, used_at, residence, .. } = *resident;
            drop(guest);
            self.note_slept(&session, residence, cause, used_at);
            self.registry.note_residency(self.id, Residency::Asleep);
        }
        Ok(())
    }

    /// Note that the session has gone to sleep, whose instance was dropped.
    pub(super) fn note_slept(
        &mut self,
        session: &Session,
        residence: Residence,
        cause: SleepCause,
        used_at: Timestamp,
    ) {
        let slept = self.services.note_slept(session, residence, cause, used_at);
        self.memory.note_slept(slept);
    }

    /// Save what there is, and know nothing of the session any more: whoever holds it may change its record.
    async fn stand_still(&mut self, hold: &Hold) -> CommandResult {
        if !hold.ends_turn {
            self.sleep(SleepCause::Asked).await?;
        }
        let session = self.record()?;
        self.forget();
        Ok(Some(session))
    }

    async fn wake_by_hand(&mut self) -> Result<(), CommandError> {
        let Some(session) = self.memory.session() else {
            return Err(Unavailable::NotFound(self.id).into());
        };
        let status = session.state.status();
        let open = admission::is_open(status) || status == Status::Paused;
        if !open || (session.unsaved_turns > 0 && self.memory.guest().is_none()) {
            return Err(NotActive::of(session, status).into());
        }
        let mut cancel = self.command_signals();
        let woken = match self.wake(&mut cancel).await {
            Err(WakeError::Damaged(why)) => {
                self.recover_head(why).await?;
                self.wake(&mut cancel).await
            }
            woken => woken,
        };
        if let Err(error) = woken {
            return Err(self.command_refusal(error));
        }
        let Some(guest) = self.memory.guest_mut() else { return Ok(()) };
        match guest.instance.measure().await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.command_refusal(WakeError::Guest(fault))),
        }
    }

    async fn do_what_is_due(&mut self) -> CommandResult {
        let now = self.services.clock.now();
        let mut may_remove = true;
        // A move may bring the next deadline nearer, and that may have come as well.
        while let Some(session) = self.memory.session()
            && let Some((at, due)) =
                deadline::due(session, now, |at| may_remove && self.services.may_remove(at))
        {
            match due {
                Due::Move(step) => self.make_moves(vec![step]).await?,
                Due::IdleWarning { end } => self.warn_of_idling(end, now).await?,
                Due::Timer => {
                    self.post_timer(now);
                    break;
                }
                Due::GroupEnd => self.end_group().await?,
                Due::StateRemoval => match self.remove_state(now).await {
                    // Its instance has what no snapshot holds: it stays, and so does what there is to go back to.
                    Err(CommandError::Unsaved(_)) => {
                        may_remove = false;
                        continue;
                    }
                    removed => removed?,
                },
                Due::Removal => {
                    self.delete().await?;
                    self.services.note_done(at);
                    return Ok(None);
                }
            }
            self.services.note_done(at);
        }
        Ok(self.memory.session().cloned())
    }

    /// Have the timer that is due send its turn, once this command is done.
    fn post_timer(&self, now: Timestamp) {
        let Some(session) = self.memory.session() else { return };
        if let Some(Timer { name, message, .. }) = session.timers.due(now) {
            let (sender, content) =
                (Sender::Timer(name.clone()), vec![Part::Text(message.clone())]);
            self.registry.send_self(session, sender, content);
        }
    }

    /// Remove the state that nobody has used for as long as it is kept. A session that has an instance goes to
    /// sleep first.
    async fn remove_state(&mut self, now: Timestamp) -> Result<(), CommandError> {
        self.sleep(SleepCause::Idle).await?;
        let before = self.record()?;
        let (after, events) = retention::remove_state(&before, now);
        self.commit_as(Transaction::remove_state, after, events).await?;
        metrics::counter!("dormouse_states_removed_total").increment(1);
        Ok(())
    }

    /// Remove the session if it was not active since this time.
    async fn remove_unused(&mut self, since: Timestamp) -> CommandResult {
        let session = self.record()?;
        // A member goes with its group, and a group when none of it was active.
        let is_member = session.check_alone().is_err();
        if session.last_activity_at >= since || is_member || self.members_are_used(since).await? {
            return Ok(Some(session));
        }
        self.delete().await?;
        Ok(None)
    }

    async fn delete(&mut self) -> Result<(), CommandError> {
        self.drop_guest();
        let session = self.record()?;
        let mut deleted = self.delete_all(&session).await;
        for _ in 0..ATTEMPTS {
            match deleted {
                // A member was created meanwhile.
                Err(CommandError::Unavailable(Unavailable::Store(StoreError::Conflict(_)))) => {
                    deleted = self.delete_all(&session).await;
                }
                deleted => return deleted,
            }
        }
        deleted
    }

    /// Remove the session, and all members of its group, in one commit.
    async fn delete_all(&mut self, session: &Arc<Session>) -> Result<(), CommandError> {
        let (members, expect) = self.members_to_remove(session).await?;
        let now = self.services.clock.now();
        let mut removal = Transaction { expect, ..Transaction::default() };
        let removed = std::iter::once(session).chain(members.iter().map(|held| &held.session));
        for session in removed.clone() {
            let event = Event::session(session, now, EventBody::SessionDeleted);
            removal = removal.and(Transaction::remove_session(session.id, vec![event]));
            if let Some(account) = session.account {
                let left = AccountChange { members: -1, ..AccountChange::default() };
                removal = removal.and(Transaction::change_account(account, left));
            }
        }
        let deleted = self.services.store.commit(removal).await;
        self.forget();
        if deleted.is_ok() {
            removed.for_each(|session| self.services.mailboxes.dropped(session.id));
        }
        deleted.map_err(|error| match error {
            StoreError::NotFound(id) => Unavailable::NotFound(id).into(),
            error => error.into(),
        })
    }

    /// The record, which was loaded.
    pub(super) fn record(&self) -> Result<Arc<Session>, Unavailable> {
        self.memory.session().cloned().ok_or(Unavailable::NotFound(self.id))
    }

    pub(super) fn command_refusal(&mut self, error: WakeError) -> CommandError {
        match self.unavailable(error) {
            Ok(error) => error.into(),
            Err(NotWoken::Ended) => {
                let (reason, limit) = (None, None);
                NotActive { status: Status::Stopping, reason, limit }.into()
            }
            Err(NotWoken::Failed(why)) => CommandError::Guest(why),
        }
    }
}
