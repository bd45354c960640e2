//! Changes of files from outside, between two turns: each is one commit, with a head of its own.

use std::sync::Arc;

use super::Driver;
use crate::session::request::{CommandError, Unavailable};
use crate::turn::admission;
use crate::workspaces::{self, FileError, FilesChange, FilesChanged, VersionLabel};
use dormouse_domain::event::{Event, EventBody};
use dormouse_domain::id::SnapshotId;
use dormouse_domain::inactive::NotActive;
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::{FileChanges, GuestState, Snapshot};
use dormouse_domain::state::Status;
use dormouse_store::{SnapshotDetail, StoreError};

impl Driver<'_> {
    /// Change files, and give the session a head that has them. Its guest is woken anew for its next turn.
    pub(super) async fn change_files(&mut self, change: &FilesChange) -> Result<(), CommandError> {
        let status = self.record()?.state.status();
        if !admission::is_open(status) && status != Status::Paused {
            return Err(NotActive::of(&*self.record()?, status).into());
        }
        self.save_now().await?;
        let before = self.record()?;
        if before.unsaved_turns > 0 {
            return Err(CommandError::Unsaved(before.unsaved_turns));
        }
        let services = self.services;
        let head = self.outline_of_head(&before).await?;
        let workspaces = &services.workspaces;
        let mut files = workspaces
            .hold(head.as_ref().and_then(|head| head.files.as_ref()))
            .map_err(FileError::Unreadable)?;
        let tree = workspaces.tree(&files, before.created_at);
        let mut memory = services.memory.account();
        memory.charge(change.weight()).map_err(|_| Unavailable::OutOfMemory)?;

        let (quotas, now) = (workspaces.limits().quotas, services.clock.now());
        let working = {
            let change = change.clone();
            move || change.apply(tree, quotas, workspaces::nanos(now))
        };
        let commit = tokio::task::spawn_blocking(working).await;
        let commit = commit.map_err(|stopped| Unavailable::Host(stopped.to_string()))??;
        let changes = workspaces::counts(&commit.changes);
        if changes == FileChanges::default() {
            change.set_done(FilesChanged { changes, snapshot: before.head });
            return Ok(());
        }

        let id = SnapshotId(services.clock.new_id());
        let label = VersionLabel::new(&before, id, None, now, changes);
        let files = Some(workspaces.follow(&mut files, commit, &label));
        let snapshot = match &head {
            Some(head) => Snapshot { files, ..head.again(id, now) },
            None => Snapshot {
                id,
                parent: None,
                turn: before.usage.last_turn(),
                agent: before.profile.agent.digest,
                taken_at: now,
                monotonic_ns: u64::try_from(now.since(before.created_at).as_nanos())
                    .unwrap_or(u64::MAX),
                state: GuestState::Nothing,
                files,
            },
        };
        let mut after = Session::clone(&before);
        after.last_activity_at = now;
        after.set_head(Some(&snapshot));
        let body = EventBody::WorkspaceChanged { turn: None, changes };
        let event = Event::session(&after, now, body);
        // It has the files of before.
        self.drop_guest();
        self.commit(after, Some(snapshot), [event]).await?;
        change.set_done(FilesChanged { changes, snapshot: Some(id) });
        Ok(())
    }

    /// The head of a session, without the data of its chunks.
    async fn outline_of_head(
        &mut self,
        session: &Arc<Session>,
    ) -> Result<Option<Snapshot>, CommandError> {
        let Some(id) = session.head else { return Ok(None) };
        match self.services.store.snapshot(id, SnapshotDetail::Metadata).await {
            Ok(Some(kept)) => Ok(Some(kept.snapshot)),
            Ok(None) => Err(CommandError::NoSnapshot(id)),
            Err(StoreError::Damaged(why)) => {
                self.recover_head(why.to_string()).await?;
                Err(Unavailable::Host(format!("the head was damaged: {why}")).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}
