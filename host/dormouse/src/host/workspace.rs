//! The files of a session, from outside.

use bytes::Bytes;

use super::origin;
use super::session::SessionHandle;
use crate::session::request::{Command, CommandError, SessionInfo};
use crate::workspaces::{FileError, FileOperation, FilesChange, FilesChanged, WorkspaceView};
use dormouse_domain::id::SnapshotId;
use dormouse_domain::message::OnBusy;
use dormouse_store::SnapshotDetail;
use dormouse_workspace::{BlobError, Quotas};

/// How often the newest files are looked for, where they change meanwhile.
const ATTEMPTS: u32 = 4;

impl SessionHandle {
    /// The files of the session: those that a snapshot of it names, or, without one, those of now. What a turn
    /// has written that runs, or that cannot be saved, is not there; turns that were only not saved yet are saved first.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use dormouse::{Host, NewSession, OnBusy, Pattern};
    ///
    /// let host = Host::builder().in_memory().build().await?;
    /// let session = host.sessions().create(NewSession::agent("counter").pattern(Pattern::Hybrid)).await?;
    /// session.write_file("notes/first.txt", "It snows.", OnBusy::Queue).await?;
    /// let files = session.workspace(None).await?;
    /// assert_eq!(files.read("notes/first.txt", 3, 100).await?, "snows.");
    /// # host.shut_down().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CommandError::NoSnapshot`]
    pub async fn workspace(
        &self,
        snapshot: Option<SnapshotId>,
    ) -> Result<WorkspaceView, CommandError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let SessionInfo { session, running_turn, .. } = self.info().await?;
            let id = match snapshot {
                Some(id) => Some(id),
                None if running_turn.is_some() => session.head,
                None => match origin::head(&self.host, &session).await {
                    Err(CommandError::Unsaved(_)) => session.head,
                    head => head?,
                },
            };
            let kept = match id {
                Some(id) => {
                    let store = &self.host.inner.store;
                    match store.snapshot(id, SnapshotDetail::Metadata).await? {
                        Some(kept) if kept.session == self.id => Some(kept.snapshot),
                        // The session has another one by now.
                        None if snapshot.is_none() && attempt < ATTEMPTS => continue,
                        Some(_) | None => return Err(CommandError::NoSnapshot(id)),
                    }
                }
                None => None,
            };
            let workspaces = &self.host.inner.services.workspaces;
            match workspaces.view(&session, kept.as_ref()) {
                Err(FileError::Unreadable(BlobError::Missing(_))) if attempt < ATTEMPTS => {}
                view => return Ok(view?),
            }
        }
    }

    /// What the workspace of the session may hold.
    #[must_use]
    pub fn workspace_quotas(&self) -> Quotas {
        self.host.inner.services.workspaces.limits().quotas
    }

    /// Change files, by all of these operations or by none: one commit between two turns. While a turn runs, the change
    /// waits for its end, or is refused, as `on_busy` says; it ends no turn.
    ///
    /// # Errors
    /// [`CommandError::Files`] says what cannot be done; [`CommandError::TurnInProgress`]; [`CommandError::NotActive`];
    /// [`CommandError::Unsaved`] where the session has a file open, or cannot be saved.
    pub async fn change_files(
        &self,
        operations: Vec<FileOperation>,
        on_busy: OnBusy,
    ) -> Result<(FilesChanged, SessionInfo), CommandError> {
        self.info().await?;
        let change = FilesChange::new(operations, on_busy != OnBusy::Reject)?;
        let session = self.ask(Command::ChangeFiles(change.clone())).await?;
        Ok((change.done(), session))
    }

    /// Write a file, with the directories above it.
    ///
    /// # Errors
    /// As [`SessionHandle::change_files`].
    pub async fn write_file(
        &self,
        path: impl Into<String>,
        content: impl Into<Bytes>,
        on_busy: OnBusy,
    ) -> Result<FilesChanged, CommandError> {
        let write = FileOperation::Write { path: path.into(), content: content.into() };
        Ok(self.change_files(vec![write], on_busy).await?.0)
    }
}
