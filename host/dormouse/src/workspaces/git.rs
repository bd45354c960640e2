//! The history of a workspace as a git repository: each version that a session went through is a commit.

use std::sync::Arc;

use bytes::Bytes;

use super::view::WorkspaceView;
use super::{VersionLabel, Workspaces, tree_of};
use dormouse_git::{
    Answer, Cache, Error, History, HistoryError, Limits, ObjectId, Protocol, Repository, Revision,
    RevisionId, Signature,
};
use dormouse_store::read::FilesLease;
use dormouse_workspace::{BlobError, BlobId, Source, Version};

/// Versions of the store as revisions.
struct Versions {
    source: Source,
    /// As long as this is there, none of them is removed.
    _lease: Option<Arc<FilesLease>>,
}

impl History for Versions {
    fn revision(&self, id: &RevisionId) -> Result<Revision, HistoryError> {
        let version = Version::read(&self.source, &BlobId(id.0)).map_err(|error| match error {
            BlobError::Missing(_) => HistoryError::Missing(*id),
            error => HistoryError::Unavailable { id: *id, reason: error.to_string() },
        })?;
        let label: VersionLabel =
            serde_json::from_slice(&version.label).map_err(|error| HistoryError::Unavailable {
                id: *id,
                reason: format!("its label cannot be read: {error}"),
            })?;
        let session = &label.session;
        Ok(Revision {
            tree: tree_of(&self.source, &version),
            parent: version.parent.map(|parent| RevisionId(parent.0)),
            message: message(&label),
            author: signature(format!("Session {session}"), session),
            committer: signature("Dormouse".to_owned(), "host"),
            time: u64::try_from(label.at / 1_000).unwrap_or(0),
        })
    }
}

/// What a commit says. It must stay as it is: the ids of all commits follow from it.
fn message(label: &VersionLabel) -> String {
    let VersionLabel { session, thread, snapshot, turn, at: _, added, changed, removed } = label;
    let files = added + changed + removed;
    let noun = if files == 1 { "file" } else { "files" };
    let title = match turn {
        Some(turn) => format!("Turn {turn}: {files} {noun}"),
        None => format!("From outside: {files} {noun}"),
    };
    let thread = thread.as_ref().map(|thread| format!("Thread: {}\n", one_line(thread)));
    let thread = thread.unwrap_or_default();
    format!(
        "{title}\n\n{added} added, {changed} changed, {removed} removed\n\n\
         Session: {session}\n{thread}Snapshot: {snapshot}\n"
    )
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn signature(name: String, user: &str) -> Signature {
    // A name that belongs to nobody (RFC 2606).
    Signature { name, email: format!("{user}@dormouse.invalid") }
}

/// What one host remembers for all of its repositories.
#[derive(Clone)]
pub(super) struct GitCache(Cache);

impl GitCache {
    pub(super) fn new(bytes: u64) -> GitCache {
        GitCache(Cache::new(usize::try_from(bytes).unwrap_or(usize::MAX)))
    }
}

impl Workspaces {
    /// The repository whose branch `main` ends with this version.
    pub(super) fn repository(
        &self,
        head: Option<BlobId>,
        lease: Option<Arc<FilesLease>>,
    ) -> Repository {
        let versions = Versions { source: self.source.clone(), _lease: lease };
        let head = head.map(|head| RevisionId(head.0));
        Repository::new(Arc::new(versions), head, self.git.0.clone(), Limits::default())
    }
}

/// The answer to a client of git that fetches, made piece by piece as somebody reads it.
pub struct GitAnswer {
    view: WorkspaceView,
    /// Nobody has it while a piece is made. A reader that goes away then ends it.
    answer: Option<Answer>,
}

impl WorkspaceView {
    /// The commit that has these files: 40 hexadecimal digits. `None`: no files were ever written. What the commits before
    /// it are is worked out as well, where that was not done since the start of the host.
    ///
    /// # Errors
    /// A version cannot be read.
    pub async fn commit(&self) -> Result<Option<String>, Error> {
        let this = self.clone();
        let id = self.work(move || this.commit_id()).await?;
        Ok(id.map(|id| id.to_string()))
    }

    fn commit_id(&self) -> Result<Option<ObjectId>, Error> {
        let head = self.repository.head().copied();
        head.map(|head| self.repository.commit_id(&head)).transpose()
    }

    /// What a client of git is told first: the body of the answer to `GET …/info/refs?service=git-upload-pack`.
    ///
    /// # Errors
    /// A version cannot be read.
    pub async fn git_advertisement(&self, protocol: Protocol) -> Result<Bytes, Error> {
        let repository = self.repository.clone();
        self.work(move || repository.advertisement(protocol)).await
    }

    /// What a client of git gets that asks for commits: the body of the answer to `POST …/git-upload-pack` with this body.
    ///
    /// # Errors
    /// The request is none, or asks for what is not there, or a version cannot be read.
    pub async fn git_upload_pack(
        &self,
        protocol: Protocol,
        request: Bytes,
    ) -> Result<GitAnswer, Error> {
        let repository = self.repository.clone();
        let answer = self.work(move || repository.upload_pack(protocol, &request)).await?;
        Ok(GitAnswer { view: self.clone(), answer: Some(answer) })
    }
}

impl GitAnswer {
    /// The most bytes of a piece.
    pub const MAX_PIECE: u64 = 64 << 10;

    /// The next piece. `None`: that was all.
    ///
    /// # Errors
    /// A version cannot be read. Where the client can be told, the piece before has told it.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(mut answer) = self.answer.take() else { return Ok(None) };
        let (piece, answer) = self
            .view
            .work(move || {
                let piece = answer.next().transpose();
                Ok::<_, Error>((piece, answer))
            })
            .await?;
        let piece = piece?;
        if piece.is_some() {
            self.answer = Some(answer);
        }
        Ok(piece)
    }
}
