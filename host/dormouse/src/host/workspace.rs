//! The files of a session, from outside.

use bytes::Bytes;

use super::origin;
use super::session::SessionHandle;
use crate::session::request::{Command, CommandError, SessionInfo, Unavailable};
use crate::workspaces::{FileError, FileOperation, FilesChange, FilesChanged, WorkspaceView};
use dormouse_domain::agent::Digest;
use dormouse_domain::deadline;
use dormouse_domain::id::SnapshotId;
use dormouse_domain::message::OnBusy;
use dormouse_domain::turn::{TurnOutcome, TurnRecord};
use dormouse_store::{SnapshotDetail, SnapshotSummary};
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

    /// The commits that have the files of these snapshots of the session, in their order: 40 hexadecimal digits each. `None`:
    /// a snapshot without files, or one that was removed meanwhile. What commits are is worked out where that was not done since
    /// the start of the host, which reads all files of the history.
    ///
    /// # Errors
    /// [`FileError::Unreadable`]
    pub async fn commits(
        &self,
        snapshots: &[SnapshotSummary],
    ) -> Result<Vec<Option<String>>, CommandError> {
        let mut commits: Vec<Option<String>> = Vec::with_capacity(snapshots.len());
        let mut known: Option<(Digest, Option<String>)> = None;
        for snapshot in snapshots {
            let commit = match (snapshot.files, &known) {
                (None, _) => None,
                (Some(files), Some((last, commit))) if *last == files => commit.clone(),
                (Some(files), _) => {
                    let commit = match self.workspace(Some(snapshot.id)).await {
                        Ok(view) => view.commit().await.map_err(unreadable)?,
                        Err(CommandError::NoSnapshot(_)) => None,
                        Err(error) => return Err(error),
                    };
                    known = Some((files, commit.clone()));
                    commit
                }
            };
            commits.push(commit);
        }
        Ok(commits)
    }

    /// The commit that has the files after a turn of the session. `None`: the state after it was not saved with it, or is not
    /// kept any more, or has no files.
    ///
    /// # Errors
    /// As [`SessionHandle::commits`].
    pub async fn commit_of(&self, turn: &TurnRecord) -> Result<Option<String>, CommandError> {
        let TurnOutcome::Answered { snapshot: Some(snapshot), .. } = &turn.outcome else {
            return Ok(None);
        };
        let mut snapshots = self.snapshots().await?;
        snapshots.retain(|kept| kept.id == *snapshot);
        Ok(self.commits(&snapshots).await?.pop().flatten())
    }

    /// The snapshot of the session that was taken first of those that have the files of a commit: 40 hexadecimal digits.
    ///
    /// # Errors
    /// [`CommandError::NoCommit`]
    pub async fn snapshot_of(&self, commit: &str) -> Result<SnapshotId, CommandError> {
        let snapshots = self.snapshots().await?;
        let commits = self.commits(&snapshots).await?;
        let has_it = |found: &Option<String>| {
            found.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(commit))
        };
        let first = commits.iter().rposition(has_it);
        let first = first.and_then(|at| snapshots.get(at));
        first.map(|snapshot| snapshot.id).ok_or_else(|| CommandError::NoCommit(commit.to_owned()))
    }

    /// Note that somebody has read the history of the files: the session is not idle. Often enough for its idle limit, and
    /// not each time.
    pub async fn note_fetch(&self) -> Result<(), CommandError> {
        let session = self.info().await?.session;
        let now = self.host.inner.clock.now();
        let Some(end) = deadline::idle_deadline(&session) else { return Ok(()) };
        let limit = session.profile.limits.max_idle.unwrap_or_default();
        if end.since(now) < limit * 3 / 4 {
            let caller = self.host.access().only().cloned();
            self.registry().command(self.id, caller, Command::Extend(None)).await?;
        }
        Ok(())
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

/// A history that cannot be read.
fn unreadable(error: dormouse_git::Error) -> CommandError {
    Unavailable::Host(error.to_string()).into()
}
