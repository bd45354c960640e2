//! The history of a session: saving out of turn, going back, and what is done about damage.

use std::sync::Arc;

use crate::session::request::{CommandError, Unavailable};
use crate::turn::admission;
use crate::turn::execution::SavedGuest;
use crate::workspaces::{self, VersionLabel, Workspaces};
use dormouse_base::clock::Clock;
use dormouse_domain::event::{Event, EventBody, ResumeCause, SessionUpdate};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::inactive::NotActive;
use dormouse_domain::session::{ResumeFallback, Session};
use dormouse_domain::snapshot::{DamagedSnapshot, FileChanges, ResumeTrial, Snapshot};
use dormouse_domain::state::{Cause, Move, Status};
use dormouse_domain::transition;
use dormouse_sandbox::Saved;
use dormouse_store::{SnapshotDetail, StoreError, Transaction};

use super::memory::{LoadedHead, SessionMemory};
use super::{Driver, GuestInstance, WakeError};

/// The snapshot of what was saved of an instance, after this many turns; and what the turns have changed of its
/// files, where they have.
pub(super) fn snapshot(
    (clock, workspaces): (&Clock, &Workspaces),
    session: &Session,
    turn: u64,
    guest: &mut GuestInstance,
    saved: SavedGuest,
) -> (Snapshot, Option<FileChanges>) {
    let SavedGuest { state, files } = saved;
    let (id, now) = (SnapshotId(clock.new_id()), clock.now());
    let changes = files.as_ref().map(|commit| workspaces::counts(&commit.changes));
    let files = match (files, changes) {
        (Some(commit), Some(changes)) => {
            let label = VersionLabel::new(session, id, Some(turn), now, changes);
            Some(workspaces.follow(&mut guest.files, commit, &label))
        }
        (None, _) | (_, None) => guest.files.kept(),
    };
    let snapshot = Snapshot {
        id,
        parent: session.head,
        turn,
        agent: session.profile.agent.digest,
        taken_at: now,
        monotonic_ns: guest.instance.monotonic_ns(),
        state,
        files,
    };
    (snapshot, changes)
}

impl Driver<'_> {
    /// Save the state of turns that were not saved when they ended, where there are any and the
    /// instance is here.
    pub(super) async fn save_now(&mut self) -> Result<(), CommandError> {
        let SessionMemory::Resident(resident) = &mut self.memory else { return Ok(()) };
        if resident.is_saved() {
            return Ok(());
        }
        let instance = &mut resident.guest.instance;
        let saved = match instance.save().await {
            Ok(Saved::State(state)) => {
                let files = instance.commit_files().await;
                files.map(|files| SavedGuest { state, files })
            }
            Ok(Saved::Nothing) => return Ok(()),
            Ok(Saved::Held(_) | Saved::Never) => {
                resident.stuck = true;
                return Err(CommandError::Unsaved(resident.session.unsaved_turns));
            }
            Err(fault) => Err(fault),
        };
        let saved = match saved {
            Ok(saved) => saved,
            Err(fault) => {
                // The instance is good for nothing any more, and what it held is lost.
                self.drop_guest();
                return Err(CommandError::Guest(fault.to_string()));
            }
        };
        let mut after = Session::clone(&resident.session);
        let turn = after.usage.last_turn();
        let kept_in = (&self.services.clock, &self.services.workspaces);
        let (snapshot, changes) = snapshot(kept_in, &after, turn, &mut resident.guest, saved);
        after.set_head(Some(&snapshot));
        let changed = changes.map(|changes| {
            let body = EventBody::WorkspaceChanged { turn: Some(turn), changes };
            Event::session(&after, snapshot.taken_at, body)
        });
        self.commit(after, Some(snapshot), changed).await?;
        if let Some(guest) = self.memory.guest_mut() {
            guest.stored();
        }
        Ok(())
    }

    /// Go back to a snapshot. What came after it stays in the history.
    pub(super) async fn rewind(&mut self, target: SnapshotId) -> Result<(), CommandError> {
        let Some(session) = self.memory.session() else {
            return Err(Unavailable::NotFound(self.id).into());
        };
        let status = session.state.status();
        if !admission::is_open(status) && status != Status::Paused {
            return Err(NotActive::of(session, status).into());
        }
        let mut after = Session::clone(session);
        let head = self.go_back(&mut after, target).await?;
        let body = EventBody::SessionUpdated(SessionUpdate::Rewound { to: target });
        let event = Event::session(&after, head.taken_at, body);
        self.commit_back(after, head, [event], target).await?;
        self.drop_guest();
        Ok(())
    }

    /// Take messages again, from a snapshot on where one is named, else from the head.
    pub(super) async fn resume(&mut self, target: Option<SnapshotId>) -> Result<(), CommandError> {
        let Some(before) = self.memory.session().cloned() else {
            return Err(Unavailable::NotFound(self.id).into());
        };
        let mut after = Session::clone(&before);
        after.state = before.state.after(Move::Resume)?;
        let head = match target {
            Some(target) => Some((target, self.go_back(&mut after, target).await?)),
            None => {
                self.check_head(&before).await?;
                None
            }
        };
        if before.state.status() == Status::Error {
            after.forgive();
        }
        let now = self.services.clock.now();
        let mut event = transition::ending(&before, &mut after, now);
        if let Some(Event {
            body: EventBody::SessionResumed(ResumeCause::Asked { from, .. }),
            ..
        }) = &mut event
        {
            *from = head.as_ref().and_then(|(_, head)| head.parent);
        }
        match head {
            Some((target, head)) => {
                self.commit_back(after, head, event, target).await?;
                self.drop_guest();
            }
            None => self.commit(after, None, event).await?,
        }
        Ok(())
    }

    /// Commit the record of a session that goes back to a snapshot, and with it those of the members of its group.
    async fn commit_back(
        &mut self,
        mut after: Session,
        mut head: Snapshot,
        more: impl IntoIterator<Item = Event>,
        target: SnapshotId,
    ) -> Result<(), CommandError> {
        let members = Box::pin(self.members_back(target)).await?;
        // The head of a coordinator is later than those that its members have with it.
        head.id = SnapshotId(self.services.clock.new_id());
        after.head = Some(head.id);
        let with =
            self.tried(self.id, target, ResumeTrial::Resumed).and(members.transaction.clone());
        let update =
            |after: Arc<Session>, events| Transaction::update(after, Some(head), events).and(with);
        self.commit_as(update, after, more).await?;
        drop(members);
        Ok(())
    }

    /// Commit a new record, and note what has come of going on from a snapshot of the session.
    async fn commit_trial(
        &mut self,
        after: Session,
        head: Option<Snapshot>,
        more: impl IntoIterator<Item = Event>,
        (snapshot, trial): (SnapshotId, ResumeTrial),
    ) -> Result<(), StoreError> {
        let tried = self.tried(self.id, snapshot, trial);
        let update =
            |after: Arc<Session>, events| Transaction::update(after, head, events).and(tried);
        self.commit_as(update, after, more).await
    }

    fn tried(&self, of: SessionId, snapshot: SnapshotId, trial: ResumeTrial) -> Transaction {
        Transaction::resume_tried(of, snapshot, trial, self.services.clock.now())
    }

    /// That a session in error can be woken from its head.
    pub(super) async fn check_head(&mut self, session: &Session) -> Result<(), CommandError> {
        if let Some(snapshot) = session.head
            && session.state.status() == Status::Error
            && let mut cancel = self.command_signals()
            && matches!(self.wake(&mut cancel).await, Err(WakeError::Damaged(_)))
        {
            let newest_good = self.newest_good(session).await?.map(|good| good.id);
            return Err(DamagedSnapshot { snapshot, newest_good }.into());
        }
        Ok(())
    }

    /// Give a record a new head with the state of this snapshot, once it is known to be good.
    pub(super) async fn go_back(
        &mut self,
        after: &mut Session,
        target: SnapshotId,
    ) -> Result<Snapshot, CommandError> {
        let kept = match self.services.store.snapshot(target, SnapshotDetail::Full).await {
            Ok(Some(kept)) if kept.session == after.id => kept,
            Ok(_) => return Err(CommandError::NoSnapshot(target)),
            Err(StoreError::Damaged(_)) => {
                let tried = self.tried(after.id, target, ResumeTrial::Damaged);
                self.services.store.commit(tried).await?;
                let newest_good = self.newest_good(after).await?.map(|good| good.id);
                return Err(DamagedSnapshot { snapshot: target, newest_good }.into());
            }
            Err(error) => return Err(error.into()),
        };
        if kept.snapshot.agent != after.profile.agent.digest {
            return Err(CommandError::OtherAgent(kept.snapshot.agent));
        }
        let clock = &self.services.clock;
        let mut head = kept.snapshot.again(SnapshotId(clock.new_id()), clock.now());
        if after.parent.is_some() && kept.snapshot.parent == after.parent {
            // What the session has started from was taken after a turn of another.
            head.turn = 0;
        }
        after.set_head(Some(&head));
        after.timers.go_back_to(head.turn);
        after.before_upgrade = None;
        after.consecutive_failures = 0;
        Ok(head)
    }

    /// The head is damaged: do what the session was created to do then, or put it into `error`.
    /// Returns the record that a turn can start from.
    pub(super) async fn recover_head(&mut self, why: String) -> Result<Arc<Session>, CommandError> {
        let before = self.memory.session().cloned().ok_or(Unavailable::NotFound(self.id))?;
        let snapshot = before.head.ok_or_else(|| Unavailable::Host(why.clone()))?;
        tracing::error!(session = %self.id, %snapshot, why, "the head of a session is damaged");
        metrics::counter!("dormouse_damaged_heads_total").increment(1);
        let good = self.newest_good(&before).await?;
        let newest_good = good.as_ref().map(|good| good.id);
        let damaged = DamagedSnapshot { snapshot, newest_good };
        let now = self.services.clock.now();
        let mut after = Session::clone(&before);
        let (fallback, head) = match (before.profile.resume_fallback, good) {
            (Some(ResumeFallback::Fresh), _) => (ResumeFallback::Fresh, None),
            (Some(ResumeFallback::Parent), Some(good)) => {
                let again = good.again(SnapshotId(self.services.clock.new_id()), now);
                (ResumeFallback::Parent, Some(again))
            }
            (Some(ResumeFallback::Parent), None) | (None, _) => {
                after.state = before.state.after(Move::Fail(Cause::SnapshotCorrupt.into()))?;
                let mut event = transition::ending(&before, &mut after, now);
                if let Some(Event { body: EventBody::SessionError { damage, .. }, .. }) = &mut event
                {
                    *damage = Some(damaged.clone());
                }
                self.commit_trial(after, None, event, (snapshot, ResumeTrial::Damaged)).await?;
                self.drop_guest();
                return Err(damaged.into());
            }
        };
        after.set_head(head.as_ref());
        let way_back = ResumeCause::Damage { fallback, damage: damaged };
        let event = Event::session(&after, now, EventBody::SessionResumed(way_back));
        self.commit_trial(after, head, [event], (snapshot, ResumeTrial::Damaged)).await?;
        self.preparation.head = LoadedHead::Unread;
        Ok(self.memory.session().cloned().ok_or(Unavailable::NotFound(self.id))?)
    }

    /// The newest of the snapshots that the head comes from which is good, and of the same agent.
    async fn newest_good(&mut self, session: &Session) -> Result<Option<Snapshot>, StoreError> {
        let store = &self.services.store;
        let known = store.snapshots(session.id).await?;
        let mut next = session.head_parent;
        while let Some(id) = next {
            match store.snapshot(id, SnapshotDetail::Full).await {
                Ok(Some(kept)) => {
                    // Those of the session it was forked from are as good, as long as they are kept.
                    let same = kept.snapshot.agent == session.profile.agent.digest;
                    return Ok(same.then_some(kept.snapshot));
                }
                Ok(None) => return Ok(None),
                Err(StoreError::Damaged(_)) => {
                    let damaged = known.iter().find(|summary| summary.id == id);
                    next = damaged.and_then(|summary| summary.parent);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
