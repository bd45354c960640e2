//! What a coordinator does for all of its group: it ends its members, and takes them along where it goes back.

use std::sync::Arc;

use super::Driver;
use crate::session::members::{HeldSession, MemberThen, member_at};
use crate::session::request::{Command, CommandError, Unavailable};
use crate::turn::admission::{self, TurnDenied};
use dormouse_domain::event::{Event, EventBody, SessionUpdate};
use dormouse_domain::group::Group;
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::inactive::NotActive;
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::Snapshot;
use dormouse_domain::state::{Cause, Move, Status};
use dormouse_domain::time::Timestamp;
use dormouse_store::{Expect, StoreError, Transaction};

/// The members of a group that go back with their coordinator: they stand still until this is dropped.
#[derive(Default)]
pub(super) struct MembersBack {
    pub(super) transaction: Transaction,
    _held: Vec<HeldSession>,
}

impl Driver<'_> {
    /// The group that the session is the coordinator of.
    pub(super) fn own_group(&self) -> Option<Group> {
        let group = self.memory.session()?.group.as_ref()?;
        group.is_coordinator().then(|| group.clone())
    }

    /// Whether the group of this session lets a member begin a turn.
    ///
    /// # Errors
    /// Its coordinator is paused, or has ended; the outer one: the store does not say.
    pub(super) fn group_admits(
        &self,
        session: &Session,
    ) -> Result<Result<(), TurnDenied>, StoreError> {
        let Some(group) = session.group.as_ref().filter(|group| !group.is_coordinator()) else {
            return Ok(Ok(()));
        };
        Ok(match self.services.store.status(group.coordinator)? {
            Some(Status::Paused) => Err(TurnDenied::Paused),
            Some(status) if !status.is_final() => Ok(()),
            Some(_) | None => {
                let reason = Some(Cause::GroupEnded.into());
                Err(NotActive { status: Status::Terminated, reason, limit: None }.into())
            }
        })
    }

    /// Members take what waits for them, if the coordinator lets them.
    pub(super) fn tell_members(&self) {
        let is_open = self.memory.session().is_some_and(|it| admission::is_open(it.state.status()));
        let group = self.own_group().filter(|_| is_open);
        for (_, member) in group.iter().flat_map(Group::ids) {
            self.registry.post_mail(member);
        }
    }

    /// The coordinator has ended, and its members end with it.
    pub(super) async fn end_group(&mut self) -> Result<(), CommandError> {
        let Some(group) = self.own_group() else { return Ok(()) };
        let mut failed = None;
        for (_, member) in group.ids() {
            match self.services.store.status(member)? {
                Some(status) if !status.is_final() => {}
                Some(_) | None => continue,
            }
            let end = Command::Move(Move::Terminate(Cause::GroupEnded.into()));
            match self.registry.command(member, None, end).await {
                // It has ended by itself meanwhile.
                Ok(_) | Err(CommandError::InvalidTransition(_)) => {}
                Err(CommandError::Unavailable(Unavailable::NotFound(_))) => {}
                // The others end all the same, and this one is tried again.
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let mut after = Session::clone(&*self.record()?);
        after.group = Some(Group { has_ended: true, ..group });
        Ok(self.commit(after, None, None).await?)
    }

    /// Whether a member was active since this time, or has a turn.
    pub(super) async fn members_are_used(&mut self, since: Timestamp) -> Result<bool, StoreError> {
        let group = self.own_group();
        for (_, member) in group.iter().flat_map(Group::ids) {
            let is_used = |member: Session| member.last_activity_at >= since;
            let used = self.services.store.session(member).await?.is_some_and(is_used);
            if used || self.registry.running(member).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The members that are removed with their coordinator, which stand still; and that there are no others.
    pub(super) async fn members_to_remove(
        &mut self,
        session: &Session,
    ) -> Result<(Vec<HeldSession>, Vec<Expect>), CommandError> {
        let group = session.group.as_ref().filter(|group| group.is_coordinator());
        let Some(group) = group else { return Ok((Vec::new(), Vec::new())) };
        let held = self.registry.hold_members(group, true).await?;
        let is_held = |id: SessionId| held.iter().any(|held| held.session.id == id);
        let others = group.ids().map(|(_, id)| id).filter(|id| !is_held(*id));
        let others = others.map(Expect::NewSession).collect();
        Ok((held, others))
    }

    /// What takes the members back to where they were when this snapshot of the coordinator was taken. They stand still
    /// until it is committed.
    pub(super) async fn members_back(
        &mut self,
        target: SnapshotId,
    ) -> Result<MembersBack, CommandError> {
        let Some(group) = self.own_group() else { return Ok(MembersBack::default()) };
        let held = self.registry.hold_members(&group, false).await?;
        let mut transaction = Transaction::default();
        for HeldSession { session, .. } in &held {
            if let Some((after, head, event)) = self.member_back(session, target).await? {
                let update = Transaction::update(Arc::new(after), head, vec![event]);
                transaction = transaction.and(update);
            }
        }
        Ok(MembersBack { transaction, _held: held })
    }

    /// A member as it was then. `None`: it stays as it is.
    async fn member_back(
        &mut self,
        member: &Session,
        target: SnapshotId,
    ) -> Result<Option<(Session, Option<Snapshot>, Event)>, CommandError> {
        if member.state.status().is_final() {
            return Ok(None);
        }
        let mut after = member.clone();
        if after.state.status() == Status::Error {
            after.state = after.state.after(Move::Resume)?;
            after.forgive();
        }
        let (head, to) = match member_at(&*self.services.store, member, target).await? {
            MemberThen::At(at) if member.head == Some(at) => return Ok(None),
            MemberThen::At(at) => (Some(self.go_back(&mut after, at).await?), at),
            MemberThen::Fresh if member.started_at.is_none() => return Ok(None),
            MemberThen::Fresh => {
                let at = SnapshotId(self.services.clock.new_id());
                after.group.iter_mut().for_each(|group| group.begin_anew(at));
                after.set_head(None);
                after.timers.go_back_to(0);
                (after.before_upgrade, after.consecutive_failures) = (None, 0);
                (None, target)
            }
        };
        after.revision += 1;
        let body = EventBody::SessionUpdated(SessionUpdate::Rewound { to });
        let event = Event::session(&after, self.services.clock.now(), body);
        Ok(Some((after, head, event)))
    }
}
